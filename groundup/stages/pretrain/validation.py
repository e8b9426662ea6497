"""Bits per byte on a fixed part of the held-out documents, cheap enough to measure while training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.base.seeds import unit_interval
from groundup.model.transformer import Transformer
from groundup.text.store.megatron import Ids
from groundup.text.store.store import TokenStore
from groundup.train.parallel.vocabulary import linear_cross_entropy

PART: Final = "bits_per_byte/"
"""What a source's figure is called in ``metrics.jsonl``: this and its name."""

_ROWS: Final = 16
_PARTS: Final = 12
"""Sources that are told apart, the largest first; the rest are one."""
_OTHERS: Final = "other sources"


@dataclass(frozen=True)
class Measured:
    """A held-out document: its place in the store's held-out split, its id, source and bytes of text, its ids."""

    number: int
    id: str
    source: str
    num_bytes: int
    ids: Ids


@dataclass(frozen=True)
class HeldOut:
    """Whole documents cut into rows (R, T + 1) without overlap, and the bytes of their text.

    Rows start without context, so the figure is a little above what the evaluate stage measures. With ``parts``, the
    bytes of each source by name, ``part_of`` int64 (R, T) says which of them a target belongs to, -1 for none.
    """

    rows: Tensor
    num_bytes: int
    parts: tuple[tuple[str, int], ...] = ()
    part_of: Tensor | None = None

    @classmethod
    def open(cls, stores: Sequence[Artifact], seq_len: int, max_tokens: int) -> HeldOut:
        """The first held-out documents of each store, in its order, up to ``max_tokens``; always at least one."""
        rows, num_bytes = [], 0
        for tokens in stores:
            chosen = _up_to(max_tokens, held_out_documents(tokens))
            rows.append(_rows(chosen, seq_len))
            num_bytes += sum(document.num_bytes for document in chosen)
        return cls(torch.cat(rows), num_bytes)

    @classmethod
    def by_source(cls, stores: Sequence[Artifact], seq_len: int, max_tokens: int) -> HeldOut:
        """A draw of each store's held-out documents (``drawn``), told apart by source, and by store if several."""
        chosen: list[list[tuple[str, Measured]]] = []
        sizes = Counter[str]()
        for tokens in stores:
            prefix = f"{tokens.record.name}/" if len(stores) > 1 else ""
            chosen.append([(prefix + document.source, document) for document in drawn(tokens, max_tokens)])
            for name, document in chosen[-1]:
                sizes[name] += document.num_bytes
        names = [name for name, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))]
        if len(names) > _PARTS:
            names = [*names[: _PARTS - 1], _OTHERS]
        parts = dict.fromkeys(names, 0)
        for name, size in sizes.items():
            parts[name if name in parts else _OTHERS] += size
        number = {name: at for at, name in enumerate(names)}
        rows = [_rows([document for _, document in store], seq_len) for store in chosen]
        labels = [
            _labels([(number.get(name, len(names) - 1), one) for name, one in store], seq_len) for store in chosen
        ]
        return cls(torch.cat(rows), sum(sizes.values()), tuple(parts.items()), torch.cat(labels))

    def bits_per_byte(self, model: Transformer) -> dict[str, float]:
        """``{"bits_per_byte": ...}`` of the model on these documents, and ``"bits_per_byte/SOURCE"`` of each part."""
        sums = [0.0] * max(1, len(self.parts))
        device = model.output_weight.device
        rows_of_parts = (None,) if self.part_of is None else self.part_of.to(device).split(_ROWS)  # type: ignore[no-untyped-call]
        for at, rows in enumerate(self.rows.to(device).split(_ROWS)):  # type: ignore[no-untyped-call]
            targets = rows[:, 1:]
            kept = targets >= 0
            hidden = model(rows[:, :-1].clamp_min(0))
            for part in range(len(sums)):
                mine = kept if self.part_of is None else kept & (rows_of_parts[at] == part)
                if self.part_of is None or mine.any():
                    sums[part] += float(linear_cross_entropy(hidden[mine], model.output_weight, targets[mine]))
        found = {"bits_per_byte": sum(sums) / math.log(2) / self.num_bytes}
        for (name, num_bytes), nats in zip(self.parts, sums, strict=False):
            found[PART + name] = nats / math.log(2) / num_bytes
        return found


def held_out_documents(tokens: Artifact) -> list[Measured]:
    """The held-out documents of a token store, in its order; DataError if there are none."""
    store = TokenStore.open(tokens.path, "held_out")
    rows = documents_of(tokens, "held_out", ["id", "source", "bytes"]).to_pylist()
    if len(rows) != store.num_documents or not rows:
        raise DataError(
            f"the token store {tokens.record.name!r} has no held-out documents to validate on; raise held_out of the "
            "corpus"
        )
    return [
        Measured(number, row["id"], row["source"], row["bytes"], store.document(number))
        for number, row in enumerate(rows)
    ]


def documents_of(tokens: Artifact, split: str, columns: Sequence[str]) -> pa.Table:
    """These columns of a token store's documents in a split, in its order."""
    table = pq.read_table(tokens.file("documents.parquet"), columns=["split", *columns])
    return table.filter(pc.equal(table["split"], pa.scalar(split))).select(list(columns))


def drawn(tokens: Artifact, max_tokens: int) -> list[Measured]:
    """Held-out documents of a store up to ``max_tokens``, drawn by a hash of their ids; always at least one.

    A store's own order may put one corpus after the other; a draw has something of each.
    """
    documents = held_out_documents(tokens)
    return _up_to(max_tokens, sorted(documents, key=lambda one: (unit_interval(0, "validation", one.id), one.id)))


def _up_to(max_tokens: int, documents: Sequence[Measured]) -> list[Measured]:
    ends = np.cumsum([len(document.ids) for document in documents])
    return list(documents[: max(1, int((ends <= max_tokens).sum()))])


def _rows(documents: Sequence[Measured], seq_len: int) -> Tensor:
    """Rows int64 (R, T + 1) of documents back to back, filled up with -1."""
    flat = torch.from_numpy(np.concatenate([document.ids for document in documents]).astype("int64"))
    flat = torch.cat([flat[-1:], flat])  # each document follows an end-of-text token, the first one too
    missing = -(len(flat) - 1) % seq_len
    flat = torch.cat([flat, flat.new_full((missing,), -1)])
    return torch.cat([flat[:-1].view(-1, seq_len), flat[seq_len::seq_len, None]], dim=1)


def _labels(documents: Sequence[tuple[int, Measured]], seq_len: int) -> Tensor:
    """The number that belongs to each target of ``_rows``: int64 (R, T), -1 where there is none."""
    numbers = np.repeat([number for number, _ in documents], [len(document.ids) for _, document in documents])
    flat = torch.from_numpy(numbers.astype(np.int64))
    return torch.cat([flat, flat.new_full((-len(flat) % seq_len,), -1)]).view(-1, seq_len)
