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

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.stages.pretrain.validation import Measured, drawn
from groundup.text.shards import Ids
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
    shares, different = defaultdict[str, float](float), 0
    ids, texts = {one.id for one in measured}, {_text(one.ids) for one in measured}
    lengths = {len(one.ids) for one in measured}
    pages, copies = set[str](), set[bytes]()
    seen, total = set[str](), sum(steps.rows_read())
    for artifact, source, rows in zip(stores, steps.sources, steps.rows_read(), strict=True):
        table = _training_documents(artifact)
        sizes = (table["end"].to_numpy() - table["start"].to_numpy()).tolist()
        names, of = ([str(value) for value in table[column].to_pylist()] for column in ("id", "source"))
        whole = sum(sizes)
        for number, (one, name, size) in enumerate(zip(names, of, sizes, strict=True)):
            shares[name] += rows / total * size / whole
            if one not in seen:  # a mixture has a document as often as it is read in an epoch
                seen.add(one)
                different += size
                if one in ids:
                    pages.add(one)
                elif size in lengths and (text := _text(source.store.document(number))) in texts:
                    copies.add(text)
    return Reads(
        tokens=total * steps.seq_len,
        different=different,
        shares=dict(sorted(shares.items())),
        same_page=len(pages),
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


def _training_documents(artifact: Artifact) -> pa.Table:
    table = pq.read_table(artifact.file("documents.parquet"), columns=["id", "source", "split", "start", "end"])
    return table.filter(pc.equal(table["split"], pa.scalar("train")))


def _text(ids: Ids) -> bytes:
    return blake2b(ids.astype("int32").tobytes(), digest_size=16).digest()
