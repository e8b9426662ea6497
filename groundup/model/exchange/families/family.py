"""What a family is: a ``config.json`` to and from a ModelConfig, and which of its tensors are which of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from groundup.model.config import ModelConfig

Json = Mapping[str, Any]
Convert = Callable[[list[Tensor]], list[Tensor]]

# Names in config.json of the activations that this transformer has; several for one function.
_ACTIVATIONS: Final = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
ACTIVATION_NAMES: Final = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_new"}


def unchanged(tensors: list[Tensor]) -> list[Tensor]:
    """The same tensors."""
    return tensors


@dataclass(frozen=True)
class Entry:
    """Some of our parameters are, together and rearranged, some of theirs; no number is lost or made up."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    inward: Convert = unchanged
    outward: Convert = unchanged


class Family(Protocol):
    """One ``model_type``. ``prefix`` is what their names start with inside a model that has an output projection."""

    @property
    def model_type(self) -> str: ...

    @property
    def architecture(self) -> str: ...

    @property
    def prefix(self) -> str: ...

    def read(self, data: Json) -> ModelConfig:
        """The mathematics that a ``config.json`` describes; ValueError, KeyError or RequestError if it isn't ours."""

    def write(self, config: ModelConfig) -> dict[str, Any]:
        """The fields of ``config.json`` that define the mathematics. What the family lacks is left out, so that
        reading back gives another configuration; ValueError where nothing sensible can be written."""

    def entry(self, name: str, config: ModelConfig) -> Entry | None:
        """The entry that begins with our parameter ``name``; None if it belongs to an entry that another begins."""


def only(data: Json, name: str, *allowed: object) -> None:
    """ValueError unless a field is absent or one of ``allowed``."""
    if data.get(name, allowed[0]) not in allowed:
        raise ValueError(f"{name} {data[name]!r} is not supported, only {' or '.join(map(repr, allowed))}")


def given(data: Json, name: str, default: Any) -> Any:
    """A field, or the default where it is absent or null."""
    value = data.get(name)
    return default if value is None else value


def activation(data: Json, name: str, default: str) -> str:
    """Our name of the activation in a field; ValueError for one that this transformer lacks."""
    value = given(data, name, default)
    if value not in _ACTIVATIONS:
        raise ValueError(f"{name} {value!r} is not supported, only {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[value]


def stack(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one shape as one, along a new first dimension."""
    return [torch.stack(list(tensors))]


def unstack(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The parts of one tensor along its first dimension."""
    (whole,) = tensors
    return list(whole.unbind())
