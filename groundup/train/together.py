"""What the processes of a run say to each other besides gradients: small decisions, over a gloo group of its own.

A group of its own, because collectives of two threads in one group would meet the wrong partners. Alone, everything
here is trivial and torch.distributed isn't touched.
"""

from __future__ import annotations

import datetime
from typing import Any, Final, TypeVar, cast

import torch.distributed as dist

_PATIENCE: Final = datetime.timedelta(minutes=30)
"""A checkpoint of a large model may take this long to write."""

T = TypeVar("T")


class Together:
    """A gloo group over all processes. Made by all of them in the same order; used by one thread at a time."""

    def __init__(self) -> None:
        self.alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        self.group: Any = None if self.alone else dist.new_group(backend="gloo", timeout=_PATIENCE)
        self.rank = 0 if self.alone else dist.get_rank()
        self.size = 1 if self.alone else dist.get_world_size()

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, whose word counts."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank; returns when each has handed in its own."""
        if self.alone:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.group)
        return found

    everyone = gather

    def from_main(self, value: T) -> T:
        """What the main process hands in; the others' values don't matter."""
        if self.alone:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return cast(T, box[0])

    def main_says(self, flag: bool) -> bool:
        """The main process's flag."""
        return bool(self.from_main(flag))
