"""The card of data: Markdown with the front matter of a data set on the Hugging Face Hub."""

from __future__ import annotations

from typing import Any, Final

import yaml

from groundup.artifact.papers import blocks, facts, hub, tables
from groundup.artifact.papers.page import Page, Paper, Question, Table, code, fill
from groundup.artifact.papers.subject import Subject

QUESTIONS: Final = (
    Question("purpose", "Considerations", "What it was made for"),
    Question("out_of_scope_uses", "Considerations", "Uses that are out of scope"),
    Question("known_biases", "Considerations", "Known biases"),
    Question("known_limitations", "Considerations", "Known limitations"),
    Question("citation", "About this data", "How to cite it"),
    Question("contact", "About this data", "Contact"),
)
_INTRODUCTION: Final = (
    "This card was written by groundup from the records of everything that the data was made from. What no record "
    "holds is marked as *not recorded*, and what a person added as *(stated by the provider)*."
)


def data_card(subject: Subject, beside: tuple[tuple[str, str], ...]) -> Paper:
    """``README.md`` of an artifact of data; ``beside`` are (file, what it is) of other papers in the folder."""
    record, page = subject.record, Page()
    page.add(_front_matter(subject, page))
    page.say("# ", facts.at(record, "name"))
    page.add(_INTRODUCTION)
    page.table(
        Table(
            ("what", "value"),
            (
                ("kind", facts.at(record, "kind")),
                ("digest", facts.at(record, "digest")),
                ("made by stage", facts.at(record, "stage")),
                ("made on", facts.at(record, "created")),
                ("version of groundup", facts.at(record, "code_version")),
            ),
        )
    )
    page.add("## How much there is")
    page.blocks(blocks.amounts(subject))
    page.add("## Where it comes from")
    page.table(blocks.source_rows(facts.sources(subject)))
    page.blocks(
        [*blocks.declared_terms(subject), *blocks.found_licences(subject)] or [("No other terms are recorded.",)]
    )
    for title, found in (
        ("How it was collected", [blocks.crawl_table(one) for one in blocks.crawls(subject)]),
        ("What its owners say", blocks.opt_outs(subject)),
        ("How it was prepared", blocks.curation(subject)),
        ("Languages", blocks.languages(subject)),
        ("Personal and secret information", blocks.redactions(subject)),
        ("Benchmarks kept out", blocks.contamination(subject)),
    ):
        page.add(f"## {title}")
        page.blocks(found)
    fill(page, QUESTIONS, {}, lambda key: facts.stated(subject, key))
    _structure(subject, page)
    page.add("## Files")
    page.table(blocks.file_rows(subject))
    if beside:
        page.add("## More papers")
        page.add("\n".join(f"- [{file}]({file}): {what}" for file, what in beside))
    return page.paper("README.md")


def _front_matter(subject: Subject, page: Page) -> str:
    """What the Hub reads; ``configs`` name the files as they lie beside the card once both are published."""
    record = subject.record
    page.facts += facts.licences(subject)
    front: dict[str, Any] = hub.licence_fields(record.terms.licences, None)
    kept = facts.kept_languages(subject.corpora)
    page.facts += kept
    if kept:
        front["language"] = sorted({hub.language_code(str(fact.value)) for fact in kept})
    name = facts.at(record, "name")
    if name is not None:
        front["pretty_name"] = hub.one_line(str(name.value))
    number = facts.documents(record)
    if number is not None:
        category = facts.made(hub.size_category(number.value), "size category of the Hugging Face Hub", number)
        page.facts.append(category)
        front["size_categories"] = [category.value]
    front |= {"task_categories": ["text-generation"], "tags": ["groundup"]}
    names = list(tables.schemas(subject.artifact))
    first = [name for name in names if name == record.kind] or names[:1]
    front["configs"] = [
        {"config_name": name, "data_files": _pattern(subject, name), **({"default": True} if name in first else {})}
        for name in names
    ]
    if not names:
        del front["configs"]
    return "---\n" + yaml.safe_dump(front, sort_keys=False, allow_unicode=True) + "---"


def _pattern(subject: Subject, table: str) -> str:
    return f"{table}.parquet" if f"{table}.parquet" in subject.record.files else f"{table}/*.parquet"


def _structure(subject: Subject, page: Page) -> None:
    page.add("## Structure")
    rows = tuple((code(table), code(column), kind) for table, column, kind in tables.columns(subject.artifact))
    page.table(Table(("table", "column", "type"), rows))
