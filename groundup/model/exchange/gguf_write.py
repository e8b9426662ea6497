"""Writing GGUF files that llama.cpp and what is built on it load.

What each encoding keeps as it is follows llama.cpp's own converter and quantiser: norms, biases and routers stay in
F32; below 8 bits the output projection is Q8_0 (theirs is Q6_K), for its errors go straight into every probability;
a matrix whose rows don't divide into blocks is F16.

llama.cpp computes these architectures without a sliding window. Where there is one, ``context_length`` says the window,
up to which both compute the same; the window itself and the full length stand in keys that we read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from groundup.base.errors import RequestError, missing_extra
from groundup.base.files import write_atomic
from groundup.model.config import ModelConfig
from groundup.model.exchange.gguf_layout import FULL_LENGTH, Architecture, architecture_of, rows_of, to_adjacent, turns
from groundup.model.exchange.gguf_rope import FREQUENCY_DIVISORS, frequency_divisors, scaling_keys
from groundup.model.transformer import Transformer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

Encoding = Literal["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]
"""How matrices are stored: 32, 16, 16, 8.5, 6, 5.5, 5 and 4.5 bits a weight."""

_BELOW_8_BITS: Final = frozenset({"Q5_1", "Q5_0", "Q4_1", "Q4_0"})
_ALWAYS_F32: Final = ("ffn_gate_inp.weight", "position_embd.weight", FREQUENCY_DIVISORS)
_TOKENS: Final = "tokenizer.ggml.tokens"
_TOKEN_TYPES: Final = "tokenizer.ggml.token_type"
_UNUSED: Final = 5


def save(model: Transformer, path: Path, *, encoding: Encoding = "F32", metadata: Mapping[str, Any]) -> None:
    """Write a model. ``metadata`` holds the tokenizer's keys and whatever ``general.`` ones describe the model.

    A vocabulary shorter than the embedding table is filled up with unused tokens. F32 comes back bit by bit.
    RequestError if no architecture of GGUF computes the model, the vocabulary is larger than the table, or a weight
    is too large for F16.
    """
    try:
        import gguf
    except ImportError as error:
        raise missing_extra("gguf", "train") from error

    known = architecture_of(model.config)
    tensors = _tensors(model, known)
    types = {name: _type_of(name, tensor, encoding, model.config) for name, tensor in tensors.items()}
    keys = {**_filled_up(metadata, model.config.vocab_size), **_keys(model.config, known)}
    keys["general.file_type"] = int(gguf.LlamaFileType["ALL_F32" if encoding == "F32" else f"MOSTLY_{encoding}"])
    keys["general.quantization_version"] = gguf.GGML_QUANT_VERSION

    def write(beside: Path) -> None:
        with contextlib.closing(gguf.GGUFWriter(beside, known.name)) as writer:
            for key, value in keys.items():
                _add(writer, key, value)
            for name, tensor in tensors.items():
                shape = gguf.quants.quant_shape_to_byte_shape(tuple(tensor.shape), types[name])
                writer.add_tensor_info(name, shape, np.dtype(np.uint8), int(np.prod(shape)), types[name])
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for name, tensor in tensors.items():
                writer.write_tensor_data(_encoded(name, tensor, types[name]))

    write_atomic(path, write)


def _tensors(model: Transformer, known: Architecture) -> dict[str, Tensor]:
    """GGUF's tensors, fp32 on the CPU, in its order of rows."""
    state = {name: weight.detach().float().cpu() for name, weight in model.state_dict().items()}
    for name in state:
        if turns(name, known):
            state[name] = to_adjacent(state[name], model.config.head_dim)
    outer = {
        name: state[names[0]] if len(names) == 1 else torch.cat([state[part] for part in names])
        for name, names in rows_of(model.config, known).items()
    }
    divisors = frequency_divisors(model.config)
    return outer if divisors is None else {FREQUENCY_DIVISORS: divisors, **outer}


def _keys(config: ModelConfig, known: Architecture) -> dict[str, Any]:
    """The hyperparameters, by their full names."""
    norm = "attention.layer_norm_rms_epsilon" if config.norm == "rms" else "attention.layer_norm_epsilon"
    keys: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": min(config.max_seq_len, config.sliding_window or config.max_seq_len),
        "embedding_length": config.hidden_size,
        "block_count": config.num_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        norm: config.norm_eps,
    }
    if config.positions == "rotary":
        keys |= {"rope.dimension_count": config.head_dim, "rope.freq_base": config.rope_theta}
        keys |= {f"rope.scaling.{key}": value for key, value in scaling_keys(config).items()}
    if config.sliding_window is not None:
        keys |= {"attention.sliding_window": config.sliding_window, FULL_LENGTH: config.max_seq_len}
    if config.num_experts:
        keys |= {"expert_count": config.num_experts, "expert_used_count": config.num_experts_per_token}
        keys["expert_feed_forward_length"] = config.intermediate_size
    if known.name == "falcon":
        keys["tensor_data_layout"] = "jploski"  # queries, keys and values one after the other
    return {"general.type": "model", **{f"{known.name}.{key}": value for key, value in keys.items()}}


def _filled_up(metadata: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    keys = dict(metadata)
    if _TOKENS not in keys:
        return keys
    missing = vocab_size - len(keys[_TOKENS])
    if missing < 0:
        raise RequestError(f"the tokenizer has {len(keys[_TOKENS])} entries, the model's table {vocab_size}")
    keys[_TOKENS] = [*keys[_TOKENS], *(f"[unused{index}]" for index in range(missing))]
    keys[_TOKEN_TYPES] = [*keys[_TOKEN_TYPES], *[_UNUSED] * missing]
    return keys


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    """Add a key; counts are UINT32, other numbers FLOAT32, as llama.cpp expects them."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _type_of(name: str, tensor: Tensor, encoding: Encoding, config: ModelConfig) -> GGMLQuantizationType:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if tensor.ndim == 1 or name.endswith(_ALWAYS_F32):
        return GGMLQuantizationType.F32
    wanted = GGMLQuantizationType[encoding]
    output = "token_embd.weight" if config.tie_embeddings else "output.weight"
    if encoding in _BELOW_8_BITS and name == output:
        wanted = GGMLQuantizationType.Q8_0
    return wanted if tensor.size(-1) % GGML_QUANT_SIZES[wanted][0] == 0 else GGMLQuantizationType.F16


def _encoded(name: str, tensor: Tensor, kind: GGMLQuantizationType) -> np.ndarray[Any, Any]:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    if kind == GGMLQuantizationType.F16 and bool(tensor.abs().max() > torch.finfo(torch.float16).max):
        raise RequestError(f"{name} holds weights too large for F16; use BF16 or F32")
    return np.ascontiguousarray(quantize(tensor.numpy(), kind))
