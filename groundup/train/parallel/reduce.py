"""Gradients summed over copies of the weights, in buckets, while backward still runs.

The scheme is DDP's (Li et al. 2020, section 3.2): weights in the reverse of their order, about ``_BUCKET_BYTES`` a
bucket, a bucket sent off as soon as all its gradients are there. torch's own DistributedDataParallel is not used,
because it takes no DTensors, divides by the number of copies, and must wrap the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_BUCKET_BYTES: Final = 25 * 2**20


class GradientSum:
    """Sums the gradients of some weights over a group. ``arm`` before the last backward, ``finish`` behind it.

    Weights that got no gradient count as zero, so that all processes send the same buckets.
    """

    def __init__(self, weights: Iterable[nn.Parameter], group: dist.ProcessGroup, *, early: bool = True) -> None:
        """``early`` False sends nothing before ``finish``: for gradients that others sum first."""
        self._group, self._early = group, early
        self._buckets = _buckets([weight for weight in weights if weight.requires_grad])
        self._armed = False
        self._missing: list[int] = []
        self._sent: list[tuple[Tensor, dist.Work]] = []
        for index, bucket in enumerate(self._buckets):
            for weight in bucket:
                weight.register_post_accumulate_grad_hook(lambda _, index=index: self._arrived(index))  # type: ignore[no-untyped-call]

    def arm(self) -> None:
        """From now on every weight's next gradient is its last in this step."""
        self._armed = self._early
        self._missing = [len(bucket) for bucket in self._buckets]

    def finish(self) -> None:
        """Wait until all gradients hold the sum over the group; sends what backward left over."""
        self._armed = False
        while len(self._sent) < len(self._buckets):
            self._send()
        for bucket, (flat, work) in zip(self._buckets, self._sent, strict=True):
            work.wait()
            grads = [local_gradient(weight) for weight in bucket]
            for grad, summed in zip(grads, torch.split(flat, [grad.numel() for grad in grads]), strict=True):
                grad.copy_(summed.view_as(grad))
        self._sent.clear()

    def _arrived(self, index: int) -> None:
        if not self._armed:
            return
        self._missing[index] -= 1
        # In order only: a group's collectives must be the same on all its processes.
        while len(self._sent) < len(self._buckets) and self._missing[len(self._sent)] <= 0:
            self._send()

    @torch.no_grad()
    def _send(self) -> None:
        flat = torch.cat([local_gradient(weight).flatten() for weight in self._buckets[len(self._sent)]])
        work = dist.all_reduce(flat, group=self._group, async_op=True)
        assert work is not None
        self._sent.append((flat, work))


def local_gradient(weight: nn.Parameter) -> Tensor:
    """What this process holds of a gradient; made of zeros if there is none."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad.to_local() if isinstance(weight.grad, DTensor) else weight.grad


def _buckets(weights: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The weights from the last to the first, cut where a bucket is full or the type changes."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for weight in reversed(weights):
        bytes_here = weight.numel() * weight.element_size()
        if not buckets or size + bytes_here > _BUCKET_BYTES or weight.dtype != buckets[-1][0].dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(weight)
        size += bytes_here
    return buckets
