"""What the evaluate stage shows in the report."""

from __future__ import annotations

from collections.abc import Sequence

from groundup.artifact import exhibit
from groundup.artifact.exhibit import Bars, Exhibit, Prose, Samples, Table
from groundup.stages.evaluate.config import BITS_PER_BYTE
from groundup.stages.evaluate.scores import XZ, Benchmarked, Comparison, Findings, Measured
from groundup.stages.evaluate.verdict import against_chance, bits_words, can_and_cannot, display, percent


def draw(findings: Findings, train_bytes: int, train_tokens: int) -> list[Exhibit]:
    """Everything in the order in which a person should read it."""
    shown: list[Exhibit] = []
    if findings.baselines is not None:
        shown += [_bits_bars(findings), _bits_table(findings)]
    shown += [_benchmark_bars(findings, benchmark) for benchmark in findings.benchmarks]
    if findings.comparisons:
        shown.append(_comparisons(findings))
    shown += _samples(findings.models)
    text = can_and_cannot(findings, train_bytes, train_tokens)
    shown.append(Prose(title="What a model of this size can and can't do", text=text))
    return shown


def _interval(findings: Findings) -> str:
    return f"The lines are {percent(findings.confidence)} intervals"


def _bits_bars(findings: Findings) -> Bars:
    assert findings.baselines is not None
    names = [*(model.name for model in findings.models), findings.baselines.ngram_name, XZ]
    rows = []
    for name in names:
        estimate = findings.score(name, BITS_PER_BYTE).estimate
        spread = name != XZ and estimate.n > 1
        low, high = (estimate.low, estimate.high) if spread else (None, None)
        rows.append((display(name), round(estimate.value, 4), _short(low), _short(high)))
    return Bars(
        title="Bits per byte on held-out documents",
        caption=f"How many bits are needed to store a byte of text that none of them has seen; fewer is better. "
        f"{bits_words(findings)} {_interval(findings)}, by documents.",
        x_label="bits per byte",
        bars=tuple(rows),
    )


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _bits_table(findings: Findings) -> Table:
    assert findings.baselines is not None and findings.held_out is not None
    held_out = findings.held_out
    names = [*(model.name for model in findings.models), findings.baselines.ngram_name]
    rows = []
    for source in sorted(set(held_out.sources)):
        own = held_out.of_source(source)
        values = [round(findings.score(name, BITS_PER_BYTE, source).estimate.value, 3) for name in names]
        rows.append((source, int(own.sum()), int(held_out.bytes[own].sum()), *values))
    overall = [round(findings.score(name, BITS_PER_BYTE).estimate.value, 3) for name in names]
    rows.append(("all", len(held_out.texts), int(held_out.bytes.sum()), *overall))
    return Table(
        title="Bits per byte by source",
        caption="Some kinds of text are easier to foresee than others, and a model does best on what it has read most.",
        columns=("source", "documents", "bytes", *(display(name) for name in names)),
        rows=tuple(rows),
    )


def _benchmark_bars(findings: Findings, benchmark: Benchmarked) -> Bars:
    rows = []
    for model in findings.models:
        estimate = findings.score(model.name, benchmark.name).estimate
        rows.append((model.name, *(round(100 * one, 2) for one in (estimate.value, estimate.low, estimate.high))))
    said = "; ".join(against_chance(findings, model, benchmark) for model in findings.models)
    return Bars(
        title=f"Benchmark: {benchmark.name}",
        caption=f"{said}. {_interval(findings)} (Wilson); the metric is {benchmark.metric}.",
        x_label="right answers, %",
        bars=tuple(rows),
        rules=(("chance", round(100 * benchmark.chance, 2)),),
    )


def _comparisons(findings: Findings) -> Table:
    rows = []
    for one in findings.comparisons:
        change, visible = (_amount(one, value) for value in (one.difference, one.smallest_visible))
        words = f"{display(one.second)} is {one.verdict} than {display(one.first)}"
        if one.verdict == "can't tell":
            words = f"can't tell {display(one.second)} from {display(one.first)}"
        rows.append(
            (one.task, words, change, "< 0.001" if one.p_value < 0.001 else f"{one.p_value:.2g}", visible.lstrip("+"))
        )
    return Table(
        title="Is the difference real?",
        caption="Each pair was measured on the same documents or items, so only where they differ counts (bits per "
        "byte: difference by document; benchmarks: McNemar's exact test). p is the chance of such a difference if both "
        "were equally good. A true difference smaller than the last column would mostly go unseen with this much data.",
        columns=("task", "finding", "difference", "p", "smallest visible"),
        rows=tuple(rows),
    )


def _amount(comparison: Comparison, value: float) -> str:
    if value != value:
        return "unknown"
    return f"{value:+.3f} bits" if comparison.task == BITS_PER_BYTE else f"{100 * value:+.1f} points"


def _samples(models: Sequence[Measured]) -> list[Exhibit]:
    shown: list[Exhibit] = []
    for number, asked in enumerate(models[0].samples):
        samples = []
        for model in models:
            sample = model.samples[number]
            roles = ("user", "assistant") if sample.chat else ("prompt", "generated")
            # Plain text goes on where the prompt ends; an answer stands apart from its question.
            gap = "\n" if sample.chat else ""
            parts = ((sample.prompt + gap, roles[0]), (sample.text, roles[1]))
            label = f"{model.name}, through its chat template" if sample.chat else model.name
            samples.append(exhibit.Sample(label=label, parts=parts))
        shown.append(
            Samples(
                title=f"Sample: {asked.prompt}",
                caption="The same beginning, after each training stage.",
                samples=tuple(samples),
            )
        )
    return shown
