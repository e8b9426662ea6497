"""Make a base model."""

from __future__ import annotations

import math

from groundup.artifact.exhibit import Facts, Lines, Series
from groundup.artifact.stage import Outcome, Task
from groundup.base.errors import RequestError
from groundup.base.seeds import derive
from groundup.base.units import Span, human_count
from groundup.model import count
from groundup.model.transformer import Transformer, initialise
from groundup.stages.pretrain.config import PretrainConfig
from groundup.stages.pretrain.validation import HeldOut
from groundup.text.shards import TokenStore, num_rows
from groundup.text.tokenizer import Tokenizer
from groundup.train.loop import History, train
from groundup.train.objective import next_token
from groundup.train.output import write_model
from groundup.train.precision import default_device
from groundup.train.stream import PackedSteps


def run(config: PretrainConfig, task: Task) -> Outcome:
    """Train from random weights; resumes from the checkpoints in ``task.scratch``."""
    tokens = task.input("tokens")
    tokenizer = Tokenizer.load(task.input("tokenizer").path)
    store = TokenStore.open(tokens.path)
    seq_len = int(tokens.record.metrics["max_seq_len"])
    shape = config.model_config_for(tokenizer.vocab_size, seq_len)
    rows = config.rows_per_step(seq_len)
    horizon = config.horizon or Span(20.0 * count.parameters(shape), "tokens")
    epoch_tokens = num_rows(store.num_tokens, seq_len) * seq_len
    num_steps = horizon.tokens(rows * seq_len, epoch_tokens) // (rows * seq_len)
    if num_steps < 1:
        raise RequestError(f"horizon {horizon} is shorter than one step of {rows * seq_len} tokens")
    model = Transformer(shape)
    initialise(model, derive(config.seed, "weights"))
    model.to(default_device())
    steps = PackedSteps(
        store=store,
        seq_len=seq_len,
        rows_per_step=rows,
        rows_per_batch=max(1, config.micro_batch_tokens // seq_len),
        num_steps=num_steps,
    )
    held_out = HeldOut.open(tokens, seq_len, config.validation_tokens)
    history = train(
        model,
        steps,
        next_token,
        config.peak_learning_rate,
        config.optimizer,
        config.loop,
        folder=task.scratch,
        progress=task.progress,
        validate=held_out.bits_per_byte,
    )
    write_model(model, tokenizer, history, task.payload)
    trained = num_steps * rows * seq_len
    flops = trained * count.training_flops_per_token(shape, seq_len)
    bytes_per_token = tokens.record.metrics["train_bytes"] / store.num_tokens
    task.show(*_exhibits(history, bytes_per_token, trained, epoch_tokens, flops, count.parameters(shape)))
    return Outcome(
        metrics={
            "parameters": count.parameters(shape),
            "train_tokens": trained,
            "unique_tokens": min(trained, epoch_tokens),
            "epochs": round(trained / epoch_tokens, 3),
            "steps": num_steps,
            "step_tokens": rows * seq_len,
            "learning_rate": config.peak_learning_rate,
            "flops": flops,
            "precision": history.precision,
            "final_loss": history.steps[-1]["loss"],
            "validation_bits_per_byte": history.validations[-1]["bits_per_byte"],
        }
    )


def _exhibits(
    history: History, bytes_per_token: float, trained: int, unique: int, flops: int, parameters: int
) -> tuple[Facts, Lines, Lines]:
    to_bits = 1 / (math.log(2) * bytes_per_token)
    smooth = _smoothed([row["loss"] * to_bits for row in history.steps])
    seen = [row["tokens"] / 1e6 for row in history.steps]
    rate = [row["learning_rate"] for row in history.steps]
    checks = history.validations
    speed = human_count(history.tokens_per_second) if history.tokens_per_second else "not measured"
    return (
        Facts(
            title="Training in numbers",
            headline=True,
            facts=(
                ("parameters", human_count(parameters), "the numbers that are learned"),
                ("tokens read", human_count(trained), f"{trained / unique:.1f} passes over {human_count(unique)}"),
                ("arithmetic", f"{flops:.2g}", "floating-point operations"),
                ("speed", speed, f"tokens a second, {history.precision}"),
            ),
        ),
        Lines(
            title="How well it guesses",
            caption="Bits needed for each byte of text: lower is better. The training curve is smoothed; when the "
            "held-out curve turns up while the other falls, the model has begun to memorise.",
            x_label="million tokens read",
            y_label="bits per byte",
            series=(
                Series(name="training batches", x=tuple(seen), y=tuple(smooth)),
                Series(
                    name="held-out documents",
                    x=tuple(row["tokens"] / 1e6 for row in checks),
                    y=tuple(row["bits_per_byte"] for row in checks),
                ),
            ),
        ),
        Lines(
            title="Learning rate",
            caption="How far each step moves the weights.",
            x_label="million tokens read",
            y_label="learning rate",
            series=(Series(name="learning rate", x=tuple(seen), y=tuple(rate)),),
        ),
    )


def _smoothed(values: list[float], keep: float = 0.95) -> list[float]:
    """An exponential mean, corrected for its start."""
    out, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out
