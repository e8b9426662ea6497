"""Handing over to Megatron-LM: the arguments with which its ``pretrain_gpt.py`` trains the same shape on our tokens.

Source: Megatron-LM 0.19, ``megatron/training/arguments.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from groundup.base.config import Config
from groundup.base.errors import RequestError
from groundup.model.config import LinearScaling, Llama3Scaling, ModelConfig
from groundup.model.exchange.megatron import refuse_what_differs


class MegatronRun(Config):
    """Data and optimization of a Megatron-LM run, in the numbers that ``pretrain_gpt.py`` takes."""

    tokens: tuple[Path, ...] = Field(min_length=1, description="token stores: folders of train.bin and train.idx")
    weights: tuple[float, ...] = Field(description="each store's share of the rows")
    mask_documents: bool = Field(False, description="whether the documents of a row don't see each other")
    build: Literal["transformer_engine", "local"] = Field(
        "transformer_engine", description="what layers are made of, and so the names of the weights"
    )
    tokenizer: Path = Field(description="folder of tokenizer.json")
    seq_len: int = Field(gt=1, description="tokens a row")
    gpus: int = Field(gt=0, description="processes that share the rows of a step")
    micro_batch: int = Field(gt=0, description="rows a pass and process")
    global_batch: int = Field(gt=0, description="rows a step")
    steps: int = Field(gt=0, description="optimizer steps")
    warmup_steps: int = Field(ge=0, description="steps in which the rate rises from zero")
    schedule: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = Field(description="as in the recipe")
    decay_steps: int = Field(ge=0, description="steps in which warmup_stable_decay falls")
    learning_rate: float = Field(gt=0, description="peak rate of AdamW")
    final_factor: float = Field(ge=0, le=1, description="the last rate as a share of the peak")
    weight_decay: float = Field(ge=0, description="decoupled, a step, times the learning rate")
    beta1: float = Field(ge=0, lt=1, description="AdamW: decay of the gradient's running mean")
    beta2: float = Field(ge=0, lt=1, description="AdamW: decay of the squared gradient's running mean")
    gradient_clip: float = Field(gt=0, description="largest global norm of the gradient")
    seed: int = Field(ge=0, description="of Megatron's own data order and initial weights")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.global_batch % (self.gpus * self.micro_batch):
            raise ValueError("micro_batch times gpus must divide global_batch")
        if len(self.weights) != len(self.tokens):
            raise ValueError("one weight for each token store")
        return self


def shares(rows: int, most_gpus: int, most_rows: int) -> tuple[int, int]:
    """How to split a step's rows evenly: over how many GPUs, and how many rows each takes at once.

    >>> shares(4, 8, 16), shares(24, 8, 2), shares(7, 4, 4)
    ((4, 1), (8, 1), (1, 1))
    """
    gpus = _largest_divisor(rows, most_gpus)
    return gpus, _largest_divisor(rows // gpus, most_rows)


def _largest_divisor(number: int, limit: int) -> int:
    return next(each for each in range(max(1, min(number, limit)), 0, -1) if number % each == 0)


def megatron_arguments(config: ModelConfig, run: MegatronRun) -> list[str]:
    """The arguments of ``pretrain_gpt.py`` for this shape, data and optimizer, AdamW in bf16.

    Megatron draws its own order of rows from the same token stores. RequestError for what no argument can say.
    """
    refuse_what_differs(config)
    if run.mask_documents and (config.positions == "learned" or run.build == "local"):
        raise RequestError("Megatron-LM keeps documents apart only by Transformer Engine, and with rotary positions")
    return [*_shape_arguments(config), *_rotary_arguments(config), *_build_arguments(config, run), *_run_arguments(run)]


def _shape_arguments(config: ModelConfig) -> list[str]:
    arguments = _values(
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        ffn_hidden_size=config.intermediate_size,
        num_attention_heads=config.num_heads,
        kv_channels=config.head_dim,
        max_position_embeddings=config.max_seq_len,
        padded_vocab_size=config.vocab_size,
        normalization="RMSNorm" if config.norm == "rms" else "LayerNorm",
        norm_epsilon=config.norm_eps,
        attention_dropout=0.0,
        hidden_dropout=0.0,
    )
    if config.num_kv_heads != config.num_heads:
        arguments += ["--group-query-attention", *_values(num_query_groups=config.num_kv_heads)]
    if config.num_experts:
        arguments += _values(num_experts=config.num_experts, moe_router_topk=config.num_experts_per_token)
        arguments += _values(moe_ffn_hidden_size=config.intermediate_size)
    if config.sliding_window is not None:
        arguments += _values(window_size=f"({config.sliding_window - 1},0)")
    flags = {
        "--swiglu": config.gated,
        "--no-bias-gelu-fusion": config.activation == "gelu",  # the fused kernel is GELU by tanh
        "--disable-bias-linear": not config.mlp_bias,
        "--add-qkv-bias": config.qkv_bias and not config.mlp_bias,
        "--qk-layernorm": config.qk_norm,
        "--untie-embeddings-and-output-weights": not config.tie_embeddings,
    }
    return arguments + [flag for flag, wanted in flags.items() if wanted]


def _rotary_arguments(config: ModelConfig) -> list[str]:
    if config.positions == "learned":
        return _values(position_embedding_type="learned_absolute")
    if config.rope_theta != int(config.rope_theta):
        raise RequestError(f"Megatron-LM takes whole numbers as base of the frequencies, not {config.rope_theta}")
    arguments = _values(position_embedding_type="rope", rotary_base=int(config.rope_theta))
    scaling = config.rope_scaling
    if isinstance(scaling, Llama3Scaling):
        usual = (scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_max_seq_len)
        if usual != (1.0, 4.0, 8192):
            raise RequestError("Megatron-LM scales rotary frequencies only by Llama 3's own numbers (1, 4, 8192)")
        return [*arguments, "--use-rope-scaling", *_values(rope_scaling_factor=scaling.factor)]
    if isinstance(scaling, LinearScaling) and scaling.factor == int(scaling.factor):
        return [*arguments, *_values(rotary_seq_len_interpolation_factor=int(scaling.factor))]
    if scaling is not None:
        raise RequestError(f"no argument of Megatron-LM says rotary scaling of kind {scaling.kind!r} with its numbers")
    return arguments


def _build_arguments(config: ModelConfig, run: MegatronRun) -> list[str]:
    """Layers whose weights have the names that ``to_megatron`` gives them."""
    arguments = _values(transformer_impl=run.build)
    if config.num_experts and run.build == "transformer_engine":
        arguments.append("--moe-grouped-gemm")
    return arguments


def _data_arguments(run: MegatronRun) -> list[str]:
    prefixes = [str(folder / "train") for folder in run.tokens]
    blend = [word for pair in zip(run.weights, prefixes, strict=True) for word in (f"{pair[0]:.9g}", pair[1])]
    # By the store's own document lengths; --reset-attention-mask builds a mask that Transformer Engine doesn't read.
    masking = ["--dataloader-inter-document-masking"] if run.mask_documents else []
    return ["--train-data-path", *(blend if len(prefixes) > 1 else prefixes), *masking]


def _run_arguments(run: MegatronRun) -> list[str]:
    styles = {"warmup_stable_decay": "WSD"}
    arguments = _data_arguments(run) + _values(
        tokenizer_type="HuggingFaceTokenizer",
        tokenizer_model=run.tokenizer,
        seq_length=run.seq_len,
        micro_batch_size=run.micro_batch,
        global_batch_size=run.global_batch,
        train_iters=run.steps,
        lr=run.learning_rate,
        min_lr=run.learning_rate * run.final_factor,
        lr_decay_style=styles.get(run.schedule, run.schedule),
        lr_decay_iters=run.steps,
        lr_warmup_iters=run.warmup_steps,
        weight_decay=run.weight_decay,
        adam_beta1=run.beta1,
        adam_beta2=run.beta2,
        clip_grad=run.gradient_clip,
        seed=run.seed,
        eval_iters=0,
    )
    if run.schedule == "warmup_stable_decay":
        arguments += _values(lr_wsd_decay_iters=run.decay_steps, lr_wsd_decay_style="linear")
    return [*arguments, "--bf16"]


def _values(**named: object) -> list[str]:
    return [word for name, value in named.items() for word in (f"--{name.replace('_', '-')}", str(value))]
