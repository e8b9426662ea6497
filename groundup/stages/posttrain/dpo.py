"""Make an aligned model from preference pairs (Rafailov et al. 2023), the reference computed once beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from groundup.artifact.exhibit import Facts, Lines, Series, Table
from groundup.artifact.stage import Outcome, Task
from groundup.base.dist import threads
from groundup.base.errors import DataError
from groundup.model import count
from groundup.model.exchange import huggingface
from groundup.model.transformer import Transformer
from groundup.stages.posttrain.config import DpoConfig
from groundup.stages.posttrain.pairs import Pair, PairSteps, collate_pairs, read_pairs
from groundup.stages.posttrain.rows import Shuffled, by_length
from groundup.text.tokenizer import Tokenizer
from groundup.train import precision
from groundup.train.exhibits import health_exhibits, health_metrics
from groundup.train.loop import train
from groundup.train.objective import DirectPreference, answer_log_probs
from groundup.train.output import check_vocabulary, write_model
from groundup.train.parallel.layout import resolve
from groundup.train.precision import default_device


def run(config: DpoConfig, task: Task) -> Outcome:
    """Train from the input model; resumes from the checkpoints in ``task.scratch``."""
    folder = task.input("model").path
    tokenizer = Tokenizer.load(folder)
    model = huggingface.load(folder).to(default_device())
    check_vocabulary(tokenizer, model.config.vocab_size, folder)
    dropped: Counter[str] = Counter()
    limit = model.config.max_seq_len
    pairs = read_pairs(task.inputs["preferences"], "train", tokenizer, limit, dropped)
    held_out = read_pairs(task.inputs["preferences"], "held_out", tokenizer, limit, Counter())
    if not pairs:
        raise DataError(
            f"none of {sum(dropped.values())} preference pairs fits into the context of "
            f"{model.config.max_seq_len} tokens"
        )
    order = Shuffled.over([pair.id for pair in pairs], config.batch_pairs, config.horizon, config.seed)
    references = _references(model, [*pairs, *held_out], config, tokenizer.pad_id, task)
    steps = PairSteps(pairs, references[: len(pairs)], order, config.micro_batch_tokens, tokenizer.pad_id)
    objective = DirectPreference(config.beta)
    checks = PairSteps(held_out, references[len(pairs) :], order, config.micro_batch_tokens, tokenizer.pad_id)

    def validate(current: Transformer) -> dict[str, float]:
        totals: Counter[str] = Counter()
        for batch in checks.group(range(len(held_out))):
            loss, values = objective(current, batch.to(current.output_weight.device))
            totals.update({"held_out_loss": float(loss), **{f"held_out_{k}": float(v) for k, v in values.items()}})
        return {name: total / len(held_out) for name, total in totals.items()}

    history = train(
        model,
        steps,
        objective,
        config.learning_rate,
        config.optimizer,
        config.loop,
        folder=task.scratch,
        progress=task.progress,
        validate=validate if held_out else None,
        name=task.name,
        layout=resolve(
            config.parallel, task.world.size, model.config, rows_per_step=order.rows_per_step, in_pairs=True
        ),
        engine=config.engine,
        seq_len=round(sum(pair.length for pair in pairs) / len(pairs)),
    )
    write_model(tokenizer, history, task.payload)
    metrics = {
        "parameters": count.parameters(model.config),
        "pairs": len(pairs),
        "held_out_pairs": len(held_out),
        "dropped": dict(sorted(dropped.items())),
        "steps": order.num_steps,
        "precision": history.precision,
        "health": health_metrics(history),
        "held_out_accuracy_after": history.validations[-1]["held_out_accuracy"] if held_out else None,
        "held_out_margin_after": history.validations[-1]["held_out_margin"] if held_out else None,
    }
    last = history.validations[-1] if held_out else {}
    task.show(
        Facts(
            title="Preference tuning in numbers",
            facts=(
                ("pairs", f"{len(pairs):,}", f"and {len(held_out)} held out"),
                ("steps", f"{len(history.steps):,}", f"beta {config.beta}"),
                ("held-out accuracy", f"{last.get('held_out_accuracy', float('nan')):.0%}", "50 % is chance"),
            ),
        ),
        Lines(
            title="Leaning towards the chosen answer",
            caption="The margin is how much more the model has gained on the chosen answer than on the rejected one.",
            x_label="step",
            y_label="margin",
            series=(
                Series(
                    name="training",
                    x=tuple(row["step"] + 1 for row in history.steps),
                    y=tuple(row["margin"] for row in history.steps),
                ),
                Series(
                    name="held out",
                    x=tuple(row["step"] for row in history.validations),
                    y=tuple(row["held_out_margin"] for row in history.validations),
                ),
            ),
        ),
    )
    task.show(*health_exhibits(history))
    if dropped:
        table = tuple((reason, number) for reason, number in sorted(dropped.items()))
        task.show(Table(title="Pairs that did not fit", columns=("what happened", "answers"), rows=table))
    return Outcome(metrics=metrics, device_joules=history.device_joules)


def _references(model: Transformer, pairs: Sequence[Pair], config: DpoConfig, pad_id: int, task: Task) -> Tensor:
    """Log-probabilities of both answers of each pair under the starting model: fp64 (pairs, 2)."""
    result = torch.zeros(len(pairs), 2, dtype=torch.float64)
    device = model.output_weight.device
    arithmetic = precision.resolve(config.loop.precision, device)
    torch.set_num_threads(config.loop.threads or threads())
    done = 0
    for group in by_length([2 * pair.length for pair in pairs], config.micro_batch_tokens):
        with torch.inference_mode(), precision.autocast(arithmetic, device):
            values = answer_log_probs(model, collate_pairs([pairs[index] for index in group], pad_id).to(device))
        result[group] = values.cpu().view(-1, 2)
        done += len(group)
        task.progress.update("scoring with the reference", done, len(pairs), "pairs")
    return result
