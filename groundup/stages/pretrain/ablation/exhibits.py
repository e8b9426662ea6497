"""What an ablation shows in the report: what helped and how sure that is, the curves, and what each variant read."""

from __future__ import annotations

from collections.abc import Sequence

from groundup.artifact.exhibit import Bars, Facts, Lines, Prose, Series, Table
from groundup.base.units import human_bytes, human_count
from groundup.stages.pretrain.ablation.config import BASELINE
from groundup.stages.pretrain.ablation.report import Point, Report
from groundup.stages.pretrain.ablation.statistics import Mean, mean_of

Shown = Facts | Lines | Prose | Table | Bars
_SOURCES_SHOWN = 8


def exhibits(report: Report) -> tuple[Shown, ...]:
    """All of them, the most telling first."""
    warnings = [Prose(title=title, text=text) for title, text in report.warnings]
    return (
        _facts(report),
        *warnings,
        _bars(report),
        _results(report),
        *_curves(report),
        *_by_source(report),
        _reads(report),
        _runs(report),
    )


def _facts(report: Report) -> Facts:
    design, ranked = report.design, report.ranked()
    counts = {verdict: sum(found.verdict == verdict for _, found in ranked) for verdict in ("helps", "hurts")}
    best, found = ranked[0]
    least = max(one.visible for _, one in ranked)
    return Facts(
        title="What helps",
        headline=True,
        facts=(
            ("lowest of the variants", best.name, f"{_signed(found.difference)}; {found.verdict}"),
            ("help", str(counts["helps"]), f"of {len(ranked)} variants, at {design.confidence:.0%} over all of them"),
            ("hurt", str(counts["hurts"]), "the others can't be told from chance"),
            ("baseline", f"{report.variants[0].loss.value:.4f}", f"bits a byte; {_range(report.variants[0].loss)}"),
            (
                "smallest difference to be seen",
                f"{least:.4f}",
                f"bits a byte, with {design.seeds} seeds and 80 % chance, where runs scatter most",
            ),
            (
                "models",
                str(len(report.runs)),
                f"of {human_count(design.parameters)} parameters, {human_count(design.tokens)} tokens each",
            ),
        ),
    )


def _bars(report: Report) -> Bars:
    return Bars(
        title="Difference to the baseline",
        caption=f"Bits a byte of each variant less those of the baseline, seed by seed: to the left of zero is better. "
        f"Intervals ({report.design.confidence:.0%}) are of each comparison by itself.",
        x_label="bits a byte",
        bars=tuple(
            (f"{row.name}: {found.verdict}", found.difference.value, found.difference.low, found.difference.high)
            for row, found in report.ranked()
        ),
    )


def _results(report: Report) -> Table:
    rows = [(BASELINE, round(report.variants[0].loss.value, 4), "", "", "", "", "")]
    rows += [
        (
            row.name,
            round(row.loss.value, 4),
            f"{found.difference.value:+.4f}",
            _range(found.difference),
            f"{found.adjusted:.2g}",
            f"{found.visible:.4f}",
            found.verdict,
        )
        for row, found in report.ranked()
    ]
    return Table(
        title="Every variant",
        caption="p is that of a paired t-test over the seeds, adjusted for the number of variants (Holm): a single "
        "interval that leaves out zero is not enough where several are tried. The last but one column says how small a "
        "difference would have been seen four times in five; a real one below that may well have been missed. All of "
        "this is about these models on this held-out text: other seeds, not other documents.",
        columns=("variant", "bits a byte", "difference", "interval", "p", "could be seen", "verdict"),
        rows=tuple(rows),
    )


