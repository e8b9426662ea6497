"""Train the family, fit the law, predict the target, and train that too.

Each member is trained by the pretrain stage itself, so that a sweep learns exactly what pretraining would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.files import write_json
from groundup.base.units import human_count
from groundup.model.config import ModelConfig
from groundup.model.count import matmul_parameters, parameters, training_flops_per_token
from groundup.stages.pretrain.config import PretrainConfig
from groundup.stages.pretrain.members import Family
from groundup.stages.pretrain.sweep.config import SweepConfig
from groundup.stages.pretrain.sweep.exhibits import exhibits
from groundup.stages.pretrain.sweep.law import Point, fit
from groundup.stages.pretrain.sweep.report import RunRow, report
from groundup.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Member:
    """One run of the sweep before it ran; tokens and FLOPs are those that it will take, rounding aside."""

    name: str
    config: PretrainConfig
    shape: ModelConfig
    tokens: float
    flops: float


def run(config: SweepConfig, task: Task) -> Outcome:
    """Make the scaling law; goes on behind the last member that finished."""
    family, target = members(config, task.inputs["tokens"], task.input("tokenizer"))
    runs = Family(task, {member.name: member.flops for member in [*family, *([target] if config.verify else [])]})
    rows = [_train(member, runs) for member in family]
    if not task.world.is_main:
        if config.verify:
            _train(target, runs)
        return Outcome()
    found = fit([Point(row.matmul_parameters, row.tokens, row.loss) for row in rows], seed=config.seed)
    goal = _train(target, runs) if config.verify else _untrained(target)
    whole = report(rows, found, goal, config.verify)
    write_json(task.payload / "report.json", whole.as_json())
    runs.keep_logs()
    task.show(*exhibits(whole, found))
    joules = sum(row.device_joules for row in [*rows, goal])
    return Outcome(metrics=whole.metrics(), device_joules=joules)


def members(config: SweepConfig, stores: Sequence[Artifact], tokenizer: Artifact) -> tuple[list[Member], Member]:
    """The family, cheapest runs first, and the model to predict."""
    seq_len = int(stores[0].record.metrics["max_seq_len"])
    epoch = sum(int(store.record.metrics["rows"]) for store in stores) * seq_len
    vocab_size = Tokenizer.load(tokenizer.path).vocab_size

    def member(name: str, one: PretrainConfig) -> Member:
        shape = one.model_config_for(vocab_size, seq_len)
        length = float(one.horizon_for(shape).tokens(one.rows_per_step(shape) * seq_len, epoch))
        return Member(name, one, shape, length, length * training_flops_per_token(shape, seq_len))

    family = [member(name, one) for name, one in config.runs(vocab_size, seq_len).items()]
    target = member(f"depth{config.depth:03d}-target", config.member(config.depth, None))
    return sorted(family, key=lambda one: (one.flops, one.name)), target


def _train(member: Member, runs: Family) -> RunRow:
    """Train a member, or read what it reached in an earlier attempt."""
    size = parameters(member.shape)
    found = runs.train(
        member.name,
        member.config.run,
        lambda one: (
            f"{human_count(size)} parameters, {human_count(one.metrics['train_tokens'])} tokens, "
            f"{one.metrics['validation_bits_per_byte']:.4f} bits a byte"
        ),
    )
    if found is None:
        return _untrained(member)
    return RunRow(
        name=member.name,
        depth=member.config.depth,
        parameters=size,
        matmul_parameters=matmul_parameters(member.shape),
        tokens=int(found.metrics["train_tokens"]),
        flops=float(found.metrics["flops"]),
        loss=float(found.metrics["validation_bits_per_byte"]),
        seconds=found.seconds,
        device_joules=found.device_joules,
    )


def _untrained(member: Member) -> RunRow:
    return RunRow(
        name=member.name,
        depth=member.config.depth,
        parameters=parameters(member.shape),
        matmul_parameters=matmul_parameters(member.shape),
        tokens=round(member.tokens),
        flops=member.flops,
        loss=1.0,
        seconds=0.0,
    )
