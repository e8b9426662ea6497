"""fastText as the classifier: what DCLM-Baseline (Li et al. 2024, section 4.4) filters the web with.

Training needs the package fasttext-community; its sister fasttext-predict, which has the same module name, can apply
a model but not train one. With one thread and a seed, training is deterministic.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import DataError, missing_extra
from groundup.base.files import write_atomic, write_json
from groundup.stages.curate.engine.columns import Texts
from groundup.stages.curate.judging.linear import FORMAT, MODEL_FILE

KIND: Final = "fasttext"
WEIGHTS_FILE: Final = "model.bin"
EXTRA: Final = "fasttext"

_KEEP: Final = "__label__keep"
_DROP: Final = "__label__drop"


@dataclass(frozen=True)
class FastTextModel:
    """A trained model; ``module`` is the package's own object."""

    module: Any
    about: Mapping[str, Any] = field(default_factory=dict)

    def score(
        self, texts: Texts, skip: NDArray[np.bool_] | None = None, window: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(probability, the same) of each row, read as one line; NaN in rows that ``skip`` names. No windows."""
        assert window == 0, "fastText judges whole texts"
        rows = len(texts.offsets) - 1
        found = np.full(rows, np.nan)
        for row in range(rows):
            if skip is None or not skip[row]:
                content = texts.data[texts.offsets[row] : texts.offsets[row + 1]].tobytes()
                pairs = self.module.f.predict(one_line(content.decode("utf-8", "replace")) + "\n", 2, 0.0, "strict")
                # Rounding inside gives a hair more than 1 now and then.
                found[row] = min(1.0, sum(float(chance) for chance, label in pairs if label == _KEEP))
        return found, found

    def save(self, folder: Path) -> None:
        """Write ``model.json`` and ``model.bin``."""
        write_atomic(folder / WEIGHTS_FILE, lambda path: self.module.save_model(str(path)))
        write_json(folder / MODEL_FILE, {"kind": KIND, "format": FORMAT, **self.about})


def load_fasttext(folder: Path, description: Mapping[str, Any]) -> FastTextModel:
    """The model of a folder; RequestError without the package, DataError if the file is no model."""
    fasttext = _package()
    try:
        module = fasttext.load_model(str(folder / WEIGHTS_FILE))
    except (ValueError, OSError, RuntimeError):
        raise DataError(f"{folder} holds no readable fastText model; train it again") from None
    about = {key: value for key, value in description.items() if key not in ("kind", "format")}
    return FastTextModel(module, about)


def fit_fasttext(
    texts: Sequence[str],
    labels: NDArray[np.bool_],
    seed: int,
    epochs: int = 5,
    rate: float = 0.1,
    dim: int = 64,
    buckets: int = 200_000,
) -> FastTextModel:
    """Train on words and pairs of words. DCLM's settings are the package's defaults with pairs; ours have fewer buckets
    and dimensions, so that a file is 70 MB and not 900."""
    fasttext = _package()
    if not hasattr(fasttext, "train_supervised"):
        raise missing_extra("fasttext-community", EXTRA)
    handle, name = tempfile.mkstemp(suffix=".txt")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            for text, label in zip(texts, labels.tolist(), strict=True):
                file.write(f"{_KEEP if label else _DROP} {one_line(text)}\n")
        module = fasttext.train_supervised(
            input=name, wordNgrams=2, epoch=epochs, lr=rate, dim=dim, bucket=buckets, minCount=1, thread=1,
            seed=seed % (1 << 31), verbose=0,
        )  # fmt: skip
    finally:
        Path(name).unlink()
    return FastTextModel(module)


def one_line(text: str) -> str:
    """The text as fastText's files need it: on one line, and no word that reads as a label."""
    return " ".join(text.replace("__label__", "label ").split())


def _package() -> Any:
    try:
        return importlib.import_module("fasttext")
    except ImportError:
        raise missing_extra("fasttext-community", EXTRA) from None
