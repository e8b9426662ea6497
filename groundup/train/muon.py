"""Muon (Jordan et al. 2024): momentum whose singular values are all set to one, for the matrices inside blocks.

Shapes in names: N matrices in a batch, (O, I) rows and columns of a weight, that is output and input width.

A step moves a weight by ``rate * 0.2 * sqrt(max(O, I)) * orthogonalise(nesterov momentum)``. The factor gives the move
the root mean square that AdamW's moves have (Liu et al. 2025, "Muon is scalable for LLM training", equation 4), so that
one learning rate and one weight decay mean the same under both.

The polar factor is found by matrix products alone, five steps of Newton-Schulz with the coefficients of Polar Express
(Amsel et al. 2025, algorithm 1): each step takes the odd polynomial of degree five that brings the interval in which
the singular values still lie closest to one. Jordan's fixed coefficients cost the same and leave them between 0.7 and
1.2. What is left out: the exact factor (an SVD is 20 times slower and learns no better).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Placement, Shard
from torch.distributed.tensor.placement_types import _StridedShard

Quintic = tuple[float, float, float]

_SAFETY: Final = 1.01
"""Each step first shrinks by this: rounding in bf16 pushes singular values past the end of the interval, where the
polynomials grow steeply; without it some end at 1.5 and above."""

POLAR_EXPRESS: Final[tuple[Quintic, ...]] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)
"""a, b, c of x -> a x + b x³ + c x⁵, one triple a step: table of the paper for singular values from 1e-3."""

_MATCH_ADAMW: Final = 0.2  # the root mean square of AdamW's update, as measured by Liu et al.
_BATCH_ELEMENTS: Final = 2**26  # orthogonalised at once: bounds the memory on top of the state


def orthogonalise(matrices_NOI: Tensor, dtype: torch.dtype, coefficients: Sequence[Quintic] = POLAR_EXPRESS) -> Tensor:
    """The matrices (..., O, I) with all singular values near one and their singular vectors kept, in ``dtype``.

    A matrix of zeros stays one. ``dtype`` is that of the products: bf16 is enough where it is native.
    """
    tall = matrices_NOI.size(-2) > matrices_NOI.size(-1)
    x = matrices_NOI.mT if tall else matrices_NOI
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=torch.float32)
    x = (x / (norm + 1e-20)).to(dtype).reshape(-1, x.size(-2), x.size(-1))
    for a, b, c in coefficients:
        a, b, c = a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).view_as(matrices_NOI)


def orthogonalise_flops(shape: torch.Size) -> int:
    """Floating-point operations for a matrix (O, I), or for a stack of them."""
    short, long = sorted(shape[-2:])
    count = math.prod(shape[:-2])
    return count * len(POLAR_EXPRESS) * (4 * short * short * long + 2 * short**3)


def update_scale(shape: torch.Size) -> float:
    """What an orthogonal matrix (..., O, I) is multiplied by to have AdamW's root mean square."""
    return _MATCH_ADAMW * math.sqrt(max(shape[-2:]))


@torch.no_grad()
def muon(
    weights: list[Tensor],
    gradients: list[Tensor],
    momenta: list[Tensor],
    *,
    rate: float,
    momentum: float,
    weight_decay: float,
    dtype: torch.dtype,
) -> None:
    """One step, in place, on weights (O, I) or stacks of them (experts, O, I); DTensors in any sharding.

    ``momenta`` are running means of the gradients. Decay is decoupled: ``rate * weight_decay`` of the weight.
    """
    looked_ahead = _look_ahead(gradients, momenta, momentum)
    if weight_decay:
        torch._foreach_mul_(weights, 1 - rate * weight_decay)
    for members in _alike(looked_ahead):
        moves = _orthogonalised([looked_ahead[at] for at in members], dtype)
        for at, move in zip(members, moves, strict=True):
            weights[at].add_(move, alpha=-rate * update_scale(weights[at].shape))


