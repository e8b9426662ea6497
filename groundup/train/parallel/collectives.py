"""The few collectives that the pieces here call themselves, under one name in every version of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch import Tensor


def _named(new: str, old: str) -> Callable[..., Any]:
    """torch renames its collectives and warns of the old names."""
    found: Callable[..., Any] = getattr(dist, new, None) or getattr(dist, old)
    return found


def all_gather(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """What all processes of the group hand in, (processes, *x.shape), by their rank in it."""
    size = dist.get_world_size(group)
    pieces = x.new_empty(size * x.size(0), *x.shape[1:])
    _named("all_gather_single", "all_gather_into_tensor")(pieces, x.contiguous(), group=group)
    return pieces.view(size, *x.shape)


def reduce_scatter(pieces: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum over the group of the piece (pieces.shape[1:]) that each process hands in for this one."""
    own = pieces.new_empty(pieces.shape[1:])
    _named("reduce_scatter_single", "reduce_scatter_tensor")(own, pieces.flatten(0, 1).contiguous(), group=group)
    return own
