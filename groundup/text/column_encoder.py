"""Columns of text to ids: compiled where that is possible, by the library where not, with the same ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from groundup.base.errors import RequestError
from groundup.text.bpe.encoded import Encoded
from groundup.text.well_formed import well_formed

if TYPE_CHECKING:
    from groundup.text.bpe.fast import FastEncoder

_BATCH: Final = 256
"""Rows that the library encodes at a time."""
_WORTH_BUILDING: Final = 8 * 2**20
_WORTH_USING: Final = 2**16
"""Characters of a batch from which on the compiled encoder is made, or used if it is there."""


class ColumnEncoder:
    """Encodes columns with a tokenizer of the library, ``backend``, which makes no special tokens of text."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    @cached_property
    def fast(self) -> FastEncoder | None:
        """The compiled encoder; None if the tokenizer has none, or numba is not installed."""
        try:
            from groundup.text.bpe.fast import FastEncoder
        except RequestError:
            return None
        return FastEncoder.of(json.loads(self._backend.to_str()))

    def column(self, texts: Any) -> Encoded:
        """The ids of a column of strings (Array or ChunkedArray; nulls are empty)."""
        if self.fast is None:
            return self._by_library(texts)
        left_out = self.fast.leaves_out(texts)
        encoded = self.fast.encode(texts, left_out)
        if not left_out.any():
            return encoded
        return encoded.with_rows(np.nonzero(left_out)[0], self._by_library(texts.filter(pa.array(left_out))))

    def batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts, which may hold surrogates."""
        whole = [well_formed(text) for text in texts]
        size = sum(map(len, whole))
        if size >= (_WORTH_USING if "fast" in self.__dict__ else _WORTH_BUILDING) and self.fast is not None:
            return self.column(pa.array(whole, pa.large_string())).lists()
        return self._library_batch(whole)

    def _by_library(self, texts: Any) -> Encoded:
        starts = range(0, len(texts), _BATCH)
        batches = ([text or "" for text in texts[start : start + _BATCH].to_pylist()] for start in starts)
        return Encoded.of(row for batch in batches for row in self._library_batch(batch))

    def _library_batch(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]
