"""The held-out documents of a corpus, and how many bits a model or a compressor needs for each of them.

Bits per byte = -sum log2 p(token) / UTF-8 bytes of the text. Unlike a loss per token it does not depend on the
tokenizer, so that models, compressors and counts share one scale (Gao et al. 2020, The Pile, section 3.1).
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from groundup.base.errors import DataError
from groundup.infer.engine import Engine
from groundup.stages.evaluate.ngram import NgramModel
from groundup.stages.evaluate.windows import windows
from groundup.text.document import read_rows, tables
from groundup.text.special import language_token
from groundup.text.tokenizer import Tokenizer

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Documents kept from training, in the corpus's order: their source names, texts and languages."""

    sources: tuple[str, ...]
    texts: tuple[str, ...]
    languages: tuple[str, ...]

    @property
    def bytes(self) -> Floats:
        """The UTF-8 length of each text, float64 (documents,)."""
        return np.asarray([len(text.encode()) for text in self.texts], dtype=np.float64)

    def of_source(self, source: str) -> npt.NDArray[np.bool_]:
        """Which documents come from a source, bool (documents,)."""
        return np.asarray([own == source for own in self.sources])


def read_held_out(corpus: Path) -> HeldOut:
    """The documents of a corpus (the folder of its artifact) with split ``held_out``; DataError if there is none."""
    rows = (
        row for path in tables(corpus, "corpus") for row in read_rows(path, ["source", "text", "language", "split"])
    )
    kept = [row for row in rows if row["split"] == "held_out" and row["text"]]
    if not kept:
        raise DataError("the corpus has no held-out documents to predict; raise 'held_out' of its curate stage")
    return HeldOut(*(tuple(row[name] for row in kept) for name in ("source", "text", "language")))


def encode(held_out: HeldOut, tokenizer: Tokenizer, *, language_tokens: bool = False) -> list[list[int]]:
    """The ids of each document, closed by the end-of-text id: predicting where a text ends is part of the work.

    With ``language_tokens`` the token of its language, if there is one, comes first, as in a token store that was made
    so; it is predicted too.
    """
    encoded = [[*ids, tokenizer.eos_id] for ids in tokenizer.encode_batch(held_out.texts)]
    if not language_tokens:
        return encoded
    known = tokenizer.special_tokens
    leads = [known.get(language_token(name)) for name in held_out.languages]
    return [ids if lead is None else [lead, *ids] for lead, ids in zip(leads, encoded, strict=True)]


def model_bits(
    engine: Engine, documents: Sequence[Sequence[int]], report: Callable[[int, int], None] | None = None
) -> Floats:
    """Bits that a model needs for each document, float64 (documents,).

    Each document starts after the end-of-text id. A long one is read in windows that overlap by half, so that
    every token but the first ones has at least half a window of context.
    """
    size = engine.max_seq_len
    eos_id = engine.tokenizer.eos_id
    cut = [(index, w) for index, ids in enumerate(documents) for w in windows(ids, eos_id, size, max(1, size // 2))]
    scores = engine.score([window for _, window in cut], report)
    nats = np.bincount(
        [index for index, _ in cut], weights=[score.log_prob for score in scores], minlength=len(documents)
    )
    return np.asarray(-nats / math.log(2), dtype=np.float64)


def ngram_bits(model: NgramModel, documents: Sequence[Sequence[int]]) -> Floats:
    """Bits that an n-gram model needs for each document, float64 (documents,)."""
    starts = np.cumsum([0, *(len(ids) for ids in documents[:-1])])
    log_probs = model.log_probs(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in documents]))
    return np.asarray(-np.add.reduceat(log_probs, starts) / math.log(2), dtype=np.float64)


def xz_bits(held_out: HeldOut) -> float:
    """Bits of all documents in one stream of ``xz -9e``, a NUL between each two: it may learn from one for the next."""
    stream = "\0".join(held_out.texts).encode()
    return 8.0 * len(lzma.compress(stream, preset=9 | lzma.PRESET_EXTREME))
