"""Layouts: who holds what, and which combinations make no sense."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.train.parallel.batches import at_positions, held_positions, pad_positions, recut
from groundup.train.parallel.layout import AXES, Layout, resolve
from groundup.train.settings import ParallelConfig
from groundup.train.stream import PairBatch, TokenBatch

SHAPE = ModelConfig(
    vocab_size=512, num_layers=6, hidden_size=64, num_heads=8, num_kv_heads=4, head_dim=8, intermediate_size=96,
    max_seq_len=64,
)  # fmt: skip
EXPERTS = SHAPE.model_copy(update={"num_experts": 8, "num_experts_per_token": 2})
sizes = st.integers(1, 3)
layouts = st.builds(Layout, pipeline=sizes, replicate=sizes, shard=sizes, context=sizes, expert=sizes, tensor=sizes)


@given(layouts)
def test_every_process_has_a_place_of_its_own(layout: Layout) -> None:
    places = [tuple(layout.coordinates(rank).values()) for rank in range(layout.world_size)]
    assert len(set(places)) == layout.world_size
    assert all(at < size for place in places for at, size in zip(place, layout.sizes, strict=True))
    assert places == sorted(places)  # the first axis is the slowest


@given(layouts)
def test_parts_are_shared_by_those_that_split_rows_matrices_or_layers(layout: Layout) -> None:
    counts = Counter(layout.part(rank) for rank in range(layout.world_size))
    assert sorted(counts) == list(range(layout.parts))
    assert set(counts.values()) == {layout.pipeline * layout.context * layout.tensor}


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 20))
def test_stages_hold_every_layer_once_and_the_ends_are_lightest(pipeline: int, chunks: int, more: int) -> None:
    layout = Layout(pipeline=pipeline, chunks=chunks)
    num_layers = layout.num_stages + more
    stages = [layout.layers(stage, num_layers) for stage in range(layout.num_stages)]
    assert [at for layers in stages for at in layers] == list(range(num_layers))
    lengths = [len(layers) for layers in stages]
    assert max(lengths) - min(lengths) <= 1
    assert lengths[0] == min(lengths) or lengths.count(max(lengths)) >= len(lengths) - 1
    assert sorted(stage for rank in range(pipeline) for stage in layout.stages(rank)) == list(range(layout.num_stages))


def test_what_is_left_replicates() -> None:
    layout = resolve(ParallelConfig(shard=2, tensor=2), 8, SHAPE)
    assert dict(zip(AXES, layout.sizes, strict=True)) == {
        "pipeline": 1, "replicate": 2, "shard": 2, "context": 1, "expert": 1, "tensor": 2,
    }  # fmt: skip
    assert layout.describe() == "replicate 2 × shard 2 × tensor 2"


def test_experts_are_cut_out_of_the_data_axes() -> None:
    sharded = resolve(ParallelConfig(shard=4, expert=2), 8, EXPERTS)
    assert (sharded.replicate, sharded.shard, sharded.expert, sharded.parts) == (2, 2, 2, 8)
    copied = resolve(ParallelConfig(expert=4), 8, EXPERTS)
    assert (copied.replicate, copied.shard, copied.expert, copied.parts) == (2, 1, 4, 8)


@pytest.mark.parametrize(
    ("config", "world_size", "model", "options", "reason"),
    [
        (
            {"shard": 2, "tensor": 2},
            6,
            SHAPE,
            {},
            "shard 2 × tensor 2 needs a multiple of 4 processes, but there are 6",
        ),
        ({"replicate": 2, "shard": 2}, 8, SHAPE, {}, "replicate 2 × shard 2 needs 4 processes, but there are 8"),
        ({"tensor": 8}, 8, SHAPE, {}, "tensor 8 does not divide num_kv_heads 4"),
        ({"tensor": 3}, 3, SHAPE, {}, "tensor 3 does not divide num_heads 8"),
        ({"pipeline": 8}, 8, SHAPE, {}, "8 stages, but the model only 6 layers"),
        ({"pipeline": 2, "schedule": "interleaved", "chunks": 4}, 2, SHAPE, {}, "8 stages, but the model only 6"),
        ({"schedule": "interleaved"}, 2, SHAPE, {}, "interleaved schedule needs pipeline 2"),
        ({"pipeline": 2}, 2, SHAPE, {"in_pairs": True}, "preference pairs join two"),
        ({"context": 2}, 2, SHAPE, {"in_pairs": True}, "preference pairs need the sum over whole"),
        ({"context": 3}, 3, SHAPE, {}, "max_seq_len 64 is not a multiple of 6"),
        ({"expert": 2}, 2, SHAPE, {}, "the model has no experts"),
        ({"expert": 3, "shard": 3}, 3, EXPERTS, {}, "expert 3 does not divide num_experts 8"),
        ({"expert": 4, "shard": 2}, 8, EXPERTS, {}, "expert 4 does not divide shard 2"),
        ({"expert": 4}, 2, EXPERTS, {}, "expert 4 does not divide replicate 2"),
        ({"shard": 4}, 8, SHAPE, {"rows_per_step": 6}, "splits a step into 8 parts, but it has only 6 rows"),
    ],
)
def test_senseless_layouts_are_refused_with_the_reason(
    config: dict[str, Any], world_size: int, model: ModelConfig, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RequestError) as caught:
        resolve(ParallelConfig(**config), world_size, model, **options)
    assert str(caught.value).startswith("parallel: ") and reason in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 5), st.integers(1, 4))
def test_context_pieces_cover_a_row_and_are_equally_much_work(size: int, piece: int) -> None:
    length = 2 * size * piece
    held = [held_positions(length, rank, size) for rank in range(size)]
    assert sorted(torch.cat(held).tolist()) == list(range(length))
    assert len({int((positions + 1).sum()) for positions in held}) == 1  # keys looked at under a causal mask


def batch(rows: int, length: int, start: int = 0, *, trained: bool = False) -> TokenBatch:
    ids = torch.arange(start, start + rows * length).view(rows, length)
    return TokenBatch(ids, ids + 1, torch.ones(rows, length, dtype=torch.bool) if trained else None)


def test_padding_does_not_count() -> None:
    padded = pad_positions(batch(2, 5), 4)
    assert padded.inputs.shape == (2, 8)
    assert padded.weight == 10
    assert pad_positions(batch(2, 8), 4).trained is None  # nothing to pad
    pairs = pad_positions(PairBatch(batch(2, 5, trained=True), torch.zeros(2)), 4)
    assert pairs.tokens.inputs.shape == (2, 8) and pairs.weight == 1


def test_recutting_keeps_every_target_once() -> None:
    given_batches = [batch(2, 6), batch(2, 4, 100, trained=True), batch(1, 6, 200)]
    cut = recut(given_batches, rows=2, count=4, length=6)
    assert [tuple(each.inputs.shape) for each in cut] == [(2, 6)] * 4
    assert sum(each.weight for each in cut) == sum(each.weight for each in given_batches)
    kept = [int(target) for each in cut for target in each.targets[each.trained]]
    assert kept == [int(target) for each in given_batches for target in each.targets.flatten()]


def test_positions_of_a_batch_take_all_its_fields_along() -> None:
    whole = TokenBatch(*(torch.arange(8).view(1, 8) + shift for shift in (0, 1)), documents=torch.arange(8).view(1, 8))
    here = at_positions(whole, held_positions(8, 1, 2))
    assert here.inputs.tolist() == [[2, 3, 4, 5]]
    assert here.targets.tolist() == [[3, 4, 5, 6]]
    assert here.documents is not None and here.documents.tolist() == [[2, 3, 4, 5]]
