"""Make a chat model: next-token prediction on the assistant's turns (Ouyang et al. 2022, section 3.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from groundup.artifact.exhibit import Facts, Lines, Sample, Samples, Series, Table
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import DataError
from groundup.base.units import human_count
from groundup.model import count
from groundup.model.exchange import huggingface
from groundup.model.transformer import Transformer
from groundup.stages.posttrain.config import SftConfig
from groundup.stages.posttrain.rows import Row, Shuffled, by_length, collate, encode
from groundup.text.conversation import read_conversations
from groundup.text.show import mask_parts
from groundup.text.tokenizer import Tokenizer
from groundup.train.exhibits import health_exhibits, health_metrics
from groundup.train.loop import History, train
from groundup.train.objective import next_token
from groundup.train.output import check_vocabulary, write_model
from groundup.train.parallel.layout import resolve
from groundup.train.parallel.vocabulary import linear_cross_entropy
from groundup.train.precision import default_device
from groundup.train.stream import WHOLE, Part, TokenBatch


@dataclass(frozen=True)
class ConversationSteps:
    """Conversations for the loop."""

    rows: Sequence[Row]
    order: Shuffled
    max_tokens: int
    pad_id: int

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all."""
        return self.order.num_steps

    @property
    def fingerprint(self) -> str:
        """A hash of the rows and their order."""
        return self.order.fingerprint

    def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        """The micro-batches of a step, rows of like length together."""
        chosen = [self.rows[index].tokens for index in part.of(self.order.step(step))]
        groups = by_length([len(row.ids) for row in chosen], self.max_tokens)
        return [collate([chosen[index] for index in group], self.pad_id) for group in groups]

    def heaviest(self, part: Part = WHOLE) -> int:
        """The step with the largest micro-batch."""
        return self.order.heaviest([len(row.tokens.ids) for row in self.rows], self.max_tokens, part)


@dataclass(frozen=True)
class HeldOutConversations:
    """Validation: nats per trained token on conversations that are not trained on."""

    rows: Sequence[Row]
    max_tokens: int
    pad_id: int

    def loss(self, model: Transformer) -> dict[str, float]:
        """``{"held_out_loss": ...}``; nothing if no conversations were held out."""
        total, weight = 0.0, 0
        for group in by_length([len(row.tokens.ids) for row in self.rows], self.max_tokens):
            batch = collate([self.rows[index].tokens for index in group], self.pad_id).to(model.output_weight.device)
            assert batch.trained is not None
            hidden = model(batch.inputs)[batch.trained]
            total += float(linear_cross_entropy(hidden, model.output_weight, batch.targets[batch.trained]))
            weight += batch.weight
        return {"held_out_loss": total / weight} if weight else {}


def run(config: SftConfig, task: Task) -> Outcome:
    """Train from the input model; resumes from the checkpoints in ``task.scratch``."""
    folder = task.input("model").path
    tokenizer = Tokenizer.load(folder)
    model = huggingface.load(folder).to(default_device())
    check_vocabulary(tokenizer, model.config.vocab_size, folder)
    dropped: Counter[str] = Counter()
    rows = _rows(task.inputs["conversations"], "train", tokenizer, model, dropped)
    held_out = _rows(task.inputs["conversations"], "held_out", tokenizer, model, Counter())
    if not rows:
        raise DataError(f"no conversation has an answer within the context of {model.config.max_seq_len} tokens")
    order = Shuffled.over([row.id for row in rows], config.batch_conversations, config.horizon, config.seed)
    validation = HeldOutConversations(held_out, config.micro_batch_tokens, tokenizer.pad_id)
    history = train(
        model,
        ConversationSteps(rows, order, config.micro_batch_tokens, tokenizer.pad_id),
        next_token,
        config.learning_rate,
        config.optimizer,
        config.loop,
        folder=task.scratch,
        progress=task.progress,
        validate=validation.loss if held_out else None,
        name=task.name,
        layout=resolve(config.parallel, task.world.size, model.config, rows_per_step=order.rows_per_step),
        engine=config.engine,
        seq_len=round(sum(len(row.tokens.ids) for row in rows) / len(rows)),
    )
    write_model(tokenizer, history, task.payload)
    trained_tokens = sum(sum(row.tokens.trained) for row in rows)
    _show(task, history, rows, trained_tokens, dropped, tokenizer)
    losses = [row["held_out_loss"] for row in history.validations]
    return Outcome(
        metrics={
            "parameters": count.parameters(model.config),
            "conversations": len(rows),
            "held_out_conversations": len(held_out),
            "trained_tokens": trained_tokens,
            "dropped": dict(sorted(dropped.items())),
            "steps": order.num_steps,
            "precision": history.precision,
            "health": health_metrics(history),
            "held_out_loss_before": losses[0] if losses else None,
            "held_out_loss_after": losses[-1] if losses else None,
        },
        device_joules=history.device_joules,
    )


def _rows(
    artifacts: Sequence[Artifact], split: str, tokenizer: Tokenizer, model: Transformer, dropped: Counter[str]
) -> list[Row]:
    found = []
    for artifact in artifacts:
        for talk in read_conversations(artifact.file("conversations.jsonl"), split):
            row = encode(talk.id, talk.messages, tokenizer, model.config.max_seq_len, dropped)
            if row is not None:
                found.append(row)
    return found


def _show(
    task: Task, history: History, rows: Sequence[Row], trained: int, dropped: Counter[str], tokenizer: Tokenizer
) -> None:
    task.show(
        Facts(
            title="Instruction tuning in numbers",
            facts=(
                ("conversations", f"{len(rows):,}", "with an answer to learn"),
                ("answer tokens", human_count(trained), "each epoch; only these are learned"),
                ("steps", f"{len(history.steps):,}", ""),
            ),
        ),
        Lines(
            title="Learning to answer",
            caption="Loss on the words of the assistant, in nats a token: lower is better.",
            x_label="step",
            y_label="loss",
            series=(
                _series("training", history, "loss"),
                *((_held_out(history, "held_out_loss"),) if history.validations else ()),
            ),
        ),
        Samples(
            title="What is learned, and what is only read",
            caption=f"Coloured tokens are trained on; the rest is context.{_note(rows)}",
            samples=tuple(Sample(label=row.id[:12], parts=mask_parts(tokenizer, row.tokens)) for row in rows[:3]),
        ),
    )
    task.show(*health_exhibits(history))
    if dropped:
        table = tuple((reason, number) for reason, number in sorted(dropped.items()))
        task.show(Table(title="Rows that did not fit", columns=("what happened", "rows"), rows=table))


def _note(rows: Sequence[Row]) -> str:
    """What the chat template's own generation blocks say otherwise, if anything."""
    note = next((row.tokens.note for row in rows if row.tokens.note), "")
    return f" The template marks something else: {note}." if note else ""


def _series(name: str, history: History, key: str) -> Series:
    rows = history.steps
    return Series(name=name, x=tuple(row["step"] + 1 for row in rows), y=tuple(row[key] for row in rows))


def _held_out(history: History, key: str) -> Series:
    rows = history.validations
    return Series(name="held out", x=tuple(row["step"] for row in rows), y=tuple(row[key] for row in rows))
