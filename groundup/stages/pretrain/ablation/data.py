"""What a variant reads, and whether it reads what is to be predicted.

A held-out document that stands in a variant's training text would flatter that variant. Two kinds are found: the same
page (its id is a hash of source, place and content, whatever curation made of it), and another page with the very same
tokens. A page that is only nearly the same, such as keeping near duplicates lets through, is not found here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from groundup.artifact.stage import Artifact
from groundup.stages.pretrain.validation import Measured, documents_of, drawn
from groundup.text.store.megatron import Ids
from groundup.train.stream import PackedSteps


@dataclass(frozen=True)
class Reads:
    """What every run of a variant reads: tokens over all, and how many of them there are without any read again.

    ``passes`` says how often the documents are read on average. ``shares`` are those of the sources, by tokens. Of the
    ``predicted`` documents, ``same_page`` are trained on, and ``same_text`` are trained on under another id.
    """

    tokens: int
    different: int
    shares: dict[str, float]
    same_page: int
    same_text: int

    @property
    def passes(self) -> float:
        """How often a document is read; below 1 where some are never reached."""
        return self.tokens / self.different


def reads(steps: PackedSteps, stores: Sequence[Artifact], measured: Sequence[Measured]) -> Reads:
    """Look through a variant's token stores; ``steps`` are those of one of its runs."""
    lengths, texts = [len(one.ids) for one in measured], {_text(one.ids) for one in measured}
    shares, tables, copies = defaultdict[str, float](float), [], set[bytes]()
    total = sum(steps.rows_read())
    for artifact, source, rows in zip(stores, steps.sources, steps.rows_read(), strict=True):
        table = documents_of(artifact, "train", ["id", "source", "start", "end"])
        table = table.append_column("size", pc.subtract(table["end"], table["start"]))
        tables.append(table.select(["id", "size"]))
        whole = pc.sum(table["size"]).as_py()
        for one in table.group_by("source").aggregate([("size", "sum")]).to_pylist():
            shares[str(one["source"])] += rows / total * one["size_sum"] / whole
        like = np.isin(table["size"].to_numpy(), lengths) & ~_in(table["id"], measured).to_numpy()
        found = (_text(source.store.document(number)) for number in np.flatnonzero(like).tolist())
        copies |= {text for text in found if text in texts}
    # A mixture has a document as often as it is read in an epoch.
    once = pa.concat_tables(tables).group_by("id", use_threads=False).aggregate([("size", "first")])
    return Reads(
        tokens=total * steps.seq_len,
        different=pc.sum(once["size_first"]).as_py(),
        shares=dict(sorted(shares.items())),
        same_page=pc.sum(_in(once["id"], measured), min_count=0).as_py(),
        same_text=len(copies),
    )


def predicted(stores: Sequence[Artifact], max_tokens: int) -> list[Measured]:
    """The documents that all variants predict; DataError if a store has none."""
    return [document for store in stores for document in drawn(store, max_tokens)]


def distance(one: Reads, other: Reads) -> float:
    """How far two mixtures of sources are apart: the share that would have to change sides, from 0 to 1.

    >>> a, b = (Reads(1, 1, {"web": web, "books": 1 - web}, 0, 0) for web in (0.75, 0.5))
    >>> distance(a, b)
    0.25
    """
    names = {*one.shares, *other.shares}
    return sum(abs(one.shares.get(name, 0.0) - other.shares.get(name, 0.0)) for name in names) / 2


def _in(ids: Any, measured: Sequence[Measured]) -> Any:
    """Which of an Arrow column of ids are those of documents to predict."""
    return pc.is_in(ids, pa.array([one.id for one in measured], ids.type))


def _text(ids: Ids) -> bytes:
    return blake2b(ids.astype("int32").tobytes(), digest_size=16).digest()
