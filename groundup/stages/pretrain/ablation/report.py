"""What an ablation found, as plain data: ``report.json``, the record's metrics, and what the exhibits draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from groundup.base.units import human_count
from groundup.stages.pretrain.ablation.config import BASELINE
from groundup.stages.pretrain.ablation.data import Reads, distance
from groundup.stages.pretrain.ablation.statistics import Mean, holm, mean_of, p_value, smallest_visible

Verdict = Literal["helps", "hurts", "no difference seen"]

RANKS_MIXTURES: Final = 15e6
"""Parameters below which small models are reported not to rank mixtures as large ones do (Olmix)."""

_OTHER_MIXTURE: Final = 0.02
"""Variants whose sources differ by more than this share of the tokens read another mixture."""

_MANY_PASSES: Final = 4.0
"""Up to about four passes are as good as new text (Muennighoff et al. 2023)."""


@dataclass(frozen=True)
class Point:
    """A validation while training: tokens read, and bits a byte."""

    tokens: int
    loss: float


@dataclass(frozen=True)
class RunRow:
    """One finished run. ``loss`` is in bits a byte on the held-out text, ``by_source`` of each of its sources."""

    name: str
    variant: str
    seed: int
    loss: float
    by_source: dict[str, float]
    curve: tuple[Point, ...]
    seconds: float
    device_joules: float = 0.0


@dataclass(frozen=True)
class Design:
    """What is the same for all runs: the model, its length, and the text to predict."""

    parameters: int
    depth: int
    depth_for_mixtures: int
    steps: int
    tokens: int
    seeds: int
    confidence: float
    documents: int
    num_bytes: int


@dataclass(frozen=True)
class Comparison:
    """A variant less the baseline, seed by seed, in bits a byte: below zero is better.

    ``p`` is that of the paired t-test, ``adjusted`` after Holm over all variants. ``visible`` is the difference that so
    many seeds would have called one with 80 % chance. ``low`` and ``high`` are of this comparison alone.
    """

    difference: Mean
    p: float
    adjusted: float
    visible: float
    verdict: Verdict
    by_source: dict[str, Mean]


@dataclass(frozen=True)
class VariantRow:
    """A variant: what it read, what it reached, and how that compares (None for the baseline)."""

    name: str
    reads: Reads
    loss: Mean
    comparison: Comparison | None


@dataclass(frozen=True)
class Report:
    """An ablation's result; variants stand in their order, the baseline first."""

    design: Design
    variants: tuple[VariantRow, ...]
    runs: tuple[RunRow, ...]
    warnings: tuple[tuple[str, str], ...]

    def ranked(self) -> list[tuple[VariantRow, Comparison]]:
        """The variants beside the baseline, the best first."""
        found = [(row, row.comparison) for row in self.variants if row.comparison is not None]
        return sorted(found, key=lambda pair: (pair[1].difference.value, pair[0].name))

    def as_json(self) -> dict[str, Any]:
        """``report.json``."""
        # Time and energy are a matter of the machine; the payload holds what would come out anywhere.
        spent = {"seconds", "device_joules"}
        runs = [{key: value for key, value in asdict(row).items() if key not in spent} for row in self.runs]
        variants = [
            {**asdict(row), "reads": {**asdict(row.reads), "passes": row.reads.passes}} for row in self.variants
        ]
        return {
            "design": asdict(self.design),
            "baseline": BASELINE,
            "variants": variants,
            "runs": runs,
            "warnings": [" ".join(warning) for warning in self.warnings],
        }

    def metrics(self) -> dict[str, Any]:
        """The figures for the record."""
        return {
            "runs": len(self.runs),
            "seeds": self.design.seeds,
            "parameters": self.design.parameters,
            "train_tokens": self.design.tokens,
            "baseline": round(self.variants[0].loss.value, 5),
            "variants": {
                row.name: {
                    "verdict": found.verdict,
                    "difference": round(found.difference.value, 5),
                    "low": round(found.difference.low, 5),
                    "high": round(found.difference.high, 5),
                    "p_adjusted": float(f"{found.adjusted:.5g}"),
                    "smallest_visible": round(found.visible, 5),
                }
                for row, found in self.ranked()
            },
            "warnings": len(self.warnings),
        }


