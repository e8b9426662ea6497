"""Ways out: a model handed to another program in the form that it reads.

``huggingface``, ``gguf`` and ``megatron``. A pretrained artifact is handed to Megatron-LM with the arguments that go
on with its recipe there: same shape, same tokens, same schedule.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import torch

from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import RequestError
from groundup.base.files import write_atomic, write_text
from groundup.infer.engine import Engine
from groundup.model.config import ModelConfig
from groundup.model.exchange import gguf_write, huggingface
from groundup.model.exchange.megatron import to_megatron
from groundup.model.exchange.megatron_launch import MegatronRun, megatron_arguments, shares
from groundup.stages.pretrain.config import PretrainConfig
from groundup.text import gguf_vocabulary
from groundup.text.store.store import TokenStore
from groundup.train.schedule import warmup_steps
from groundup.train.settings import OptimizerConfig

Target = Literal["huggingface", "gguf", "megatron"]
Encoding = Literal["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]
TYPES: Final = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_GPUS: Final = 8
"""Processes of a launch, if a step's rows divide by them: a usual node."""

_LAUNCH: Final = """\
#!/bin/sh
# Goes on with {name} in Megatron-LM: run from its folder. A step has {rows} rows: GPUS times --micro-batch-size must
# divide them; what is added to the command line counts last.
# Megatron draws its own order of rows from the same tokens. The weights in gptmodel.pt are whole: load them with
# GPTModel.load_state_dict(torch.load("gptmodel.pt"), strict=False) before the model is split.
exec torchrun --nproc-per-node "${{GPUS:-{gpus}}}" pretrain_gpt.py \\
  {arguments} \\
  "$@"
"""


def hand_over(
    engine: Engine, out: Path, target: Target, encoding: Encoding, artifact: Artifact | None, store: Store
) -> list[Path]:
    """Write ``engine``'s model to ``out``, a file for gguf and a folder otherwise; the paths written.

    ``artifact`` is where the model came from, if from the store. RequestError if the target can't hold the model or
    something is in the way.
    """
    if out.exists() and (target == "gguf" or out.is_file() or any(out.iterdir())):
        raise RequestError(f"{out} is already there; name a new path")
    writers: dict[Target, Callable[[], list[Path]]] = {
        "huggingface": lambda: _huggingface(engine, out, encoding),
        "gguf": lambda: _gguf(engine, out, encoding, artifact),
        "megatron": lambda: _megatron(engine, out, encoding, artifact, store),
    }
    return writers[target]()


def _huggingface(engine: Engine, out: Path, encoding: Encoding) -> list[Path]:
    tokenizer = engine.tokenizer
    huggingface.save(
        engine.model,
        out,
        bos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        stop_ids=tokenizer.stop_ids,
        dtype=_type(encoding, "a Hugging Face folder"),
    )
    tokenizer.save(out, engine.model.config.max_seq_len)
    return sorted(out.iterdir())


def _gguf(engine: Engine, out: Path, encoding: Encoding, artifact: Artifact | None) -> list[Path]:
    metadata: dict[str, Any] = gguf_vocabulary.to_metadata(engine.tokenizer)
    if artifact is not None:
        metadata["general.name"] = artifact.record.name
        metadata["general.license"] = " AND ".join(artifact.record.terms.licences)
    gguf_write.save(engine.model, out, encoding=encoding, metadata=metadata)
    return [out]


def _megatron(engine: Engine, out: Path, encoding: Encoding, artifact: Artifact | None, store: Store) -> list[Path]:
    """Everything that may be refused comes before the first file."""
    dtype = _type(encoding, "a Megatron checkpoint")
    state = to_megatron(engine.model, transformer_engine=True)
    weights = {name: weight.detach().to(dtype).clone() for name, weight in state.items()}
    launch = None
    if artifact is not None and artifact.record.stage == "pretrain":
        launch = _launch(artifact.record, engine.model.config, out / "tokenizer", store)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "gptmodel.pt", lambda beside: torch.save(weights, beside))
    engine.tokenizer.save(out / "tokenizer", engine.model.config.max_seq_len)
    written = [out / "gptmodel.pt", out / "tokenizer"]
    if launch is not None:
        write_text(out / "launch.sh", launch)
        written.append(out / "launch.sh")
    return written


def _launch(record: Record, shape: ModelConfig, tokenizer: Path, store: Store) -> str:
    run = _run(record, shape, tokenizer, store)
    words = [shlex.quote(word) for word in megatron_arguments(shape, run)]
    lines = " \\\n  ".join(" ".join(group) for group in _by_flag(words))
    return _LAUNCH.format(name=record.name, rows=run.global_batch, gpus=run.gpus, arguments=lines)


def _run(record: Record, shape: ModelConfig, tokenizer: Path, store: Store) -> MegatronRun:
    """A pretrained artifact's run, in Megatron's numbers."""
    folders = tuple(store.open(link.digest, verify=False).path.resolve() for link in record.inputs["tokens"])
    config, metrics = _in_adamw(record), record.metrics
    optimizer, rows = config.optimizer_for(shape), metrics["step_tokens"] // shape.max_seq_len
    assert optimizer.weight_decay is not None
    gpus, micro_batch = shares(rows, _GPUS, config.micro_batch_tokens // shape.max_seq_len)
    return MegatronRun(
        tokens=folders,
        weights=config.weights or tuple(float(TokenStore.open(folder).num_tokens) for folder in folders),
        mask_documents=config.mask_documents,
        tokenizer=tokenizer.resolve(),
        seq_len=shape.max_seq_len,
        gpus=gpus,
        micro_batch=micro_batch,
        global_batch=rows,
        steps=metrics["steps"],
        warmup_steps=warmup_steps(metrics["steps"], optimizer),
        schedule=optimizer.schedule,
        decay_steps=round(optimizer.decay * metrics["steps"]),
        learning_rate=config.rates_for(shape).matrices,
        final_factor=optimizer.final_factor,
        weight_decay=optimizer.weight_decay,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        gradient_clip=optimizer.gradient_clip,
        seed=config.seed,
    )


def _in_adamw(record: Record) -> PretrainConfig:
    """The recipe of a pretrained artifact with AdamW, whose rates are others than Muon's."""
    fields = dict(record.config)
    optimizer = OptimizerConfig.parse(fields["optimizer"], "optimizer")
    if optimizer.method != "adamw":
        fields |= {"optimizer": {**fields["optimizer"], "method": "adamw", "weight_decay": None}, "learning_rate": None}
    return PretrainConfig.parse(fields, f"the record of {record.name}")


def _by_flag(words: list[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--"):
            groups.append([])
        groups[-1].append(word)
    return groups


def _type(encoding: Encoding, what: str) -> torch.dtype:
    if encoding not in TYPES:
        raise RequestError(f"{what} holds {', '.join(TYPES)}, not {encoding}: blocks of few bits are for gguf")
    return TYPES[encoding]
