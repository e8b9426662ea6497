"""Reading GGUF files: any architecture of ``gguf_layout``, any tensor type that the gguf package can expand.

Weights come back as fp32 in our own order of rows, tensor by tensor, so that no second copy of the file is held.
Whatever would change the mathematics and isn't understood is refused by name, never skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from groundup.base.errors import ArtifactError, missing_extra
from groundup.model.config import ModelConfig
from groundup.model.exchange.gguf_layout import (
    ARCHITECTURES,
    FULL_LENGTH,
    Architecture,
    empty_model,
    from_adjacent,
    rows_of,
    turns,
)
from groundup.model.exchange.gguf_rope import FREQUENCY_DIVISORS, read_scaling
from groundup.model.transformer import Transformer

if TYPE_CHECKING:
    from gguf import GGUFReader
    from gguf.gguf_reader import ReaderField, ReaderTensor

# Keys below the architecture's name that change the mathematics, and the one value of each that is understood.
_ONLY: Final = {
    "attention.causal": True,
    "attention.scale": None,
    "attention.max_alibi_bias": 0.0,
    "attention.clamp_kqv": 0.0,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "logit_scale": None,
    "expert_shared_count": 0,
    "expert_weights_norm": True,
    "expert_weights_scale": 1.0,
    "nextn_predict_layers": 0,
    "leading_dense_block_count": 0,
}


def load(path: Path) -> Transformer:
    """The model of a GGUF file, weights in fp32.

    ArtifactError if the file is damaged, one of several parts, or holds what this transformer doesn't compute.
    """
    return _model(path, _open(path))


def metadata(path: Path) -> dict[str, Any]:
    """Every key of a file with its value as a plain Python one; ArtifactError if the file can't be read."""
    return _plain(_open(path))


def read(path: Path) -> tuple[Transformer, dict[str, Any]]:
    """``load`` and ``metadata`` in one pass over the file."""
    reader = _open(path)
    return _model(path, reader), _plain(reader)


