"""What happens to one page alone: extract, repair, identify, filter, redact, and the keys for the steps that compare.

These steps need nothing but the page, so worker processes do them in any order; what compares documents with each
other (deduplication, set phrases of benchmarks, the split) comes after, in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from groundup.stages.curate.config import CurateConfig
from groundup.stages.curate.dedup import Fingerprint, exact_key
from groundup.stages.curate.extract import extract
from groundup.stages.curate.fineweb import fineweb
from groundup.stages.curate.gopher_quality import gopher_quality
from groundup.stages.curate.gopher_repetition import gopher_repetition
from groundup.stages.curate.identify import UNKNOWN, identify
from groundup.stages.curate.minhash import band_keys, shingles
from groundup.stages.curate.redact import redact
from groundup.stages.curate.repair import repair
from groundup.stages.curate.split import Split, split
from groundup.stages.curate.verdict import Refusal
from groundup.text.overlap import Hit, OverlapIndex


@dataclass(frozen=True)
class Document:
    """A page on its way. ``step`` and ``refusal`` are set once a step has dropped it; ``keys`` once none has."""

    id: str
    source: str
    record: str
    url: str | None
    licence: str
    page_bytes: int
    text: str = ""
    language: str = UNKNOWN
    language_score: float = 0.0
    redactions: Mapping[str, int] | None = None
    keys: Fingerprint | None = None
    hits: tuple[Hit, ...] = ()
    step: str = ""
    refusal: Refusal | None = None

    def dropped(self, step: str, refusal: Refusal) -> Document:
        """The same document, dropped by a step."""
        return replace(self, step=step, refusal=refusal, keys=None, hits=())

    @property
    def reason(self) -> str:
        """``step:rule`` of a dropped document."""
        return f"{self.step}:{self.refusal.rule}" if self.refusal else ""


def process(page: Mapping[str, Any], config: CurateConfig, index: OverlapIndex) -> Document:
    """A page (a row of ``pages.parquet``) after all steps that need nothing else."""
    content = page["content"]
    document = Document(page["id"], page["source"], page["record"], page["url"], page["licence"], len(content))
    extracted = extract(content, page["media_type"], page["encoding"])
    if not extracted.strip():
        return document.dropped("extract", Refusal("no_text", "no main text in the page"))
    text = repair(extracted)
    document = replace(document, text=text)
    if not text:
        return document.dropped("repair", Refusal("no_text", "nothing but control characters"))
    language, score = identify(text)
    document = replace(document, language=language, language_score=score)
    if language not in config.languages:
        return document.dropped("identify", Refusal("other_language", f"{language} ({score:.2f})"))
    if score < config.min_language_score:
        return document.dropped("identify", Refusal("unsure", f"{language} at {score:.2f}"))
    parts = split(text)
    for name in config.filters:
        refusal = _filter(name, parts, config)
        if refusal is not None:
            return document.dropped(name, refusal)
    return _finish(document, parts, config, index)


def _filter(name: str, parts: Split, config: CurateConfig) -> Refusal | None:
    match name:
        case "gopher_quality":
            return gopher_quality(parts, config.gopher_quality)
        case "gopher_repetition":
            return gopher_repetition(parts, config.gopher_repetition)
        case _:
            return fineweb(parts, config.fineweb)


def _finish(document: Document, parts: Split, config: CurateConfig, index: OverlapIndex) -> Document:
    text, counts = redact(document.text, config.redact)
    if counts:
        parts = split(text)
    near = config.near_duplicates
    nothing = np.zeros(0, np.uint64)
    runs = shingles(parts.words, near.shingle_words) if near else nothing
    bands = band_keys(runs, near.bands, near.rows) if near else nothing
    keys = Fingerprint(document.id, len(text), exact_key(text), bands, runs)
    return replace(document, text=text, redactions=dict(counts), keys=keys, hits=tuple(index.find(text)))
