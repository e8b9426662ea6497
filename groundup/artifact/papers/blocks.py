"""The answers that several papers share: each is a few blocks of Markdown, made from facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from groundup.artifact.papers import facts, tables
from groundup.artifact.papers.facts import Fact, Source
from groundup.artifact.papers.page import Block, Part, Table, code, table_of
from groundup.artifact.papers.subject import Subject
from groundup.artifact.record import Record

_WHOLE = {"pages": "pages", "corpus": "documents", "tokens": "documents", "conversations": "conversations"}
_CAME = {
    "crawl": "collected by the crawler of groundup",
    "hub": "read from the Hugging Face Hub",
    "address": "read from an address",
    "file": "read from a file",
}


def unit(record: Record) -> str:
    """What an artifact of data counts."""
    return _WHOLE.get(record.kind, "pairs of answers")


def amounts(subject: Subject) -> list[Block]:
    """How much there is: documents, bytes and tokens of each artifact of data."""
    rows = []
    for artifact in subject.data:
        record = artifact.record
        held_out = facts.at(record, "metrics", "held_out") or facts.at(record, "metrics", "held_out_documents")
        rows.append((code(record.name), unit(record), facts.documents(record), held_out, facts.size(record)))
    blocks: list[Block] = [Table(("artifact", "it counts", "number", "of them held out", "bytes"), tuple(rows))]
    counted = token_counts(subject)
    if counted:
        blocks.append(("Tokens of documents for training: ", facts.total(counted), "."))
    return blocks


def token_counts(subject: Subject) -> list[Fact]:
    """Tokens of the training split of every token store in the lineage."""
    found = [facts.at(record, "metrics", "train_tokens") for record in subject.records("tokens")]
    return [fact for fact in found if fact is not None]


def source_rows(found: Sequence[Source]) -> Table:
    """Sources with licence and origin, how they came, and how much of each entered and was kept."""
    return Table(
        ("source", "licence", "origin", "how it came", "entered", "kept"),
        tuple(
            (
                one.terms.get("source"),
                one.terms.get("licence"),
                one.terms.get("origin"),
                _CAME[one.how],
                one.terms.get("documents"),
                one.kept if one.kept is not None else "",
            )
            for one in found
        ),
    )


def declared_terms(subject: Subject) -> list[Block]:
    """Terms of service and uses, where a source declared any beside its licence."""
    rows: list[tuple[Part, ...]] = []
    for source in facts.sources(subject):
        terms, use = source.terms.get("terms"), source.terms.get("use")
        if terms is not None or (use is not None and use.value != "train"):
            rows.append((source.terms["source"], terms or "", use or ""))
    return [Table(("source", "terms of service", "may be used for"), tuple(rows))] if rows else []


def curation(subject: Subject) -> list[Block]:
    """What curation did: what came in and stayed, what each rule took away, and its settings."""
    blocks: list[Block] = []
    for record in subject.corpora:
        into, out = facts.at(record, "metrics", "documents_in"), facts.at(record, "metrics", "documents")
        blocks.append((code(record.name), " (", facts.at(record, "stage"), "): ", into, " came in, ", out, " stayed."))
        rejected = facts.rows(record, "metrics", "rejected")
        if rejected:
            blocks.append(table_of(rejected, ("rule", "documents that it took away")))
        chosen = facts.settings(record)
        if chosen:
            blocks.append(table_of(chosen, ("setting", "value")))
    for record in subject.records("conversations", "preferences"):
        rejected = facts.rows(record, "metrics", "rejected")
        if rejected:
            blocks += [(code(record.name), ":"), table_of(rejected, ("rule", "rows that it took away"))]
    return blocks


def redactions(subject: Subject) -> list[Block]:
    """What was looked for and blotted out of the text, and how often it was found."""
    blocks: list[Block] = []
    for record in subject.corpora:
        found = facts.rows(record, "metrics", "redactions")
        if not found:
            continue
        blocks.append((code(record.name), " looks for these and replaces what it finds (way: ", way(record), "):"))
        blocks.append(table_of(found, ("kind", "found and replaced")))
    return blocks


def way(record: Record) -> Fact | None:
    """How a curation replaces what it redacts."""
    return facts.at(record, "config", "redaction")


def languages(subject: Subject) -> list[Block]:
    """Languages with the number of documents, as curation identified them."""
    blocks: list[Block] = []
    for record in subject.corpora:
        found = facts.languages(record)
        if found:
            blocks += [(code(record.name), ":"), table_of(found, ("language", "documents identified as it"))]
    return blocks


def crawls(subject: Subject) -> Iterator[Record]:
    """The records of sources that were collected by a crawl."""
    for record in subject.records("pages"):
        if record.config.get("crawl") or record.metrics.get("crawl"):
            yield record


def crawl_facts(record: Record) -> list[tuple[str, Fact]]:
    """What a crawl was told and what it counted."""
    return [*facts.rows(record, "config", "crawl"), *facts.rows(record, "metrics", "crawl")]


def crawl_table(record: Record) -> Table:
    """The same as a table."""
    return table_of(crawl_facts(record), ("of the crawl", "value"))


def opt_outs(subject: Subject) -> list[Block]:
    """The signals of owners that were read, and what permission the documents carry that were kept."""
    blocks: list[Block] = []
    for record in crawls(subject):
        read = tables.signals(subject.artifacts[record.digest])
        if read:
            rows = tuple((code(protocol), code(verdict), count) for protocol, verdict, count in read)
            blocks += [
                (code(record.name), " read these signals of owners:"),
                Table(("protocol", "it says", "signals"), rows),
            ]
    for ledger in ledgers(subject):
        carried = ledger.by("permission")
        if carried:
            name = code(ledger.artifact.record.name)
            blocks += [(name, " kept, by permission:"), table_of(carried, ("permission", "documents"))]
    return blocks


def found_licences(subject: Subject) -> list[Block]:
    """Licences that pages state themselves, among the documents that were kept."""
    blocks: list[Block] = []
    for ledger in ledgers(subject):
        found = ledger.by("found_licence")
        if found:
            name = code(ledger.artifact.record.name)
            blocks += [(name, ": licences that the pages state themselves"), table_of(found, ("licence", "documents"))]
    stated = [(source.terms["source"], *pair) for source in facts.sources(subject) for pair in facts.found(source)]
    if stated and not subject.corpora:
        blocks.append(Table(("source", "licence that its pages state", "pages"), tuple(stated)))
    return blocks


def authors(subject: Subject) -> list[Block]:
    """How many documents name their author, who can be identified by it."""
    return [
        (
            ledger.fact(ledger.authors, "author", "*", "documents"),
            " documents of ",
            name,
            " name their author in the ledger.",
        )
        for ledger in ledgers(subject)
        if ledger.authors and (name := code(ledger.artifact.record.name))
    ]


def ledgers(subject: Subject) -> list[tables.Kept]:
    """The ledgers of the corpora in the lineage, but for those that only went into a mixture."""
    if not subject.ledgers:
        mixed = {link.digest for record in subject.corpora for links in record.inputs.values() for link in links}
        found = [
            tables.kept(subject.artifacts[one.digest], subject.progress)
            for one in subject.corpora
            if one.digest not in mixed
        ]
        subject.ledgers.extend(ledger for ledger in found if ledger is not None)
    return subject.ledgers


def withdrawn(subject: Subject) -> list[Block]:
    """How many documents of each source were left out because their owners withdrew them."""
    rows = [
        (source.terms["source"], fact)
        for source in facts.sources(subject)
        if (fact := facts.at(source.reader, "metrics", "sources", source.name, "withdrawn")) is not None
    ]
    intro = ("Left out because their owners withdrew them:",)
    return [intro, Table(("source", "documents"), tuple(rows))] if rows else []


def contamination(subject: Subject) -> list[Block]:
    """What was taken out because it holds items of benchmarks."""
    blocks: list[Block] = []
    for record in subject.records("corpus", "conversations", "preferences"):
        found = facts.rows(record, "metrics", "contamination")
        if found:
            said = (
                code(record.name),
                " keeps items of benchmarks out (items looked for, documents that went for them):",
            )
            blocks += [said, table_of(found, ("benchmark", "number"))]
    return blocks


def file_rows(subject: Subject) -> Table:
    """Every file of the data with size and hash."""
    several = len(subject.data) > 1
    return Table(
        ("file", "bytes", "SHA-256"),
        tuple(
            (code(f"{artifact.record.name}/{one.name}" if several else one.name), one.bytes, one.sha256)
            for artifact in subject.data
            for one in facts.files(artifact.record)
        ),
    )
