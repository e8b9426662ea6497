"""Charts for the report. Lines are drawn by matplotlib as inline SVG; bars and funnels are laid out here in per cent,
so that the page can draw them with plain boxes that wrap on a phone.

matplotlib's SVG is made fit for a page with many of them: colours become CSS variables (light and dark), ids get a
prefix of their own, text stays text, and nothing depends on the clock.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from groundup.artifact.exhibit import Bars, Funnel, Lines, Series
from groundup.artifact.present import clean, number
from groundup.base.errors import missing_extra
from groundup.base.units import human_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Final = 8
"""How many distinct colours a chart has before they repeat; the style sheet defines ``--c0`` to ``--c7``."""

_WIDE, _NARROW, _HEIGHT = 720, 470, 280
_INK, _GRID = "#010203", "#010204"
_STAND_INS: Final = {_INK: "var(--muted)", _GRID: "var(--line)"} | {
    f"#0102{16 + index:02x}": f"var(--c{index})" for index in range(COLOURS)
}
_STYLE: Final[dict[Any, Any]] = {  # keys are checked by matplotlib
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "ytick.major.size": 0,
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend."""

    name: str
    colour: int
    value: str
    dashed: bool = False


@dataclass(frozen=True)
class LineChart:
    """A drawn line chart: inline SVG (None if there was no finite point), its legend, and its content in words."""

    svg: Markup | None
    legend: tuple[Key, ...]
    words: str


def line_chart(exhibit: Lines, prefix: str, *, wide: bool = True) -> LineChart:
    """Draw ``exhibit`` for a whole row or for half of one; ``prefix`` makes its ids unique in the page."""
    series = [(line, _finite(line, exhibit)) for line in exhibit.series]
    legend = [Key(line.name, index % COLOURS, _ends(points)) for index, (line, points) in enumerate(series)]
    first_rule = len(series)
    legend += [
        Key(name, (first_rule + index) % COLOURS, number(value), dashed=True)
        for index, (name, value) in enumerate(exhibit.rules)
    ]
    words = "; ".join(f"{key.name}: {key.value}" for key in legend)
    words = f"Line chart, {exhibit.y_label} over {exhibit.x_label}. {words}"
    if not any(points for _, points in series):
        return LineChart(None, tuple(legend), words)
    drawn = _draw(exhibit, series, prefix, _WIDE if wide else _NARROW)
    return LineChart(_fit_for_page(drawn, prefix), tuple(legend), words)


Points = list[tuple[float, float]]


def _finite(line: Series, exhibit: Lines) -> Points:
    pairs = zip(line.x, line.y, strict=False)
    return [(x, y) for x, y in pairs if _drawable(x, exhibit.log_x) and _drawable(y, exhibit.log_y)]


def _drawable(value: float, logarithmic: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not logarithmic)


def _ends(points: Sequence[tuple[float, float]]) -> str:
    if not points:
        return "no values"
    first, last = number(points[0][1]), number(points[-1][1])
    return last if len(points) == 1 else f"{first} → {last}"


def _draw(exhibit: Lines, series: Sequence[tuple[Series, Points]], prefix: str, width: int) -> str:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("matplotlib", "report") from None
    stream = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": prefix}), warnings.catch_warnings():
        # The browser draws the text with fonts of its own: a glyph that matplotlib's font lacks is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / 72, _HEIGHT / 72), layout="constrained")
        _plot(figure.add_subplot(), exhibit, series)
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return stream.getvalue()


def _plot(axes: Axes, exhibit: Lines, series: Sequence[tuple[Series, Points]]) -> None:
    for index, (line, points) in enumerate(series):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        style: dict[str, Any] = {"marker": "o", "markersize": 4} if len(points) <= 12 or line.points else {}
        width = 0.0 if line.points else 1.8
        axes.plot(xs, ys, color=_stand_in(index), linewidth=width, solid_capstyle="round", **style)
        band = [
            edges
            for edges in zip(line.x, line.low, line.high, strict=False)
            if _drawable(edges[0], exhibit.log_x) and all(_drawable(edge, exhibit.log_y) for edge in edges[1:])
        ]
        if band:
            places, lows, highs = zip(*band, strict=True)
            axes.fill_between(places, lows, highs, color=_stand_in(index), alpha=0.18, linewidth=0)
    for index, (_, value) in enumerate(exhibit.rules):
        if math.isfinite(value):
            axes.axhline(value, color=_stand_in(len(series) + index), linewidth=1.4, dashes=(5, 4))
    if exhibit.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: number(value))
        axes.yaxis.set_minor_formatter(lambda value, _: number(value) if f"{value:e}"[0] in "25" else "")
        axes.tick_params(axis="y", which="minor", length=0, labelcolor=_INK)
    else:
        axes.yaxis.set_major_formatter(lambda value, _: number(value))
    if exhibit.log_x:
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.set_xlabel(clean(exhibit.x_label))
    axes.set_ylabel(clean(exhibit.y_label))
    axes.margins(x=0.01)
    axes.grid(visible=False, axis="x")


