"""Which language a text is in: py3langid (Lui and Baldwin 2012, langid.py), a naive Bayes model over byte n-grams.

The score is its probability, tempered by the square root of the length so that it stays comparable between texts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from groundup.base.errors import missing_extra
from groundup.stages.curate.languages import LABELS

SAMPLE_CHARS: Final = 2000
UNKNOWN: Final = "und_Zzzz"


def identify(text: str) -> tuple[str, float]:
    """(label, score from 0 to 1) of the first SAMPLE_CHARS characters; a label such as ``eng_Latn``."""
    code, score = _identifier().classify(text[:SAMPLE_CHARS])
    return LABELS.get(code, UNKNOWN), round(float(score), 4)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        from py3langid import langid
    except ImportError:
        raise missing_extra("py3langid", "curate") from None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
