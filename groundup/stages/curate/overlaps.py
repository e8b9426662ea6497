"""Which benchmark items a text shares runs of words with: the tag that decontamination decides on at the end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from groundup.base.files import sha256_json
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Spec, with_column
from groundup.stages.curate.passes.finish import write_hits
from groundup.text.overlap import OverlapIndex

if TYPE_CHECKING:
    from groundup.stages.curate.overlap_kernels import Sieve

Item = tuple[str, str, str]
"""(benchmark, item id, text)."""


@dataclass(frozen=True)
class Overlaps:
    """Tags a text with its hits (``hits``, JSON, null without any); see :mod:`groundup.text.overlap`."""

    items: tuple[Item, ...]

    @cached_property
    def spec(self) -> Spec:
        """What defines the result."""
        return Spec(
            "overlaps", 1, "tag", ("text",), ("hits",), {"items": sha256_json([list(one) for one in self.items])}
        )

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with ``hits``."""
        index, sieve = self._indexes
        look = sieve.may_share(texts(batch))
        column = batch.column("text")
        found: list[str | None] = [None] * batch.num_rows
        for row in np.flatnonzero(look).tolist():
            found[row] = write_hits(index.find(column[row].as_py() or ""))
        return with_column(batch, "hits", pa.array(found, pa.string()))

    @cached_property
    def _indexes(self) -> tuple[OverlapIndex, Sieve]:
        from groundup.stages.curate.overlap_kernels import Sieve

        index = OverlapIndex.build(self.items)
        batch = pa.RecordBatch.from_pydict({"text": pa.array(index.texts, pa.large_string())})
        return index, Sieve(texts(batch))

    def __getstate__(self) -> dict[str, object]:
        """Without the index, which every process builds for itself."""
        return {"items": self.items}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