def said(metrics: Mapping[str, Any]) -> list[str]:
    """The record's metrics in words, a line each."""
    lines = [f"{BASELINE:<24} {metrics['baseline']:.4f} bits a byte"]
    for name, one in metrics["variants"].items():
        interval = f"({one['low']:+.4f} to {one['high']:+.4f})"
        lines.append(f"{name:<24} {one['difference']:+.4f} {interval}, p {one['p_adjusted']:.2g}: {one['verdict']}")
    if metrics["warnings"]:
        lines.append(f"{metrics['warnings']} warnings in the report")
    return lines


def report(design: Design, data: Mapping[str, Reads], rows: Sequence[RunRow]) -> Report:
    """Compare the runs; ``data`` says what each variant read, the baseline first."""
    by_variant = {name: sorted((row for row in rows if row.variant == name), key=lambda row: row.seed) for name in data}
    baseline, level = by_variant[BASELINE], 1 - design.confidence
    names = [name for name in data if name != BASELINE]
    paired = {name: [(one, base) for one, base in zip(by_variant[name], baseline, strict=True)] for name in names}
    for pairs in paired.values():
        assert all(one.seed == base.seed for one, base in pairs), "runs of different seeds are no pair"
    differences = {
        name: mean_of([one.loss - base.loss for one, base in pairs], design.confidence)
        for name, pairs in paired.items()
    }
    chances = {name: p_value(mean) for name, mean in differences.items()}
    adjusted = dict(zip(names, holm([chances[name] for name in names]), strict=True))
    found: list[VariantRow] = []
    for name, read in data.items():
        comparison = None
        if name != BASELINE:
            mean = differences[name]
            comparison = Comparison(
                difference=mean,
                p=chances[name],
                adjusted=adjusted[name],
                # The level that no other result can make stricter: Holm's first.
                visible=smallest_visible(mean.deviation, mean.n, level / len(names)),
                verdict=_verdict(mean, adjusted[name], level),
                by_source=_by_source(paired[name], design.confidence),
            )
        loss = mean_of([row.loss for row in by_variant[name]], design.confidence)
        found.append(VariantRow(name, read, loss, comparison))
    return Report(design, tuple(found), tuple(rows), tuple(_warnings(design, data)))


def _verdict(mean: Mean, adjusted: float, level: float) -> Verdict:
    if adjusted >= level:
        return "no difference seen"
    return "helps" if mean.value < 0 else "hurts"


def _by_source(pairs: Sequence[tuple[RunRow, RunRow]], confidence: float) -> dict[str, Mean]:
    sources = pairs[0][1].by_source
    return {
        source: mean_of([one.by_source[source] - base.by_source[source] for one, base in pairs], confidence)
        for source in sources
    }


def _warnings(design: Design, data: Mapping[str, Reads]) -> list[tuple[str, str]]:
    """What to know before believing the result: (title, text)."""
    found = []
    mixtures = [name for name, read in data.items() if distance(read, data[BASELINE]) > _OTHER_MIXTURE]
    if mixtures and design.parameters < RANKS_MIXTURES:
        found.append(
            (
                "Too small to rank mixtures",
                f"{_listed(mixtures)} read the sources in other shares than the baseline, and the model has "
                f"{human_count(design.parameters)} parameters. Models of fewer than "
                f"{human_count(RANKS_MIXTURES)} are reported (Olmix) not to rank mixtures as large ones do: take depth "
                f"{design.depth_for_mixtures} or more before choosing a mixture by this.",
            )
        )
    copied = {name: read.same_text for name, read in data.items() if read.same_text}
    if copied:
        told = ", ".join(f"{name} {count}" for name, count in copied.items())
        found.append(
            (
                "Some of the text to predict was trained on",
                f"Of the {design.documents} held-out documents, these stand word for word in the training text under "
                f"another id: {told}. That flatters a variant; near copies, which are not looked for, do so too.",
            )
        )
    often = {name: read.passes for name, read in data.items() if read.passes > _MANY_PASSES}
    if often and len(often) < len(data):
        told = ", ".join(f"{name} {passes:.1f} times" for name, passes in often.items())
        found.append(
            (
                "Some variants have too little text for this length",
                f"Read on average: {told}. Beyond about {_MANY_PASSES:.0f} passes text teaches less, so what is seen "
                "is partly how much text a variant has; take a shorter horizon or more pages.",
            )
        )
    return found


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
