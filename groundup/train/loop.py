"""The one training loop. Every objective trains through here; methods are passed in as functions.

Each step: schedule, forward and backward over the micro-batches, clip, judge, update, record. The loss of a step is the
sum over all its targets divided by their number, so it doesn't depend on how the step is split into micro-batches or
over processes. The loop holds no random state: step, model, optimizer, and what the health watch has seen are all there
is to resume.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import torch

from groundup.base.dist import threads
from groundup.base.errors import DataError, ResourceError
from groundup.base.files import sha256_json
from groundup.base.machine import available_memory, is_out_of_memory, keep_freed_memory
from groundup.base.progress import Progress, Silent
from groundup.base.units import human_bytes
from groundup.model import count
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train.average import Averaged
from groundup.train.checkpoint import Checkpoints, copied
from groundup.train.compiled import compile_blocks
from groundup.train.engines.engine import B, Engine, Objective, Validate
from groundup.train.engines.native import NativeEngine
from groundup.train.health import Health, Verdict
from groundup.train.journal import Event, Journal, Row
from groundup.train.meter import Meter, ceiling
from groundup.train.movement import measured_update
from groundup.train.objective import BYTES, PENALTY, bits_per_byte
from groundup.train.parallel.layout import Layout
from groundup.train.parallel.recompute import apply_recompute
from groundup.train.precision import compute_dtype
from groundup.train.schedule import rate_factor, warmup_steps
from groundup.train.settings import EngineConfig, LoopConfig, OptimizerConfig, Rates
from groundup.train.show import Show
from groundup.train.stream import Steps
from groundup.train.together import Together
from groundup.train.trackers import RunInfo, Trackers


@dataclass(frozen=True)
class History:
    """What a run recorded: a row a step, a row a validation, an event for each step that looked wrong, and its speed.

    ``model`` is the trained model, whole, on the main process; None elsewhere. ``mfu`` is the share of ``ceiling``, the
    FLOP/s of the model's own matrix products on this machine, that the model's arithmetic reached. Rates are 0 if
    nothing was left to do. ``permanent`` are the folders of the checkpoints that stay. ``device_joules`` is what the
    GPUs of all processes drew in this attempt, as far as they count it.
    """

    steps: list[Row]
    validations: list[Row]
    events: list[Event]
    speed: list[Row]
    tokens_per_second: float
    mfu: float
    ceiling: float
    precision: str
    model: Transformer | None
    permanent: list[Path] = field(default_factory=list)
    device_joules: float = 0.0


def train(
    model: Transformer,
    steps: Steps[B],
    objective: Objective[B],
    rates: Rates | float,
    optimizer: OptimizerConfig,
    loop: LoopConfig,
    *,
    folder: Path,
    progress: Progress,
    validate: Validate | None = None,
    name: str = "run",
    seq_len: int | None = None,
    layout: Layout | None = None,
    engine: EngineConfig | None = None,
) -> History:
    """Train ``model``, which is used up: the result is the history's. ``rates`` are the peaks of the schedule.

    ``folder`` keeps checkpoints and the log; a second call there goes on where the first ended. ``name`` is what
    trackers call the run; ``seq_len`` the mean length of a row, to count arithmetic by (the model's longest if not
    given). With a ``layout``, every process of it calls this with the same model and a folder that all share.

    DataError if health says stop, ResourceError if a step doesn't fit into memory, ArtifactError if the folder holds
    checkpoints of another run.
    """
    torch.set_num_threads(loop.threads or threads())
    keep_freed_memory()
    config = model.config
    carrier: Engine
    if engine is not None and engine.name == "deepspeed":
        from groundup.train.engines.deepspeed import DeepSpeedEngine

        apply_recompute(model, (layout or Layout()).activation_checkpointing)
        carrier = DeepSpeedEngine(model, objective, rates, optimizer, loop.precision, engine)
    else:
        compile_blocks(model, loop.compile, next(model.parameters()).device)
        carrier = NativeEngine(model, objective, rates, optimizer, loop.precision, layout or Layout())
    plan = Plan(steps, Rates.of(rates), optimizer, loop, config, seq_len or config.max_seq_len, name)
    return fit(carrier, plan, folder=folder, progress=progress, validate=validate)


@dataclass(frozen=True)
class Plan(Generic[B]):
    """What to train: everything that the loop asks of a run besides the engine that carries it out."""

    steps: Steps[B]
    rates: Rates
    optimizer: OptimizerConfig
    loop: LoopConfig
    model: ModelConfig
    seq_len: int
    name: str = "run"

    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, part by part."""
        return {
            "model": sha256_json([self.model.model_dump(mode="json"), self.loop.average is not None]),
            "optimizer": sha256_json([self.optimizer.model_dump(mode="json"), vars(self.rates)]),
            "data": f"{self.steps.num_steps} {self.steps.fingerprint}",
        }


