"""The operator that turns raw pages into text.

HTML goes through a guarded process, so that a page that crashes, hangs or swallows the parser is refused by itself.
Plain text, Markdown, wikitext, source code and whatever else is text is only decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pyarrow as pa

from groundup.base.errors import RequestError, nearest
from groundup.base.files import sha256_file
from groundup.base.guard import Failure, Guard
from groundup.stages.curate.engine.operator import VERDICT, Spec, refuse, with_column
from groundup.stages.curate.extraction.encoding import decode
from groundup.stages.curate.extraction.extractors import MODES, Extracted, Mode, extract_html
from groundup.stages.curate.extraction.forest import WEIGHTS

STEP: Final = "extract"
HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})

_Page = tuple[bytes, str | None, Mode]


@dataclass(frozen=True)
class Extract:
    """Reads ``content`` (binary), ``media_type`` and ``encoding``; writes ``text`` and ``extractor``, null where a page
    is refused, with rule ``no_text``, ``failed``, ``too_slow`` or ``too_large``.

    ``seconds`` of processor time and ``memory_bytes`` are the limits for one page; ``max_bytes`` is the largest page
    that is parsed at all. ``guarded=False`` parses in this process, without limits.
    """

    mode: Mode = "best"
    seconds: float = 20.0
    memory_bytes: int = 2 << 30
    max_bytes: int = 64 << 20
    guarded: bool = True
    _guard: list[Guard[_Page, Extracted]] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RequestError(f"no extraction mode {self.mode!r}{nearest(str(self.mode), MODES)}")

    @property
    def spec(self) -> Spec:
        """What defines the result; the guard's time limit is part of it, guarding itself is not."""
        return Spec(
            name=STEP,
            version=2,
            form="decide",
            reads=("content", "media_type", "encoding"),
            writes=("text", "extractor", *VERDICT),
            parameters={
                "mode": self.mode,
                "seconds": self.seconds,
                "memory_bytes": self.memory_bytes,
                "max_bytes": self.max_bytes,
            },
            assets={WEIGHTS.name: sha256_file(WEIGHTS)},
        )

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with texts, extractors and verdicts."""
        found: list[Extracted | Failure | None] = [None] * batch.num_rows
        html: list[int] = []
        pages: list[_Page] = []
        columns: list[Any] = [batch.column(name).to_pylist() for name in self.spec.reads]
        for row, (content, media_type, encoding) in enumerate(zip(*columns, strict=True)):
            content = content or b""
            if len(content) > self.max_bytes:
                found[row] = Failure("too_large", f"{len(content)} bytes of page")
            elif media_type in HTML_TYPES:
                html.append(row)
                pages.append((content, encoding, self.mode))
            else:
                found[row] = Extracted(decode(content, encoding, meta=False), "decode")
        for row, answer in zip(html, self._parse(pages), strict=True):
            found[row] = answer
        return _filled(batch, found)

    def close(self) -> None:
        """End the guarded process, if one runs."""
        for guard in self._guard:
            guard.close()

    def _parse(self, pages: list[_Page]) -> list[Extracted | Failure]:
        if not self.guarded:
            return [_parse(page) for page in pages]
        if not pages:
            return []
        if not self._guard:
            self._guard.append(Guard(_parse, self.seconds, self.memory_bytes, partial(_prepare, self.mode)))
        return self._guard[0].map(pages)


def _filled(batch: pa.RecordBatch, found: list[Extracted | Failure | None]) -> pa.RecordBatch:
    texts: list[str | None] = []
    extractors: list[str | None] = []
    rules: list[str | None] = []
    details: list[str | None] = []
    for answer in found:
        if isinstance(answer, Extracted) and answer.text.strip():
            # Half of a surrogate pair can come out of a page's numeric entities; Arrow's UTF-8 can't hold it.
            texts.append(answer.text.encode("utf-8", "replace").decode())
            extractors.append(answer.extractor)
            rules.append(None)
            details.append(None)
            continue
        texts.append(None)
        extractors.append(None)
        rules.append(answer.rule if isinstance(answer, Failure) else "no_text")
        details.append(answer.detail if isinstance(answer, Failure) else "no main text in the page")
    batch = with_column(batch, "text", pa.array(texts, pa.large_string()))
    batch = with_column(batch, "extractor", pa.array(extractors, pa.string()))
    return refuse(batch, STEP, rules, details)


def _parse(page: _Page) -> Extracted:
    """One page, in the guarded process."""
    return extract_html(*page)


def _prepare(mode: Mode) -> None:
    """Load the libraries and kernels by using them once: on a page so short that ``best`` asks all extractors."""
    extract_html(b"<p>Some words, a <a href='#'>link</a>.</p><table><tr><td>1<td>2<tr><td>3<td>4</table>", None, mode)