def _look_ahead(gradients: list[Tensor], momenta: list[Tensor], momentum: float) -> list[Tensor]:
    """Move the running means towards the gradients; Nesterov's look from there.

    Each number by itself, so shards are worked on where they lie: torch 2.11 and 2.12 know no rule for a lerp of
    DTensors.
    """
    pieces = [
        _piece(gradient.redistribute(placements=mean.placements) if isinstance(gradient, DTensor) else gradient)
        for gradient, mean in zip(gradients, cast(list[DTensor], momenta), strict=True)
    ]
    means = [_piece(mean) for mean in momenta]
    torch._foreach_lerp_(means, pieces, 1 - momentum)
    ahead = torch._foreach_lerp(pieces, means, momentum)
    return [
        DTensor.from_local(
            one, mean.device_mesh, mean.placements, run_check=False, shape=mean.shape, stride=mean.stride()
        )
        if isinstance(mean, DTensor)
        else one
        for one, mean in zip(ahead, momenta, strict=True)
    ]


def _piece(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, in place."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _alike(tensors: list[Tensor]) -> list[list[int]]:
    """Positions of tensors that can be orthogonalised in one batch: of one shape (turned or not) and one sharding."""
    groups: dict[object, list[int]] = defaultdict(list)
    for at, tensor in enumerate(tensors):
        if isinstance(tensor, DTensor):
            groups[tensor.shape, tensor.device_mesh, tensor.placements].append(at)
        else:
            groups[tensor.shape[:-2], frozenset(tensor.shape[-2:]), tensor.device].append(at)
    most = {key: max(1, _BATCH_ELEMENTS // tensors[members[0]].numel()) for key, members in groups.items()}
    return [
        members[start : start + most[key]]
        for key, members in groups.items()
        for start in range(0, len(members), most[key])
    ]


def _orthogonalised(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    first = tensors[0]
    if isinstance(first, DTensor):
        return _orthogonalised_shards(cast(list[DTensor], tensors), dtype)
    turned = [tensor.shape != first.shape for tensor in tensors]
    whole = orthogonalise(
        torch.stack([tensor.mT if turn else tensor for tensor, turn in zip(tensors, turned, strict=True)]), dtype
    )
    return [move.mT if turn else move for move, turn in zip(whole, turned, strict=True)]


def _orthogonalised_shards(tensors: list[DTensor], dtype: torch.dtype) -> list[Tensor]:
    """Matrices cut over ranks: each rank gathers and orthogonalises its share of them, then hands the shards back.

    A stack (N, ...) of matrices cut along their rows is regrouped (all-to-all) into one cut along N: whole matrices,
    a few on each rank. So the work is shared and no rank holds all of them. Stacked experts that are cut along the
    experts are whole already and stay where they are.
    """
    first = tensors[0]
    mesh, experts = first.device_mesh, first.ndim == 3
    stacked = [_behind_stack(placement) for placement in first.placements]
    whole = [Shard(1) if experts and placement == Shard(0) else Shard(0) for placement in first.placements]
    shape = torch.Size((len(tensors), *first.shape))
    stride = torch.empty(shape, device="meta").stride()
    local = torch.stack([tensor.to_local() for tensor in tensors])
    batch = DTensor.from_local(local, mesh, stacked, run_check=False, shape=shape, stride=stride)
    mine = batch.redistribute(placements=whole)
    done = DTensor.from_local(
        orthogonalise(mine.to_local(), dtype), mesh, whole, run_check=False, shape=shape, stride=stride
    )
    shards = done.redistribute(placements=stacked).to_local()
    return [
        DTensor.from_local(shard, mesh, first.placements, run_check=False, shape=first.shape, stride=first.stride())
        for shard in shards
    ]


def _behind_stack(placement: Placement) -> Placement:
    """The placement of a stack of tensors, from that of each."""
    if isinstance(placement, _StridedShard):
        return _StridedShard(placement.dim + 1, split_factor=placement.split_factor)
    return Shard(placement.dim + 1) if isinstance(placement, Shard) else placement
