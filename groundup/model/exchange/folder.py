"""Tensors of a Hugging Face folder: one ``model.safetensors``, or several with an index of which holds what.

Read one at a time, so that a model never exists twice in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from groundup.base.errors import ArtifactError
from groundup.base.files import read_json, write_atomic, write_json

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_OURS: Final = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_PICKLED: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth")
_FLOATS: Final = {"F64", "F32", "F16", "BF16"}
# Tables that older versions of transformers stored among the weights.
_TABLES: Final = re.compile(r"(\.rotary_emb\.inv_freq|\.attn\.bias|\.attn\.masked_bias)$")


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor is, its shape, and its type by safetensors' name."""

    path: Path
    shape: tuple[int, ...]
    dtype: str


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every weight of a folder by its name, from the files' headers alone.

    ArtifactError if there is no file, one is missing or damaged, or one holds what is not a floating-point number.
    """
    found: dict[str, StoredTensor] = {}
    for path in _files(folder):
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    part = file.get_slice(name)
                    found[name] = StoredTensor(path, tuple(part.get_shape()), part.get_dtype())
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"{path} can't be read: {error}") from error
    found = {name: tensor for name, tensor in found.items() if not _TABLES.search(name)}
    for name, tensor in found.items():
        if tensor.dtype not in _FLOATS:
            raise ArtifactError(f"{tensor.path}: {name} is of type {tensor.dtype}; only {', '.join(sorted(_FLOATS))}")
    return found


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.exists():
        try:
            names = sorted(set(read_json(index)["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{index} is not an index of tensors: {error!r}") from error
        paths = [folder / str(name) for name in names]
        missing = [path.name for path in paths if path.parent != folder or not path.is_file()]
        if missing:
            raise ArtifactError(f"{folder} lacks {', '.join(missing)}, which {INDEX} names; fetch the folder again")
        return paths
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    pickled = [name for name in _PICKLED if (folder / name).exists()]
    if pickled:
        raise ArtifactError(
            f"{folder} holds {pickled[0]}, a format that can run code when opened; load it with transformers once "
            "and save it again, which writes safetensors"
        )
    raise ArtifactError(f"no readable model in {folder}: there is no {WEIGHTS}")


def read_tensors(stored: Sequence[tuple[str, StoredTensor]]) -> list[Tensor]:
    """The tensors named, in their stored types; they view the files, so copy what is to be kept."""
    with ExitStack() as stack:
        files = {path: stack.enter_context(safe_open(path, "pt")) for path in {tensor.path for _, tensor in stored}}
        return [files[tensor.path].get_tensor(name) for name, tensor in stored]


def write_tensors(folder: Path, parts: Sequence[tuple[int, Callable[[], dict[str, Tensor]]]], max_bytes: int) -> None:
    """Write parts, each a size in bytes and what makes its tensors, in as few files of ``max_bytes`` as keep order.

    A part that is larger than that gets a file of its own. Weights of an earlier model in the folder are removed.
    """
    shards: list[list[int]] = [[]]
    room = max_bytes
    for number, (size, _) in enumerate(parts):
        if size > room and shards[-1]:
            shards.append([])
            room = max_bytes
        shards[-1].append(number)
        room -= size
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = WEIGHTS if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {key: tensor for part in shard for key, tensor in parts[part][1]().items()}
        _write(folder / name, tensors)
        weight_map |= dict.fromkeys(tensors, name)
    kept = set(weight_map.values())
    if len(shards) > 1:
        kept.add(INDEX)
        total = sum(size for size, _ in parts)
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in kept:
            path.unlink()


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    write_atomic(path, lambda beside: save_file(tensors, beside, metadata={"format": "pt"}))
