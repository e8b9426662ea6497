"""What a sweep shows in the report: the prediction beside the truth, the law among its runs, the best splits."""

from __future__ import annotations

import numpy as np

from groundup.artifact.exhibit import Facts, Lines, Prose, Series, Table
from groundup.base.units import human_count
from groundup.stages.pretrain.sweep.law import LEVEL, Fit
from groundup.stages.pretrain.sweep.report import Report

_POINTS = 40
_PER_CENT = f"{LEVEL:.0%}"


def exhibits(report: Report, fit: Fit) -> tuple[Facts | Lines | Prose | Table, ...]:
    """All of them, the most telling first."""
    shown: list[Facts | Lines | Prose | Table] = [_facts(report), _curves(report, fit), _frontier(report, fit)]
    if not report.reliable:
        warning = "An exponent of the law ran to the edge of its range: these runs lie too close together, or scatter "
        warning += "too much, to tell it. Take more depths, longer runs, or more held-out text before relying on it."
        shown.insert(0, Prose(title="The law is not to be relied on", text=warning))
    return (*shown, _splits(report), _runs(report))


def _facts(report: Report) -> Facts:
    guess, law = report.prediction, report.law
    interval = f"{_PER_CENT} interval {guess.low:.4f} to {guess.high:.4f}"
    facts = [
        ("predicted", f"{guess.loss:.4f}", f"bits a byte for depth {guess.depth}, which was not fitted; {interval}")
    ]
    if guess.measured is not None and guess.error is not None:
        inside = "inside" if guess.low <= guess.measured <= guess.high else "outside"
        facts.append(("reached", f"{guess.measured:.4f}", f"by training it; {inside} the interval"))
        facts.append(
            (
                "error of the prediction",
                f"{guess.error:+.2%}",
                f"of the loss; single runs scatter by {report.deviation:.2%}",
            )
        )
    for name, label, note in (
        ("irreducible", "floor", "bits a byte that no model of this kind passes on this text"),
        ("alpha", "alpha", "how fast more parameters help"),
        ("beta", "beta", "how fast more tokens help"),
    ):
        low, high = report.intervals[name]
        facts.append((label, f"{getattr(law, name):.3f}", f"{note}; {_PER_CENT} {low:.3f} to {high:.3f}"))
    return Facts(title="A scaling law and its test", facts=tuple(facts), headline=False)


def _curves(report: Report, fit: Fit) -> Lines:
    """Loss over tokens: the runs of each size, the law through them, and the band where the target was expected."""
    guess = report.prediction
    series = []
    for size in sorted({row.matmul_parameters for row in report.runs}):
        rows = sorted((row for row in report.runs if row.matmul_parameters == size), key=lambda row: row.tokens)
        name = f"depth {rows[0].depth}, {human_count(rows[0].parameters)}"
        series.append(Series(name=name, x=tuple(row.tokens for row in rows), y=tuple(row.loss for row in rows)))
    first, last = min(row.tokens for row in report.runs), max([guess.tokens, *(row.tokens for row in report.runs)])
    xs = np.geomspace(first, last, _POINTS)
    band = [fit.interval(lambda law, x=x: float(law.loss(guess.matmul_parameters, x))) for x in xs]  # type: ignore[misc]
    series.append(
        Series(
            name=f"law for depth {guess.depth}, {human_count(guess.parameters)}",
            x=tuple(xs.tolist()),
            y=tuple(float(report.law.loss(guess.matmul_parameters, x)) for x in xs),
            low=tuple(low for low, _ in band),
            high=tuple(high for _, high in band),
        )
    )
    if guess.measured is not None:
        series.append(Series(name=f"depth {guess.depth} as trained", x=(guess.tokens,), y=(guess.measured,)))
    return Lines(
        title="Loss against data, by size",
        caption=f"Runs of the family, and the law's prediction (band: {_PER_CENT}) for a model that it did not see.",
        x_label="tokens read",
        y_label="bits a byte",
        series=tuple(series),
        log_x=True,
    )


def _frontier(report: Report, fit: Fit) -> Lines:
    """The loss of the best split over budgets, beside the runs."""
    rows = sorted(report.runs, key=lambda row: row.matmul_parameters * row.tokens)
    spent = [6.0 * row.matmul_parameters * row.tokens for row in rows]
    budgets = np.geomspace(spent[0], report.splits[-1].flops, _POINTS)
    band = [fit.interval(lambda law, c=c: float(law.loss(*law.optimum(c)))) for c in budgets]  # type: ignore[misc]
    best = [float(report.law.loss(*report.law.optimum(c))) for c in budgets]
    return Lines(
        title="What a budget buys",
        caption="The least loss that the law allows for a budget, and the runs, which lie on it or above.",
        x_label="floating-point operations (6 · parameters · tokens)",
        y_label="bits a byte",
        series=(
            Series(
                name="best split of the budget",
                x=tuple(budgets.tolist()),
                y=tuple(best),
                low=tuple(low for low, _ in band),
                high=tuple(high for _, high in band),
            ),
            Series(name="runs", x=tuple(spent), y=tuple(row.loss for row in rows), points=True),
        ),
        log_x=True,
    )


def _splits(report: Report) -> Table:
    def with_interval(value: float, interval: tuple[float, float]) -> str:
        return f"{human_count(value)} ({human_count(interval[0])} to {human_count(interval[1])})"

    return Table(
        title="How to spend a budget",
        caption=f"Parameters in matrix products and tokens of least loss; {_PER_CENT} intervals. Far beyond the runs "
        "this is a guess.",
        columns=("FLOPs", "parameters", "tokens", "tokens a parameter", "bits a byte"),
        rows=tuple(
            (
                f"{split.flops:.2g}",
                with_interval(split.parameters, split.parameters_interval),
                with_interval(split.tokens, split.tokens_interval),
                round(split.tokens / split.parameters, 1),
                f"{split.loss:.3f} ({split.loss_interval[0]:.3f} to {split.loss_interval[1]:.3f})",
            )
            for split in report.splits
        ),
    )


def _runs(report: Report) -> Table:
    return Table(
        title="The runs",
        caption="Missed by: how far the law is above (+) or below (-) what the run reached.",
        columns=("depth", "parameters", "tokens", "FLOPs", "bits a byte", "missed by", "seconds"),
        rows=tuple(
            (
                row.depth,
                human_count(row.parameters),
                human_count(row.tokens),
                f"{row.flops:.2g}",
                round(row.loss, 4),
                f"{residual:+.2%}",
                row.seconds,
            )
            for row, residual in zip(report.runs, report.residuals, strict=True)
        ),
    )
