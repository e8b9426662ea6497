"""A logistic regression over hashed words and pairs of words: its training, its scores, and the file it lives in.

The classifier that needs nothing but numpy and numba: fastText's supervised mode without a hidden layer (Joulin et al.
2016, "Bag of Tricks for Efficient Text Classification", which finds that such linear models hold up). Trained to the
optimum of ``|w|^2 / 2 + strength * sum costs * log(1 + exp(-sign * margin))`` (the scale of LIBLINEAR's C), so there
is no learning rate and no order of rows. How texts become features: :mod:`.kernels`.

A model is a folder: ``model.json`` (what it is, what it was trained on, how good it is) and ``weights.npz``. Weights
can be kept as 8-bit whole numbers with one scale: hashed buckets name no words, and a quarter of a megabyte is enough.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import DataError
from groundup.base.files import sha256_path, write_atomic, write_json
from groundup.stages.curate.engine.columns import Bytes, Offsets, Texts
from groundup.stages.curate.judging.minimise import minimise

KIND: Final = "hashed-linear"
FORMAT: Final = 1
MODEL_FILE: Final = "model.json"
WEIGHTS_FILE: Final = "weights.npz"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how far it is, and how far it goes."""

_CHUNK: Final = 8 << 20
_TOLERANCE: Final = 1e-4
_STEPS: Final = 300


@dataclass(frozen=True)
class Features:
    """Rows as distinct buckets: row i has ``indices[bounds[i]:bounds[i + 1]]`` (int32)."""

    indices: NDArray[np.int32]
    bounds: Offsets

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def take(self, rows: NDArray[np.int64]) -> Features:
        """The features of some rows, in the order given."""
        lengths = np.diff(self.bounds)[rows]
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - self.bounds[rows], lengths)
        return Features(self.indices[places], bounds)


@dataclass(frozen=True)
class LinearModel:
    """Weights by bucket and how texts are read. ``weights``: (2 ** bits,) float32."""

    weights: NDArray[np.float32]
    bias: float
    bits: int
    pairs: bool
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else ``model.json`` says: training data, held-out figures, thresholds."""

    def score(
        self, texts: Texts, skip: NDArray[np.bool_] | None = None, window: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(mean, highest) probability of each row over windows of ``window`` tokens (0: the row whole).

        NaN in rows that ``skip`` names. Reads about 30 MB/s on one core.
        """
        from groundup.stages.curate.judging import kernels

        rows = len(texts.offsets) - 1
        means, worst = np.full(rows, np.nan), np.full(rows, np.nan)
        data, offsets = frozen(texts)
        if skip is None:
            skip = np.zeros(rows, np.bool_)
        stamps = np.zeros(1 << self.bits, np.uint32)
        kernels.score(
            data, offsets, np.array(skip, np.bool_), self.weights, self.bias, self.bits, self.pairs, window, stamps,
            means, worst,
        )  # fmt: skip
        return means, worst

    def quantized(self) -> LinearModel:
        """The model with each weight rounded to one of 255 steps: what :meth:`save` with 8 bits reads back as."""
        scale = _scale(self.weights)
        weights = (np.round(self.weights / scale) * scale).astype(np.float32)
        weights.flags.writeable = False
        return LinearModel(weights, self.bias, self.bits, self.pairs, self.about)

    def save(self, folder: Path, storage: Literal["int8", "float32"] = "float32") -> None:
        """Write ``model.json`` and ``weights.npz``; equal models give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {"weights": self.weights}
        if storage == "int8":
            scale = _scale(self.weights)
            arrays = {"weights": np.round(self.weights / scale).astype(np.int8), "scale": np.array(scale, np.float32)}
        content = packed(arrays)

        def write(path: Path) -> None:
            path.write_bytes(content)

        write_atomic(folder / WEIGHTS_FILE, write)
        head = {"kind": KIND, "format": FORMAT, "bits": self.bits, "pairs": self.pairs, "bias": self.bias}
        write_json(folder / MODEL_FILE, {**head, "storage": storage, **self.about})


def load_linear(folder: Path, description: Mapping[str, Any]) -> LinearModel:
    """The model of a folder whose ``model.json`` was read; DataError if the weights don't belong to it."""
    try:
        with np.load(io.BytesIO((folder / WEIGHTS_FILE).read_bytes()), allow_pickle=False) as stored:
            weights = stored["weights"]
            if weights.dtype == np.int8:
                weights = weights.astype(np.float32) * np.float32(stored["scale"])
        about = {key: value for key, value in description.items() if key not in ("kind", "format", "storage")}
        bits, pairs, bias = int(about.pop("bits")), bool(about.pop("pairs")), float(about.pop("bias"))
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        raise DataError(f"{folder} holds no readable model; train it again") from None
    if weights.shape != (1 << bits,) or weights.dtype != np.float32:
        raise DataError(f"{folder / WEIGHTS_FILE} does not fit {MODEL_FILE}; train the model again")
    weights.flags.writeable = False
    return LinearModel(weights, bias, bits, pairs, about)


