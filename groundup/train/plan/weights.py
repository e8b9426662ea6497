"""Which weights one process of a layout holds, to the number: what the parallel code does, as arithmetic.

Tensor parallelism splits a matrix by its outputs (query, key, value, gate, up, vocabulary) or by its inputs (the
projections back). FSDP then spreads the first dimension of what is left over all processes that see other tokens, in
equal pieces of whole rows, so that the last processes may get less. Experts that are split are not spread further.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from groundup.model.config import ModelConfig
from groundup.train.parallel.layout import Layout


@dataclass(frozen=True)
class Weight:
    """A weight: ``rows`` in its first dimension of ``row`` numbers each, and which of the two tensor parallelism cuts.

    ``kind`` tells what Muon moves ("matrix") from the rest.
    """

    rows: int
    row: int
    cut: Literal["rows", "row", "nothing"] = "nothing"
    kind: Literal["matrix", "expert", "other"] = "other"


@dataclass(frozen=True)
class Held:
    """Numbers that one process holds: stored (its pieces), and whole while they are in use."""

    matrices: int
    """Stored, in matrices inside blocks, which Muon moves."""
    others: int
    """Stored, all other: tables, norms, biases, routers."""
    block: int
    """Of one block in use."""
    ends: int
    """Of embedding, last norm and output in use."""

    @property
    def stored(self) -> int:
        """All that are stored."""
        return self.matrices + self.others


def held(model: ModelConfig, layout: Layout, rank: int) -> Held:
    """What ``rank`` holds of the weights under a layout."""
    layers = sum(len(layout.layers(stage, model.num_layers)) for stage in layout.stages(rank))
    block, ends = list(block_weights(model)), list(end_weights(model, layout, rank))
    stored = [stored_numbers(weight, layout, rank) for weight in block]
    matrices = sum(size for weight, size in zip(block, stored, strict=True) if weight.kind != "other")
    return Held(
        matrices=layers * matrices,
        others=layers * (sum(stored) - matrices) + sum(stored_numbers(weight, layout, rank) for weight in ends),
        block=sum(math.prod(used_shape(weight, layout)) for weight in block),
        ends=sum(math.prod(used_shape(weight, layout)) for weight in ends),
    )


def block_weights(model: ModelConfig) -> Iterator[Weight]:
    """The weights of one block."""
    D, F = model.hidden_size, model.intermediate_size
    width, kv_width = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    for outputs in (width, kv_width, kv_width):
        yield Weight(outputs, D, "rows", "matrix")
        if model.qkv_bias:
            yield Weight(outputs, 1, "rows")
    yield Weight(D, width, "row", "matrix")
    if model.output_bias:
        yield Weight(D, 1)
    if model.num_experts:
        yield Weight(model.num_experts, D)
        for _ in range(3):
            yield Weight(model.num_experts, D * F, kind="expert")
    else:
        for _ in range(1 + model.gated):
            yield Weight(F, D, "rows", "matrix")
            if model.mlp_bias:
                yield Weight(F, 1, "rows")
        yield Weight(D, F, "row", "matrix")
        if model.mlp_bias:
            yield Weight(D, 1)
    for _ in range(1 if model.shared_norm else 2):
        yield from norm_weights(model)
    if model.qk_norm:
        yield from (Weight(model.head_dim, 1), Weight(model.head_dim, 1))


def norm_weights(model: ModelConfig) -> Iterator[Weight]:
    """Those of a norm of the residual stream."""
    yield Weight(model.hidden_size, 1)
    if model.norm == "layer":
        yield Weight(model.hidden_size, 1)


def end_weights(model: ModelConfig, layout: Layout, rank: int) -> Iterator[Weight]:
    """Those before and behind the blocks, as far as they lie on this process's stages."""
    stages = layout.stages(rank)
    first, last = 0 in stages, layout.num_stages - 1 in stages
    table = Weight(model.vocab_size, model.hidden_size, "rows")
    if first or (last and model.tie_embeddings):
        yield table
    if first and model.positions == "learned":
        yield Weight(model.max_seq_len, model.hidden_size)
    if last:
        yield from norm_weights(model)
        if not model.tie_embeddings:
            yield table


def used_shape(weight: Weight, layout: Layout) -> tuple[int, int]:
    """Rows and numbers a row of a weight as a process computes with it."""
    if weight.kind == "expert":
        return weight.rows // layout.expert, weight.row
    rows = weight.rows // layout.tensor if weight.cut == "rows" else weight.rows
    return rows, weight.row // layout.tensor if weight.cut == "row" else weight.row


def stored_numbers(weight: Weight, layout: Layout, rank: int) -> int:
    """How many numbers of a weight a process stores."""
    rows, row = used_shape(weight, layout)
    if not layout.shards_weights or (weight.kind == "expert" and layout.expert > 1):
        return rows * row
    at = layout.coordinates(rank)
    index = (at["shard"] * layout.context + at["context"]) * layout.expert + at["expert"]
    each = math.ceil(rows / (layout.shard * layout.context * layout.expert))
    return max(0, min(each, rows - index * each)) * row
