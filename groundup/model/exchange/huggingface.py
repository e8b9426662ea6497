"""Hugging Face folders: ``config.json``, ``generation_config.json`` and safetensors, of every family that we compute.

A model doesn't remember where it came from: it is saved as the most common family that computes exactly its
configuration, so what was loaded as Mistral without a window leaves as Llama, with equal logits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from groundup.base.errors import ArtifactError, RequestError
from groundup.base.files import read_json, write_json
from groundup.model.config import ModelConfig
from groundup.model.exchange.families.family import Entry, Family
from groundup.model.exchange.families.registry import family_named, family_of
from groundup.model.exchange.folder import WEIGHTS, StoredTensor, read_tensors, stored_tensors, write_tensors
from groundup.model.transformer import Transformer

__all__ = ["WEIGHTS", "load", "load_config", "load_weights", "save"]

MAX_SHARD_BYTES: Final = 5 * 10**9
_OUTPUT: Final = "lm_head.weight"


def save(
    model: Transformer,
    folder: Path,
    *,
    bos_id: int,
    pad_id: int,
    stop_ids: Iterable[int],
    dtype: torch.dtype = torch.float32,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write the model, weights in ``dtype``, in several files where one would exceed ``max_shard_bytes``.

    ``stop_ids`` end a generation. RequestError if no family computes what this model computes.
    """
    family, fields = family_of(model.config)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    parts = [
        (
            sum(weights[name].numel() for name in entry.ours) * dtype.itemsize,
            partial(_outer_tensors, entry, weights, dtype),
        )
        for entry in _entries(family, model.config, weights)
    ]
    write_tensors(folder, parts, max_shard_bytes)
    ids = {"bos_token_id": bos_id, "eos_token_id": sorted(stop_ids), "pad_token_id": pad_id}
    kind = {"architectures": [family.architecture], "model_type": family.model_type}
    fixed = {"initializer_range": 0.02, "torch_dtype": str(dtype).removeprefix("torch."), "use_cache": True}
    write_json(folder / "config.json", {**kind, **fields, **fixed, **ids})
    write_json(folder / "generation_config.json", {**ids, "do_sample": True, "temperature": 0.8, "top_p": 0.95})


def load(folder: Path) -> Transformer:
    """Read a model, weights in fp32.

    ArtifactError if the folder holds none, one that this transformer doesn't compute, or other tensors than its
    configuration asks for.
    """
    config = load_config(folder)
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict(dict(load_weights(folder)), assign=True)
    model.fill_tables()
    return model


def load_config(folder: Path) -> ModelConfig:
    """The mathematics of the model in a folder; ArtifactError as ``load``."""
    return _read_config(folder)[1]


def load_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Our parameters one by one by name, fp32, in memory of their own; ArtifactError as ``load``.

    All names and shapes are checked before the first is read.
    """
    family, config = _read_config(folder)
    with torch.device("meta"):
        wanted = {name: weight.detach() for name, weight in Transformer(config).named_parameters()}
    entries = list(_entries(family, config, wanted))
    stored = _named_as(family, stored_tensors(folder))
    _check(folder, config, entries, wanted, stored)
    for entry in entries:
        for name, tensor in zip(entry.ours, entry.inward(read_tensors(_find(entry, stored))), strict=True):
            yield name, torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)


def _read_config(folder: Path) -> tuple[Family, ModelConfig]:
    try:
        data = read_json(folder / "config.json")
        if not isinstance(data, dict):
            raise ValueError("config.json holds no object")
        if data.get("quantization_config"):
            raise ValueError("quantization_config is not supported; take the model before it was quantised")
        family = family_named(data.get("model_type"))
        return family, family.read(data)
    except KeyError as error:
        raise ArtifactError(f"no readable model in {folder}: config.json has no {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, RequestError) as error:
        raise ArtifactError(f"no readable model in {folder}: {error}") from error


def _entries(family: Family, config: ModelConfig, names: Iterable[str]) -> Iterator[Entry]:
    for name in names:
        entry = family.entry(name, config)
        if entry is not None:
            yield entry


def _outer_tensors(entry: Entry, weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of one entry under their outer names."""
    tensors = entry.outward([weights[name] for name in entry.ours])
    return {name: tensor.to(dtype).contiguous() for name, tensor in zip(entry.theirs, tensors, strict=True)}


Stored = dict[str, tuple[str, StoredTensor]]
"""By the name that a whole model would give it: a tensor's real name, and where it is."""


def _named_as(family: Family, stored: dict[str, StoredTensor]) -> Stored:
    """Folders of a bare model, such as the first GPT-2, lack the prefix."""
    bare = not any(name.startswith(family.prefix) for name in stored)
    prefix = family.prefix if bare else ""
    return {name if name == _OUTPUT else prefix + name: (name, tensor) for name, tensor in stored.items()}


def _find(entry: Entry, stored: Stored) -> list[tuple[str, StoredTensor]]:
    return [stored[name] for name in entry.theirs]


def _check(folder: Path, config: ModelConfig, entries: list[Entry], wanted: dict[str, Tensor], stored: Stored) -> None:
    """ArtifactError unless the folder holds exactly the tensors wanted; a tied output may be there as well."""
    shapes: dict[str, tuple[int, ...]] = {}
    for entry in entries:
        tensors = entry.outward([wanted[name] for name in entry.ours])
        shapes |= {name: tuple(tensor.shape) for name, tensor in zip(entry.theirs, tensors, strict=True)}
    if config.tie_embeddings and _OUTPUT in stored:
        table = next(entry for entry in entries if entry.ours == ("embed_tokens.weight",))
        output, embedding = read_tensors([stored[_OUTPUT], stored.get(table.theirs[0], stored[_OUTPUT])])
        if not torch.equal(output, embedding):
            raise ArtifactError(f"{folder}: {_OUTPUT} is not the embedding, though config.json ties the two")
        shapes[_OUTPUT] = tuple(output.shape)
    problems = [
        _listing("missing", [name for name in shapes if name not in stored]),
        _listing("unexpected", [name for name in stored if name not in shapes]),
        *(
            f"{name} has shape {tuple(stored[name][1].shape)} and not {shape}"
            for name, shape in shapes.items()
            if name in stored and stored[name][1].shape != shape
        ),
    ]
    for problem in problems:
        if problem:
            raise ArtifactError(f"the weights in {folder} don't fit its config.json: {problem}")


def _listing(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3])}{more}" if names else ""
