"""Every number in every paper is a fact, and every fact stands where it says: looked up here by other means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow.parquet as pq
import pytest

from groundup.artifact.papers import eu_documentation, eu_summary, model_card
from groundup.artifact.papers.facts import Fact, Place
from groundup.artifact.papers.page import NOT_RECORDED, Paper, markdown, shown
from groundup.artifact.papers.stated import FORMS
from groundup.artifact.papers.subject import Subject
from groundup.artifact.papers.write import PAPERS, choose, render
from groundup.artifact.store import Store

# A number may begin in a unit or a name's tail; what is part of a word or of a hash is no number.
NUMBER = re.compile(r"(?<![\w.,-])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?!\w)")
STATED = {"provider_name": "Example 42 Ltd", "known_biases": "stories of 3-year-olds", "published": "2026-12-31"}


def papers(store: Store, name: str, **stated: Any) -> tuple[Subject, list[Paper]]:
    subject = Subject.find(store, store.find(name), stated)
    return subject, render(subject, choose(subject))


def every(real: Store, crawled: Store) -> Iterator[tuple[Store, Subject, Paper]]:
    for store, names in (
        (real, ("pages", "corpus", "tokens", "base", "bundle")),
        (crawled, ("pages", "corpus", "bundle")),
    ):
        for name in names:
            subject, found = papers(store, name, **STATED)
            for paper in found:
                yield store, subject, paper


# -- looking facts up --------------------------------------------------------------------------------------------------


def look_up(store: Store, place: Place, stated: dict[str, Any]) -> Any:
    """What stands at a place, read with plain json, pyarrow and DuckDB."""
    if place.kind == "stated":
        return stated[str(place.path[0])]
    folder = store.workspace / "artifacts" / place.digest[:16]
    if place.kind == "record":
        found: Any = json.loads((folder / "record.json").read_text())
        assert (found["name"], found["digest"]) == (place.name, place.digest)
        for part in place.path:
            found = found[part]
        return found
    if place.kind == "file":
        first, *rest = (str(part) for part in place.path)
        if first.endswith(".json"):
            return json.loads((folder / first).read_text())[rest[0]]
        table = next(iter(sorted((folder / first).glob("*.parquet"))), folder / f"{first}.parquet")
        return str(pq.read_schema(table).field(rest[0]).type)
    column, value, measure = (str(part) for part in place.path)
    rows = duckdb.sql(f"select * from read_parquet('{folder}/{place.kind}/*.parquet')").to_arrow_table().to_pylist()
    if place.kind == "signals":
        return sum((row["protocol"], row["verdict"]) == (column, value) for row in rows)
    kept = [row for row in rows if row["step"] is None]
    if column == "host of url":
        kept = [row for row in kept if "://" in (row["url"] or "") and urlsplit(row["url"]).hostname == value]
    else:
        kept = [row for row in kept if row[column] == value or (value == "*" and row[column] is not None)]
    return len(kept) if measure == "documents" else sum(row[measure] for row in kept)


def make_again(fact: Fact, known: list[Any]) -> Any:
    """What a derived fact must be, from the values of the facts that it comes from."""
    if fact.how == "sum":
        return sum(known)
    if fact.how == "joules to megawatt hours":
        return pytest.approx(known[0] / 3_600_000_000)
    if fact.how == "the latest":
        return sorted(known)[-1]
    if fact.how == "the day":
        return known[0].split("T")[0]
    if fact.how == "UTC, whole seconds":
        return re.sub(r"(\.\d+)?\+00:00$", "", known[0]) + "Z" if "T" in known[0] else f"{known[0]}T00:00:00Z"
    if fact.how == "range of the template":
        return "less than 1 billion tokens" if known[0] < 10**9 else "1 billion to 10 trillion tokens"
    if fact.how == "range of the form":
        return "1 to 500 million" if known[0] < 5e8 else "5 to 15 billion"
    if fact.how == "size category of the Hugging Face Hub":
        return "n<1K"
    assert fact.how == "version of the stage and start of the digest", fact.how
    return f"{known[1]}.0.0+{known[0][:12]}"


def value_of(store: Store, fact: Fact, stated: dict[str, Any]) -> Any:
    if fact.where is not None:
        return look_up(store, fact.where, stated)
    assert fact.of, f"{fact.value} comes from nowhere"
    return make_again(fact, [value_of(store, one, stated) for one in fact.of])


def test_every_fact_stands_where_it_says(real: Store, crawled: Store) -> None:
    places: dict[str, int] = {}
    for store, _, paper in every(real, crawled):
        for fact in paper.facts:
            assert fact.value == value_of(store, fact, STATED), (paper.file, fact)
            for root in fact.roots():
                assert root.where is not None
                places[root.where.kind] = places.get(root.where.kind, 0) + 1
    assert set(places) == {"record", "ledger", "signals", "file", "stated"}


# -- numbers in papers -------------------------------------------------------------------------------------------------


def own_words() -> set[str]:
    """What the forms say themselves, in which there may be numbers: of sections, of laws, of ranges."""
    texts = {text for _, questions in FORMS for one in questions for text in (one.text, one.group)}
    texts |= {what for _, what in PAPERS.values()} | {file for file, _ in PAPERS.values()}
    return texts | set(eu_summary.WORDS) | set(eu_documentation.WORDS) | {model_card.__doc__ or ""}


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def texts_of(subject: Subject) -> set[str]:
    """Every string in the records, names of keys too: a digit in a file's name is no number of the paper."""
    found = set()
    for record in [*subject.records(), *([subject.scores] if subject.scores else [])]:
        found |= {one for one in leaves(record.model_dump(mode="json")) if isinstance(one, str)}
    return found


