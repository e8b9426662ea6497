"""What a stage wants a person to see, as plain data: the report draws it without knowing the stage.

A stage hands exhibits to ``Task.exhibits``; they are kept in ``log/exhibits.json`` of the artifact.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Cell = str | int | float | None


_PLAIN = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")
"""Not-a-number and infinities survive the way to the file and back: a loss that blew up is worth seeing."""


class _Exhibit(BaseModel):
    model_config = _PLAIN

    title: str
    caption: str = ""


class Facts(_Exhibit):
    """A few headline numbers: (label, value, note). ``headline`` shows them at the top of the report too."""

    type: Literal["facts"] = "facts"
    facts: tuple[tuple[str, str, str], ...]
    headline: bool = False


class Table(_Exhibit):
    """Rows of cells. Numbers are aligned right."""

    type: Literal["table"] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Series(BaseModel):
    """One line of a chart, or single points; ``low`` and ``high`` draw a band around it when given."""

    model_config = _PLAIN

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    points: bool = False


class Lines(_Exhibit):
    """A line chart; ``rules`` are labelled horizontal lines, such as a baseline."""

    type: Literal["lines"] = "lines"
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    rules: tuple[tuple[str, float], ...] = ()
    log_y: bool = False
    log_x: bool = False


class Bars(_Exhibit):
    """Horizontal bars: (label, value, low, high); low and high draw an interval when given."""

    type: Literal["bars"] = "bars"
    x_label: str
    bars: tuple[tuple[str, float, float | None, float | None], ...]
    rules: tuple[tuple[str, float], ...] = ()


class Funnel(_Exhibit):
    """What each step took away: (step, remaining, {reason: dropped})."""

    type: Literal["funnel"] = "funnel"
    unit: str
    steps: tuple[tuple[str, int, dict[str, int]], ...]


class Sample(BaseModel):
    """A text, in parts: each part is (text, role); role colours it. Samples that follow each other with the same
    ``fold`` are folded away under it, to be opened.

    Roles that have a colour: ``prompt``, ``generated``, ``system``, ``user``, ``assistant``, ``chosen``, ``rejected``,
    ``kept``, ``dropped``, ``note``, and ``token0``, ``token1``, … (six colours in turn). Any other role, such as
    ``plain``, is shown as plain text.
    """

    model_config = _PLAIN

    label: str
    parts: tuple[tuple[str, str], ...]
    fold: str = ""


class Samples(_Exhibit):
    """Texts to read."""

    type: Literal["samples"] = "samples"
    samples: tuple[Sample, ...]


class Prose(_Exhibit):
    """A paragraph, plain text."""

    type: Literal["prose"] = "prose"
    text: str


Exhibit = Annotated[
    Facts | Table | Lines | Bars | Funnel | Samples | Prose,
    Field(discriminator="type"),
]


class Exhibits(BaseModel):
    """``log/exhibits.json``."""

    model_config = _PLAIN

    exhibits: tuple[Exhibit, ...] = ()
