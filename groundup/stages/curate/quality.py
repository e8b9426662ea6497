"""The stage that trains a quality model for curation: from documents that are good and documents that are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from groundup.artifact.exhibit import Table
from groundup.artifact.stage import Artifact, InputRef, Outcome, StageConfig, Task
from groundup.text.document import read_rows, tables

MODEL: Final = "model"
"""The model's folder in the artifact."""


class QualityConfig(StageConfig):
    """Trains a classifier that tells documents like the good examples from documents like the others.

    Rules can't say everything that makes a page worth reading; examples can. The best-known corpora of web pages were
    chosen by a small classifier that had seen a few hundred thousand of each kind (Li et al. 2024, DataComp-LM). This
    one is trained in seconds and reads a page in microseconds. A part of the examples is kept aside, and what it is
    worth is measured on those: how many of the pages that it keeps are good, and how many of the good ones it keeps.

    What the examples share besides quality, it learns as well: topic, style, dialect. Look at what it drops.
    """

    stage: ClassVar[str] = "quality"
    kind: ClassVar[str] = "quality"
    runner: ClassVar[str] = "groundup.stages.curate.quality:run"

    positives: Annotated[tuple[str, ...], InputRef("corpus")] = Field(
        min_length=1, description="corpora of good examples"
    )
    negatives: Annotated[tuple[str, ...], InputRef("corpus")] = Field(
        min_length=1, description="corpora of other examples, such as web pages as they come"
    )
    classifier: Literal["linear", "fasttext"] = Field(
        "linear", description="our own over hashed words and pairs of words, or fastText (extra fasttext)"
    )
    keep_share: float | None = Field(
        0.5, gt=0, lt=1, description="share of the examples that its own threshold keeps, from 0 to 1"
    )
    precision: float | None = Field(
        None, gt=0, lt=1, description="in place of keep_share: least share of good ones among what is kept"
    )
    seed: int = Field(1, description="seed of the parts and of training")


def run(config: QualityConfig, task: Task) -> Outcome:
    """Write the model, and what it is worth."""
    from groundup.stages.curate.judging.quality import QualitySettings, train_quality

    settings = QualitySettings(
        classifier=config.classifier, seed=config.seed, keep_share=config.keep_share, precision=config.precision
    )
    about = train_quality(
        _texts(task.inputs["positives"]),
        _texts(task.inputs["negatives"]),
        task.payload / MODEL,
        settings,
        lambda phase, done, total: task.progress.update(phase, done, total, "steps"),
    )
    task.show(_figures(about))
    return Outcome(metrics=dict(about))


def _texts(corpora: Sequence[Artifact]) -> Iterator[str]:
    for corpus in corpora:
        for path in tables(corpus.path, "corpus"):
            for row in read_rows(path, ["text"]):
                yield row["text"]


def _figures(about: dict[str, Any]) -> Table:
    rows = tuple(
        (name, f"{value:.3f}" if isinstance(value, float) else str(value)) for name, value in about["held_out"].items()
    )
    return Table(
        title="What the quality model is worth",
        caption="On examples that it was not trained on, at its own threshold; intervals are Wilson's, 95 %.",
        columns=("figure", "value"),
        rows=rows,
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)
