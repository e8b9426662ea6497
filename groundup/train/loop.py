"""The one training loop. Every objective trains through here; methods are passed in as functions.

Each step: schedule, forward and backward over the micro-batches, clip, update, record. The loss of a step is the
sum over all its targets divided by their number, so it doesn't depend on how the step is split into micro-batches.
The loop holds no random state: step, model and optimizer are all there is to resume.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from groundup.base.errors import DataError
from groundup.base.machine import cores, keep_freed_memory
from groundup.base.progress import Progress
from groundup.model.transformer import Transformer
from groundup.train import precision
from groundup.train.checkpoint import Checkpoints
from groundup.train.optim import adamw
from groundup.train.schedule import learning_rate_factor
from groundup.train.settings import LoopConfig, OptimizerConfig
from groundup.train.stream import Steps

_MAX_SKIPPED_IN_A_ROW = 10


class Batch(Protocol):
    """What the loop needs to know of a micro-batch."""

    @property
    def weight(self) -> int: ...

    @property
    def num_tokens(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...


B = TypeVar("B", bound=Batch)

Objective = Callable[[Transformer, B], tuple[Tensor, Mapping[str, float]]]
"""(model, micro-batch) to (sum of losses over its ``weight`` targets, sums of further values to report)."""

Validate = Callable[[Transformer], dict[str, float]]
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
    run = _Run(model, steps, objective, learning_rate, optimizer, loop, folder, progress, validate)
    return run.finish()


class _Run:
    def __init__(
        self,
        model: Transformer,
        steps: Steps[Any],
        objective: Objective[Any],
        learning_rate: float,
        optimizer: OptimizerConfig,
        loop: LoopConfig,
        folder: Path,
        progress: Progress,
        validate: Validate | None,
    ) -> None:
        self.model, self.steps, self.objective = model, steps, objective
        self.peak, self.config, self.loop = learning_rate, optimizer, loop
        self.progress, self.validate = progress, validate
        self.log = folder / "metrics.jsonl"
        self.checkpoints = Checkpoints(folder)
        self.device = next(model.parameters()).device
        self.precision = precision.resolve(loop.precision, self.device)
        self.skipped = 0

    def finish(self) -> History:
        torch.set_num_threads(self.loop.threads or cores())
        keep_freed_memory()
        betas = (self.config.beta1, self.config.beta2)
        self.optimizer = adamw(
            self.model,
            learning_rate=self.peak,
            weight_decay=self.config.weight_decay,
            betas=betas,
        )
        first, tokens = self._resume()
        saved = start = time.monotonic()
        done = 0
        self.model.train()
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
            precision=self.precision,
        )

    def _step(self, step: int) -> tuple[Row, int]:
        batches = self.steps.batches(step)
        weight = sum(batch.weight for batch in batches)
        computed = sum(batch.num_tokens for batch in batches)
        rate = self.peak * learning_rate_factor(
            step,
            self.steps.num_steps,
            schedule=self.config.schedule,
            warmup_steps=math.ceil(self.config.warmup * self.steps.num_steps),
            final_factor=self.config.final_factor,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, extras = 0.0, dict[str, float]()
        for batch in batches:
            with precision.autocast(self.precision, self.device):
                total, values = self.objective(self.model, batch.to(self.device))
            (total / weight).backward()
            loss += float(total.detach()) / weight
            for name, value in values.items():
                extras[name] = extras.get(name, 0.0) + value / weight
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip))
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
            self.skipped = 0
        else:
            self._skip(step)
        self.optimizer.zero_grad()
        return {"loss": loss, "learning_rate": rate, "gradient_norm": norm, **extras}, computed

    def _skip(self, step: int) -> None:
        self.skipped += 1
        if self.skipped >= _MAX_SKIPPED_IN_A_ROW:
            raise DataError(
                f"the loss or its gradient was not finite for {self.skipped} steps up to {step}; lower learning_rate"
            )

    def _validate(self, step: int, tokens: int, log: Any) -> None:
        assert self.validate is not None
        self.model.eval()
        with torch.inference_mode(), precision.autocast(self.precision, self.device):
            row = self.validate(self.model)
        self.model.train()
        print(json.dumps({"step": step, "tokens": tokens, **row}), file=log)

    def _report(self, step: int, row: Row) -> None:
        shown = {name: f"{value:.3f}" for name, value in row.items() if name not in {"learning_rate", "gradient_norm"}}
        self.progress.update("training", step + 1, self.steps.num_steps, "steps", **shown)

    def _save(self, step: int, tokens: int) -> None:
        extra = {"tokens": tokens, "log_bytes": self.log.stat().st_size, "skipped": self.skipped}
        self.checkpoints.save(step, self.model, self.optimizer, extra)

    def _resume(self) -> tuple[int, int]:
        """Go back to the newest checkpoint; the log loses what was written after it."""
        state = self.checkpoints.restore(self.model, self.optimizer)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        with self.log.open("r+b") as log:
            log.truncate(state["log_bytes"] if state else 0)
        if state is None:
            return 0, 0
        self.skipped = int(state["skipped"])
        self.progress.note(f"resuming at step {state['step']} of {self.steps.num_steps}")
        return int(state["step"]), int(state["tokens"])
