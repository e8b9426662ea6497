"""Run by Megatron's interpreter: builds a GPTModel from launch arguments, loads weights, answers with logits.

Usage: ``peer_megatron.py FOLDER``, where FOLDER holds ``request.pt`` (arguments, weights, ids, grad) and gets
``answer.pt``. The wheel is made for GPUs and Python 3.12; on a CPU and on 3.11 three things must be stood in for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch


def prepare() -> None:
    import typing

    import typing_extensions

    warnings.filterwarnings("ignore")
    typing.override = typing_extensions.override  # Python 3.12
    torch.cuda.current_device = lambda: "cpu"  # where Megatron puts its rotary table
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    from megatron.core import parallel_state, tensor_parallel

    parallel_state.initialize_model_parallel(1, 1)
    tensor_parallel.get_cuda_rng_tracker().fork = lambda *_: contextlib.nullcontext()  # only for dropout


def build(arguments: list[str]) -> torch.nn.Module:
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.training.argument_utils import core_transformer_config_from_args
    from megatron.training.arguments import parse_args

    fusions = ["--no-gradient-accumulation-fusion", "--no-rope-fusion", "--no-masked-softmax-fusion"]
    extra = ["--transformer-impl", "local", "--use-cpu-initialization", "--no-persist-layer-norm", *fusions]
    sys.argv = ["pretrain_gpt.py", *arguments, *extra]
    args = parse_args()
    args.params_dtype = torch.float32
    args.bf16 = False
    config = core_transformer_config_from_args(args)
    spec = get_gpt_layer_local_spec(
        num_experts=args.num_experts, qk_layernorm=args.qk_layernorm, normalization=args.normalization
    )
    return GPTModel(
        config,
        spec,
        vocab_size=args.padded_vocab_size,
        max_sequence_length=args.max_position_embeddings,
        share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights,
        position_embedding_type=args.position_embedding_type,
        rotary_base=args.rotary_base,
        rope_scaling=args.use_rope_scaling,
        rope_scaling_factor=args.rope_scaling_factor,
        seq_len_interpolation_factor=args.rotary_seq_len_interpolation_factor,
    )


def main(folder: Path) -> None:
    request: list[dict[str, Any]] = torch.load(folder / "request.pt", weights_only=True)
    prepare()
    answers = []
    for each in request:
        model = build(each["arguments"])
        found = model.load_state_dict(each["weights"], strict=False)
        wrong = [*found.unexpected_keys, *(key for key in found.missing_keys if "_extra_state" not in key)]
        ids = each["ids"]
        B, T = ids.shape
        mask = torch.ones(T, T, dtype=torch.bool).triu(1)[None, None]
        logits = model(ids, torch.arange(T).expand(B, -1), mask)
        weights = {key: value for key, value in model.state_dict().items() if "_extra_state" not in key}
        answers.append({"wrong": wrong, "logits": logits.detach(), "weights": weights})
    torch.save(answers, folder / "answer.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
