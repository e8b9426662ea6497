"""Muon on matrices that are cut over four processes moves them as one process does, whatever the cut."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

from groundup.train.muon import muon

RANKS = 4
SECONDS = 100
ROWS, COLUMNS, COPY = Shard(0), Shard(1), Replicate()
FSDP_OF_TENSOR_PARALLEL = _StridedShard(0, split_factor=2)
CUTS: dict[str, tuple[tuple[int, ...], list[Placement]]] = {
    "rows": ((4,), [ROWS]),
    "columns": ((4,), [COLUMNS]),
    "copies": ((4,), [COPY]),
    "copies of rows": ((2, 2), [COPY, ROWS]),
    "rows and columns": ((2, 2), [ROWS, COLUMNS]),
    "rows of rows": ((2, 2), [FSDP_OF_TENSOR_PARALLEL, ROWS]),
    "columns, copies": ((2, 2), [COLUMNS, COPY]),
}
SHAPES: list[list[tuple[int, ...]]] = [
    [(16, 8)] * 3 + [(8, 16)] * 2,
    [(18, 7)] * 5 + [(10, 10)],  # neither rows, columns nor matrices divide by the ranks
    [(6, 16, 8)] * 3,
    [(6, 7, 5)] * 2,
    [(3, 5)],  # some ranks hold nothing
]


def test_every_cut_gives_the_same_weights(tmp_path: Path) -> None:
    context = mp.spawn(_work, (str(tmp_path / "store"),), nprocs=RANKS, join=False)
    start = time.monotonic()
    try:
        while not context.join(timeout=1):
            assert time.monotonic() - start < SECONDS, "the processes hang"
    finally:
        for process in context.processes:
            process.kill()


def _work(rank: int, store: str) -> None:
    torch.set_num_threads(1)
    timeout = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS, timeout=timeout)
    for name, (mesh_shape, placements) in CUTS.items():
        mesh = init_device_mesh("cpu", mesh_shape)

        def cut(tensors: list[Tensor], mesh=mesh, placements=placements) -> list[Tensor]:  # type: ignore[no-untyped-def]
            copies = [DTensor.from_local(each, mesh, [COPY] * mesh.ndim, run_check=False) for each in tensors]
            return [copy.redistribute(placements=placements) for copy in copies]

        for shapes in SHAPES:
            generator = torch.Generator().manual_seed(0)
            whole = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(3)]
            parts = [cut([tensor.clone() for tensor in tensors]) for tensors in whole]
            before = [tensor.clone() for tensor in whole[0]]
            for tensors in (whole, parts):
                muon(*tensors, rate=0.1, momentum=0.9, weight_decay=0.1, dtype=torch.float32)
            for want, got, first in zip(whole[0], parts[0], before, strict=True):
                assert isinstance(got, DTensor)
                assert tuple(got.placements) == tuple(placements), (name, got.placements)
                error = (got.full_tensor() - want).abs().max().item()
                assert error < 1e-5, (name, shapes[0], error)
                assert (want - first).abs().max() > 1e-2
    dist.destroy_process_group()
