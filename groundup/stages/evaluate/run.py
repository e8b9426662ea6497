"""The evaluate stage at work: one model after the other, then the baselines, then what it all means."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.files import write_json
from groundup.infer.engine import Engine
from groundup.stages.evaluate.config import BITS_PER_BYTE, EvaluateConfig
from groundup.stages.evaluate.exhibits import draw
from groundup.stages.evaluate.harness import Harness, check_rows
from groundup.stages.evaluate.heldout import HeldOut, encode, model_bits, ngram_bits, read_held_out, xz_bits
from groundup.stages.evaluate.models import (
    check_encoding,
    check_tokenizers,
    count_parameters,
    draw_samples,
    is_chat,
)
from groundup.stages.evaluate.ngram import NgramModel
from groundup.stages.evaluate.scores import XZ, Baselines, Findings, Measured, assemble, flat, rounded
from groundup.text.store.megatron import Ids
from groundup.text.store.store import TokenStore
from groundup.text.tokenizer import Tokenizer

NGRAM_ORDER: Final = 5


def run(config: EvaluateConfig, task: Task) -> Outcome:
    """Measure every model; write report.json, items.jsonl and results_MODEL.json."""
    models, tokens = task.inputs["models"], task.input("tokens")
    check_tokenizers(models, tokens)
    tokenizer = Tokenizer.load(models[0].path)
    held_out, documents = None, None
    if BITS_PER_BYTE in config.tasks:
        held_out = read_held_out(task.input("corpus").path)
        documents = encode(held_out, tokenizer, language_tokens=bool(tokens.record.config.get("language_tokens")))
        check_encoding(documents, task.input("corpus"), tokens)
    with _harness(config, task) as harness:
        measured = [_measure(model, config, task, documents, harness) for model in models]
    store = TokenStore.open(tokens.path)
    read = _training_tokens(models, store)
    baselines = None
    if held_out is not None and documents is not None:
        task.progress.update("counting n-grams", 0, len(read), "tokens")
        baselines = _baselines(held_out, documents, read, tokenizer)
    findings = assemble(measured, held_out, baselines, config.confidence)
    _write(findings, task)
    train_bytes = round(tokens.record.metrics["train_bytes"] * len(read) / store.num_tokens)
    task.show(*draw(findings, train_bytes, len(read)))
    return Outcome(metrics=_metrics(findings))


@contextlib.contextmanager
def _harness(config: EvaluateConfig, task: Task) -> Iterator[Harness | None]:
    """The benchmarks with their rows checked before any model is loaded; nothing if none is asked for."""
    wanted = config.benchmarks()
    if not wanted:
        yield None
        return
    rows = {benchmark.name: check_rows(benchmark.name, task.files[benchmark.rows]) for benchmark in wanted}
    log = task.payload / "log" / "lm_eval.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w", encoding="utf-8") as handle:
        yield Harness(rows, task.scratch / "lm_eval", handle)


def _measure(
    model: Artifact, config: EvaluateConfig, task: Task, documents: list[list[int]] | None, harness: Harness | None
) -> Measured:
    name = model.record.name

    def report(phase: str, unit: str) -> Callable[[int, int], None]:
        return lambda done, total: task.progress.update(f"{name}: {phase}", done, total, unit)

    engine = Engine.load(model.path)
    bits = model_bits(engine, documents, report("bits per byte", "windows")) if documents is not None else None
    results, items = harness.run(engine, config.limit, report("benchmarks", "answers")) if harness else (None, {})
    task.progress.update(f"{name}: samples", 0, 1, "sets")
    return Measured(
        name=name,
        stage=model.record.stage,
        digest=model.record.digest,
        parameters=count_parameters(model.path),
        train_tokens=model.record.metrics.get("train_tokens"),
        samples=draw_samples(engine, is_chat(model), config.samples),
        bits=bits,
        items=items,
        results=results,
    )


def _training_tokens(models: tuple[Artifact, ...], store: TokenStore) -> Ids:
    """The different tokens that the base model has read: all of them, unless it was stopped within an epoch."""
    seen = next((int(m.record.metrics["unique_tokens"]) for m in models if m.record.stage == "pretrain"), None)
    read = store.num_tokens if seen is None else seen
    return store.training_tokens(read)


def _baselines(held_out: HeldOut, documents: list[list[int]], read: Ids, tokenizer: Tokenizer) -> Baselines:
    """Both baselines; the n-gram model counts the very tokens that the base model was trained on."""
    counted = NgramModel.fit(read, tokenizer.vocab_size, tokenizer.eos_id, NGRAM_ORDER)
    return Baselines(
        xz_bits=xz_bits(held_out),
        ngram_bits=ngram_bits(counted, documents),
        ngram_name=f"kneser_ney_{NGRAM_ORDER}gram",
        ngram_tokens=len(read),
    )


def _write(findings: Findings, task: Task) -> None:
    write_json(task.payload / "report.json", _report(findings))
    with (task.payload / "items.jsonl").open("w", encoding="utf-8") as handle:
        for model in findings.models:
            for benchmark, items in model.items.items():
                for item in items:
                    row = {"model": model.name, "benchmark": benchmark, **rounded(item)}
                    handle.write(json.dumps(row, ensure_ascii=False) + "\n")
    for model in findings.models:
        if model.results is not None:
            about = {"model": "groundup", "model_args": {"pretrained": model.name}, "model_name": model.name}
            write_json(task.payload / f"results_{model.name}.json", {**model.results, "config": about})


def _report(findings: Findings) -> dict[str, Any]:
    """report.json: everything but the single items."""
    held_out, baselines = findings.held_out, findings.baselines
    return {
        "confidence": findings.confidence,
        "models": [
            {"name": m.name, "stage": m.stage, "digest": m.digest, "parameters": m.parameters} for m in findings.models
        ],
        "held_out": held_out and {"documents": len(held_out.texts), "bytes": int(held_out.bytes.sum())},
        "baselines": baselines and {"names": [XZ, baselines.ngram_name], "tokens_counted": baselines.ngram_tokens},
        "benchmarks": rounded(findings.benchmarks),
        "scores": [flat(score) for score in findings.scores],
        "comparisons": rounded(findings.comparisons),
        "samples": [{"model": m.name, **rounded(sample)} for m in findings.models for sample in m.samples],
    }


def _metrics(findings: Findings) -> dict[str, Any]:
    """The headlines: for each model one number a task with its interval, and what to hold it against."""
    tasks = [BITS_PER_BYTE] if findings.baselines else []
    tasks += [benchmark.name for benchmark in findings.benchmarks]
    found: dict[str, Any] = {}
    for model in findings.models:
        found[model.name] = {"parameters": model.parameters}
        for name in tasks:
            estimate = findings.score(model.name, name).estimate
            found[model.name] |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    if findings.baselines:
        names = (XZ, findings.baselines.ngram_name)
        found["baselines"] = {name: findings.score(name, BITS_PER_BYTE).estimate.value for name in names}
    found["benchmarks"] = {
        one.name: {"metric": one.metric, "chance": one.chance, "items": one.items} for one in findings.benchmarks
    }
    plain: dict[str, Any] = rounded(found)
    return plain
