"""What a recipe may say about the evaluate stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from groundup.artifact.stage import InputRef, Node, StageConfig, need
from groundup.base.config import Config
from groundup.base.errors import nearest
from groundup.text.benchmark import BENCHMARKS, Benchmark

BITS_PER_BYTE: Final = "bits_per_byte"
TASKS: Final = Path(__file__).parent / "tasks"
"""One lm-eval task definition a benchmark."""

RESERVED: Final = frozenset({"baselines", "benchmarks"})
"""Keys of the metrics beside the models' names."""


def _known(value: Any) -> Any:
    if isinstance(value, str) and value != BITS_PER_BYTE and value not in BENCHMARKS:
        raise ValueError(f"unknown task {value!r}{nearest(value, [BITS_PER_BYTE, *BENCHMARKS])}")
    return value


def _tag(value: Any) -> str:
    return BITS_PER_BYTE if value == BITS_PER_BYTE else "benchmark"


EvaluationTask = Annotated[
    Annotated[Literal["bits_per_byte"], Tag(BITS_PER_BYTE)] | Annotated[Benchmark, Tag("benchmark")],
    Discriminator(_tag),
    BeforeValidator(_known),
]


class SamplesConfig(Config):
    """The texts that every model is asked to go on with, and how its tokens are drawn."""

    prompts: tuple[str, ...] = Field(
        (
            "Once upon a time, there was a little fox who",
            "Mia found a shiny key under the old tree. She",
            "The captain looked out over the dark sea and",
            "A table in a database is",
        ),
        description="beginnings of texts, which every model continues as they stand",
    )
    questions: tuple[str, ...] = Field(
        ("Tell me a short story about a cat who makes a friend.", "What do you need to bake bread?"),
        description="messages of a user: chat models get them in their chat template, base models as plain text",
    )
    max_new_tokens: int = Field(120, ge=1, description="length of each sample in tokens, at most")
    temperature: float = Field(0.8, ge=0, description="0 takes the likeliest token; 1 draws by the model's own odds")
    top_p: float = Field(
        0.95, gt=0, le=1, description="draw from the likeliest tokens that have this total probability"
    )
    seed: int = Field(1, ge=0, description="seed of the first sample; each following one takes the next number")


class EvaluateConfig(StageConfig):
    """Measures models on what none of them has seen, beside baselines that anyone can compute.

    Bits per byte says how well a model predicts held-out documents: how many bits it would need to store one byte of
    them. The same documents go through `xz` and through a model that only counts five-token sequences, so that the
    number means something. Benchmarks ask the model to choose between answers; chance is known, so an interval shows
    whether the model knows anything. Samples show what the numbers feel like. Every score comes with its interval,
    and every pair of neighbouring models with a test on the same items.
    """

    stage: ClassVar[str] = "evaluate"
    kind: ClassVar[str] = "scores"
    runner: ClassVar[str] = "groundup.stages.evaluate.run:run"

    models: Annotated[tuple[str, ...], InputRef("model")] = Field(
        min_length=1, description="models to measure, in the order in which they were made"
    )
    corpus: Annotated[str, InputRef("corpus")] = Field(description="corpus whose held-out documents are predicted")
    tokens: Annotated[str, InputRef("tokens")] = Field(
        description="tokens that the base model was trained on; the counting baseline learns from the same ones"
    )
    tasks: tuple[EvaluationTask, ...] = Field(
        (BITS_PER_BYTE,),
        min_length=1,
        description="`bits_per_byte`, packaged benchmarks by name, or {name, rows} for a benchmark in your own file",
    )
    samples: SamplesConfig = Field(SamplesConfig(), description="texts that each model is asked to continue")
    limit: int | None = Field(None, ge=1, description="items per benchmark, the first ones; all if left out")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="how often an interval should hold the true value")

    def benchmarks(self) -> tuple[Benchmark, ...]:
        """The benchmarks among the tasks: curation keeps their items out of the training text."""
        return tuple(task for task in self.tasks if isinstance(task, Benchmark))

    def check(self, node: Node) -> None:
        """Refuse repeated models and tasks, and names that the metrics need."""
        where = f"artifact {node.name!r}: field"
        names = [BITS_PER_BYTE if isinstance(task, str) else task.name for task in self.tasks]
        for field, values in (("models", list(self.models)), ("tasks", names)):
            twice = sorted({value for value in values if values.count(value) > 1})
            need(not twice, f"{where} {field!r} names {', '.join(twice)} more than once")
        taken = sorted(RESERVED.intersection(self.models))
        need(
            not taken, f"{where} 'models': rename the model {', '.join(taken)}: scores use that word for something else"
        )
