"""The ways to get the text out of a page, by name.

``blocks``       our own: resiliparse's tree, our decision block by block (:mod:`.decide`), our text (:mod:`.render`)
``resiliparse``  resiliparse's own main content (Bevendorff et al. 2018)
``trafilatura``  trafilatura's standard mode (Barbaresi 2021)
``best``         ``blocks``; where that finds hardly anything, trafilatura's text or resiliparse's if it is longer
``union``        every block that any of the three takes for main content, in the order of the page

trafilatura's ``deduplicate`` stays off: it remembers earlier pages, and the result would depend on their order.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import missing_extra
from groundup.stages.curate.extraction.decide import main_content
from groundup.stages.curate.extraction.encoding import decode
from groundup.stages.curate.extraction.layout import END, LEVEL, START, Blocks
from groundup.stages.curate.extraction.render import render
from groundup.stages.curate.extraction.scan import scan

Mode = Literal["blocks", "resiliparse", "trafilatura", "best", "union"]
MODES: Final[tuple[str, ...]] = get_args(Mode)

_LITTLE: Final = 200
"""Characters below which ``best`` asks the others."""
_GAIN: Final = 2.0
"""How much longer another's text must be for ``best`` to take it."""
_DEEP: Final = 1000
"""Elements in elements from which the others are not asked: their time grows with the square of the depth."""
_SPACE: Final = re.compile(r"\s+")
_SHORT: Final = 25


class Extracted(NamedTuple):
    """A page's text and the extractor that won; for ``union`` the names of all that gave something, joined by ``+``."""

    text: str
    extractor: str


def extract_html(content: bytes, encoding: str | None, mode: Mode) -> Extracted:
    """The text of an HTML page."""
    html = decode(content, encoding)
    if mode == "resiliparse":
        return Extracted(by_resiliparse(html), mode)
    if mode == "trafilatura":
        return Extracted(by_trafilatura(html), mode)
    page = blocks_of(html)
    keep = main_content(page)
    if mode == "union":
        return _union(page, keep, html)
    text = render(page, keep)
    if mode == "best" and len(text) < _LITTLE and page.nodes[:, LEVEL].max(initial=0) < _DEEP:
        return _longest(text, html)
    return Extracted(text, "blocks")


def blocks_of(html: str) -> Blocks:
    """A page's blocks of text, main content or not."""
    try:
        from resiliparse.parse.html import HTMLTree
    except ImportError:
        raise missing_extra("resiliparse", "curate") from None
    document = HTMLTree.parse(html).document
    return scan(document.html if document is not None else "")


def by_resiliparse(html: str) -> str:
    """resiliparse's main content with line breaks, lists and preformatted text kept."""
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError:
        raise missing_extra("resiliparse", "curate") from None
    return str(extract_plain_text(html, main_content=True, preserve_formatting=True, alt_texts=False))


def by_trafilatura(html: str) -> str:
    """trafilatura's text in its standard mode; empty where it finds none."""
    try:
        import trafilatura
    except ImportError:
        raise missing_extra("trafilatura", "curate") from None
    return trafilatura.extract(html, deduplicate=False) or ""


def _longest(text: str, html: str) -> Extracted:
    best = Extracted(text, "blocks")
    for name, extractor in (("trafilatura", by_trafilatura), ("resiliparse", by_resiliparse)):
        other = extractor(html).strip()
        if len(other) > _GAIN * len(best.text):
            best = Extracted(other, name)
    return best


def _union(page: Blocks, keep: NDArray[np.bool_], html: str) -> Extracted:
    whole = page.text.tobytes()
    spans = page.blocks[:, [START, END]].tolist()
    texts = [_SPACE.sub(" ", whole[start:end].decode("utf-8", "replace")) for start, end in spans]
    names = ["blocks"] if keep.any() else []
    for name, extractor in (("resiliparse", by_resiliparse), ("trafilatura", by_trafilatura)):
        also = _held(texts, extractor(html))
        if (also & ~keep).any():
            names.append(name)
        keep = keep | also
    return Extracted(render(page, keep), "+".join(names) or "blocks")


def _held(texts: list[str], other: str) -> NDArray[np.bool_]:
    """Which blocks another extractor's text has: short ones as lines of their own, long ones anywhere."""
    lines = {_SPACE.sub(" ", line).strip(" •|-") for line in other.split("\n")}
    whole = _SPACE.sub(" ", other)
    return np.array([text in lines or (len(text) >= _SHORT and text in whole) for text in texts], bool)