def _curves(report: Report) -> tuple[Lines, ...]:
    """Loss while training, and the difference to the baseline; where nothing has been learned yet is left out."""
    curves = {
        row.name: [[p for p in run.curve if p.tokens] for run in report.runs if run.variant == row.name]
        for row in report.variants
    }
    confidence = report.design.confidence
    loss, difference = [], []
    for name, runs in curves.items():
        places, at = _aligned(runs)
        means = [sum(values) / len(values) for values in at]
        loss.append(Series(name=name, x=places, y=tuple(means), low=tuple(map(min, at)), high=tuple(map(max, at))))
        if name != BASELINE:
            pairs = zip(at, _aligned(curves[BASELINE])[1], strict=False)
            gaps = [
                mean_of([one - base for one, base in zip(mine, base_, strict=True)], confidence)
                for mine, base_ in pairs
            ]
            difference.append(
                Series(
                    name=name,
                    x=places[: len(gaps)],
                    y=tuple(gap.value for gap in gaps),
                    low=tuple(gap.low for gap in gaps),
                    high=tuple(gap.high for gap in gaps),
                )
            )
    return (
        Lines(
            title="While they learn",
            caption="The mean over seeds; the band runs from the lowest seed to the highest.",
            x_label="tokens read",
            y_label="bits a byte",
            series=tuple(loss),
        ),
        Lines(
            title="Difference to the baseline while they learn",
            caption=f"The mean of the differences seed by seed, with its {confidence:.0%} interval. A difference that "
            "shrinks with more tokens may be gone in a longer training.",
            x_label="tokens read",
            y_label="bits a byte",
            series=tuple(difference),
            rules=((BASELINE, 0.0),),
        ),
    )


def _aligned(runs: Sequence[Sequence[Point]]) -> tuple[tuple[float, ...], list[list[float]]]:
    """The places where all runs were measured, and their values there."""
    found = [{point.tokens: point.loss for point in run} for run in runs]
    places = sorted(set(found[0]).intersection(*found[1:]))
    return tuple(float(place) for place in places), [[one[place] for one in found] for place in places]


def _by_source(report: Report) -> tuple[Table, ...]:
    """Differences on each source of the held-out text, if there are several."""
    ranked = report.ranked()
    sources = list(ranked[0][1].by_source)
    if len(sources) < 2:
        return ()
    return (
        Table(
            title="By source of the held-out text",
            caption="Differences to the baseline in bits a byte, with the intervals of each by itself. What helps on "
            "one source may hurt on another; so many intervals are to look at, not to choose by.",
            columns=("variant", *sources),
            rows=tuple((row.name, *(_signed(found.by_source[source]) for source in sources)) for row, found in ranked),
        ),
    )


def _reads(report: Report) -> Table:
    totals: dict[str, float] = {}
    for row in report.variants:
        for source, share in row.reads.shares.items():
            totals[source] = max(totals.get(source, 0.0), share)
    sources = sorted(totals, key=lambda source: (-totals[source], source))[:_SOURCES_SHOWN]
    left = f" Of {len(totals)} sources, those with the largest shares." if len(sources) < len(totals) else ""
    design = report.design
    return Table(
        title="What each variant read",
        caption=f"Every run read {human_count(design.tokens)} tokens in {design.steps:,} steps; a variant of less text "
        f"reads it more often. Predicted were {design.documents:,} documents of {human_bytes(design.num_bytes)}.{left}",
        columns=("variant", "different tokens", "passes", *sources, "predicted and trained on"),
        rows=tuple(
            (
                row.name,
                human_count(row.reads.different),
                round(row.reads.passes, 2),
                *(f"{row.reads.shares.get(source, 0.0):.1%}" for source in sources),
                row.reads.same_text,
            )
            for row in report.variants
        ),
    )


def _runs(report: Report) -> Table:
    return Table(
        title="The runs",
        columns=("variant", "seed", "bits a byte", "seconds"),
        rows=tuple((row.variant, row.seed, round(row.loss, 4), row.seconds) for row in report.runs),
    )


def _signed(mean: Mean) -> str:
    return f"{mean.value:+.4f} ({mean.low:+.4f} to {mean.high:+.4f})"


def _range(mean: Mean) -> str:
    return f"{mean.low:.4f} to {mean.high:.4f}"
