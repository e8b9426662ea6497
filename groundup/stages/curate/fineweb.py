"""Is a page prose, or a list? Penedo et al. 2024, "The FineWeb Datasets", section 3.6, with the readings of
datatrove's FineWebQualityFilter: blank lines are left out, except in the count of line breaks.

The marks that end a line are ``. ! ? ' "`` as published, and their forms that our repair leaves in the text:
typographic quotes, the ellipsis, and full stops of other scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from groundup.stages.curate.config import FineWeb
from groundup.stages.curate.gopher_repetition import repeats
from groundup.stages.curate.split import Split
from groundup.stages.curate.verdict import Refusal, above, below

END_MARKS: Final = tuple(".!?'\"’”…。！？．؟۔।")


def fineweb(document: Split, spec: FineWeb) -> Refusal | None:
    """The first rule that the document breaks, in the published order; None if it is well."""
    if not document.words:
        return None
    return next((refusal for refusal in _rules(document, spec) if refusal is not None), None)


def _rules(document: Split, spec: FineWeb) -> Iterator[Refusal | None]:
    text = document.text
    lines = [line for line in document.lines if line.strip()]
    ended = sum(line.endswith(END_MARKS) for line in lines)
    yield below("too_few_sentence_lines", ended / len(lines), spec.line_punct_thr)
    short = sum(len(line) <= spec.short_line_length for line in lines)
    yield above("too_many_short_lines", short / len(lines), spec.short_line_thr)
    breaks = text.count("\n")
    repeated = repeats(lines)[1]
    yield above("repeated_line_chars", repeated / (len(text) - breaks), spec.char_duplicates_ratio)
    yield above("too_many_line_breaks", breaks / len(document.words), spec.new_line_ratio)
