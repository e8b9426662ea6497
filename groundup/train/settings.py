"""What a recipe may say about optimization and the loop: light to import, so that recipes resolve without torch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from groundup.base.config import Config, execution
from groundup.base.errors import RequestError, missing_extra
from groundup.base.units import Span

ScheduleName = Literal["cosine", "linear", "constant", "warmup_stable_decay"]
Checkpointing = Literal["none", "selective", "full"]
MethodName = Literal["muon", "adamw"]
Arithmetic = Literal["fp32", "bf16", "fp16", "fp8"]
"""Matrix products in this type over fp32 weights; fp8 is bf16 but for the linear layers inside blocks."""

PrecisionName = Literal["auto", "fp32", "bf16", "fp16", "fp8"]
CompileName = Literal["auto", "on", "off"]
HealthAction = Literal["skip", "rewind", "stop", "record"]
TrackerName = Literal["wandb", "mlflow", "trackio"]


@dataclass(frozen=True)
class Rates:
    """Peak learning rates by what a weight is; a tied embedding counts as one of the embeddings."""

    matrices: float
    embeddings: float
    output: float
    vectors: float

    @classmethod
    def of(cls, rates: Rates | float) -> Rates:
        """As given, or one rate for every weight."""
        return rates if isinstance(rates, Rates) else cls(rates, rates, rates, rates)


def _warmup(value: object) -> float | Span:
    if isinstance(value, (int, float)) and 0 <= value < 1:
        return float(value)
    span = Span.parse(value) if isinstance(value, (str, Span)) else None
    if span is None or span.unit != "steps":
        raise ValueError(f"{value!r} is neither a share from 0 to below 1 nor a number of steps such as '50 steps'")
    return span


Warmup = Annotated[float | Span, BeforeValidator(_warmup)]


class OptimizerConfig(Config):
    """How weights are updated: the method, its schedule and its limits."""

    method: MethodName = Field(
        "muon", description="muon: Muon for the matrices inside blocks, AdamW elsewhere; adamw: AdamW for all"
    )
    schedule: ScheduleName = Field("cosine", description="how the learning rate falls after the warm-up")
    warmup: Warmup = Field(0.05, description="over which the rate rises from zero: a share of the steps, or '50 steps'")
    decay: float = Field(0.2, gt=0, le=1, description="share of the steps in which warmup_stable_decay falls")
    final_factor: float = Field(0.1, ge=0, le=1, description="the last learning rate as a share of the peak")
    weight_decay: float | None = Field(
        None, ge=0, description="decoupled decay of matrices, a step, times the learning rate; pretraining derives it"
    )
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon: decay of the gradient's running mean")
    beta1: float = Field(0.8, ge=0, lt=1, description="AdamW: decay of the gradient's running mean")
    beta2: float = Field(0.95, ge=0, lt=1, description="AdamW: decay of the squared gradient's running mean")
    gradient_clip: float = Field(1.0, gt=0, description="largest global norm of the gradient")


class TuningOptimizerConfig(OptimizerConfig):
    """How weights are updated when a trained model is tuned: AdamW, as it was published for these methods."""

    method: MethodName = Field(
        "adamw", description="muon: Muon for the matrices inside blocks, AdamW elsewhere; adamw: AdamW for all"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW: decay of the gradient's running mean")


class HealthConfig(Config):
    """What to do about a step that looks wrong. Every such step is recorded, whatever is done about it.

    ``skip`` drops the step's gradient; ``rewind`` takes the model back to an earlier state and goes on behind the
    step's data; ``stop`` ends the run, whose checkpoints stay; ``record`` does nothing more.
    """

    non_finite: Literal["skip", "rewind", "stop"] = Field(
        "skip", description="when the loss or the gradient is infinite or not a number"
    )
    loss_spike: HealthAction = Field("skip", description="when the loss lies far above those of the last steps")
    gradient_spike: HealthAction = Field("skip", description="when the gradient's norm lies far above the last ones")
    sigma: float = Field(6.0, gt=0, description="how far is far: robust standard deviations above the median")
    window: int = Field(128, ge=16, description="how many of the last steps count; judging starts after half of them")
    patience: int = Field(10, gt=0, description="bad steps in a row that are borne")
    rewind_every: int = Field(100, gt=0, description="steps between the states that rewind may go back to")


class LoopConfig(Config):
    """How a run is carried out. Precision, health, averaging and validation belong to the result; the rest doesn't."""

    precision: PrecisionName = Field(
        "auto", description="arithmetic: fp32, bf16, on GPUs fp16 and fp8 too; auto is bf16 where native, else fp32"
    )
    validate_every: int = Field(100, gt=0, description="steps between validations")
    average: float | None = Field(
        None, gt=0, lt=1, description="keep a running mean of the weights with this decay, and save that as the model"
    )
    health: HealthConfig = Field(HealthConfig(), description="what to do about steps that look wrong")
    update_norm_every: int = Field(100, gt=0, description="steps between measurements of how far an update moves")
    checkpoint_every: float = execution(15.0, gt=0, description="seconds between checkpoints")
    checkpoint_every_steps: int | None = execution(
        None, gt=0, description="steps between checkpoints, besides those by time"
    )
    checkpoint_keep: int = execution(2, gt=0, description="how many of the newest checkpoints to keep")
    checkpoint_permanent_every: int | None = execution(
        None, gt=0, description="steps between checkpoints that stay for good, in log/checkpoints of the model"
    )
    checkpoint_in_background: bool = execution(
        True, description="write checkpoints from a copy while training goes on; false saves the copy's memory"
    )
    dry_run: bool = execution(True, description="try one full step first, so that too little memory shows at once")
    trackers: tuple[TrackerName, ...] = execution((), description="services to send the metrics to as well")
    compile: CompileName = execution(
        "auto", description="let torch compile the blocks when training starts: on, off, or auto: on a GPU with Triton"
    )
    threads: int | None = execution(None, gt=0, description="CPU threads; all cores if not set")

    def check(self, where: str) -> None:
        """Refuse trackers whose library is not installed, before anything starts."""
        for name in self.trackers:
            if importlib.util.find_spec(name) is None:
                raise RequestError(f"{where}: {missing_extra(name, name)}")


