"""Progress: a panel on a terminal, plain lines elsewhere, and a terminal that is given back."""

from __future__ import annotations

import io

import pytest

from groundup.base import progress as module
from groundup.base.dashboard import sparkline
from groundup.base.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(module, "_PANEL_INTERVAL", 0.0)


def show(progress: Progress, done: int, loss: float) -> None:
    progress.panel(
        "training", done, 10, "steps", curve=[3.0, 2.5, loss], facts={"loss": f"{loss:.3f}", "MFU": "41%"},
        events=["step 3: loss spike: skipped"],
    )  # fmt: skip


def test_a_terminal_shows_the_panel_and_notes_above_it() -> None:
    stream = Terminal()
    progress = Progress("[1/2] base: pretrain", stream)
    show(progress, 4, 2.125)
    progress.note("saved")
    show(progress, 5, 2.0)
    progress.end_panel()
    progress.note("done")
    text = stream.getvalue()
    for wanted in ("[1/2] base: pretrain", "training", "4/10 steps", "2.125", "41%", "loss spike", "█", "saved"):
        assert wanted in text
    assert text.rstrip().endswith("done")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden and given back


def test_a_line_after_a_panel_closes_it() -> None:
    stream = Terminal()
    progress = Progress("", stream)
    show(progress, 1, 1.0)
    progress.update("scoring", 1, 2, "rows")
    assert "\x1b[?25h" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("scoring  1/2 rows")


def test_elsewhere_it_is_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    progress = Progress("base", stream)
    for done in range(1, 41):
        clock[0] += 1.0
        show(progress, done, 2.0)
    lines = stream.getvalue().splitlines()
    assert 4 <= len(lines) <= 6
    assert all("\x1b" not in line and "loss 2.000" in line for line in lines)


def test_a_phase_that_starts_over_has_a_rate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the runs of a sweep do: ten steps a second, whatever came before."""
    stream, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    progress = Progress("", stream)
    for seconds, steps in ((1.0, 100), (0.1, 200)):
        for done in range(1, steps + 1):
            clock[0] += seconds
            progress.update("training", done, steps, "steps")
    first, second = stream.getvalue().rsplit("training  1", 1)[0], stream.getvalue().splitlines()[-1]
    assert "1 steps/s" in first
    assert "10 steps/s" in second


@pytest.mark.parametrize(
    ("values", "width", "want"),
    [([], 5, ""), ([1.0], 5, "▁"), ([2, 2, 2], 9, "▁▁▁"), ([1, float("nan"), 3], 9, "▁█"), (range(8), 8, "▁▂▃▄▅▆▇█")],
)
def test_sparklines(values: list[float], width: int, want: str) -> None:
    assert sparkline(values, width) == want
