"""Train every variant with every seed, and compare.

Each member is trained by the pretrain stage's own run. A seed draws the same initial weights for all variants, and keys
the order in which each reads its rows: so two runs of one seed differ by the data alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import DataError, RequestError
from groundup.base.files import write_json
from groundup.model.config import ModelConfig
from groundup.model.count import parameters, training_flops_per_token
from groundup.stages.pretrain.ablation.config import BASELINE, AblateConfig
from groundup.stages.pretrain.ablation.data import Reads, predicted, reads
from groundup.stages.pretrain.ablation.exhibits import exhibits
from groundup.stages.pretrain.ablation.report import RANKS_MIXTURES, Design, Point, RunRow, report
from groundup.stages.pretrain.config import PretrainConfig
from groundup.stages.pretrain.members import Family, Trained
from groundup.stages.pretrain.run import packed_steps
from groundup.stages.pretrain.run import run as pretrain
from groundup.stages.pretrain.validation import PART, Measured
from groundup.text.tokenizer import Tokenizer

_POINTS: Final = 5
"""Validations in a run, at least; each predicts about a fifteenth of what a run of the default length reads."""

Stores = Mapping[str, tuple[Artifact, ...]]


def run(config: AblateConfig, task: Task) -> Outcome:
    """Make the ablation; goes on behind the last member that finished."""
    stores = config.by_name(task.inputs["tokens"], task.inputs["variants"])
    measured = task.inputs["validation"] or task.inputs["tokens"]
    vocab_size = Tokenizer.load(task.input("tokenizer").path).vocab_size
    shape = config.model_config_for(vocab_size, int(stores[BASELINE][0].record.metrics["max_seq_len"]))
    documents = predicted(measured, config.validation_tokens)
    data, num_steps = _look_through(config, task, stores, documents, shape)
    tokens = data[BASELINE].tokens
    flops = float(tokens * training_flops_per_token(shape, shape.max_seq_len))
    family = Family(task, dict.fromkeys(config.runs(), flops))
    rows = []
    for name, (variant, number) in config.runs().items():
        own = {"tokens": stores[variant], "tokenizer": task.inputs["tokenizer"], "validation": tuple(measured)}
        work = partial(_member, _with_curve(config.member(variant, number), num_steps), own, config.seed + number)
        found = family.train(name, work, _said)
        if found is not None:
            rows.append(_row(name, variant, config.seed + number, found, family.log(name)))
    if not task.world.is_main:
        return Outcome()
    design = Design(
        parameters=parameters(shape),
        depth=shape.num_layers,
        depth_for_mixtures=_large_enough(config, vocab_size, shape.max_seq_len),
        steps=num_steps,
        tokens=tokens,
        seeds=config.seeds,
        confidence=config.confidence,
        documents=len(documents),
        num_bytes=sum(document.num_bytes for document in documents),
    )
    whole = report(design, data, rows)
    write_json(task.payload / "report.json", whole.as_json())
    family.keep_logs()
    task.show(*exhibits(whole))
    return Outcome(metrics=whole.metrics(), device_joules=sum(row.device_joules for row in rows))


def _look_through(
    config: AblateConfig, task: Task, stores: Stores, documents: Sequence[Measured], shape: ModelConfig
) -> tuple[dict[str, Reads], int]:
    """What each variant reads, and the steps that all take.

    RequestError, before anything is trained, if one has too little to read, or trains on what is to be predicted.
    """
    found: dict[str, Reads] = {}
    steps = None
    for name, artifacts in stores.items():
        task.progress.update("looking through the data", len(found), len(stores), "variants")
        try:
            steps = packed_steps(config.member(name, 0), artifacts, shape)
        except RequestError as error:
            raise RequestError(f"variant {name!r}: {error}") from None
        found[name] = reads(steps, artifacts, documents)
        if found[name].same_page:
            raise RequestError(
                f"variant {name!r} trains on {found[name].same_page} of the {len(documents)} documents to predict: "
                "give its corpus the baseline's held_out and seed, or name other stores in 'validation'"
            )
    assert steps is not None
    return found, steps.num_steps


def _member(config: PretrainConfig, inputs: Stores, order_seed: int, task: Task) -> Outcome:
    return pretrain(config, replace(task, inputs=inputs), order_seed)


def _with_curve(member: PretrainConfig, num_steps: int) -> PretrainConfig:
    """The member, validated often enough for a curve: a short run would end before its first validation was due."""
    if "validate_every" in member.loop.model_fields_set:
        return member
    often = min(member.loop.validate_every, max(1, num_steps // _POINTS))
    return member.model_copy(update={"loop": member.loop.model_copy(update={"validate_every": often})})


def _said(found: Trained) -> str:
    return f"{found.metrics['validation_bits_per_byte']:.4f} bits a byte"


def _row(name: str, variant: str, seed: int, found: Trained, log: Path) -> RunRow:
    """A finished run, with its curve from its log; DataError if it came to nothing."""
    if not math.isfinite(found.metrics["validation_bits_per_byte"]):
        raise DataError(f"the run {name} ended without a finite loss, so nothing can be compared: lower learning_rate")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    checks = [line for line in lines if line.get("bits_per_byte") is not None and not {"loss", "event"} & line.keys()]
    return RunRow(
        name=name,
        variant=variant,
        seed=seed,
        loss=float(found.metrics["validation_bits_per_byte"]),
        by_source={key.removeprefix(PART): float(value) for key, value in checks[-1].items() if key.startswith(PART)},
        curve=tuple(Point(int(check["tokens"]), float(check["bits_per_byte"])) for check in checks),
        seconds=found.seconds,
        device_joules=found.device_joules,
    )


def _large_enough(config: AblateConfig, vocab_size: int, max_seq_len: int) -> int:
    """The least depth, with the default width, whose model is said to rank mixtures."""

    def size(depth: int) -> int:
        return parameters(ModelConfig.from_depth(depth, vocab_size, max_seq_len))

    return next((depth for depth in range(config.depth, 128) if size(depth) >= RANKS_MIXTURES), 128)
