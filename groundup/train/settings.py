"""What a recipe may say about optimization and the loop: light to import, so that recipes resolve without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from groundup.base.config import Config, execution

ScheduleName = Literal["cosine", "linear", "constant", "warmup_stable_decay"]
PrecisionName = Literal["auto", "fp32", "bf16"]


class OptimizerConfig(Config):
    """How weights are updated: AdamW, its schedule and its limits."""

    schedule: ScheduleName = Field("cosine", description="how the learning rate falls after the warm-up")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps over which the rate rises from zero")
    final_factor: float = Field(0.1, ge=0, le=1, description="the last learning rate as a share of the peak")
    weight_decay: float = Field(0.1, ge=0, description="decoupled decay of matrices, a step, times the learning rate")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the gradient's running mean")
    beta2: float = Field(0.95, ge=0, lt=1, description="decay of the squared gradient's running mean")
    gradient_clip: float = Field(1.0, gt=0, description="largest global norm of the gradient")


class LoopConfig(Config):
    """How a run is carried out. Precision and validation belong to the result; the rest does not."""

    precision: PrecisionName = Field("auto", description="arithmetic: fp32, bf16, or auto: bf16 where native")
    validate_every: int = Field(100, gt=0, description="steps between validations")
    checkpoint_every: float = execution(15.0, gt=0, description="seconds between checkpoints")
    threads: int | None = execution(None, gt=0, description="CPU threads; all cores if not set")
