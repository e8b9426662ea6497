"""Make a base model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import RequestError
from groundup.base.files import sha256_file
from groundup.base.seeds import derive
from groundup.model import count
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.stages.pretrain.config import PretrainConfig
from groundup.stages.pretrain.exhibits import curve_exhibits, mixture_exhibits, overfit_exhibits
from groundup.stages.pretrain.validation import HeldOut
from groundup.text.store.store import TokenStore
from groundup.text.token_bytes import bytes_of_tokens
from groundup.text.tokenizer import Tokenizer
from groundup.train.exhibits import health_exhibits, health_metrics, speed_exhibits
from groundup.train.loop import train
from groundup.train.objective import NextToken
from groundup.train.output import write_model
from groundup.train.parallel.layout import resolve
from groundup.train.precision import default_device
from groundup.train.stream import PackedSteps, Source


def run(config: PretrainConfig, task: Task, order_seed: int | None = None) -> Outcome:
    """Train from random weights; resumes from the checkpoints in ``task.scratch``.

    With an ``order_seed`` the rows are read in another order than the recorded one: see ``PackedSteps``.
    """
    tokenizer = Tokenizer.load(task.input("tokenizer").path)
    _check_tokenizer(task, tokenizer.vocab_size)
    shape = config.model_config_for(tokenizer.vocab_size, int(task.inputs["tokens"][0].record.metrics["max_seq_len"]))
    steps = packed_steps(config, task.inputs["tokens"], shape, order_seed)
    num_steps, rows, seq_len, rates = steps.num_steps, steps.rows_per_step, steps.seq_len, config.rates_for(shape)
    model = Transformer(shape)
    initialise(model, derive(config.seed, "weights"))
    device = default_device()
    model.to(device)
    sizes = bytes_of_tokens(tokenizer, shape.vocab_size)
    objective = NextToken(
        config.z_loss, config.balance_loss, None if sizes is None else torch.tensor(sizes, device=device)
    )
    history = train(
        model,
        steps,
        objective,
        rates,
        config.optimizer_for(shape),
        config.loop,
        folder=task.scratch,
        progress=task.progress,
        validate=_held_out(config, task, seq_len).bits_per_byte,
        name=task.name,
        layout=resolve(config.parallel, task.world.size, shape, rows_per_step=rows),
        engine=config.engine,
    )
    write_model(tokenizer, history, task.payload)
    positions, trained = num_steps * rows * seq_len, steps.tokens_read()
    flops = positions * count.training_flops_per_token(shape, seq_len)
    unique = steps.unique_tokens()
    task.show(*curve_exhibits(history, trained, unique, flops, count.parameters(shape)))
    task.show(*overfit_exhibits(history.validations, unique), *mixture_exhibits(steps))
    task.show(*speed_exhibits(history), *health_exhibits(history))
    return Outcome(
        device_joules=history.device_joules,
        metrics={
            "parameters": count.parameters(shape),
            "active_parameters": count.active_parameters(shape),
            "train_tokens": trained,
            "unique_tokens": unique,
            "epochs": round(positions / _epoch_tokens(steps.sources, seq_len), 3),
            "steps": num_steps,
            "step_tokens": rows * seq_len,
            "learning_rate": rates.matrices,
            "flops": flops,
            "precision": history.precision,
            "final_loss": history.steps[-1]["loss"],
            "validation_bits_per_byte": history.validations[-1]["bits_per_byte"],
            "health": health_metrics(history),
            "data": steps.fingerprint,
        },
    )


def packed_steps(
    config: PretrainConfig, artifacts: Sequence[Artifact], shape: ModelConfig, order_seed: int | None = None
) -> PackedSteps:
    """What a run on these token stores reads at each step.

    RequestError if it is shorter than one step, or longer than the order that a store has.
    """
    seq_len, rows, horizon = shape.max_seq_len, config.rows_per_step(shape), config.horizon_for(shape)
    sources = _sources(config, artifacts)
    num_steps = horizon.tokens(rows * seq_len, _epoch_tokens(sources, seq_len)) // (rows * seq_len)
    if num_steps < 1:
        raise RequestError(f"horizon {horizon} is shorter than one step of {rows * seq_len} tokens")
    return PackedSteps(
        store=sources,
        seq_len=seq_len,
        rows_per_step=rows,
        rows_per_batch=max(1, config.micro_batch_tokens // seq_len),
        num_steps=num_steps,
        mask_documents=config.mask_documents,
        vocab_size=shape.vocab_size,
        order_seed=order_seed,
    )


def _check_tokenizer(task: Task, vocab_size: int) -> None:
    """ArtifactError if a store was made with another tokenizer than the run's: its ids would mean other words."""
    digest = sha256_file(task.input("tokenizer").path / "tokenizer.json")
    for tokens in task.inputs["tokens"]:
        TokenStore.open(tokens.path).check_tokenizer(digest, vocab_size, tokens.record.name)


def _held_out(config: PretrainConfig, task: Task, seq_len: int) -> HeldOut:
    """The documents of the curve: those of stores named for it, source by source, or those of the training stores."""
    named = task.inputs.get("validation")
    if named:
        return HeldOut.by_source(named, seq_len, config.validation_tokens)
    return HeldOut.open(task.inputs["tokens"], seq_len, config.validation_tokens)


def _epoch_tokens(sources: Sequence[Source], seq_len: int) -> int:
    return sum(source.order.rows_in_epoch for source in sources) * seq_len


def _sources(config: PretrainConfig, artifacts: Sequence[Artifact]) -> tuple[Source, ...]:
    """The token stores with their weights: as set, or their numbers of tokens."""
    stores = [TokenStore.open(artifact.path) for artifact in artifacts]
    weights = config.weights or tuple(float(store.num_tokens) for store in stores)
    names = [artifact.record.name for artifact in artifacts]
    return tuple(Source(*each) for each in zip(names, stores, weights, strict=True))
