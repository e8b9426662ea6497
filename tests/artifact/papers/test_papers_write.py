"""Papers in a folder, what a person states, hostile names in Markdown, and the forms of the European Union."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from committed import link
from papers_workspace import HOSTILE, HOSTS, commit, hostile, ledger, model_of, source_terms, subject_of
from typer.testing import CliRunner

from groundup.artifact.papers import stated
from groundup.artifact.papers.eu_summary import eu_summary
from groundup.artifact.papers.page import NOT_RECORDED
from groundup.artifact.papers.write import LIST, PAPERS, choose, render, write
from groundup.artifact.store import Store
from groundup.artifact.terms import Terms
from groundup.base.errors import RequestError, in_one_line
from groundup.cli import app


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, RequestError) and code == 2, done.exception
        return str(done.exception)
    assert done.exit_code == code, done.output
    return done.stdout


# -- the folder --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("pages", {"README.md", "datasheet.md", "croissant.json", "spdx.json", LIST}),
        ("bundle", {file for file, _ in PAPERS.values()} | {LIST}),
    ],
)
def test_the_papers_that_fit_are_written(real: Store, tmp_path: Path, name: str, files: set[str]) -> None:
    said = run("document", name, "--to", tmp_path / "a" / "b", "-w", real.workspace)
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == files
    assert {Path(line).name for line in said.splitlines()} == files
    assert list(tmp_path.rglob(".*")) == []


def test_json_is_only_json_and_only_what_was_asked_for(real: Store, tmp_path: Path) -> None:
    told = json.loads(
        run("document", "base", "--to", tmp_path, "--only", "spdx, eu-summary", "-w", real.workspace, "--json")
    )
    assert [one["file"] for one in told["papers"]] == ["spdx.json", "eu_training_summary.md"]
    assert {path.name for path in tmp_path.iterdir()} == {"spdx.json", "eu_training_summary.md", LIST}


def test_own_work_is_renewed_and_a_persons_is_not(real: Store, tmp_path: Path) -> None:
    again = ("document", "corpus", "--to", tmp_path, "-w", real.workspace)
    run(*again)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    run(*again)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    (tmp_path / "datasheet.md").write_text(before["datasheet.md"] + "\nAdded by hand.\n")
    assert "datasheet.md was changed since it was written" in run(*again, code=2)
    assert "Added by hand" in (tmp_path / "datasheet.md").read_text()
    run(*again, "--only", "spdx")
    assert "Added by hand" in (tmp_path / "datasheet.md").read_text()
    run(*again, "--force")
    assert (tmp_path / "datasheet.md").read_text() == before["datasheet.md"]


def test_a_file_of_others_is_kept_and_nothing_is_written(real: Store, tmp_path: Path) -> None:
    (tmp_path / "spdx.json").write_text("mine")
    (tmp_path / LIST).write_text("{broken")
    said = run("document", "corpus", "--to", tmp_path, "-w", real.workspace, code=2)
    assert "spdx.json was not written by groundup document" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [LIST, "spdx.json"]
    assert (tmp_path / "spdx.json").read_text() == "mine"


def test_a_folder_is_whole_or_absent(real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of(real, "corpus")
    papers = render(subject, choose(subject))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("groundup.artifact.papers.write.sync_file", full)
    with pytest.raises(OSError, match="No space"):
        write(subject, papers, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_every_fact_is_listed_with_its_place(crawled: Store, tmp_path: Path) -> None:
    run("document", "bundle", "--to", tmp_path, "-w", crawled.workspace)
    found = json.loads((tmp_path / LIST).read_text())
    assert set(found["files"]) == {file for file, _ in PAPERS.values()}
    facts = found["files"]["eu_training_summary.md"]["facts"]
    record = crawled.find("corpus").record
    assert {"value": 8, "where": [f"record of corpus ({record.digest[:12]}): metrics/documents"]} in facts
    assert all(one["where"] for file in found["files"].values() for one in file["facts"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokenizer"], "of kind tokenizer: papers are written for pages, corpus"),
        (["corpus", "--only", "eu-summary"], "'eu-summary' is about models, and 'corpus' is a corpus"),
        (["corpus", "--only", "crossant"], "unknown paper 'crossant'; did you mean 'croissant'?"),
        (["corpse"], "no artifact 'corpse'"),
        (["corpus", "--facts", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_a_wrong_request_is_one_clear_line(real: Store, tmp_path: Path, arguments: list[str], message: str) -> None:
    said = run("document", *arguments, "--to", tmp_path / "x", "-w", real.workspace, code=2)
    assert message in said and "\n" not in said
    assert not (tmp_path / "x").exists()


def test_an_artifact_and_a_folder_must_be_named(tmp_path: Path) -> None:
    assert "--to" in run("document", "corpus", code=2)
    assert "name an artifact" in run("document", "--to", tmp_path, code=2)


# -- what a person states ----------------------------------------------------------------------------------------------


def test_the_template_is_a_file_of_facts_and_fills_every_blank(real: Store, tmp_path: Path) -> None:
    text = run("document", "--facts-template")
    (tmp_path / "facts.yaml").write_text(text)
    assert stated.load(tmp_path / "facts.yaml") == {"sources": {}}
    filled = re.sub(r"(?m)^(\w+):  # .*$", r"\1: said so", text).replace("published: said so", "published: 2026-12-31")
    (tmp_path / "filled.yaml").write_text(filled)
    known = stated.load(tmp_path / "filled.yaml")
    assert set(known) == stated.KEYS | {"sources"}
    subject = subject_of(real, "bundle", **known)
    for paper in render(subject, choose(subject)):
        if paper.file in ("datasheet.md", "eu_training_summary.md", "eu_model_documentation.md"):
            blank = re.findall(rf"(?m)^### (.*)\n\n{re.escape(NOT_RECORDED)}$", paper.text)
            assert blank == []
            assert paper.text.count("said so *(stated by the provider)*") > 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contct: me", "unknown fact 'contct'; did you mean 'contact'?"),
        ("- contact", "expected a mapping of facts, got list"),
        ("contact: [a, b]", "contact: expected a text, got list"),
        ("published: soon", "'soon' is not a day such as 2026-12-31"),
        ("contact: a\ncontact: b", "is named twice"),
        ("sources: {a: {kind: publik}}", "source 'a': unknown kind 'publik'; did you mean 'public'?"),
        ("sources: {a: {typ: public}}", "source 'a': unknown field 'typ'"),
        ("sources: [a]", "'sources' maps the names of sources"),
        ("contact: \x01", "is not valid YAML"),
    ],
)
def test_bad_facts_are_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "facts.yaml").write_text(text)
    with pytest.raises(RequestError) as error:
        stated.load(tmp_path / "facts.yaml")
    assert message in str(in_one_line(error.value))


# -- Markdown ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["corpus", "bundle"])
def test_hostile_text_is_no_markup(real: Store, kind: str, name: str) -> None:
    subject = hostile(real, name, HOSTILE[kind])
    for paper in render(subject, choose(subject)):
        paper.text.encode()
        if not paper.file.endswith(".md"):
            continue
        body = paper.text.split("---\n", 2)[2] if paper.text.startswith("---\n") else paper.text
        outside = re.sub(r"`[^`\n]*`", "", body.replace("\\`", ""))
        assert "<script" not in outside
        assert not re.search(r"(?<!\\)!?(?<!\\)\[(a|d)\]", outside)
        assert not re.search(r"(?m)^# <|^---$", body)
        head = 0
        for line in outside.splitlines():
            columns = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            assert columns == head or not columns or not head, line[:200]
            head = columns
        if paper.text.startswith("---\n"):
            yaml.safe_load(paper.text.split("---\n", 2)[1])
        assert len(paper.text) < 400_000


def test_front_matter_is_what_the_hub_reads(real: Store) -> None:
    card = render(subject_of(real, "corpus"), ("card",))[0].text
    front = yaml.safe_load(card.split("---\n", 2)[1])
    assert (front["license"], front["license_name"]) == ("other", "mixed")
    assert front["source_licenses"] == ["CDLA-Sharing-1.0", "LicenseRef-public-domain"]
    assert front["language"] == ["en"] and front["size_categories"] == ["n<1K"]
    assert {"config_name": "corpus", "data_files": "corpus/*.parquet", "default": True} in front["configs"]


def test_empty_records_give_papers_full_of_blanks(tmp_path: Path) -> None:
    """An artifact of which nothing is known but that it is there."""
    store = Store(tmp_path)
    pages = commit(store, "pages", {}, kind="pages")
    commit(store, "model", {}, kind="model", inputs={"tokens": [link(pages)]})
    commit(store, "talks", {"conversations.jsonl": "{}"}, kind="conversations", metrics={"conversations": 5})
    assert (
        "| `talks` | conversations | 5 | *not recorded* | 2 |" in render(subject_of(store, "talks"), ("card",))[0].text
    )
    for name in ("pages", "model", "talks"):
        subject = subject_of(store, name)
        for paper in render(subject, choose(subject)):
            assert NOT_RECORDED.strip("*") in paper.text.lower()
            assert "None" not in paper.text.replace("None: every model", "")


# -- the forms of the European Union -----------------------------------------------------------------------------------


def answer(text: str, question: str) -> str:
    """What stands under a question that begins so."""
    return re.split(r"(?m)^##", text[re.search(rf"(?m)^### {re.escape(question)}.*$", text).end() :])[0].strip()  # type: ignore[union-attr]


def test_the_summary_tells_the_crawl(crawled: Store) -> None:
    text = eu_summary(subject_of(crawled, "bundle")).text
    assert answer(text, "2.3 Data crawled") == "Yes."
    assert "test-crawler/1.0" in answer(text, "2.3 Names of the crawlers")
    assert "2026-11-24T10:00:00+00:00" in answer(text, "2.3 Period")
    assert "CC-BY-4.0 OR MIT" in answer(text, "2.3 Types of content")
    measures = answer(text, "3.1 Measures")
    assert "| `robots` | `refused` | 1 |" in measures and "| `allowed` | 6 |" in measures and "| web | 3 |" in measures
    assert "| `toxicity:toxic` | 1 |" in answer(text, "3.2 Measures")
    assert "1 billion to 10 trillion tokens" in answer(text, "1.3 Modalities")
    assert "extra.jsonl" in answer(text, "2.1 Publicly available") and "web" not in answer(
        text, "2.1 Publicly available"
    )


@pytest.mark.parametrize(
    ("hosts", "small", "shown"), [(3, "", 1), (11, "", 2), (20, "yes", 1), (21, "yes", 2), (41, "no", 5)]
)
def test_the_first_tenth_of_the_domains_is_listed(tmp_path: Path, hosts: int, small: str, shown: int) -> None:
    store = Store(tmp_path)
    rows = [{"url": f"http://h{number}.example/x", "page_bytes": 10 * number} for number in range(1, hosts + 1)]
    pages = commit(
        store, "pages", {}, kind="pages", config={"crawl": {"name": "web"}},
        terms=Terms(sources=(source_terms("web", "CC0-1.0"),)),
    )  # fmt: skip
    corpus = commit(
        store, "corpus", {"ledger/00000.parquet": ledger(rows)}, kind="corpus", inputs={"pages": [link(pages)]},
        terms=pages.record.terms,
    )  # fmt: skip
    model_of(store, corpus)
    text = answer(eu_summary(subject_of(store, "model", small_enterprise=small)).text, "2.3 The most relevant")
    found = re.findall(r"\| `h(\d+)\.example` \| 1 \| (\d+) \|", text)
    assert found == [(str(number), str(10 * number)) for number in range(hosts, hosts - shown, -1)]
    assert ("5 %" in text) == (small == "yes")


def test_no_is_said_only_when_every_source_is_of_a_known_kind(crawled: Store) -> None:
    for kind in ("", "public", "synthetic"):
        about: dict[str, Any] = (
            {"sources": {"extra.jsonl": {"kind": kind, "link": "https://example.org/e"}}} if kind else {}
        )
        text = eu_summary(subject_of(crawled, "bundle", **about)).text
        assert answer(text, "2.2.1").startswith("No: " if kind else NOT_RECORDED)
        assert answer(text, "2.5 Synthetic").startswith({"": NOT_RECORDED, "public": "No: ", "synthetic": "Yes."}[kind])
        assert ("https://example.org/e *(stated" in text) == bool(kind)


def test_hosts_are_counted_as_they_were_written_down(crawled: Store) -> None:
    from groundup.artifact.papers import tables

    found = tables.kept(crawled.find("corpus"))
    assert found is not None
    assert {one.name: one.bytes.value for one in tables.hosts(found, ["web"])} == HOSTS
    assert [one.name for one in tables.hosts(found, ["web"])] == sorted(HOSTS, key=lambda name: -HOSTS[name])
    assert (found.documents, found.authors, found.hosts.get("extra.jsonl")) == (8, 3, None)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://User:pw@EXAMPLE.org:80/a@b", "example.org"), ("https://[2001:db8::1]:8/", "[2001:db8::1]"),
        ("https://example.org.", "example.org"), ("mailto:a@b.org", None), ("//example.org", None), ("", None),
        ("https://bücher.example?x", "bücher.example"), ("https://e.org#//f.org", "e.org"),
    ],
)  # fmt: skip
def test_the_host_of_an_address(tmp_path: Path, url: str, host: str | None) -> None:
    from groundup.artifact.papers import tables

    made = commit(Store(tmp_path), "c", {"ledger/00000.parquet": ledger([{"url": url}])}, kind="corpus")
    found = tables.kept(made)
    assert found is not None
    assert dict(found.hosts) == ({"web": {host: 1}} if host else {})


def test_a_damaged_table_is_one_clear_line(tmp_path: Path) -> None:
    from groundup.artifact.papers import tables
    from groundup.base.errors import ArtifactError

    made = commit(Store(tmp_path), "c", {"ledger/00000.parquet": b"PAR1"}, kind="corpus")
    with pytest.raises(ArtifactError, match="not a readable Parquet file"):
        tables.kept(made)
