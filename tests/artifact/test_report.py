"""The report: it loads nothing, hostile text stays text, it is well-formed, readable and the same every time."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest
from fake_run import FakeRun, build
from fake_stages import HTML, BaseConfig, PagesConfig

from groundup.artifact.exhibit import Bars, Exhibits, Facts, Funnel, Lines, Prose, Sample, Samples, Series, Table
from groundup.artifact.report import check_ready, is_current, render
from groundup.artifact.stage import StageConfig
from groundup.base.errors import ArtifactError, RequestError

VOID = {"meta", "br", "img", "link", "input", "hr", "base", "source", "embed"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></style></title>{{7*7}}\x00\ud800\u202e$x^2$"


class Page(HTMLParser):
    """Every tag with its attributes, the text, and whether tags close in the order in which they opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    return build(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(run: FakeRun) -> str:
    return render("quickstart", "A small model & its story.", run.steps)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def _inert(html: str) -> Page:
    """Assert that a page loads and runs nothing; links may lead out, but only where a reader clicks."""
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "audio", "video", "form", "base", "input"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"src", "srcset", "data", "action", "background", "poster"}, (tag, name)
            if name == "href":
                assert value is not None
                assert value.startswith("#") or (tag == "a" and re.match(r"https?://", value)), (tag, value)
            if name == "style":
                assert "url(" not in str(value) or "url(#" in str(value)
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    assert sum(tag == "style" for tag, _ in page.tags) == 1
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    return page


def test_it_loads_nothing_and_runs_nothing(html: str) -> None:
    _inert(html)


