"""Charts and the picture of the flow: the geometry is right, and the SVG is fit for a page with many of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.artifact.charts import bar_chart, funnel_steps, line_chart
from groundup.artifact.diagram import Box, flow_diagram
from groundup.artifact.exhibit import Bars, Funnel, Lines, Series
from groundup.artifact.present import duration, energy, explain, number

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@given(st.lists(FINITE, min_size=1, max_size=8), st.lists(FINITE, max_size=3))
def test_bars_share_one_scale_that_holds_zero(values: list[float], rules: list[float]) -> None:
    exhibit = Bars(
        title="t",
        x_label="x",
        bars=tuple((str(i), value, value - 1, value + 1) for i, value in enumerate(values)),
        rules=tuple(("r", rule) for rule in rules),
    )
    chart = bar_chart(exhibit)
    low = min([0.0, *rules, *(value - 1 for value in values)])
    high = max([0.0, *rules, *(value + 1 for value in values)])
    for bar, value in zip(chart.bars, values, strict=True):
        assert bar.low is not None and bar.high is not None
        for place in (bar.start, bar.start + bar.length, bar.low, bar.high):
            assert -0.01 <= place <= 100.02
        assert bar.length == pytest.approx(100 * abs(value) / (high - low), abs=0.02)
        assert bar.low <= bar.high
    assert all(0 <= rule.at <= 100 for rule in chart.rules)
    assert 2 <= len(chart.ticks) <= 7
    assert [at for _, at in chart.ticks] == sorted(at for _, at in chart.ticks)


def test_equal_bars_of_nothing_still_have_a_scale() -> None:
    chart = bar_chart(Bars(title="t", x_label="x", bars=(("a", 0.0, None, None),)))
    assert chart.bars[0].length == 0
    assert chart.bars[0].interval == ""
    assert [label for label, _ in chart.ticks] == ["0", "0.25", "0.5", "0.75", "1"]


def test_a_funnel_is_as_wide_as_what_is_left() -> None:
    steps = funnel_steps(
        Funnel(title="t", unit="documents", steps=(("in", 200, {}), ("a", 150, {"x": 10, "y": 40}), ("b", 150, {})))
    )
    assert [(step.before, step.after) for step in steps] == [(100, 100), (100, 75), (75, 75)]
    assert [step.dropped for step in steps] == ["", "50", ""]
    assert steps[1].share == "25.0 %"
    assert [reason for reason, _, _ in steps[1].reasons] == ["y", "x"]
    assert [share for _, _, share in steps[1].reasons] == [100, 25]


def _lines(**changes: object) -> Lines:
    fields = {
        "title": "t",
        "x_label": "tokens",
        "y_label": "loss",
        "series": (Series(name="a", x=tuple(range(50)), y=tuple(1 / (1 + i) for i in range(50))),),
        "rules": (("base", 0.5),),
    }
    return Lines.model_validate({**fields, **changes})


def test_a_line_chart_is_one_element_with_ids_of_its_own() -> None:
    one, two = (line_chart(_lines(), prefix).svg for prefix in ("p1", "p2"))
    assert one is not None and two is not None
    ElementTree.fromstring(one)
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
    for svg in (one, two):
        assert not re.search(r"#[0-9a-fA-F]{6}", svg), "a colour that ignores the colour scheme"
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(re.findall(r'\bid="([^"]+)"', svg))
        assert "<style" not in svg and "<metadata" not in svg and "http" not in svg
        assert "var(--c0)" in svg and "var(--c1)" in svg
        assert len(svg) < 20_000


def test_a_line_chart_tells_its_ends_in_words() -> None:
    chart = line_chart(_lines(), "p")
    assert chart.legend[0].value == "1 → 0.02"
    assert chart.legend[1].dashed
    assert "loss over tokens" in chart.words


def test_a_logarithmic_axis_leaves_out_what_it_cannot_hold() -> None:
    chart = line_chart(_lines(log_y=True, series=(Series(name="a", x=(0, 1, 2), y=(0.0, -1.0, 5.0)),)), "p")
    assert chart.legend[0].value == "5"
    assert chart.svg is not None


NAMES = "abcdefgh"


@st.composite
def flows(draw: st.DrawFn) -> list[Box]:
    count = draw(st.integers(1, len(NAMES)))
    boxes = []
    for index in range(count):
        after = draw(st.sets(st.sampled_from(NAMES[:index]), max_size=3)) if index else set()
        boxes.append(Box(NAMES[index], NAMES[index], "note", f"#{NAMES[index]}", index % 10, tuple(sorted(after))))
    return boxes


def _rectangles(svg: str) -> dict[str, tuple[float, float, float, float]]:
    found = {}
    for name, x, y, w, h in re.findall(
        r'href="#(\w)".*?<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg, re.S
    ):
        found[name] = (float(x), float(y), float(x) + float(w), float(y) + float(h))
    return found


@settings(deadline=None)
@given(flows(), st.booleans())
def test_boxes_never_overlap_and_arrows_go_forward(boxes: list[Box], upright: bool) -> None:
    svg = str(flow_diagram(boxes, upright=upright))
    ElementTree.fromstring(svg)
    places = _rectangles(svg)
    assert set(places) == {box.key for box in boxes}
    width, height = (float(part) for part in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    for name, (left, top, right, bottom) in places.items():
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        for other, (left2, top2, right2, bottom2) in places.items():
            assert name == other or right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
    for box in boxes:
        for key in box.after:
            assert places[key][3] < places[box.key][1] if upright else places[key][2] < places[box.key][0]
    assert svg.count('class="tip"') == sum(len(box.after) for box in boxes)


def test_a_chain_is_a_straight_line() -> None:
    boxes = [Box(name, name, "", "#", 0, tuple(NAMES[index - 1 : index])) for index, name in enumerate(NAMES[:5])]
    svg = str(flow_diagram(boxes))
    assert len(set(re.findall(r'<rect x="[\d.]+" y="([\d.]+)" width="132"', svg))) == 1
    assert "C" not in "".join(re.findall(r'<path d="([^"]*)"', svg))


def test_long_names_are_cut_in_the_box_and_whole_in_the_title() -> None:
    svg = str(flow_diagram([Box("k", "a" * 60, "note", "#k", 0, ())]))
    assert f"<title>{'a' * 60}: note</title>" in svg
    assert "a" * 61 not in svg and f">{'a' * 13}…<" in svg


def test_numbers_times_and_energy_are_rounded_never_shifted() -> None:
    assert [number(value) for value in (0, -0.5, 999.96, 12345.6, float("nan"), 10**20)] == [
        "0", "-0.5", "1000", "12,346", "–", "1e+20",
    ]  # fmt: skip
    assert [duration(value) for value in (59.94, 59.96, 3599, 3600)] == [
        "59.9 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
    ]
    assert [energy(value) for value in (359, 3600, 3.6e6)] == ["359 J", "1.00 Wh", "1.00 kWh"]


def test_a_docstring_becomes_paragraphs_lists_and_code() -> None:
    class Lesson:
        """First ``a < b`` here.

        - one
          still one
        - two & more

            x = 1
              y = 2
        """

    blocks = "\n".join(explain(Lesson))
    assert "<p>First <code>a &lt; b</code> here.</p>" in blocks
    assert "<li>one still one</li><li>two &amp; more</li>" in blocks
    assert "<pre>x = 1\n  y = 2</pre>" in blocks