def _model(path: Path, reader: GGUFReader) -> Transformer:
    try:
        known = _architecture(reader)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        config = _config(known, reader, tensors)
        model = empty_model(config)
        model.load_state_dict(_weights(known, config, model, tensors), assign=True)
    except (ValueError, KeyError, TypeError, NotImplementedError, RuntimeError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
        if isinstance(error, ValidationError):
            reason = error.errors()[0]["msg"]
        raise ArtifactError(f"{path}: {reason.splitlines()[-1].strip() if reason else error!r}") from error
    model.fill_tables()
    return model


def _plain(reader: GGUFReader) -> dict[str, Any]:
    return {name: _value(field) for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def _open(path: Path) -> GGUFReader:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise missing_extra("gguf", "train") from error
    try:
        reader = GGUFReader(path)
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged header shows itself as whatever its wrong numbers lead to
        raise ArtifactError(f"{path} is not a whole GGUF file: {error}") from error
    if "split.count" in reader.fields and reader.fields["split.count"].contents() > 1:
        raise ArtifactError(f"{path} is one part of several; join them first: llama-gguf-split --merge FIRST OUT")
    return reader


def _value(field: ReaderField) -> Any:
    value = field.contents()
    return _shortest(value) if isinstance(value, float) else value


def _shortest(value: float) -> float:
    """The decimal number that was written as fp32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _architecture(reader: GGUFReader) -> Architecture:
    name = reader.fields["general.architecture"].contents()
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture {name!r} is not supported, only {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def _config(known: Architecture, reader: GGUFReader, tensors: Mapping[str, ReaderTensor]) -> ModelConfig:
    """The shape that a file's keys and tensors describe; ValueError or KeyError for what can't be computed."""
    prefix = f"{known.name}."
    keys = {name[len(prefix) :]: _value(field) for name, field in reader.fields.items() if name.startswith(prefix)}
    for key, only in _ONLY.items():
        if keys.get(key, only) != only:
            raise ValueError(f"{prefix}{key} {keys[key]!r} is not supported")
    width, heads = keys["embedding_length"], _one(keys, "attention.head_count")
    fields: dict[str, Any] = {
        **known.fixed,
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "num_layers": keys["block_count"],
        "hidden_size": width,
        "num_heads": heads,
        "num_kv_heads": _one(keys, "attention.head_count_kv", heads),
        "head_dim": keys.get("attention.key_length", width // heads),
        "intermediate_size": _one(keys, "feed_forward_length"),
        "max_seq_len": keys.get(FULL_LENGTH, keys["context_length"]),
        "norm_eps": keys[f"attention.layer_norm_{'rms_' if known.fixed['norm'] == 'rms' else ''}epsilon"],
        "tie_embeddings": "output.weight" not in tensors or (known.name == "gpt2" and _repeated_output(tensors)),
        **_present(known, tensors),
    }
    if keys.get("expert_count", 0):
        fields |= {"num_experts": keys["expert_count"], "num_experts_per_token": keys["expert_used_count"]}
        fields["intermediate_size"] = keys.get("expert_feed_forward_length", fields["intermediate_size"])
    if "sliding_window" not in known.fixed:
        fields["sliding_window"] = keys.get("attention.sliding_window") or None
    if fields["positions"] == "learned":
        return ModelConfig(**fields)
    return _with_rotary(ModelConfig(**fields, rope_theta=keys.get("rope.freq_base", 10_000.0)), keys, tensors)


def _with_rotary(config: ModelConfig, keys: Mapping[str, Any], tensors: Mapping[str, ReaderTensor]) -> ModelConfig:
    turned = keys.get("rope.dimension_count", config.head_dim)
    if turned != config.head_dim or keys.get("attention.value_length", config.head_dim) != config.head_dim:
        raise ValueError(f"heads of {config.head_dim} must be rotary throughout, and their values as wide")
    scaling = {key.removeprefix("rope.scaling."): keys[key] for key in keys if key.startswith("rope.scaling.")}
    if "rope.scale_linear" in keys:  # the name before "rope.scaling.factor"
        scaling |= {"type": "linear", "factor": keys["rope.scale_linear"]}
    divisors = _expand(tensors[FREQUENCY_DIVISORS]) if FREQUENCY_DIVISORS in tensors else None
    return config.model_copy(update={"rope_scaling": read_scaling(scaling, divisors, config)})


def _one(keys: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A number that some files give layer by layer; ValueError if the layers differ."""
    value = keys[name] if default is None else keys.get(name, default)
    if isinstance(value, list):
        if len(set(value)) != 1:
            raise ValueError(f"{name} differs from layer to layer, which is not supported")
        value = value[0]
    return int(value)


def _present(known: Architecture, tensors: Mapping[str, ReaderTensor]) -> dict[str, bool]:
    """The switches that only show in which tensors there are."""
    places = {"qkv_bias": "attn_q.bias", "output_bias": "attn_output.bias", "mlp_bias": "ffn_up.bias"}
    found = {field: f"blk.0.{place}" in tensors for field, place in places.items() if field not in known.fixed}
    return {**found, "shared_norm": known.name == "falcon" and "blk.0.attn_norm_2.weight" not in tensors}


def _repeated_output(tensors: Mapping[str, ReaderTensor]) -> bool:
    """Whether the output projection is the embedding table written a second time, as for GPT-2."""
    one, other = tensors["output.weight"], tensors["token_embd.weight"]
    return one.tensor_type == other.tensor_type and np.array_equal(one.data, other.data)


def _weights(
    known: Architecture, config: ModelConfig, model: Transformer, tensors: Mapping[str, ReaderTensor]
) -> dict[str, Tensor]:
    left = dict(tensors)
    left.pop(FREQUENCY_DIVISORS, None)
    if config.tie_embeddings:
        left.pop("output.weight", None)
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    for outer, names in rows_of(config, known).items():
        whole = _take(outer, left, config.num_experts)
        sizes = [shapes[name][0] for name in names]
        if whole.shape != (sum(sizes), *shapes[names[0]][1:]):
            raise ValueError(f"{outer} is {tuple(whole.shape)}, not {(sum(sizes), *shapes[names[0]][1:])}")
        for name, rows in zip(names, torch.split(whole, sizes), strict=True):
            turned = from_adjacent(rows, config.head_dim) if turns(name, known) else rows
            state[name] = turned.contiguous()
    if left:
        raise ValueError(f"tensor {min(left)} has no place in a {known.name} of this shape")
    return state


def _take(name: str, left: dict[str, ReaderTensor], num_experts: int) -> Tensor:
    """Expand a tensor and strike it off; experts may lie one by one, as in the first Mixtral files."""
    if name not in left and name.endswith("_exps.weight"):
        stem = name.removesuffix("_exps.weight")
        return torch.stack([_take(f"{stem}.{expert}.weight", left, 0) for expert in range(num_experts)])
    return _expand(left.pop(name))


def _expand(tensor: ReaderTensor) -> Tensor:
    from gguf.quants import dequantize

    try:
        plain = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise ValueError(
            f"tensor {tensor.name} is of type {tensor.tensor_type.name}, which can't be expanded"
        ) from None
    return torch.from_numpy(np.array(plain, dtype=np.float32, copy=True))