def test_ids_are_unique_and_every_reference_leads_somewhere(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    wanted = {str(a["href"])[1:] for _, a in page.tags if str(a.get("href", "")).startswith("#")}
    wanted |= {str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a}
    wanted |= {m for _, a in page.tags for v in a.values() for m in re.findall(r"url\(#([^)]*)\)", str(v))}
    assert wanted
    assert wanted - set(ids) == set()


def test_everything_recorded_is_shown(run: FakeRun, page: Page) -> None:
    for artifact, config in run.steps:
        record = artifact.record
        assert record.digest in page.text
        assert record.payload in page.text
        assert str(type(config).__doc__).split(".")[0].split("``")[0].split("\n")[0] in page.text
        assert all(source.origin in page.text for source in record.terms.sources)
        exhibits = artifact.path / "log" / "exhibits.json"
        if exhibits.is_file():
            for exhibit in Exhibits.model_validate_json(exhibits.read_bytes()).exhibits:
                assert exhibit.title in page.text
                assert exhibit.caption in page.text
    for text in ("gopher_quality:too_few_stop_words", "7.625", "Kneser-Ney 5-gram", "1.311 to 1.373", "lived in a big"):
        assert text in page.text


def test_headline_facts_and_totals_stand_in_the_header(run: FakeRun, html: str) -> None:
    header = html[html.index("<header") : html.index("</header>")]
    seconds = sum(artifact.record.cost.seconds for artifact, _ in run.steps)
    joules = sum(artifact.record.cost.energy_joules for artifact, _ in run.steps)
    minutes, left = divmod(round(seconds), 60)
    assert "3.4M" in header
    assert "2.05M tokens" in header
    assert f"{minutes} min {left} s" in header
    assert f"{joules / 3600:.2f} Wh" in header
    assert "vocabulary" not in header


def test_the_same_run_gives_the_same_report(run: FakeRun, html: str) -> None:
    assert render("quickstart", "A small model & its story.", run.steps) == html


def test_the_lineage_draws_each_artifact_once(run: FakeRun, html: str) -> None:
    tree = html[html.index('<ul class="tree">') : html.index('id="cost"')]
    rows = re.findall(r'<a href="#a-([a-z]+)">.*?</span>(.*?)</span>', tree)
    assert {name for name, _ in rows} == {artifact.record.name for artifact, _ in run.steps}
    again = [name for name, rest in rows if "shown above" in rest]
    first = [name for name, rest in rows if "shown above" not in rest]
    assert len(first) == len(set(first)) == len(run.steps)
    assert set(again) == {"corpus", "base", "chat", "aligned", "tokens"}
    assert tree.count(HTML.source) == 1


def _hostile_run(folder: Path) -> FakeRun:
    run = FakeRun(folder)
    source = HTML.model_copy(update={"source": HOSTILE, "licence": HOSTILE, "origin": "javascript:alert(3)"})
    run.add(
        HOSTILE.replace("\ud800", ""),
        PagesConfig(files=(HOSTILE.replace("\ud800", ""),)),
        1.0,
        Samples(title=HOSTILE, samples=(Sample(label=HOSTILE, parts=((HOSTILE, HOSTILE), ("x", "token9\" onx='"))),)),
        Facts(title=HOSTILE, caption=HOSTILE, headline=True, facts=((HOSTILE, HOSTILE, HOSTILE),)),
        Table(title=HOSTILE, columns=(HOSTILE, "b"), rows=((HOSTILE, None), (1.5, 2))),
        Lines(
            title=HOSTILE,
            x_label=HOSTILE,
            y_label="\u6f22\u5b57 $\\frac{1}{$",
            series=(Series(name=HOSTILE, x=(0, 1, 2), y=(1, math.nan, math.inf)),),
            rules=((HOSTILE, 1.0),),
        ),
        Bars(title=HOSTILE, x_label=HOSTILE, bars=((HOSTILE, math.nan, None, 2.0),), rules=((HOSTILE, math.inf),)),
        Funnel(title=HOSTILE, unit=HOSTILE, steps=((HOSTILE, 0, {HOSTILE: 3}), (HOSTILE, 0, {}))),
        Prose(title=HOSTILE, text=HOSTILE),
        metrics={HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},
        sources=(source,),
    )
    return run


def test_hostile_text_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A lone surrogate can't be written to JSON, so hand the exhibits over without the detour through a file.
    kept: list[Exhibits] = []
    monkeypatch.setattr(Exhibits, "model_dump_json", lambda self: kept.append(self) or "{}")
    run = _hostile_run(tmp_path)
    monkeypatch.setattr(Exhibits, "model_validate_json", classmethod(lambda cls, data: kept[0]))
    html = render(HOSTILE, HOSTILE, run.steps)
    page = _inert(html)
    html.encode("utf-8")
    assert "<script>alert(1)</script>" in page.text  # as text
    assert "{{7*7}}" in page.text
    assert "javascript:alert(3)" in page.text
    assert not any(ord(char) < 32 and char not in "\n\t" for char in html)
    roles = {str(a.get("class")) for t, a in page.tags if t == "span" and str(a.get("class", "")).startswith("part")}
    assert roles == {"part plain"}


def test_values_that_are_not_finite_survive_the_file(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    series = Series(name="loss", x=(0, 1, 2), y=(2.0, math.nan, math.inf))
    run.add("base", PagesConfig(), 1.0, Lines(title="Loss", x_label="x", y_label="y", series=(series,)))
    assert "There is no finite value" not in render("r", "", run.steps)
    page = Page(render("r", "", run.steps))
    assert "loss" in page.text


def test_a_chart_without_a_finite_value_says_so(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    series = Series(name="loss", x=(0, 1), y=(math.nan, math.inf))
    run.add("base", PagesConfig(), 1.0, Lines(title="Loss", x_label="x", y_label="y", series=(series,)))
    assert "There is no finite value" in render("r", "", run.steps)


def test_settings_tell_what_was_chosen_from_what_was_left(run: FakeRun, html: str) -> None:
    section = html[html.index('id="a-base"') : html.index('id="a-conversations"')]
    found = {
        name: bool(default)
        for default, name in re.findall(r'<tr( class="default")?><th scope="row">([a-z_]+)<', section)
    }
    assert found == {"tokens": False, "depth": False, "learning_rate": True}
    assert str(BaseConfig.model_fields["depth"].description) in section


def test_damaged_exhibits_are_named(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    artifact = run.add("base", PagesConfig(), 1.0, Prose(title="a", text="b"))
    (artifact.path / "log" / "exhibits.json").write_text('{"exhibits": [{"type": "nonsense"}]}')
    with pytest.raises(ArtifactError, match=r"exhibits\.json can't be read .* delete"):
        render("r", "", run.steps)


def test_names_that_look_alike_get_places_of_their_own(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.add("a/b", PagesConfig(), 1.0)
    run.add("a b", PagesConfig(), 1.0)
    page = Page(render("r", "", run.steps))
    assert [a["id"] for t, a in page.tags if t == "section" and str(a.get("id")).startswith("a-")] == [
        "a-a-b",
        "a-a-b-1",
    ]


def test_a_stage_without_words_is_no_problem(tmp_path: Path) -> None:
    class Bare(StageConfig):
        stage: ClassVar[str] = "bare"
        kind: ClassVar[str] = "thing"

    run = FakeRun(tmp_path)
    run.add("thing", Bare(), 0.0)
    assert "thing" in Page(render("r", "", run.steps)).text


def test_current_means_that_the_file_shows_these_artifacts(tmp_path: Path) -> None:
    report, state = tmp_path / "report.html", tmp_path / "run.json"
    shown = {"recipe": "r", "artifacts": {"base": "1"}}
    assert not is_current(report, state, shown)
    report.write_text("x")
    assert not is_current(report, state, shown)
    state.write_text(json.dumps({**shown, "made_last": []}))
    assert is_current(report, state, shown)
    assert not is_current(report, state, {"recipe": "r", "artifacts": {"base": "2"}})
    state.write_text("{half")
    assert not is_current(report, state, shown)
    state.write_text("[]")
    assert not is_current(report, state, shown)


def test_matplotlib_is_asked_for_before_the_work_and_loaded_only_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, groundup.artifact.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    check_ready()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"groundup\[report\]"):
        check_ready()


# -- how it looks ------------------------------------------------------------------------------------------------------


def _palettes(html: str) -> dict[str, dict[str, str]]:
    style = html[html.index("<style>") : html.index("</style>")]
    light, dark = style.split("@media (prefers-color-scheme: dark)", 1)
    found = {"light": dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", light))}
    found["dark"] = found["light"] | dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", dark.split("\n}\n")[0]))
    return found


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_graphics_have_the_contrast_of_wcag_aa(html: str, scheme: str) -> None:
    colours = _palettes(html)[scheme]
    pairs = [(ink, back, 4.5) for ink in ("ink", "muted", "link") for back in ("page", "card", "sunk")]
    pairs += [("lost", "card", 4.5), ("c0", "sunk", 4.5), ("lost", "sunk", 4.5)]
    pairs += [(f"k{index}", "card", 4.5) for index in range(10)]  # the badge of a kind is text
    pairs += [(f"c{index}", "card", 3.0) for index in range(8)]  # lines and bars
    pairs += [("ink", f"t{index}", 4.5) for index in range(6)]
    pairs += [("hero-ink", "hero-b", 4.5), ("hero-muted", "hero-a", 4.5), ("hero-muted", "hero-b", 4.5)]
    low = {(a, b): round(_contrast(colours[a], colours[b]), 2) for a, b, least in pairs
           if _contrast(colours[a], colours[b]) < least}  # fmt: skip
    assert low == {}


@pytest.mark.slow
def test_a_browser_shows_it_without_asking_anybody(html: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        view = browser.new_page(viewport={"width": 360, "height": 700})
        asked: list[str] = []
        said: list[str] = []
        view.on("request", lambda request: asked.append(request.url))
        view.on("console", lambda message: said.append(message.text))
        view.goto(file.as_uri())
        for width in (360, 800, 1400):
            view.set_viewport_size({"width": width, "height": 700})
            assert view.evaluate("document.documentElement.scrollWidth") <= width
        flows = view.locator("svg.flow")
        assert [flows.nth(index).is_visible() for index in range(flows.count())] == [True, False]
        browser.close()
    assert asked == [file.as_uri()]
    assert said == []