def fit(
    engine: Engine, plan: Plan[Any], *, folder: Path, progress: Progress, validate: Validate | None = None
) -> History:
    """Train with an engine that is set up; see ``train``."""
    averaged = engine if plan.loop.average is None else Averaged(engine, plan.loop.average)
    run = _Run(averaged, plan, folder, progress, validate)
    try:
        return run.finish()
    finally:
        run.close()


class _Run:
    def __init__(
        self, engine: Engine, plan: Plan[Any], folder: Path, progress: Progress, validate: Validate | None
    ) -> None:
        self.engine, self.plan, self.folder, self.validate = engine, plan, folder, validate
        self.steps, self.loop = plan.steps, plan.loop
        self.progress = progress if engine.is_main else Silent()
        self.health, self.journal, self.together = Health(plan.loop.health), Journal(folder), Together()
        self.checkpoints = Checkpoints(folder, plan.loop, plan.fingerprint(), self.progress.note, self.together)
        self.show = Show(self.progress, plan.steps.num_steps)
        self.ahead = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.warm = warmup_steps(plan.steps.num_steps, plan.optimizer)
        self.tokens = 0
        self.rewind_points: list[int] = []

    # -- from beginning to end -------------------------------------------------------------------------------------

    def finish(self) -> History:
        if self.loop.dry_run:
            self._rehearse()
        first = self._resume()
        self._start_meter()
        coming = self._fetch(first)
        for step in range(first, self.steps.num_steps):
            self._pause_at(step)
            batches, coming = coming.result(), self._fetch(step + 1)
            self._step(step, batches)
        self._pause_at(self.steps.num_steps, last=True)
        self.checkpoints.wait()
        return self._history()

    def close(self) -> None:
        """Leave nothing running, whether or not the run was finished."""
        self.ahead.shutdown(wait=False, cancel_futures=True)
        self.checkpoints.close()
        self.journal.close()
        self.progress.end_panel()

    def _fetch(self, step: int) -> Future[list[Any]]:
        """The batches of a step, read while the one before is computed."""
        last = self.steps.num_steps - 1
        return self.ahead.submit(self.steps.batches, min(step, last), self.engine.part)

    def _rehearse(self) -> None:
        """The heaviest step, leaving no trace, with the copy that a checkpoint takes: memory faults come here."""
        batches = self.steps.batches(self.steps.heaviest(self.engine.part), self.engine.part)
        try:
            before = copied(self.engine.state())
            self.engine.forward_backward(batches, self.engine.weigh(batches))
            self.engine.clip(self.plan.optimizer.gradient_clip)
            self.engine.update(0.0)
            self.engine.load_state(before)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            largest = max(batch.num_tokens for batch in batches)
            raise ResourceError(
                f"a step does not fit into memory ({human_bytes(available_memory())} are left): compute fewer than "
                f"{largest} tokens at once (micro_batch_tokens), compute activations anew "
                "(parallel.activation_checkpointing=full), spread the model over processes (parallel.shard), or make "
                "it smaller; 'groundup plan' shows what takes how much"
            ) from error

    def _resume(self) -> int:
        """Go back to the newest checkpoint, if there is one; the log loses what was written after it."""
        saved = self.checkpoints.newest()
        extra: Mapping[str, Any] = {} if saved is None else saved.extra
        if saved is not None:
            self.engine.load_state(self.checkpoints.load(saved.folder, self.engine.state()))
            self.health.load_state(extra["health"])
            self.tokens, self.rewind_points = int(extra["tokens"]), list(extra["rewind_points"])
            self.progress.note(f"resuming at step {saved.step} of {self.steps.num_steps}")
        first = 0 if saved is None else saved.step
        if self.engine.is_main:
            self.journal.resume(extra.get("log", {}), lambda: self._trackers(first))
        return first

    def _trackers(self, first: int) -> Trackers:
        settings = {
            **self.plan.model.model_dump(mode="json"),
            **self.plan.optimizer.model_dump(mode="json"),
            **{f"rate_{name}": value for name, value in vars(self.plan.rates).items()},
        }
        run = RunInfo(self.plan.name, settings, self.folder)
        return Trackers.start(self.loop.trackers, run, first, self.progress.note)

    def _start_meter(self) -> None:
        flops = count.training_flops_per_token(self.plan.model, self.plan.seq_len)
        dtype = compute_dtype(self.engine.precision)
        batches = self.steps.batches(0, self.engine.part)
        tokens = max((batch.num_tokens for batch in batches), default=1)
        cache = self.folder / f"ceiling-{self.together.rank}.json"
        one = ceiling(self.plan.model, tokens, dtype, self.engine.device, cache)
        self.meter = Meter(flops, sum(self.together.gather(one)), self.engine.device, self.together)
        if not self.meter.counts_device:
            self.progress.note("this GPU does not tell its energy: the estimate leaves it out")

    # -- one step --------------------------------------------------------------------------------------------------

    def _step(self, step: int, batches: list[Any]) -> None:
        factor = rate_factor(step, self.steps.num_steps, self.plan.optimizer)
        sums = self.engine.forward_backward(batches, self.engine.weigh(batches))
        norm = self.engine.clip(self.plan.optimizer.gradient_clip)
        values = dict(sums.values)
        # What is reported is how well tokens were foreseen; what keeps the model in shape is told apart.
        loss = sums.loss - values.get(PENALTY, 0.0)
        row: Row = {"loss": loss, "learning_rate": self.plan.rates.matrices * factor, "gradient_norm": norm}
        if (num_bytes := values.pop(BYTES, 0.0)) > 0:
            row["bits_per_byte"] = bits_per_byte(loss, num_bytes)
        computed = self._computed(batches)
        self.tokens += computed
        verdict = self.health.judge(sums.loss, norm, settled=step >= self.warm)
        if verdict is None or verdict.action in ("record", "accept"):
            row |= self._update(step, factor)
        self._record(step, {**row, **values}, computed)
        if verdict is not None:
            self._act(step, verdict)

    def _update(self, step: int, factor: float) -> Row:
        if step % self.loop.update_norm_every:
            self.engine.update(factor)
            return {}
        return {"update_norm": measured_update(self.engine, factor, self.together)}

    def _computed(self, batches: list[Any]) -> int:
        """Positions computed in a step, by all parts."""
        here = sum(batch.num_tokens for batch in batches)
        return here if self.engine.part.size == 1 else self.engine.weigh([_Positions(here)])

    def _act(self, step: int, verdict: Verdict) -> None:
        """Do about a bad step what health says, and write it down."""
        target = self._rewind_target(step) if verdict.action == "rewind" else None
        dead_end = target is not None and not self.health.may_rewind(target)
        action = "stop" if dead_end else verdict.action
        event: Event = {"step": step, "tokens": self.tokens, "event": verdict.cause, "action": action}
        if math.isfinite(verdict.deviation):
            event["deviation"] = round(verdict.deviation, 2)
        if action in ("skip", "rewind", "stop"):
            self.engine.discard()
        if target is not None and not dead_end:
            event["to_step"] = target
            self._rewind(target)
        self.journal.event(event)
        self.show.event(event)
        if action == "stop":
            raise DataError(_stopped(step, verdict, target))

    def _rewind_target(self, step: int) -> int:
        """The newest rewind point that lies a whole span of steps back, or else the oldest."""
        far = [point for point in self.rewind_points if point <= step - self.loop.health.rewind_every]
        return max(far, default=min(self.rewind_points))

    def _rewind(self, target: int) -> None:
        """Take the state of an earlier step; the data since then is not read again."""
        self.rewind_points = [point for point in self.rewind_points if point <= target]
        folder = self.checkpoints.of_step(target)
        self.engine.load_state(self.checkpoints.load(folder, self.engine.state()))

    # -- between steps ---------------------------------------------------------------------------------------------

    def _pause_at(self, step: int, *, last: bool = False) -> None:
        """Before ``step``: save if it is time, then validate if it is time. Never the other way round."""
        start = time.monotonic()
        validates = self.validate is not None and (last or step % self.loop.validate_every == 0)
        health = self.loop.health
        is_point = "rewind" in (health.non_finite, health.loss_spike, health.gradient_spike)
        is_point = is_point and step % health.rewind_every == 0 and not last
        if is_point and step not in self.rewind_points:
            self.rewind_points.append(step)
        new = step != self.checkpoints.last_step
        wanted = is_point or (validates and step > 0) or last
        if (wanted and new) or (not wanted and self.checkpoints.due(step)):
            self._save(step)
        if validates:
            self.checkpoints.finish()  # what a validation may end is on the disk by then
            self._validate(step)
        self.meter.pause(time.monotonic() - start)

    def _save(self, step: int) -> None:
        extra = {
            "tokens": self.tokens,
            "health": self.health.state(),
            "rewind_points": self.rewind_points,
            "log": self.journal.sizes(),
        }
        state = self.engine.state()
        self.checkpoints.save(step, state, extra, logs=self.journal.paths, hold=set(self.rewind_points))

    def _validate(self, step: int) -> None:
        assert self.validate is not None
        row = self.engine.validate(self.validate)
        self.journal.validation({"step": step, "tokens": self.tokens, **row})
        self.show.validation(row)

    def _record(self, step: int, row: Row, computed: int) -> None:
        self.journal.step({"step": step, "tokens": self.tokens, **row})
        self.meter.count(computed)
        rates = self.meter.row(now=step + 1 == self.steps.num_steps)
        if rates is not None:
            self.journal.rates(step, rates)
        self.show.step(step, row, rates)

    def _history(self) -> History:
        self.journal.close()
        self.together.gather(None)  # the log is written
        steps, validations, events, speed = self.journal.read()
        return History(
            steps=steps,
            validations=validations,
            events=events,
            speed=speed,
            tokens_per_second=self.meter.tokens_per_second,
            mfu=self.meter.mfu,
            ceiling=self.meter.ceiling,
            precision=self.engine.precision,
            model=self.engine.whole_model(),
            permanent=self.checkpoints.permanent(),
            device_joules=self.meter.device_joules(),
        )


@dataclass(frozen=True)
class _Positions:
    """A number of positions in the form that ``Engine.weigh`` adds up."""

    weight: int


def _stopped(step: int, verdict: Verdict, target: int | None) -> str:
    """What ended the run; ``target`` is the step that rewinding led back to each time, if that was tried."""
    if target is not None:
        return (
            f"going back to step {target} does not help: step {step} is bad again ({verdict.cause.replace('_', ' ')}); "
            f"lower learning_rate, or look at the data behind step {target}"
        )
    if verdict.cause == "non_finite":
        times = f" for {verdict.in_a_row} steps up to {step}" if verdict.in_a_row > 1 else f" at step {step}"
        return f"the loss or its gradient was not finite{times}; lower learning_rate"
    what = "loss" if verdict.cause == "loss_spike" else "gradient norm"
    return (
        f"the {what} of step {step} lies {verdict.deviation:.1f} deviations above the steps before; lower "
        f"learning_rate, look at the data, or set loop.health.{verdict.cause} to skip or rewind"
    )
