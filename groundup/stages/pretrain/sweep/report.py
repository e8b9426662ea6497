"""What a sweep found, as plain data: ``report.json``, the record's metrics, and what the exhibits draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from groundup.stages.pretrain.sweep.law import LEVEL, Fit, Law

BUDGETS: Final = (1, 10, 100, 1000)
"""For which multiples of the largest run's arithmetic the best split between size and data is told."""


@dataclass(frozen=True)
class RunRow:
    """One finished run. ``loss`` is in bits a byte on held-out text; ``matmul_parameters`` is the law's N."""

    name: str
    depth: int
    parameters: int
    matmul_parameters: int
    tokens: int
    flops: float
    loss: float
    seconds: float
    device_joules: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """What the law says of the model that it was not fitted to, and what that model reached (None if not trained)."""

    depth: int
    parameters: int
    matmul_parameters: int
    tokens: int
    loss: float
    low: float
    high: float
    measured: float | None

    @property
    def error(self) -> float | None:
        """Predicted over measured, less one."""
        return None if self.measured is None else self.loss / self.measured - 1


@dataclass(frozen=True)
class Split:
    """A budget in FLOPs (6 N D) and how it is best spent; the intervals are those of the refitted laws."""

    flops: float
    parameters: float
    parameters_interval: tuple[float, float]
    tokens: float
    tokens_interval: tuple[float, float]
    loss: float
    loss_interval: tuple[float, float]


@dataclass(frozen=True)
class Report:
    """A sweep's result."""

    runs: tuple[RunRow, ...]
    law: Law
    intervals: dict[str, tuple[float, float]]
    residuals: tuple[float, ...]
    deviation: float
    reliable: bool
    """False if an exponent ran to the edge of its range: then the runs lie too close together to tell the law."""
    prediction: Prediction
    splits: tuple[Split, ...]

    def as_json(self) -> dict[str, Any]:
        """``report.json``."""
        prediction = {**asdict(self.prediction), "error": self.prediction.error}
        # Time and energy are a matter of the machine; the payload holds what would come out anywhere.
        spent = {"seconds", "device_joules"}
        runs = [{key: value for key, value in asdict(row).items() if key not in spent} for row in self.runs]
        return {**asdict(self), "level": LEVEL, "runs": runs, "prediction": prediction}

    def metrics(self) -> dict[str, Any]:
        """The figures for the record."""
        return {
            "runs": len(self.runs),
            **{name: round(value, 6) for name, value in asdict(self.law).items()},
            "predicted": round(self.prediction.loss, 5),
            "predicted_low": round(self.prediction.low, 5),
            "predicted_high": round(self.prediction.high, 5),
            "measured": self.prediction.measured,
            "prediction_error": self.prediction.error,
            "reliable": self.reliable,
        }


def said(metrics: Mapping[str, Any]) -> list[str]:
    """The record's metrics in words, a line each."""
    interval = f"{metrics['predicted_low']:.4f} to {metrics['predicted_high']:.4f}"
    lines = [f"predicted: {metrics['predicted']:.4f} bits a byte ({interval})"]
    if metrics["measured"] is not None:
        error = f"the prediction was off by {metrics['prediction_error']:+.2%}"
        lines.append(f"reached:   {metrics['measured']:.4f}; {error}")
    return lines


def report(rows: Sequence[RunRow], fit: Fit, target: RunRow, trained: bool) -> Report:
    """Put the result together; ``target`` is the predicted model, its ``loss`` real only if ``trained``."""
    law = fit.law
    low, high = fit.new_run(target.matmul_parameters, target.tokens)
    largest = max(6.0 * row.matmul_parameters * row.tokens for row in rows)
    return Report(
        runs=tuple(rows),
        law=law,
        intervals={name: fit.interval(lambda one, name=name: getattr(one, name)) for name in asdict(law)},  # type: ignore[misc]
        residuals=fit.residuals,
        deviation=fit.deviation,
        reliable=not fit.at_a_limit,
        prediction=Prediction(
            depth=target.depth,
            parameters=target.parameters,
            matmul_parameters=target.matmul_parameters,
            tokens=target.tokens,
            loss=float(law.loss(target.matmul_parameters, target.tokens)),
            low=low,
            high=high,
            measured=target.loss if trained else None,
        ),
        splits=tuple(_split(fit, largest * factor) for factor in BUDGETS),
    )


def _split(fit: Fit, flops: float) -> Split:
    parameters, tokens = fit.law.optimum(flops)
    return Split(
        flops=flops,
        parameters=parameters,
        parameters_interval=fit.interval(lambda law: law.optimum(flops)[0]),
        tokens=tokens,
        tokens_interval=fit.interval(lambda law: law.optimum(flops)[1]),
        loss=float(fit.law.loss(parameters, tokens)),
        loss_interval=fit.interval(lambda law: float(law.loss(*law.optimum(flops)))),
    )
