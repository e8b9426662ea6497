"""The one training loop. Every objective trains through here; methods are passed in as functions.

Each step: schedule, forward and backward over the micro-batches, clip, update, record. The loss of a step is the
sum over all its targets divided by their number, so it doesn't depend on how the step is split into micro-batches
or over processes. The loop holds no random state: step, model and optimizer are all there is to resume.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from groundup.base.errors import DataError
from groundup.base.machine import cores, keep_freed_memory
from groundup.base.progress import Progress
from groundup.model.transformer import Transformer
from groundup.train.checkpoint import Checkpoints
from groundup.train.engines.engine import B, Engine, Objective, Validate
from groundup.train.engines.native import NativeEngine
from groundup.train.schedule import learning_rate_factor
from groundup.train.settings import LoopConfig, OptimizerConfig
from groundup.train.stream import Steps

_MAX_SKIPPED_IN_A_ROW = 10

Row = dict[str, float]


@dataclass(frozen=True)
class History:
    """What a run recorded: one row a step, one row a validation, and how fast it went."""

    steps: list[Row]
    validations: list[Row]
    tokens_per_second: float
    precision: str


def train(
    model: Transformer,
    steps: Steps[B],
    objective: Objective[B],
    learning_rate: float,
    optimizer: OptimizerConfig,
    loop: LoopConfig,
    *,
    folder: Path,
    progress: Progress,
    validate: Validate | None = None,
) -> History:
    """Train ``model`` in place; ``learning_rate`` is the peak of the schedule.

    ``folder`` keeps checkpoints and the log; a second call there goes on where the first ended.

    DataError if the loss or the gradient stays non-finite; a single such step is skipped and counted.
    """
    torch.set_num_threads(loop.threads or cores())
    keep_freed_memory()
    engine: Engine = NativeEngine(model, objective, learning_rate, optimizer, loop.precision)
    run = _Run(engine, steps, learning_rate, optimizer, loop, folder, progress, validate)
    return run.finish()


class _Run:
    def __init__(
        self,
        engine: Engine,
        steps: Steps[Any],
        learning_rate: float,
        optimizer: OptimizerConfig,
        loop: LoopConfig,
        folder: Path,
        progress: Progress,
        validate: Validate | None,
    ) -> None:
        self.engine, self.steps = engine, steps
        self.peak, self.config, self.loop = learning_rate, optimizer, loop
        self.progress, self.validate = progress, validate
        self.log = folder / "metrics.jsonl"
        self.checkpoints = Checkpoints(folder)
        self.skipped = 0

    def finish(self) -> History:
        first, tokens = self._resume()
        saved = start = time.monotonic()
        done = 0
        with self.log.open("a", encoding="utf-8") as log:
            for step in range(first, self.steps.num_steps):
                if self.validate is not None and step % self.loop.validate_every == 0:
                    self._validate(step, tokens, log)
                row, computed = self._step(step)
                tokens, done = tokens + computed, done + computed
                print(json.dumps({"step": step, "tokens": tokens, **row}), file=log)
                self._report(step, row)
                if time.monotonic() - saved > self.loop.checkpoint_every:
                    log.flush()
                    self._save(step + 1, tokens)
                    saved = time.monotonic()
            seconds = time.monotonic() - start
            if self.validate is not None:
                self._validate(self.steps.num_steps, tokens, log)
        rows = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        return History(
            steps=[row for row in rows if "loss" in row],
            validations=[row for row in rows if "loss" not in row],
            tokens_per_second=done / seconds if done else 0.0,
            precision=self.engine.precision,
        )

    def _step(self, step: int) -> tuple[Row, int]:
        batches = self.steps.batches(step, self.engine.part)
        computed = sum(batch.num_tokens for batch in batches)
        factor = learning_rate_factor(
            step,
            self.steps.num_steps,
            schedule=self.config.schedule,
            warmup_steps=math.ceil(self.config.warmup * self.steps.num_steps),
            final_factor=self.config.final_factor,
        )
        sums = self.engine.forward_backward(batches, self.engine.weigh(batches))
        norm = self.engine.clip(self.config.gradient_clip)
        if math.isfinite(sums.loss) and math.isfinite(norm):
            self.engine.update(factor)
            self.skipped = 0
        else:
            self.engine.discard()
            self._skip(step)
        row = {"loss": sums.loss, "learning_rate": self.peak * factor, "gradient_norm": norm, **sums.values}
        return row, computed

    def _skip(self, step: int) -> None:
        self.skipped += 1
        if self.skipped >= _MAX_SKIPPED_IN_A_ROW:
            raise DataError(
                f"the loss or its gradient was not finite for {self.skipped} steps up to {step}; lower learning_rate"
            )

    def _validate(self, step: int, tokens: int, log: Any) -> None:
        assert self.validate is not None
        row = self.engine.validate(self.validate)
        print(json.dumps({"step": step, "tokens": tokens, **row}), file=log)

    def _report(self, step: int, row: Row) -> None:
        shown = {name: f"{value:.3f}" for name, value in row.items() if name not in {"learning_rate", "gradient_norm"}}
        self.progress.update("training", step + 1, self.steps.num_steps, "steps", **shown)

    def _save(self, step: int, tokens: int) -> None:
        extra = {"tokens": tokens, "log_bytes": self.log.stat().st_size, "skipped": self.skipped}
        self.checkpoints.save(step, self.engine.state(), extra)

    def _resume(self) -> tuple[int, int]:
        """Go back to the newest checkpoint; the log loses what was written after it."""
        state = self.checkpoints.restore(self.engine.load_state)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        with self.log.open("r+b") as log:
            log.truncate(state["log_bytes"] if state else 0)
        if state is None:
            return 0, 0
        self.skipped = int(state["skipped"])
        self.progress.note(f"resuming at step {state['step']} of {self.steps.num_steps}")
        return int(state["step"]), int(state["tokens"])
