"""Samples under a fold: closed until opened, in order, and hostile names stay text."""

from __future__ import annotations

from pathlib import Path

from fake_run import FakeRun
from fake_stages import PagesConfig
from test_report import Page

from groundup.artifact.exhibit import Sample, Samples
from groundup.artifact.report import _folds, render


def _samples(*folds: str) -> tuple[Sample, ...]:
    return tuple(Sample(label=f"page {n}", parts=((f"text {n}", "plain"),), fold=f) for n, f in enumerate(folds))


def test_samples_that_follow_each_other_are_folded_together() -> None:
    found = _folds(_samples("", "a", "a", "b", "a"))
    assert [(fold, [one.label for one in group]) for fold, group in found] == [
        ("", ["page 0"]), ("a", ["page 1", "page 2"]), ("b", ["page 3"]), ("a", ["page 4"]),
    ]  # fmt: skip
    assert Sample.model_validate({"label": "old", "parts": []}).fold == ""


def test_folds_are_closed_and_escaped(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.add("pages", PagesConfig(), 1.0, Samples(title="Dropped", samples=_samples("", "too_short: <b>", "other")))
    html = render("r", "", run.steps)
    Page(html)  # every tag closes in order
    assert html.count('<details class="fold">') == 2
    assert "<summary>too_short: &lt;b&gt;</summary>" in html
    assert html.index("text 0") < html.index('<details class="fold">') < html.index("text 1") < html.index("text 2")
    assert '<details class="fold" open' not in html
