"""What every training run shows in the report: how fast it went, and the steps that looked wrong."""

from __future__ import annotations

from collections import Counter

from groundup.artifact.exhibit import Lines, Series, Table
from groundup.train.health import CAUSES
from groundup.train.loop import History

_ROWS_SHOWN = 20


def health_metrics(history: History) -> dict[str, int]:
    """How many steps looked wrong, by cause; part of the record."""
    found = Counter(event["event"] for event in history.events)
    return {cause: found[cause] for cause in CAUSES}


def health_exhibits(history: History) -> tuple[Table, ...]:
    """A table of the steps that looked wrong; nothing if there were none."""
    if not history.events:
        return ()
    losses = {row["step"]: row["loss"] for row in history.steps}
    norms = {row["step"]: row["gradient_norm"] for row in history.steps}
    rows = tuple(
        (
            event["step"],
            event["event"].replace("_", " "),
            losses.get(event["step"]),
            norms.get(event["step"]),
            event.get("deviation"),
            f"rewind to {event['to_step']}" if "to_step" in event else event["action"],
        )
        for event in history.events[:_ROWS_SHOWN]
    )
    more = len(history.events) - len(rows)
    return (
        Table(
            title="Steps that looked wrong",
            caption="Loss or gradient not finite, or many robust deviations above the median of the steps before."
            + (f" The first {len(rows)} of {len(history.events)}." if more else ""),
            columns=("step", "what", "loss", "gradient norm", "deviations", "what was done"),
            rows=rows,
        ),
    )


def speed_exhibits(history: History) -> tuple[Lines, ...]:
    """Throughput as a share of what the machine can do; nothing if the run went on from its end."""
    if len(history.speed) < 2:
        return ()
    return (
        Lines(
            title="How much of the machine it used",
            caption="Model FLOP/s as a share of what the matrix products of the model's own shapes reach here.",
            x_label="step",
            y_label="MFU",
            series=(
                Series(
                    name="MFU",
                    x=tuple(row["step"] for row in history.speed),
                    y=tuple(row["mfu"] for row in history.speed),
                ),
            ),
        ),
    )
