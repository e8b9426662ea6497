"""The part of a text that its language is read from: all of a short one, else slices from beginning, middle and end.

A document of some kilobytes is in one language nearly always, and a model is as sure after some hundred characters as
it will ever be. Slices from several places keep a menu at the top, or a foreign quotation, from deciding.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from groundup.stages.curate.engine.columns import Bytes, Texts

SLICE_BYTES: Final = 600
PLACES: Final = (0.05, 0.5, 0.95)
"""Where slices lie: 0 is the first possible place and 1 the last."""


def samples(texts: Texts) -> list[str]:
    """The sample of each text, at most ``SLICE_BYTES * len(PLACES)`` bytes of UTF-8 and a space between slices."""
    return [_sample(texts.data[start:end]) for start, end in pairwise(texts.offsets.tolist())]


def _sample(text: Bytes) -> str:
    length = len(text)
    if length <= SLICE_BYTES * len(PLACES):
        return text.tobytes().decode("utf-8", "ignore")
    starts = [int((length - SLICE_BYTES) * place) for place in PLACES]
    # A slice may begin or end within a character; what is left of it is ignored.
    return " ".join(text[start : start + SLICE_BYTES].tobytes().decode("utf-8", "ignore") for start in starts)
