"""From measurements to scores: each with value, interval and size, and each neighbouring pair with a test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np

from groundup.stages.evaluate.config import BITS_PER_BYTE
from groundup.stages.evaluate.harness import Item
from groundup.stages.evaluate.heldout import Floats, HeldOut
from groundup.stages.evaluate.models import Sample
from groundup.stages.evaluate.stats import Estimate, mcnemar, paired_error, ratio, share, smallest_visible

XZ: Final = "xz_9e"
OVERALL: Final = "all"
DIGITS: Final = 6
"""Decimals kept of every number that is written: far below any standard error."""

Verdict = Literal["better", "worse", "can't tell"]


@dataclass(frozen=True)
class Measured:
    """Everything measured on one model. ``bits`` are per held-out document; ``items`` and ``results`` by benchmark."""

    name: str
    stage: str
    digest: str
    parameters: int
    train_tokens: int | None
    samples: list[Sample]
    bits: Floats | None = None
    items: Mapping[str, list[Item]] = field(default_factory=dict)
    results: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Baselines:
    """Bits that need no neural network. ``ngram_bits`` are per document; xz sees all documents in one stream."""

    xz_bits: float
    ngram_bits: Floats
    ngram_name: str
    ngram_tokens: int


@dataclass(frozen=True)
class Score:
    """One value. ``part`` is a source of the held-out documents or ``all``; ``metric`` is as lm-eval names it."""

    model: str
    task: str
    part: str
    metric: str
    unit: str
    estimate: Estimate


@dataclass(frozen=True)
class Comparison:
    """Is ``second`` better than ``first`` on the same documents or items? ``difference`` is second minus first."""

    task: str
    metric: str
    first: str
    second: str
    difference: float
    p_value: float
    smallest_visible: float
    n: int
    verdict: Verdict


@dataclass(frozen=True)
class Benchmarked:
    """A benchmark that was measured: its headline metric, what guessing gives, and how many items it has."""

    name: str
    metric: str
    chance: float
    items: int


def bits_scores(name: str, bits: Floats, held_out: HeldOut, confidence: float) -> list[Score]:
    """Bits per byte on all held-out documents, then by source."""
    found = [_bits_score(name, OVERALL, ratio(bits, held_out.bytes, confidence))]
    for source in sorted(set(held_out.sources)):
        own = held_out.of_source(source)
        found.append(_bits_score(name, source, ratio(bits[own], held_out.bytes[own], confidence)))
    return found


def xz_score(bits: float, held_out: HeldOut) -> Score:
    """The compressor's bits per byte: exact, since there is one stream and nothing was drawn."""
    value = bits / float(held_out.bytes.sum())
    return _bits_score(XZ, OVERALL, Estimate(value, 0.0, value, value, 1))


def _bits_score(model: str, part: str, estimate: Estimate) -> Score:
    return Score(model, BITS_PER_BYTE, part, BITS_PER_BYTE, "bits per byte", estimate)


def headline(items: Sequence[Item]) -> str:
    """The metric that a benchmark is judged by: ``acc_norm`` (log-probability by length) if it has it, else ``acc``."""
    return "acc_norm" if "acc_norm" in items[0].correct else "acc"


def describe(name: str, items: Sequence[Item]) -> Benchmarked:
    """A benchmark, from any model's answers to it."""
    return Benchmarked(name, headline(items), float(np.mean([1 / item.choices for item in items])), len(items))


def benchmark_scores(name: str, benchmark: str, items: Sequence[Item], confidence: float) -> list[Score]:
    """The share of right answers by each metric, with Wilson's interval."""
    return [
        Score(
            name,
            benchmark,
            OVERALL,
            metric,
            "share of right answers",
            share(sum(item.correct[metric] for item in items), len(items), confidence),
        )
        for metric in items[0].correct
    ]


def compare_bits(first: str, second: str, one: Floats, two: Floats, held_out: HeldOut, confidence: float) -> Comparison:
    """The paired difference in bits per byte, tested by documents. Fewer bits are better."""
    return _compare_normal(first, second, ratio(two - one, held_out.bytes, confidence), confidence)


def compare_with_xz(xz: Score, model: Score, confidence: float) -> Comparison:
    """A model's bits per byte against a number without spread. Fewer bits are better."""
    estimate, fixed = model.estimate, xz.estimate.value
    return _compare_normal(XZ, model.model, dataclasses.replace(estimate, value=estimate.value - fixed), confidence)


