"""What papers are about: an artifact with everything that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from groundup.artifact.lineage import Branch, trace
from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import RequestError
from groundup.base.progress import Progress, Silent

DATA: Final = ("pages", "corpus", "tokens", "conversations", "preferences")
MODELS: Final = ("model", "bundle")


@dataclass(frozen=True)
class Subject:
    """An artifact, its lineage, the scores that measured it, and what a person stated about it.

    ``artifacts`` holds the whole lineage by digest, inputs first. ``ledgers`` are those that were read already.
    """

    artifact: Artifact
    lineage: Branch
    artifacts: Mapping[str, Artifact]
    scores: Record | None = None
    stated: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Silent)
    ledgers: list[Any] = field(default_factory=list)

    @classmethod
    def find(
        cls,
        store: Store,
        artifact: Artifact,
        stated: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Subject:
        """The subject for an artifact of the store; RequestError for a kind that has no papers."""
        record = artifact.record
        if record.kind not in DATA + MODELS:
            raise RequestError(
                f"{record.name!r} is of kind {record.kind}: papers are written for {', '.join(DATA + MODELS)}"
            )
        lineage = trace(store, record)
        artifacts = {branch.record.digest: store.open(branch.record.digest, verify=False) for branch in lineage.walk()}
        found = cls(artifact, lineage, artifacts, None, stated or {}, progress or Silent())
        return replace(found, scores=_scores(store, found)) if found.is_model else found

    @property
    def record(self) -> Record:
        """The record of the artifact itself."""
        return self.artifact.record

    @property
    def is_model(self) -> bool:
        """Whether it is a model or a bundle, and not data."""
        return self.record.kind in MODELS

    def records(self, *kinds: str) -> list[Record]:
        """The records of these kinds in the lineage, inputs first; of all kinds if none is named."""
        return [one.record for one in self.artifacts.values() if not kinds or one.record.kind in kinds]

    @cached_property
    def model(self) -> Artifact:
        """The model itself; for a bundle the one that it packs."""
        if self.record.kind != "bundle":
            return self.artifact
        links = [link for links in self.record.inputs.values() for link in links if link.kind == "model"]
        return self.artifacts[links[0].digest] if links else self.artifact

    @cached_property
    def training(self) -> list[Record]:
        """The records of the models that training made on the way to this one, oldest first."""
        return [record for record in self.records("model") if _below(self.model.record, record, self.artifacts)]

    @cached_property
    def data(self) -> list[Artifact]:
        """The artifacts whose documents it is: itself if it is data, else what the model was trained on."""
        if not self.is_model:
            return [self.artifact]
        read: dict[str, Artifact] = {}
        for record in self.training:
            for artifact in self._inputs(record):
                if artifact.record.kind == "tokens":
                    read |= {one.record.digest: one for one in self._inputs(artifact.record) if _is_text(one)}
                elif artifact.record.kind in ("conversations", "preferences"):
                    read[artifact.record.digest] = artifact
        return list(read.values())

    @cached_property
    def corpora(self) -> list[Record]:
        """The corpora in the lineage: what curation and mixing did is in their records."""
        return self.records("corpus")

    def _inputs(self, record: Record) -> Sequence[Artifact]:
        return [self.artifacts[link.digest] for links in record.inputs.values() for link in links]


def _is_text(artifact: Artifact) -> bool:
    return artifact.record.kind in ("corpus", "pages")


def _below(top: Record, record: Record, artifacts: Mapping[str, Artifact]) -> bool:
    """Whether ``record`` is ``top``, or a model that it was trained from."""
    if record.digest == top.digest:
        return True
    links = [link for links in top.inputs.values() for link in links if link.kind == "model"]
    return any(_below(artifacts[link.digest].record, record, artifacts) for link in links)


def _scores(store: Store, subject: Subject) -> Record | None:
    """The scores that a bundle names, or the newest ones in the workspace that measured this very model."""
    named = subject.records("scores")
    if named:
        return named[-1]
    model = subject.model.record.digest
    found = None
    for artifact in store.all():
        links = [link.digest for links in artifact.record.inputs.values() for link in links]
        if artifact.record.kind == "scores" and model in links:
            found = artifact.record
    return found