class ParallelConfig(Config):
    """How the work of a step is split over processes. It changes who computes what, never what comes out."""

    replicate: int | None = execution(None, gt=0, description="copies of the model; what is left if not set")
    shard: int = execution(1, gt=0, description="processes that share the storage of one copy (FSDP)")
    tensor: int = execution(1, gt=0, description="processes that split every matrix, and the rows between matrices")
    pipeline: int = execution(1, gt=0, description="processes that hold some of the layers each")
    context: int = execution(1, gt=0, description="processes that split every row of tokens")
    expert: int = execution(1, gt=0, description="processes, of those that shard or replicate, that split the experts")
    schedule: Literal["1f1b", "interleaved"] = execution("1f1b", description="order of work in the pipeline")
    chunks: int = execution(2, gt=1, description="stages on each process of the pipeline, if interleaved")
    activation_checkpointing: Checkpointing = execution(
        "none", description="what backward computes anew to save memory: nothing, all but the products, or all"
    )


class EngineConfig(Config):
    """What carries out the steps: our own engine, or DeepSpeed's ZeRO, which splits a model's state its own way."""

    name: Literal["native", "deepspeed"] = execution("native", description="our own engine, or DeepSpeed")
    stage: Literal[0, 1, 2, 3] = execution(
        1, description="ZeRO, split over the processes: 0 nothing, 1 optimizer state, 2 gradients too, 3 weights too"
    )
    offload: Literal["none", "optimizer", "all"] = execution(
        "none", description="ZeRO, kept in the host's memory: nothing, optimizer state, or weights too (stage 3)"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.offload == "all" and self.stage < 3:
            raise ValueError("offload 'all' needs stage 3: below it every process holds the whole weights")
        if self.offload == "optimizer" and self.stage == 0:
            raise ValueError("offload needs stage 1 or more")
        if self.name == "native" and (self.stage, self.offload) != (1, "none"):
            raise ValueError("stage and offload are for deepspeed; the native engine has the fields of 'parallel'")
        return self

    def check(self, where: str, parallel: ParallelConfig, optimizer: OptimizerConfig, loop: LoopConfig) -> None:
        """Refuse what DeepSpeed can't do before anything starts."""
        if self.name == "native":
            return
        ours = ParallelConfig(replicate=parallel.replicate, activation_checkpointing=parallel.activation_checkpointing)
        if parallel != ours:
            raise RequestError(
                f"{where}: deepspeed splits by its own stages; leave all of 'parallel' but replicate out"
            )
        if loop.average is not None:
            raise RequestError(
                f"{where}: deepspeed keeps the weights to itself, so no mean of them can be taken: leave loop.average "
                "out, or use the native engine"
            )
        if loop.precision in ("fp16", "fp8"):
            raise RequestError(
                f"{where}: precision {loop.precision} is for our own engine: use bf16 or fp32 with deepspeed"
            )
        if optimizer.method != "adamw" and self.stage > 0:
            raise RequestError(
                f"{where}: ZeRO flattens matrices, which {optimizer.method} needs whole: set optimizer.method=adamw"
            )
        if importlib.util.find_spec("deepspeed") is None:
            raise RequestError(f"{where}: {missing_extra('deepspeed', 'deepspeed')}")
