"""Where the material of an artifact came from and under which licences; inherited downstream by union."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

Use = Literal["train", "evaluate", "never"]
"""What material may be used for: to train (and evaluate), to evaluate only, or for nothing."""

USES: Final[tuple[Use, ...]] = ("never", "evaluate", "train")
"""From the most restrictive to the least."""


def strictest(uses: Iterable[Use]) -> Use:
    """The most restrictive of some uses; ``train`` of none.

    >>> strictest(["train", "evaluate"])
    'evaluate'
    """
    return min(uses, key=USES.index, default="train")


@dataclass(frozen=True)
class Declared:
    """The terms of a source before it is read, as a recipe declares them."""

    source: str
    licence: str
    use: Use = "train"


class SourceTerms(BaseModel):
    """The terms of one source, as declared when it entered, and what its pages said.

    ``terms`` names terms of service (an address or a name) that hold beside the licence. ``found`` tells for each
    licence that pages state themselves how many do; the declared one may be among them.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    licence: str
    origin: str
    sha256: str
    documents: int
    terms: str = ""
    use: Use = "train"
    found: tuple[tuple[str, int], ...] = ()


class Terms(BaseModel):
    """The terms of everything that went into an artifact."""

    model_config = ConfigDict(frozen=True)

    sources: tuple[SourceTerms, ...] = ()

    @property
    def licences(self) -> tuple[str, ...]:
        """The distinct licences, sorted."""
        return tuple(sorted({source.licence for source in self.sources}))

    @property
    def found(self) -> tuple[str, ...]:
        """The distinct licences that pages state and their source doesn't declare, sorted."""
        return tuple(sorted({name for one in self.sources for name, _ in one.found if name != one.licence}))

    @property
    def use(self) -> Use:
        """What the sources were declared for, all together: the most restrictive."""
        return strictest(source.use for source in self.sources)

    @classmethod
    def union(cls, parts: Iterable[Terms]) -> Terms:
        """The terms of something made from all of ``parts``, each source once, in a fixed order."""
        unique = {source for part in parts for source in part.sources}
        return cls(sources=tuple(sorted(unique, key=lambda source: (source.source, source.sha256))))
