"""Where the material of an artifact came from and under which licences; inherited downstream by union."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class SourceTerms(BaseModel):
    """The terms of one source, as declared when it entered."""

    model_config = ConfigDict(frozen=True)

    source: str
    licence: str
    origin: str
    sha256: str
    documents: int


class Terms(BaseModel):
    """The terms of everything that went into an artifact."""

    model_config = ConfigDict(frozen=True)

    sources: tuple[SourceTerms, ...] = ()

    @property
    def licences(self) -> tuple[str, ...]:
        """The distinct licences, sorted."""
        return tuple(sorted({source.licence for source in self.sources}))

    @classmethod
    def union(cls, parts: Iterable[Terms]) -> Terms:
        """The terms of something made from all of ``parts``, each source once, in a fixed order."""
        unique = {source for part in parts for source in part.sources}
        return cls(sources=tuple(sorted(unique, key=lambda source: (source.source, source.sha256))))
