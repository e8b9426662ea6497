"""What a checkpoint holds of a placed model, by names that no layout changes, and the whole model gathered again.

Weights and the optimizer's state of a weight go by the weight's global name, as tensors that know their place in the
whole (DTensors where they are split). So torch.distributed.checkpoint can read in one layout what another wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from groundup.base.errors import ArtifactError
from groundup.model.transformer import Transformer

if TYPE_CHECKING:
    from groundup.train.parallel.mesh import Mesh
    from groundup.train.parallel.place import Placed


def export_state(weights: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, placed: Placed | None) -> Any:
    """Weights under ``model``, the optimizer's tensors under ``optimizer`` as ``name.key``: the ones in use, no copies.

    The optimizer's tensors are made, as they are before the first step, where there are none yet.
    """
    _make_state(optimizer)
    experts = placed.experts() if placed is not None else {}

    def known(name: str, value: Tensor) -> Tensor:
        split = placed is not None and name in experts and value.shape == weights[name].shape
        return _as_shard(value, placed.mesh) if split and placed is not None else value

    return {
        "model": {name: known(name, weight.detach()) for name, weight in weights.items()},
        "optimizer": {
            f"{name}.{key}": known(name, value)
            for name, weight in weights.items()
            for key, value in sorted(optimizer.state[weight].items())
        },
    }


def import_state(state: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Copy a state into the tensors of the present one; ArtifactError if they are not of the same model."""
    with torch.no_grad():
        for kind, tensors in current.items():
            given = state.get(kind, {})
            if given.keys() != tensors.keys():
                odd = sorted(given.keys() ^ tensors.keys())[0]
                raise ArtifactError(f"the checkpoint is of another {kind}: {odd!r} is only in one of them")
            for name, tensor in tensors.items():
                if given[name].shape != tensor.shape:
                    raise ArtifactError(
                        f"the checkpoint is of another {kind}: {name!r} is {tuple(given[name].shape)} there, "
                        f"{tuple(tensor.shape)} here"
                    )
                tensor.copy_(given[name])


def gather_model(placed: Placed) -> Transformer | None:
    """The plain model with all weights, on the CPU of process 0; None on the others, which all take part."""
    mesh, layout = placed.mesh, placed.layout
    whole: dict[str, Tensor] = {}
    held, experts = dict(placed.weights()), placed.experts()
    config = placed.parts[0].config
    with torch.device("meta"):
        shape = Transformer(config)
    owners = _owners(placed, [name for name, _ in shape.named_parameters()])
    for name, empty in shape.named_parameters():
        owner = owners[name]
        here = mesh.coordinates["pipeline"] == owner
        value = _gather(held[name], name in experts, mesh) if here else None
        at_front = all(place == 0 for axis, place in mesh.coordinates.items() if axis != "pipeline")
        if owner > 0 and at_front:
            value = _send_to_main(value, empty, mesh, owner, next(iter(held.values())).device)
        if dist.get_rank() == 0:
            assert value is not None
            whole[name] = value.detach().cpu()
        del value
    if layout.world_size > 1 and dist.get_rank() > 0:
        return None
    shape.load_state_dict(whole, assign=True)
    shape.fill_tables()
    return shape


def _owners(placed: Placed, names: list[str]) -> dict[str, int]:
    """Which place on the pipeline axis holds each weight; the first of two."""
    layout, config = placed.layout, placed.parts[0].config
    layers = {
        at: stage % layout.pipeline
        for stage in range(layout.num_stages)
        for at in layout.layers(stage, config.num_layers)
    }
    last = layout.pipeline - 1
    found = {}
    for name in names:
        kind, _, rest = name.partition(".")
        found[name] = layers[int(rest.split(".")[0])] if kind == "layers" else 0 if kind.startswith("embed") else last
    return found


def _gather(weight: Tensor, split_by_expert: bool, mesh: Mesh) -> Tensor:
    whole = _as_shard(weight.detach(), mesh) if split_by_expert else weight.detach()
    return whole.full_tensor() if isinstance(whole, DTensor) else whole


def _send_to_main(value: Tensor | None, like: Tensor, mesh: Mesh, owner: int, device: torch.device) -> Tensor | None:
    """From the first process of a stage to process 0, along the pipeline that both stand at the front of."""
    group = mesh.group("pipeline")
    if value is not None:
        dist.send(value.contiguous(), group=group, group_dst=0)
        return None
    if mesh.coordinates["pipeline"] != 0:
        return None
    value = torch.empty(like.shape, dtype=torch.float32, device=device)
    dist.recv(value, group=group, group_src=owner)
    return value


def _as_shard(local: Tensor, mesh: Mesh) -> DTensor:
    """This process's experts as a piece of all of them."""
    along = mesh.along("expert")
    assert along is not None
    return DTensor.from_local(local, along, [Shard(0)], run_check=False)


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer that has not stepped yet the tensors it will have: all zero, as every method starts.

    A gradient that is waiting for its step is there afterwards as before.
    """
    if any(optimizer.state[weight] for group in optimizer.param_groups for weight in group["params"]):
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    waiting = [(weight, weight.grad) for group in optimizer.param_groups for weight in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for weight, _ in waiting:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight, gradient in waiting:
        weight.grad = gradient
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for values in optimizer.state.values():
        for value in values.values():
            value.zero_()