def read_description(folder: Path) -> dict[str, Any]:
    """``model.json`` of a folder; DataError if there is none."""
    path = folder / MODEL_FILE
    try:
        description = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{folder} is no model: {MODEL_FILE} is missing or no JSON") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise DataError(f"{path} is of another format than this version reads; train the model again")
    return description


def digest(folder: Path) -> str:
    """The SHA-256 of a model's folder: an operator's asset."""
    return sha256_path(folder)


def hash_features(texts: Sequence[str], bits: int, pairs: bool) -> Features:
    """The features of texts, read in pieces so that memory stays near that of the result."""
    from groundup.stages.curate.judging import kernels

    parts: list[NDArray[np.int32]] = []
    bounds = [np.zeros(1, np.int64)]
    total = 0
    for piece in _pieces(texts):
        data, offsets = frozen(piece)
        indices = np.empty(2 * len(data) + 1, np.int32)
        part = np.zeros(len(offsets), np.int64)
        count = kernels.features(data, offsets, bits, pairs, np.zeros(1 << bits, np.uint32), indices, part)
        parts.append(indices[:count].copy())
        bounds.append(part[1:] + total)
        total += count
    return Features(np.concatenate(parts) if parts else np.zeros(0, np.int32), np.concatenate(bounds))


def fit(
    features: Features,
    labels: NDArray[np.bool_],
    bits: int,
    pairs: bool,
    strength: float,
    costs: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
) -> LinearModel:
    """The regression at its optimum. ``costs``: (rows,) what an error on a row costs, 1 if not given."""
    from groundup.stages.curate.judging import kernels

    signs = np.where(labels, 1.0, -1.0)
    scaled = strength * (np.ones(len(features)) if costs is None else costs)
    # Buckets that no row has keep weight 0: few texts then cost little, however many buckets there are.
    used, indices = np.unique(features.indices, return_inverse=True)
    indices = indices.astype(np.int32)

    def objective(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        gradient = point.copy()
        gradient[-1] = 0.0  # the bias is not held small
        value = float(gradient @ gradient) / 2
        value += kernels.loss_gradient(indices, features.bounds, signs, scaled, point, gradient)
        return value, gradient

    def told(step: int) -> None:
        if progress is not None:
            progress("fit", step, _STEPS)

    found = minimise(objective, np.zeros(len(used) + 1), _TOLERANCE, _STEPS, told)
    weights = np.zeros(1 << bits, np.float32)
    weights[used] = found[:-1]
    weights.flags.writeable = False
    return LinearModel(weights, float(found[-1]), bits, pairs)


def balanced(labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Costs that give both classes half of the weight: (rows,) float64, 1 on average."""
    positives = max(1, int(labels.sum()))
    negatives = max(1, len(labels) - int(labels.sum()))
    return np.where(labels, len(labels) / (2 * positives), len(labels) / (2 * negatives))


def packed_texts(texts: Sequence[str]) -> Texts:
    """Texts as a column's bytes and bounds; lone surrogates become question marks."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.int64)
    return Texts(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def frozen(texts: Texts) -> tuple[Bytes, Offsets]:
    """Bytes and bounds as kernels were compiled for: read-only, whoever owns them."""
    data, offsets = texts.data.view(), texts.offsets.view()
    data.flags.writeable = False
    offsets.flags.writeable = False
    return data, offsets


def _pieces(texts: Sequence[str]) -> Iterator[Texts]:
    first = size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= _CHUNK:
            yield packed_texts(texts[first : number + 1])
            first, size = number + 1, 0
    if first < len(texts):
        yield packed_texts(texts[first:])


def _scale(weights: NDArray[np.float32]) -> np.float32:
    return np.float32(max(float(np.abs(weights).max(initial=0.0)), 1e-12) / 127)


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An .npz file without times in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