def _compare_normal(first: str, second: str, difference: Estimate, confidence: float) -> Comparison:
    error = difference.standard_error
    known = math.isfinite(error) and error > 0
    p_value = math.erfc(abs(difference.value) / error / math.sqrt(2)) if known else 1.0
    return Comparison(
        task=BITS_PER_BYTE,
        metric=BITS_PER_BYTE,
        first=first,
        second=second,
        difference=difference.value,
        p_value=p_value,
        smallest_visible=smallest_visible(error, confidence),
        n=difference.n,
        verdict=_verdict(p_value, confidence, improved=difference.value < 0),
    )


def compare_items(
    first: str, second: str, benchmark: str, one: Sequence[Item], two: Sequence[Item], confidence: float
) -> Comparison:
    """The exact McNemar test on a benchmark's headline metric."""
    metric = headline(one)
    pairs = [(a.correct[metric], b.correct[metric]) for a, b in zip(one, two, strict=True)]
    lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    p_value, n = mcnemar(lost, won), len(pairs)
    verdict = _verdict(p_value, confidence, improved=won > lost)
    visible = smallest_visible(paired_error(lost, won, n), confidence)
    return Comparison(benchmark, metric, first, second, (won - lost) / n, p_value, visible, n, verdict)


def _verdict(p_value: float, confidence: float, improved: bool) -> Verdict:
    if p_value >= 1 - confidence:
        return "can't tell"
    return "better" if improved else "worse"


def rounded(value: Any) -> Any:
    """Plain data for JSON: dataclasses become mappings, floats lose noise, what is not a number becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: rounded(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    return value


def flat(score: Score) -> dict[str, Any]:
    """A score as one row: the estimate's fields beside the others."""
    row: dict[str, Any] = rounded(score)
    return {**{key: value for key, value in row.items() if key != "estimate"}, **row["estimate"]}


@dataclass(frozen=True)
class Findings:
    """All that the stage found out, ready to be written and shown."""

    confidence: float
    models: Sequence[Measured]
    scores: Sequence[Score]
    comparisons: Sequence[Comparison]
    benchmarks: Sequence[Benchmarked]
    held_out: HeldOut | None
    baselines: Baselines | None

    def score(self, model: str, task: str, part: str = OVERALL) -> Score:
        """The score of a model by the task's headline metric."""
        metric = next((one.metric for one in self.benchmarks if one.name == task), BITS_PER_BYTE)
        wanted = (model, task, part, metric)
        return next(one for one in self.scores if (one.model, one.task, one.part, one.metric) == wanted)

    def comparison(self, task: str, first: str, second: str) -> Comparison:
        """The test of ``second`` against ``first``."""
        wanted = (task, first, second)
        return next(one for one in self.comparisons if (one.task, one.first, one.second) == wanted)


def assemble(
    models: Sequence[Measured], held_out: HeldOut | None, baselines: Baselines | None, confidence: float
) -> Findings:
    """Scores of all models and baselines, and tests of each model against the one before it and the baselines."""
    scores: list[Score] = []
    comparisons: list[Comparison] = []
    if held_out is not None and baselines is not None:
        scores += [xz_score(baselines.xz_bits, held_out)]
        scores += bits_scores(baselines.ngram_name, baselines.ngram_bits, held_out, confidence)
        for model in models:
            assert model.bits is not None
            own = bits_scores(model.name, model.bits, held_out, confidence)
            comparisons.append(compare_with_xz(scores[0], own[0], confidence))
            name, bits = baselines.ngram_name, baselines.ngram_bits
            comparisons.append(compare_bits(name, model.name, bits, model.bits, held_out, confidence))
            scores += own
        for one, two in pairwise(models):
            assert one.bits is not None and two.bits is not None
            comparisons.append(compare_bits(one.name, two.name, one.bits, two.bits, held_out, confidence))
    for benchmark in models[0].items:
        for model in models:
            scores += benchmark_scores(model.name, benchmark, model.items[benchmark], confidence)
        for one, two in pairwise(models):
            answers = one.items[benchmark], two.items[benchmark]
            comparisons.append(compare_items(one.name, two.name, benchmark, *answers, confidence))
    described = [describe(name, items) for name, items in models[0].items.items()]
    return Findings(confidence, models, scores, comparisons, described, held_out, baselines)
