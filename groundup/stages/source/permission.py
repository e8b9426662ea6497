"""What the pages of a source say themselves about their use: pages that refuse are left out, with the evidence kept.

Files and archives come without the site they were taken from, so only headers and markup can be read here; nothing is
asked for on the network. ``groundup recheck`` asks the sites.
"""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from groundup.rights.signals.decision import SIGNALS, Decision, decide, rows
from groundup.rights.signals.page import HEADERS, page_signals
from groundup.stages.source.config import SourceFile
from groundup.stages.source.readers.reading import Page, Reading
from groundup.text.document import write_shards

OPTED_OUT: Final = "opted_out"
"""The reason under which pages are counted whose owners refuse."""

ALLOWED: Final = "allowed"
"""The permission of a page whose signals were looked for."""

TABLE: Final = "signals"

_IN_MEMORY: Final = 16 << 20
_HTML: Final = "text/html"
_NAMES: Final = tuple(f'"{name}"' for name in sorted(HEADERS))


class Evidence:
    """The decisions of a stage with what was said, in a file in ``folder`` until they are written as a table."""

    def __init__(self, folder: Path) -> None:
        self._held: Any = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115

    def add(self, decision: Decision) -> None:
        """Keep a decision; one without any signal has nothing to keep."""
        self.extend(rows(decision))

    def extend(self, more: Iterable[dict[str, Any]]) -> None:
        """Keep rows of SIGNALS that are there already, such as those of a crawl."""
        for row in more:
            pickle.dump(row, self._held, pickle.HIGHEST_PROTOCOL)

    def write(self, payload: Path) -> int:
        """Write ``signals/NNNNN.parquet`` in the order in which rows came and return their number."""
        return write_shards(payload, TABLE, SIGNALS, self._rows())

    def close(self) -> None:
        """Let the file go."""
        self._held.close()

    def _rows(self) -> Iterator[dict[str, Any]]:
        end = self._held.tell()
        self._held.seek(0)
        while self._held.tell() < end:
            yield pickle.load(self._held)


def permitted(
    pages: Iterable[tuple[str, Page]], file: SourceFile, reading: Reading, evidence: Evidence
) -> Iterator[tuple[str, Page]]:
    """(id, page) of the pages that may be used; those that refuse are counted in ``reading``."""
    if file.signals == "ignore":
        yield from pages
        return
    for name, page in pages:
        if page.headers is None and page.media_type != _HTML:
            yield name, page
            continue
        decision = _decision(page)
        evidence.add(decision)
        if decision.usable:
            yield name, replace(page, permission=ALLOWED)
        else:
            reading.skip(OPTED_OUT, page.record, decision.why)


def _decision(page: Page) -> Decision:
    """What a page says, at the time of its capture where that is known; by its record where it has no address."""
    url = page.url or page.record
    found = page_signals(url, _headers(page), page.content, page.media_type)
    return decide(url, page.date or "", found)


def _headers(page: Page) -> Mapping[str, str]:
    if page.headers is None or not any(name in page.headers for name in _NAMES):
        return {}
    held: dict[str, str] = json.loads(page.headers)
    return held
