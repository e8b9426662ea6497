"""What a report shows of pretraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from groundup.artifact.exhibit import Facts, Lines, Prose, Series, Table
from groundup.base.units import human_count, human_rate
from groundup.train.loop import History
from groundup.train.stream import PackedSteps

_CLEARLY: Final = 1.01
"""A held-out figure this many times its lowest is more than the noise of a few thousand tokens."""


def mixture_exhibits(steps: PackedSteps) -> tuple[Table, ...]:
    """What was read of each of several stores."""
    if len(steps.sources) == 1:
        return ()
    read, total = steps.rows_read(), sum(steps.rows_read())
    rows = []
    for source, count_ in zip(steps.sources, read, strict=True):
        epoch = source.order.rows_in_epoch
        rows.append((source.name, count_ * steps.seq_len, f"{count_ / total:.1%}", round(count_ / epoch, 2)))
    return (
        Table(
            title="The mixture",
            caption="Weights count rows: every batch holds them in these shares, to within a row.",
            columns=("token store", "tokens read", "share", "passes over it"),
            rows=tuple(rows),
        ),
    )


def curve_exhibits(
    history: History, trained: int, unique: int, flops: int, parameters: int
) -> tuple[Facts, Lines, Lines]:
    """The run in numbers, its curves, and its learning rate."""
    # A tokenizer that isn't byte-level tells no bytes of a batch: then the training curve is left out.
    known = [row for row in history.steps if "bits_per_byte" in row]
    smooth = _smoothed([row["bits_per_byte"] for row in known])
    seen = [row["tokens"] / 1e6 for row in history.steps]
    rate = [row["learning_rate"] for row in history.steps]
    checks = history.validations
    speed = human_count(history.tokens_per_second) if history.tokens_per_second else "not measured"
    used = f"{history.mfu:.0%}" if history.mfu else "not measured"
    return (
        Facts(
            title="Training in numbers",
            headline=True,
            facts=(
                ("parameters", human_count(parameters), "the numbers that are learned"),
                ("tokens read", human_count(trained), f"{trained / unique:.1f} passes over {human_count(unique)}"),
                ("arithmetic", f"{flops:.2g}", "floating-point operations"),
                ("speed", speed, f"tokens a second, {history.precision}"),
                (
                    "utilisation",
                    used,
                    f"of {human_rate(history.ceiling, 'FLOP/s')} that matrix products reach here",
                ),
            ),
        ),
        Lines(
            title="How well it guesses",
            caption="Bits needed for each byte of text: lower is better. The training curve is smoothed; when the "
            "held-out curve turns up while the other falls, the model has begun to memorise.",
            x_label="million tokens read",
            y_label="bits per byte",
            series=(
                Series(name="training batches", x=tuple(row["tokens"] / 1e6 for row in known), y=tuple(smooth)),
                Series(
                    name="held-out documents",
                    x=tuple(row["tokens"] / 1e6 for row in checks),
                    y=tuple(row["bits_per_byte"] for row in checks),
                ),
            ),
        ),
        Lines(
            title="Learning rate",
            caption="How far each step moves the weights.",
            x_label="million tokens read",
            y_label="learning rate",
            series=(Series(name="learning rate", x=tuple(seen), y=tuple(rate)),),
        ),
    )


def overfit_exhibits(checks: Sequence[Mapping[str, float]], unique: int) -> tuple[Prose, ...]:
    """A word of advice if the held-out text was guessed clearly better before the end than at it."""
    best, last = min(checks, key=lambda row: row["bits_per_byte"]), checks[-1]
    if last["bits_per_byte"] < _CLEARLY * best["bits_per_byte"]:
        return ()
    rise = last["bits_per_byte"] / best["bits_per_byte"] - 1
    text = (
        f"After {human_count(best['tokens'])} tokens the held-out documents took {best['bits_per_byte']:.3f} bits per "
        f"byte; at the end, after {human_count(last['tokens'])}, they take {last['bits_per_byte']:.3f}, {rise:.1%} "
        f"more. The model has begun to learn its {human_count(unique)} different tokens by heart. More text helps "
        f"most; else a horizon of {human_count(best['tokens'])} tokens, more weight decay or a smaller depth."
    )
    return (Prose(title="Read too often", text=text),)


def _smoothed(values: list[float], keep: float = 0.95) -> list[float]:
    """An exponential mean, corrected for its start."""
    out, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out