def _short(value: float) -> str:
    """A tick's label.

    >>> _short(12_000), _short(3e11), _short(1e14), _short(1e16)
    ('12k', '300B', '100T', '1e+16')
    """
    if abs(value) >= 1e15:
        return f"{value:g}"
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scale = 1e3 if unit == "k" else limit
            return f"{value / scale:g}{unit}"
    return number(value)


def _stand_in(index: int) -> str:
    return f"#0102{16 + index % COLOURS:02x}"


def _fit_for_page(svg: str, prefix: str) -> Markup:
    """Turn a stand-alone SVG document into an element that can live beside others in one HTML page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r"<defs>\s*</defs>", "", svg)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'\bxlink:href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    for stand_in, variable in _STAND_INS.items():
        svg = svg.replace(stand_in, variable)
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font: \1px var(--sans)", svg)
    svg = re.sub(r'\b(d|x|y|transform|width|height)="[^"]*"', lambda match: _rounded(match[0]), svg)
    return Markup(re.sub(r"\s*\n\s*", "\n", svg))


def _rounded(attribute: str) -> str:
    return re.sub(r"-?\d+\.\d{2,}", lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), attribute)


@dataclass(frozen=True)
class Bar:
    """One bar in per cent of the track: where it starts, how long it is, and its interval."""

    label: str
    text: str
    start: float
    length: float
    low: float | None
    high: float | None
    interval: str


@dataclass(frozen=True)
class Rule:
    """A line across all bars."""

    label: str
    text: str
    at: float


@dataclass(frozen=True)
class BarChart:
    """Bars over one common scale that always holds zero; ``ticks`` are (label, per cent)."""

    bars: tuple[Bar, ...]
    rules: tuple[Rule, ...]
    ticks: tuple[tuple[str, float], ...]


def bar_chart(exhibit: Bars) -> BarChart:
    """Lay out ``exhibit``. Lengths start at zero, so that twice as long is twice as much."""
    numbers = [part for _, *parts in exhibit.bars for part in parts if part is not None and math.isfinite(part)]
    numbers += [value for _, value in exhibit.rules if math.isfinite(value)]
    low, high = min([0.0, *numbers]), max([0.0, *numbers])
    if low == high:
        high = 1.0

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    bars = []
    for label, value, least, most in exhibit.bars:
        finite = value if math.isfinite(value) else 0.0
        known = least is not None and most is not None and math.isfinite(least) and math.isfinite(most)
        bars.append(
            Bar(
                label=label,
                text=number(value),
                start=place(min(0.0, finite)),
                length=round(place(max(0.0, finite)) - place(min(0.0, finite)), 2),
                low=place(least) if known and least is not None else None,
                high=place(most) if known and most is not None else None,
                interval=f"{number(least)} to {number(most)}"
                if known and least is not None and most is not None
                else "",
            )
        )
    rules = tuple(Rule(label, number(value), place(value)) for label, value in exhibit.rules if math.isfinite(value))
    short = human_count if high - low >= 10_000 else number  # long labels would run into each other
    return BarChart(tuple(bars), rules, tuple((short(tick), place(tick)) for tick in _ticks(low, high)))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, three to six of them."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.9g}") for index in range(first, last + 1)]


@dataclass(frozen=True)
class FunnelStep:
    """One step: how wide the stream is before and after it (per cent), and what it took away, most first."""

    name: str
    remaining: str
    dropped: str
    share: str
    before: float
    after: float
    reasons: tuple[tuple[str, str, float], ...]


def funnel_steps(exhibit: Funnel) -> tuple[FunnelStep, ...]:
    """Lay out a funnel; the widest point is 100 per cent."""
    widest = max([1, *(remaining for _, remaining, _ in exhibit.steps)])
    worst = max([1, *(count for _, _, reasons in exhibit.steps for count in reasons.values())])
    steps, before = [], None
    for name, remaining, reasons in exhibit.steps:
        dropped = sum(reasons.values())
        share = f"{100 * dropped / (before or widest):.1f} %" if dropped else ""
        ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        steps.append(
            FunnelStep(
                name=name,
                remaining=number(remaining),
                dropped=number(dropped) if dropped else "",
                share=share,
                before=round(100 * (remaining if before is None else before) / widest, 2),
                after=round(100 * remaining / widest, 2),
                reasons=tuple((reason, number(count), round(100 * count / worst, 2)) for reason, count in ranked),
            )
        )
        before = remaining
    return tuple(steps)
