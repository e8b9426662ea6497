"""The processes of a layout as a box with named axes, and the groups along them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from groundup.base.errors import RequestError
from groundup.train.parallel.layout import AXES, Layout


class Mesh:
    """The axes of a layout that are longer than one, on a kind of device; collective: all processes make it together.

    Several axes can be taken as one: ``mesh.along("shard", "context")`` joins the processes that differ in these.
    Axes of length one have no groups; asking for them gives None.
    """

    def __init__(self, layout: Layout, device_type: str) -> None:
        """RequestError if torch.distributed runs another number of processes than the layout has."""
        if dist.get_world_size() != layout.world_size:
            raise RequestError(f"the layout needs {layout.world_size} processes, but {dist.get_world_size()} run")
        self.layout = layout
        self.coordinates = layout.coordinates(dist.get_rank())
        present = [(axis, size) for axis, size in zip(AXES, layout.sizes, strict=True) if size > 1]
        names = tuple(axis for axis, _ in present) or ("replicate",)
        sizes = tuple(size for _, size in present) or (1,)
        self._names = {axis for axis, _ in present}
        self._root = init_device_mesh(device_type, sizes, mesh_dim_names=names)
        self._joined: dict[tuple[str, ...], DeviceMesh] = {}

    def size(self, *axes: str) -> int:
        """Processes along the axes together."""
        size = 1
        for axis in axes:
            size *= getattr(self.layout, axis)
        return size

    def along(self, *axes: str) -> DeviceMesh | None:
        """A one-dimensional mesh along the axes taken together; None if they are all of length one."""
        present = tuple(axis for axis in AXES if axis in axes and axis in self._names)
        if not present:
            return None
        if present not in self._joined:
            joined = self._root[present]
            self._joined[present] = joined if len(present) == 1 else joined._flatten("_".join(present))
        return self._joined[present]

    def group(self, *axes: str) -> dist.ProcessGroup | None:
        """The process group along the axes taken together; None if they are all of length one."""
        mesh = self.along(*axes)
        return None if mesh is None else mesh.get_group()

    def copies_and_shards(self, copies: tuple[str, ...], shards: tuple[str, ...]) -> DeviceMesh:
        """A mesh for FSDP: (shards,), or (copies, shards) where there are several copies."""
        across, within = self.along(*copies), self.along(*shards)
        assert within is not None
        return within if across is None else DeviceMesh._concatenate([across, within])


def sum_over(mesh: Mesh, values: torch.Tensor, *axes: str) -> torch.Tensor:
    """``values`` summed over the processes along the axes, in place."""
    group = mesh.group(*axes)
    if group is not None:
        dist.all_reduce(values, group=group)
    return values
