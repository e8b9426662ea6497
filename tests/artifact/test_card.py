"""The card: every number in it is in a record, what is missing is blank, hostile text is no markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_run import FakeRun, build
from fake_stages import BOOKS, PAIRS, STORIES, TALKS, BaseConfig, PagesConfig, TokensConfig

from groundup.artifact.lineage import Branch, grow
from groundup.artifact.papers.annexes import render_cost, render_licences
from groundup.artifact.papers.model_card import render_card
from groundup.artifact.papers.page import NOT_RECORDED, markdown
from groundup.artifact.record import Record
from groundup.artifact.terms import Terms

NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w.]*\w)")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    return build(tmp_path_factory.mktemp("run"))


def _lineage(run: FakeRun, name: str) -> Branch:
    return grow(run.record(name), run.records.__getitem__)


def _card(run: FakeRun, name: str = "aligned", scores: bool = True) -> str:
    return render_card(run.record(name), _lineage(run, name), run.record("scores") if scores else None)


def _front(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(front)
    return loaded


def _section(card: str, title: str) -> str:
    return re.split(r"(?m)^## ", card)[[part.split("\n")[0] for part in re.split(r"(?m)^## ", card)].index(title)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
        yield from value.keys()
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _matches(shown: str, recorded: float) -> bool:
    """Whether ``shown`` is ``recorded`` rounded to the digits that are shown."""
    value = float(shown.replace(",", ""))
    digits = len(re.sub(r"e.*|[^0-9]", "", shown).lstrip("0"))
    return value == recorded or (digits >= 4 and abs(value - recorded) <= 0.5 * 10**-3 * abs(recorded))


def test_every_number_in_the_card_is_in_a_record(run: FakeRun) -> None:
    lineage = _lineage(run, "aligned")
    records = [branch.record for branch in lineage.walk()] + [run.record("scores")]
    leaves = [leaf for record in records for leaf in _leaves(record.model_dump(mode="json"))]
    texts = sorted({str(leaf) for leaf in leaves if isinstance(leaf, str) and re.search(r"[a-zA-Z]", leaf)}, key=len)
    numbers = {float(leaf) for leaf in leaves if isinstance(leaf, (int, float)) and not isinstance(leaf, bool)}
    card = re.sub(r"```python.*?```", "", _card(run), flags=re.S)
    for text in reversed(texts):
        card = card.replace(text, "").replace(markdown(text), "")
    found = NUMBER.findall(card)
    assert len(found) > 40
    assert [shown for shown in found if not any(_matches(shown, number) for number in numbers)] == []


def test_a_changed_record_changes_the_card(run: FakeRun) -> None:
    """The card has no number of its own: whatever changes in the records changes in the card."""
    scores, model = run.record("scores"), run.record("aligned")
    lineage = _lineage(run, "aligned")
    before = render_card(model, lineage, scores)
    changed = {**scores.metrics, "aligned": {**scores.metrics["aligned"], "bits_per_byte": 1.517}}
    after = render_card(model, lineage, scores.model_copy(update={"metrics": changed}))
    different = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert [b for _, b in different] == ["| `aligned` (this model) | 1.517 | 1.388 | 1.45 |"]


def test_front_matter_says_what_the_hub_wants_to_know(run: FakeRun) -> None:
    front = _front(_card(run))
    assert front["library_name"] == "transformers"
    assert front["pipeline_tag"] == "text-generation"
    assert front["language"] == ["en"]
    assert front["license"] == "other"
    assert front["license_name"] == "mixed"
    assert front["license_link"] == "LICENSES.md"
    assert front["source_licenses"] == list(run.record("aligned").terms.licences)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("LicenseRef-public-domain", {"license": "other", "license_name": "licenseref-public-domain"}),
    ],
)
def test_one_licence_is_the_licence(run: FakeRun, licence: str, expected: dict[str, str]) -> None:
    terms = Terms(sources=(STORIES.model_copy(update={"licence": licence}),))
    model = run.record("base").model_copy(update={"terms": terms})
    front = _front(render_card(model, Branch(model, "", ()), None))
    assert expected.items() <= front.items()
    assert ("license_link" in front) == (expected["license"] == "other")


def test_no_source_is_an_unknown_licence(run: FakeRun) -> None:
    model = run.record("base").model_copy(update={"terms": Terms()})
    assert _front(render_card(model, Branch(model, "", ()), None))["license"] == "unknown"


def test_every_source_stands_with_licence_origin_and_counts(run: FakeRun) -> None:
    section = _section(_card(run), "Where it comes from")
    assert f"| {STORIES.source} | `pages` | {STORIES.licence} | {STORIES.origin} | 2,119 | 2,041 |" in section
    assert f"| {BOOKS.source} | `pages` | {BOOKS.licence} | {BOOKS.origin} | 5 | 131 |" in section
    assert f"| {TALKS.source} | `conversations` |" in section
    assert f"| {PAIRS.source} | `preferences` |" in section
    assert f"| {PAIRS.source} |" not in _card(run, "chat")


def test_scores_stand_with_intervals_chance_and_baselines(run: FakeRun) -> None:
    section = _section(_card(run), "Scores")
    bits, endings = section.split("### ")[1:]
    assert "| `aligned` (this model) | 1.419 | 1.388 | 1.45 |" in bits
    assert "| `kneser_ney_5gram` | 1.618 |  |  |" in bits
    assert "chance: 0.25" in endings
    assert "kneser_ney" not in endings
    assert "`base` (this model)" in _card(run, "base")


def test_what_is_not_recorded_is_visibly_blank(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.add("pages", PagesConfig(), 1.0)
    run.add("tokens", TokensConfig(corpus="pages", tokenizer="pages"), 1.0)
    run.add("base", BaseConfig(tokens="tokens"), 1.0)
    card = _card(run, "base", scores=False)
    for line in ("| parameters | ", "| languages | ", "| licences of the sources | ", "| safety evaluation | "):
        assert f"{line}{NOT_RECORDED} |" in card
    for title in ("Scores", "How the text was prepared"):
        assert _section(card, title).split("\n")[2].startswith(NOT_RECORDED)
    assert NOT_RECORDED in _section(card, "Where it comes from")
    assert "language" not in _front(card)


def test_scores_of_another_model_do_not_count(run: FakeRun) -> None:
    scores = run.record("scores")
    others = {field: [link for link in links if link.name != "aligned"] for field, links in scores.inputs.items()}
    card = render_card(run.record("aligned"), _lineage(run, "aligned"), scores.model_copy(update={"inputs": others}))
    assert _section(card, "Scores").split("\n")[2].startswith(NOT_RECORDED)


def test_a_score_that_could_not_be_computed_is_blank(run: FakeRun) -> None:
    scores = run.record("scores")
    own = {**scores.metrics["aligned"], "bits_per_byte": None, "bits_per_byte_low": None, "bits_per_byte_high": None}
    changed = scores.model_copy(update={"metrics": {**scores.metrics, "aligned": own}})
    card = render_card(run.record("aligned"), _lineage(run, "aligned"), changed)
    assert f"| `aligned` (this model) | {NOT_RECORDED} |  |  |" in card


def test_the_snippet_fits_the_model(run: FakeRun) -> None:
    assert "apply_chat_template" in _card(run, "chat")
    assert "apply_chat_template" not in _card(run, "base")


def _hostile(record: Record, text: str) -> Record:
    source = STORIES.model_copy(update={"source": text, "licence": text, "origin": text})
    return record.model_copy(
        update={"name": text, "stage": text, "terms": Terms(sources=(source,)), "metrics": {text: text}}
    )


def test_hostile_text_is_no_markup(run: FakeRun) -> None:
    text = "x|y`z\n\n---\n# <script>alert(1)</script> ![a](http://b) *c* [d](javascript:e)"
    model = _hostile(run.record("base"), text)
    lineage = Branch(model, "", ())
    for paper in (render_card(model, lineage, None), render_licences(model), render_cost(lineage)):
        body = paper.split("---\n", 2)[2] if paper.startswith("---\n") else paper
        outside = re.sub(r"`[^`\n]*`", "", body.replace("\\`", ""))
        assert "<script" not in outside
        assert not re.search(r"(?<!\\)!?(?<!\\)\[(a|d)\]", outside)
        assert not re.search(r"(?m)^# <|^---$", body)
        tables = [line for line in outside.splitlines() if line.startswith("|")]
        columns = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
        heads = [columns[index - 1] for index, line in enumerate(tables) if set(line) <= set("|-:")]
        assert set(columns) == set(heads)
    assert _front(render_card(model, lineage, None))["source_licenses"] == [" ".join(text.split())]


def test_the_card_does_not_depend_on_the_making(run: FakeRun) -> None:
    """Made again on another day, by a slower machine, after a kill: the same card; only the cost differs."""

    def again(branch: Branch) -> Branch:
        cost = branch.record.cost.model_copy(update={"seconds": 99.5, "attempts": 7, "energy_joules": 5.0})
        record = branch.record.model_copy(update={"cost": cost, "created": "2031-01-01", "environment": {"cpu": "z"}})
        return Branch(record, branch.via, tuple(again(child) for child in branch.inputs))

    one = _lineage(run, "aligned")
    two = again(one)
    assert render_card(two.record, two, run.record("scores")) == _card(run)
    assert render_licences(two.record) == render_licences(one.record)
    assert render_cost(two) != render_cost(one)


def test_the_cost_is_summed_over_every_ancestor_once(run: FakeRun) -> None:
    lineage = _lineage(run, "aligned")
    names = [branch.record.name for branch in lineage.walk()]
    assert sorted(names) == sorted(set(names))
    joules = sum(run.record(name).cost.energy_joules for name in names)
    paper = render_cost(lineage)
    assert f"{joules / 3600:.2f} Wh" in paper.split("**all**")[1]
    assert "assumed 6 W" in paper
    assert "A laptop processor at 2.4 GHz" in paper
    assert "`scores`" not in paper


def test_licences_are_grouped(run: FakeRun) -> None:
    paper = render_licences(run.record("chat"))
    assert re.findall(r"(?m)^## (.*)", paper) == list(run.record("chat").terms.licences)
    assert paper.count(STORIES.sha256) == 1
