"""Sources keep the licences that their pages state beside the declared one, and the terms that a recipe declares."""

from __future__ import annotations

from pathlib import Path

import pytest
from source_run import run_source
from store_task import record

from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.store import scan
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import RequestError
from groundup.base.progress import Silent
from groundup.stages.source.config import SourceConfig
from groundup.stages.source.terms import contradictions, licence_table

CC = "https://creativecommons.org/licenses"


def site(folder: Path) -> None:
    (folder / "site").mkdir()
    for name, path in (("a", "by/4.0/"), ("b", "by-nc/4.0/"), ("c", "by-nc/4.0/"), ("d", "")):
        mark = f'<a rel="license" href="{CC}/{path}">licence</a>' if path else ""
        (folder / "site" / f"{name}.html").write_text(f"<p>The river ran past old mills {name}.</p>{mark}")


def test_the_declared_licence_stays_and_the_stated_one_is_kept(tmp_path: Path) -> None:
    site(tmp_path)
    rows, outcome = run_source(tmp_path, "site", file={"licence": "CC-BY-4.0"})
    assert {row["record"][0]: row["found_licence"] for row in rows} == {
        "a": "CC-BY-4.0", "b": "CC-BY-NC-4.0", "c": "CC-BY-NC-4.0", "d": None,
    }  # fmt: skip
    assert {row["licence"] for row in rows} == {"CC-BY-4.0"}
    (terms,) = outcome.terms.sources
    assert terms.found == (("CC-BY-NC-4.0", 2), ("CC-BY-4.0", 1))
    assert outcome.terms.licences == ("CC-BY-4.0",) and outcome.terms.found == ("CC-BY-NC-4.0",)


def test_only_kept_pages_count(tmp_path: Path) -> None:
    site(tmp_path)
    rows, outcome = run_source(tmp_path, "site", file={"licence": "CC-BY-4.0", "limit": 2})
    (terms,) = outcome.terms.sources
    assert sum(count for _, count in terms.found) == sum(row["found_licence"] is not None for row in rows)


def test_contradictions_are_shown() -> None:
    terms = SourceTerms(
        source="s", licence="CC-BY-4.0", origin="o", sha256="1", documents=9,
        found=(("CC-BY-NC-4.0", 1200), ("CC-BY-4.0", 3)),
    )  # fmt: skip
    (table,) = licence_table([terms])
    assert table.rows == (
        ("s", "CC-BY-4.0", "CC-BY-NC-4.0", 1200, "yes"),
        ("s", "CC-BY-4.0", "CC-BY-4.0", 3, "no"),
    )
    assert table.caption.startswith("1,200 pages state another licence")
    (line,) = contradictions([terms])
    assert line.startswith("s is declared as CC-BY-4.0, but pages of it state CC-BY-NC-4.0 (1,200): the stricter")
    for found in ((), (("CC-BY-4.0", 3),)):
        assert list(contradictions([terms.model_copy(update={"found": found})])) == []
    assert list(licence_table([terms.model_copy(update={"found": ()})])) == []


def test_code_is_under_the_licence_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "tree" / "lib").mkdir(parents=True)
    (tmp_path / "tree" / "package.json").write_text('{"license": "ISC"}')
    (tmp_path / "tree" / "a.py").write_text("print('hello')\n")
    (tmp_path / "tree" / "lib" / "b.py").write_text("# SPDX-License-Identifier: MIT\nprint('hello')\n")
    rows, _ = run_source(tmp_path, "tree", file={"licence": "LicenseRef-mixed", "format": "code"})
    found = {row["record"]: row["found_licence"] for row in rows}
    assert found["a.py"] == "ISC" and found["lib/b.py"] == "MIT"


def test_stated_licences_of_withdrawn_pages_are_not_counted(tmp_path: Path) -> None:
    site(tmp_path)
    rows, _ = run_source(tmp_path, "site", file={"licence": "CC-BY-4.0"})
    withdrawn = frozenset(row["id"] for row in rows if row["record"] == "b.html")
    config = SourceConfig.parse({"files": [{"path": "site", "licence": "CC-BY-4.0", "origin": "here"}]}, "pages")

    def run(name: str, ids: frozenset[str], former: Artifact | None = None) -> tuple[Outcome, Artifact]:
        payload = tmp_path / name
        payload.mkdir()
        files = {"site": tmp_path / "site"}
        outcome = config.run(Task("p", "d", {}, files, payload, tmp_path, Silent(), withdrawn=ids, former=former))
        made = record("pages", metrics=outcome.metrics, terms=outcome.terms, files=scan(payload))
        return outcome, Artifact(payload, made)

    _, former = run("all", frozenset())
    fresh, _ = run("fresh", withdrawn)
    filtered, _ = run("filtered", withdrawn, former)
    assert fresh.terms == filtered.terms
    assert fresh.terms.sources[0].found == (("CC-BY-4.0", 1), ("CC-BY-NC-4.0", 1))


def test_declared_terms_and_uses_are_recorded(tmp_path: Path) -> None:
    site(tmp_path)
    _, outcome = run_source(tmp_path, "site", file={"terms": "https://example.org/terms", "use": "evaluate"})
    (terms,) = outcome.terms.sources
    assert (terms.terms, terms.use) == ("https://example.org/terms", "evaluate")
    assert outcome.terms.use == "evaluate"


def test_terms_of_old_records_still_load() -> None:
    old = {"source": "s", "licence": "CC0", "origin": "o", "sha256": "1", "documents": 3}
    terms = Terms.model_validate({"sources": [old]})
    assert (terms.sources[0].use, terms.sources[0].terms, terms.sources[0].found) == ("train", "", ())
    assert Terms.model_validate_json(terms.model_dump_json()) == terms
    assert Terms.union([terms, terms]) == terms


def test_what_is_not_said_is_no_part_of_a_source() -> None:
    def identity(**fields: str) -> object:
        file = {"path": "x", "licence": "MIT", "origin": "o", **fields}
        return SourceConfig.parse({"files": [file]}, "pages").identity({"x": "0"})

    assert identity() == identity(terms="", use="train")
    assert identity() != identity(use="evaluate")
    assert identity() != identity(terms="https://example.org")


@pytest.mark.parametrize("field", [{"licence": "CC-BY-9.0"}, {"use": "sell"}])
def test_bad_terms_are_refused(tmp_path: Path, field: dict[str, str]) -> None:
    with pytest.raises(RequestError, match=r"^artifact 'pages': field 'files\.0\.[^\n]+$"):
        run_source(tmp_path, "site", file=field)
