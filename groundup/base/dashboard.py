"""A small live panel for a terminal: how far, how long still, the curve so far, the figures of the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_BARS: Final = "▁▂▃▄▅▆▇█"
_COLUMNS: Final = 4


@dataclass(frozen=True)
class View:
    """What the panel shows; ``facts`` are labels with their values, ``events`` lines that ask for attention."""

    title: str
    share: float
    progress: str
    curve: Sequence[float] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[str] = ()


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve in one line of text: means of equal stretches, the lowest to the highest.

    >>> sparkline([3, 3, 2, 2, 1, 1], 3)
    '█▅▁'
    """
    finite = [value for value in values if abs(value) < float("inf")]
    if not finite:
        return ""
    width = max(1, min(width, len(finite)))
    edges = [round(at * len(finite) / width) for at in range(width + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    steps = len(_BARS) - 1
    return "".join(_BARS[round((mean - low) / (high - low) * steps) if high > low else 0] for mean in means)


class Dashboard:
    """Draws views over one another in the same place of a terminal, until ``close``."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def show(self, view: View) -> None:
        """Draw a view in place of the last."""
        self._live.update(_panel(view, self._console.width), refresh=True)

    def print(self, text: str) -> None:
        """A lasting line above the panel."""
        self._console.print(Text(text))

    def close(self) -> None:
        """Leave the last view where it is and give the terminal back."""
        self._live.stop()


def _panel(view: View, width: int) -> RenderableType:
    inner = max(10, width - 4)
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(ProgressBar(total=1.0, completed=min(1.0, view.share)), Text(view.progress))
    lines: list[RenderableType] = [bar]
    if len(view.curve) > 1:
        lines.append(Text(sparkline(view.curve, inner), style="cyan", no_wrap=True, overflow="crop"))
    grid = Table.grid(expand=True, padding=(0, 2))
    columns = max(1, min(_COLUMNS, inner // 18))
    cells = [Text.assemble((f"{name} ", "dim"), value) for name, value in view.facts.items()]
    for at in range(0, len(cells), columns):
        grid.add_row(*cells[at : at + columns])
    lines.append(grid)
    lines += [Text(event, style="yellow", no_wrap=True, overflow="ellipsis") for event in view.events]
    return Panel(Group(*lines), title=Text(view.title), title_align="left", border_style="dim")
