"""Train the family, fit the law, predict the target, and train that too.

Each member is trained by the pretrain stage itself, in a folder of its own, so that a sweep learns exactly what
pretraining would. A finished member leaves a small file in scratch: a sweep that was cut off goes on behind the last
one, inside a member from its checkpoint.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.files import read_json, write_json
from groundup.base.units import human_count, human_time
from groundup.model.config import ModelConfig
from groundup.model.count import matmul_parameters, parameters, training_flops_per_token
from groundup.stages.pretrain.config import PretrainConfig
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
    clock = _Clock([*family, *([target] if config.verify else [])])
    rows = [_train(member, task, clock) for member in family]
    if not task.world.is_main:
        if config.verify:
            _train(target, task, clock)
        return Outcome()
    found = fit([Point(row.matmul_parameters, row.tokens, row.loss) for row in rows], seed=config.seed)
    goal = _train(target, task, clock) if config.verify else _untrained(target)
    whole = report(rows, found, goal, config.verify)
    write_json(task.payload / "report.json", whole.as_json())
    (task.payload / "runs").mkdir()
    for path in sorted((task.scratch / "runs").glob("*/metrics.jsonl")):
        shutil.copyfile(path, task.payload / "runs" / f"{path.parent.name}.jsonl")
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


def _train(member: Member, task: Task, clock: _Clock) -> RunRow:
    """Train a member, or read what it reached in an earlier attempt."""
    folder = task.scratch / "runs" / member.name
    done = folder / "done.json"
    if done.is_file():
        row = RunRow(**read_json(done))
        clock.skip(member)
        return row
    start = time.monotonic()
    payload, scratch = folder / "payload", folder / "scratch"
    if task.world.is_main:
        shutil.rmtree(payload, ignore_errors=True)
        payload.mkdir(parents=True)
    scratch.mkdir(parents=True, exist_ok=True)
    title = task.progress.title
    task.progress.title = f"{title} {clock.place()}"
    try:
        outcome = member.config.run(replace(task, payload=payload, scratch=scratch, exhibits=[]))
    finally:
        task.progress.title = title
    clock.finish(member, time.monotonic() - start)
    if not task.world.is_main:
        return _untrained(member)
    row = RunRow(
        name=member.name,
        depth=member.config.depth,
        parameters=parameters(member.shape),
        matmul_parameters=matmul_parameters(member.shape),
        tokens=int(outcome.metrics["train_tokens"]),
        flops=float(outcome.metrics["flops"]),
        loss=float(outcome.metrics["validation_bits_per_byte"]),
        seconds=round(time.monotonic() - start, 1),
        device_joules=outcome.device_joules,
    )
    (payload / "metrics.jsonl").replace(folder / "metrics.jsonl")
    write_json(done, row.__dict__)
    shutil.rmtree(payload)
    shutil.rmtree(scratch)
    task.progress.note(
        f"{member.name}: {human_count(row.parameters)} parameters, {human_count(row.tokens)} tokens, "
        f"{row.loss:.4f} bits a byte; {clock.left()}"
    )
    return row


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


class _Clock:
    """Which run this is of how many, and the time left at the speed of the latest one, the largest so far."""

    def __init__(self, members: list[Member]) -> None:
        self._waiting = {member.name: member.flops for member in members}
        self._count, self._seconds_per_flop = len(members), 0.0

    def place(self) -> str:
        """``run 3/13``."""
        return f"run {self._count - len(self._waiting) + 1}/{self._count}"

    def skip(self, member: Member) -> None:
        """An earlier attempt did this one."""
        del self._waiting[member.name]

    def finish(self, member: Member, seconds: float) -> None:
        """This one is done."""
        self._seconds_per_flop = seconds / self._waiting.pop(member.name)

    def left(self) -> str:
        """``9 runs to go, about 12:30``."""
        if not self._waiting:
            return "the last run"
        return f"{len(self._waiting)} to go, about {human_time(sum(self._waiting.values()) * self._seconds_per_flop)}"