def without(text: str, strings: set[str]) -> str:
    for one in sorted((one for one in strings if re.search(r"[A-Za-z]", one)), key=len, reverse=True):
        text = text.replace(one, " ").replace(markdown(one), " ")
    return text


def numbers_told(paper: Paper) -> set[str]:
    found: set[str] = set()
    for fact in paper.facts:
        found |= set(NUMBER.findall(shown(fact))) | set(NUMBER.findall(str(fact.value)))
        values = leaves(fact.value) if isinstance(fact.value, (dict, list)) else ()
        found |= {shown(Fact(one)) for one in values if isinstance(one, (int, float))}
    return found


def test_every_number_in_a_paper_of_markdown_is_a_fact(real: Store, crawled: Store) -> None:
    seen = 0
    for _, subject, paper in every(real, crawled):
        if not paper.file.endswith(".md"):
            continue
        text = re.sub(r"```python.*?```", "", paper.text, flags=re.S)
        text = without(text, own_words() | texts_of(subject) | {"Croissant 1.1", "*Datasheets for Datasets*"})
        found, told = NUMBER.findall(text), numbers_told(paper)
        seen += len(found)
        assert [one for one in found if one not in told] == [], (paper.file, subject.record.name)
    assert seen > 400


def test_every_number_in_a_paper_for_programs_is_a_fact(real: Store, crawled: Store) -> None:
    seen = 0
    for _, subject, paper in every(real, crawled):
        if not paper.file.endswith(".json"):
            continue
        document = json.loads(paper.text)
        document.pop("@context")
        document.pop("conformsTo", None)
        told = numbers_told(paper) | {shown(fact).replace(",", "") for fact in paper.facts}
        told |= {str(fact.value) for fact in paper.facts} | {"3.0.1"}  # the version of SPDX
        strings = texts_of(subject)
        for one in leaves(document):
            if isinstance(one, (int, float)) and not isinstance(one, bool):
                assert one in [fact.value for fact in paper.facts], (paper.file, one)
            elif isinstance(one, str) and "spdx.org" not in one and one not in told:
                text = without(one, {name for name in strings if name in one})
                found = NUMBER.findall(text)
                seen += len(found)
                assert [number for number in found if number not in told] == [], (paper.file, one)
    assert seen > 100


def test_a_changed_record_changes_the_papers(crawled: Store) -> None:
    """A paper with a number of its own would not change."""
    subject, before = papers(crawled, "bundle")
    for record in [*subject.records(), *(branch.record for branch in subject.lineage.walk())]:
        if record.kind == "corpus":
            record.metrics.update({"documents": 987_654, "redactions": {"email": 876_543}})
    subject.ledgers.clear()
    after = {paper.file: paper.text for paper in render(subject, choose(subject))}
    for paper in before:
        text = after[paper.file].replace(",", "")
        if paper.file in ("README.md", "datasheet.md", "croissant.json", "eu_model_documentation.md"):
            assert "987654" in text, paper.file
        if paper.file not in ("eu_training_summary.md",):
            assert "876543" in text, paper.file
        assert "987654" not in paper.text and "876543" not in paper.text.replace(",", "")


def test_each_answer_is_the_one_that_was_asked_for(crawled: Store) -> None:
    """That a number is recorded does not make it the right one: these are, by what the fixture says of them."""
    found = {paper.file: paper.text for paper in papers(crawled, "bundle")[1]}
    card = papers(crawled, "corpus")[1][0].text
    for text, lines in (
        (card, ("| `corpus` | documents | 8 | 1 | 1,045 |", "`corpus` (curate): 42 came in, 8 stayed.")),
        (card, ("| `email` | 17 |", "| `toxicity:toxic` | 1 |", "| `eng_Latn` | 41 |", "| `CC-BY-4.0` | 2 |")),
        (card, ("| web | CC-BY-4.0 OR MIT | where web is from | collected by the crawler of groundup | 35 | 6 |",)),
        (
            found["datasheet.md"],
            ("| extra.jsonl | 7 | 90 |", "3 documents of `corpus` name their author", "| web | 3 |"),
        ),
        (
            found["eu_training_summary.md"],
            ("| `a.example` | 2 | 700 |", "Tokens of documents for training: 1,234,567,890."),
        ),
        (found["eu_model_documentation.md"], ("7,000,000,001 parameters: 5 to 15 billion.", "| `hidden_size` | 32 |")),
        (
            found["eu_model_documentation.md"],
            ("31,835,773,992,960 floating-point operations.\n", "Text, 64 tokens with"),
        ),
    ):
        for line in lines:
            assert line in text, line


def test_what_no_record_holds_is_blank_and_what_is_stated_is_marked(crawled: Store) -> None:
    _, blank = papers(crawled, "bundle")
    _, filled = papers(crawled, "bundle", **STATED)
    for before, after in zip(blank, filled, strict=True):
        word = NOT_RECORDED.strip("*")
        assert before.text.count(word) >= after.text.count(word)
        assert "Example 42" not in before.text
        if before.file.endswith(".md") and "Example 42" in after.text:
            assert "Example 42 Ltd *(stated by the provider)*" in after.text
    said = {paper.file for paper in filled if "Example 42" in paper.text}
    assert said == {"croissant.json", "spdx.json", "eu_training_summary.md", "eu_model_documentation.md"}
    sheet = next(paper.text for paper in filled if paper.file == "datasheet.md")
    assert sheet.count(NOT_RECORDED) > 30


def test_papers_do_not_depend_on_the_day(real: Store, tmp_path: Path) -> None:
    assert [one.text for one in papers(real, "base")[1]] == [one.text for one in papers(real, "base")[1]]
