"""The terms of a source as they are known when it was read: what was declared, and what its pages say themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from groundup.artifact.exhibit import Table
from groundup.artifact.terms import SourceTerms
from groundup.rights.licences.files import Folder
from groundup.rights.licences.found import contradicts, found_licence, is_code
from groundup.stages.source.config import Supply
from groundup.stages.source.readers.reading import Page

_SHOWN: Final = 20
_NAMED: Final = 3


class Licences:
    """Finds the licences that pages of one source state, and counts them. ``root``: its folder, if it is one."""

    def __init__(self, root: Path | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._folder = Folder(root) if root is not None and root.is_dir() else None

    def of(self, page: Page) -> str | None:
        """The licence that a page states; of source code, else that of the nearest folder that states one."""
        found = found_licence(page.content, page.media_type, page.encoding, page.headers)
        if found is None and self._folder is not None and is_code(page.media_type):
            found = self._folder.licence_of(page.record)
        if found is not None:
            self.counts[found] += 1
        return found


def source_terms(file: Supply, sha256: str, documents: int, found: Mapping[str, int] | None = None) -> SourceTerms:
    """The terms of a source; ``found`` counts the documents that state each licence."""
    return SourceTerms(
        source=file.name,
        licence=file.licence,
        origin=file.origin,
        sha256=sha256,
        documents=documents,
        terms=file.terms,
        use=file.use,
        found=found_in_order(found or {}),
    )


def found_in_order(found: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Licences with their documents, the commonest first."""
    return tuple(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def contradictions(terms: Sequence[SourceTerms]) -> Iterator[str]:
    """A line for each source of which pages state another licence than was declared for it."""
    for one in terms:
        against = [(name, count) for name, count in one.found if contradicts(one.licence, name)]
        if against:
            said = ", ".join(f"{name} ({count:,})" for name, count in against[:_NAMED])
            more = f" and {len(against) - _NAMED} more licences" if len(against) > _NAMED else ""
            yield (
                f"{one.source} is declared as {one.licence}, but pages of it state {said}{more}: the stricter use "
                "counts under a policy ('--policy', 'groundup show NAME --licences')"
            )


def licence_table(terms: Sequence[SourceTerms]) -> Iterator[Table]:
    """What pages say of their own licence, beside what was declared; nothing where no page says anything."""
    rows = [
        (one.source, one.licence, name, count, "yes" if contradicts(one.licence, name) else "no")
        for one in terms
        for name, count in one.found
    ]
    if rows:
        against = sum(row[3] for row in rows if row[4] == "yes")
        whole = f"{against:,} pages state another licence than was declared for their source; " if against else ""
        yield Table(
            title="Licences that pages state",
            caption=f"{whole}the declared licence stays, and of the two the more restrictive use counts.",
            columns=("source", "declared", "stated by the page", "pages", "contradicts"),
            rows=tuple(rows[:_SHOWN]),
        )
