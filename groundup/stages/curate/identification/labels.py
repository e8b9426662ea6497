"""Language labels: ISO 639-3 and ISO 15924 script, such as ``eng_Latn``, as in GlotLID, FineWeb2 and NLLB.

``languages.tsv`` names the languages that the models tell apart and the scripts that each is written in;
``claims.tsv`` (written by ``benchmarks/curate_identify.py --write``) those that we claim, with what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

UNKNOWN: Final = "und"
"""The language of a text that no model knows the language of: ``und_Cher``, ``und_Zzzz``."""


@dataclass(frozen=True)
class Language:
    """A language, the scripts that it may be in, and its code in each model (empty where the model lacks it)."""

    code: str
    scripts: tuple[str, ...]
    bayes: str
    fasttext: str


@lru_cache(maxsize=1)
def languages() -> dict[str, Language]:
    """By ISO 639-3 code, in alphabetical order."""
    known = {}
    for code, scripts, bayes, fasttext in rows("languages.tsv"):
        known[code] = Language(code, tuple(scripts.split(",")), bayes.strip("-"), fasttext.strip("-"))
    return dict(sorted(known.items()))


@dataclass(frozen=True)
class Claim:
    """What was measured of a label: shares of whole declarations and of pieces of 200 to 500 characters named right."""

    label: str
    texts: int
    whole: float
    pieces: float


@lru_cache(maxsize=1)
def claims() -> dict[str, Claim]:
    """The labels that we claim: at least 0.97 of whole declarations and of their pieces are named right."""
    found = [
        Claim(label, int(texts), float(whole), float(pieces)) for label, texts, whole, pieces in rows("claims.tsv")
    ]
    return {claim.label: claim for claim in found}


def rows(name: str) -> list[list[str]]:
    """The rows of a data file beside this module: fields between tabs, lines with # left out."""
    written = resources.files(__package__).joinpath(name).read_text("utf-8")
    return [line.split("\t") for line in written.splitlines() if line and not line.startswith("#")]
