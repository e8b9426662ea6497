"""Bits per byte on a fixed part of the held-out documents, cheap enough to measure while training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
import torch
from torch import Tensor

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.model.transformer import Transformer
from groundup.text.shards import TokenStore
from groundup.train.parallel.vocabulary import linear_cross_entropy

_ROWS = 16


@dataclass(frozen=True)
class HeldOut:
    """Whole documents cut into rows (R, T + 1) without overlap, and the bytes of their text.

    Rows start without context, so the figure is a little above what the evaluate stage measures.
    """

    rows: Tensor
    num_bytes: int

    @classmethod
    def open(cls, stores: Sequence[Artifact], seq_len: int, max_tokens: int) -> HeldOut:
        """The first held-out documents of each store, in its order, up to ``max_tokens``; always at least one."""
        parts = [_part(tokens, seq_len, max_tokens) for tokens in stores]
        return cls(torch.cat([rows for rows, _ in parts]), sum(num_bytes for _, num_bytes in parts))

    def bits_per_byte(self, model: Transformer) -> dict[str, float]:
        """``{"bits_per_byte": ...}`` of the model on these documents."""
        total = 0.0
        device = model.output_weight.device
        for rows in self.rows.to(device).split(_ROWS):  # type: ignore[no-untyped-call]
            targets = rows[:, 1:]
            kept = targets >= 0
            hidden = model(rows[:, :-1].clamp_min(0))
            total += float(linear_cross_entropy(hidden[kept], model.output_weight, targets[kept]))
        return {"bits_per_byte": total / math.log(2) / self.num_bytes}


def _part(tokens: Artifact, seq_len: int, max_tokens: int) -> tuple[Tensor, int]:
    store = TokenStore.open(tokens.path, "held_out")
    table = pq.read_table(tokens.file("documents.parquet"), columns=["split", "bytes"]).to_pylist()
    sizes = [row["bytes"] for row in table if row["split"] == "held_out"]
    if len(sizes) != store.num_documents or not sizes:
        raise DataError(
            f"the token store {tokens.record.name!r} has no held-out documents to validate on; raise held_out of the "
            "corpus"
        )
    count = max(1, int((store.offsets[1:] <= max_tokens).sum()))
    flat = torch.from_numpy(store.ids[: store.offsets[count]].astype("int64"))
    flat = torch.cat([flat[-1:], flat])  # each document follows an end-of-text token, the first one too
    missing = -(len(flat) - 1) % seq_len
    flat = torch.cat([flat, flat.new_full((missing,), -1)])
    rows = torch.cat([flat[:-1].view(-1, seq_len), flat[seq_len::seq_len, None]], dim=1)
    return rows, sum(sizes[:count])
