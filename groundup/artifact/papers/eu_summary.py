"""The public summary of training content under Article 53(1)(d) of Regulation (EU) 2024/1689 (AI Act).

Sections and fields follow the template of the European Commission of 24 July 2025 (annex to C(2025) 5235), in words of
our own. The program fills in what records hold; what they can't know, such as whether a data set is publicly available,
stays visibly blank for a person to state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from groundup.artifact.papers import blocks, facts, tables
from groundup.artifact.papers.facts import Source
from groundup.artifact.papers.kinds import KINDS, link, of_kind
from groundup.artifact.papers.page import Block, Page, Paper, Question, Table, code, fill, table_of
from groundup.artifact.papers.subject import Subject

_GENERAL, _SOURCES, _PROCESSING = "1. General information", "2. List of data sources", "3. Data processing aspects"

QUESTIONS: Final = (
    Question("summary_version", _GENERAL, "Version of this summary, with links to former ones"),
    Question("summary_updated", _GENERAL, "Last update"),
    Question("provider_name", _GENERAL, "1.1 Provider: name"),
    Question("contact", _GENERAL, "1.1 Provider: contact"),
    Question("authorised_representative", _GENERAL, "1.1 Authorised representative: name and contact"),
    Question("model_names", _GENERAL, "1.2 Model: versioned name(s)"),
    Question("model_dependencies", _GENERAL, "1.2 Model: other general-purpose models that it was made from"),
    Question("union_market_date", _GENERAL, "1.2 Model: date of placement on the Union market"),
    Question("modalities", _GENERAL, "1.3 Modalities, size of the training data, types of content"),
    Question("types_of_content", _GENERAL, "1.3 Types of content (such as fiction, news, science, source code)"),
    Question("latest_acquisition", _GENERAL, "1.3 Latest date on which data was collected"),
    Question("continuous_training", _GENERAL, "1.3 Is the model trained on new data continuously?"),
    Question("linguistic_characteristics", _GENERAL, "1.3 Linguistic characteristics"),
    Question("other_characteristics", _GENERAL, "1.3 Other characteristics (such as national or demographic)"),
    Question("general_comments", _GENERAL, "1.3 Additional comments"),
    Question("public_datasets", _SOURCES, "2.1 Publicly available data sets: were any used?"),
    Question("public_modalities", _SOURCES, "2.1 Modalities of these"),
    Question("public_large", _SOURCES, "2.1 Large publicly available data sets, with links"),
    Question("public_other", _SOURCES, "2.1 Other publicly available data sets, in general"),
    Question("licensed_datasets", _SOURCES, "2.2.1 Data sets licensed commercially by right holders"),
    Question("private_datasets", _SOURCES, "2.2.2 Private data sets of other third parties"),
    Question("private_known", _SOURCES, "2.2.2 Those that are publicly known"),
    Question("private_other", _SOURCES, "2.2.2 The others, in general"),
    Question("crawled", _SOURCES, "2.3 Data crawled and scraped online: were crawlers used?"),
    Question("crawler_names", _SOURCES, "2.3 Names of the crawlers"),
    Question("crawler_purposes", _SOURCES, "2.3 Purposes of the crawlers"),
    Question("crawler_behaviour", _SOURCES, "2.3 How the crawlers behave"),
    Question("crawler_period", _SOURCES, "2.3 Period of collection"),
    Question("crawled_content", _SOURCES, "2.3 Types of content and of online sources"),
    Question("crawled_modalities", _SOURCES, "2.3 Modalities of these"),
    Question("crawled_domains", _SOURCES, "2.3 The most relevant domain names"),
    Question("crawled_comments", _SOURCES, "2.3 Additional comments"),
    Question("user_interactions", _SOURCES, "2.4 User data: from interactions with the model?"),
    Question("user_services", _SOURCES, "2.4 User data: from other services or products of the provider, which?"),
    Question("user_modalities", _SOURCES, "2.4 Modalities of these"),
    Question("synthetic", _SOURCES, "2.5 Synthetic data: made by models by or for the provider?"),
    Question("synthetic_modalities", _SOURCES, "2.5 Modalities of these"),
    Question("synthetic_models", _SOURCES, "2.5 General-purpose models on the market that made it"),
    Question("synthetic_other_models", _SOURCES, "2.5 Other models that made it"),
    Question("other_sources", _SOURCES, "2.6 Other sources of data"),
    Question("code_of_practice", _PROCESSING, "3.1 Has the provider signed the Code of Practice?"),
    Question("opt_outs", _PROCESSING, "3.1 Measures that respect reservations of rights (text and data mining)"),
    Question("illegal_content", _PROCESSING, "3.2 Measures that avoid or remove illegal content"),
    Question("processing_comments", _PROCESSING, "3.3 Other information"),
)  # fmt: skip
SETTINGS: Final = (
    Question("small_enterprise", _SOURCES, "2.3 Is the provider a small or medium enterprise, yes or no"),
)
"""What decides how much the summary must list, but is no field of it."""

BANDS: Final = (
    (10**9, "less than 1 billion tokens"),
    (10**13, "1 billion to 10 trillion tokens"),
    (math.inf, "more than 10 trillion tokens"),
)
"""The template's ranges of the size of text data."""

WORDS: Final = (
    "Public summary of training content: ",
    "Under Article 53(1)(d) of Regulation (EU) 2024/1689, after the Commission's template of 24 July 2025. Written by "
    "groundup from records; a person must check it, and fill in what is *not recorded*, before it is published.",
    "Of the domains, these are the first 10 % by size of what was kept of them:",
    "Of the domains, these are the first 5 %, 1,000 at most, by size of what was kept of them (small or medium "
    "enterprise):",
    *(text for _, text in BANDS),
)
"""Our own words that hold numbers: those of the law and of the template, which are no facts about the model."""


def eu_summary(subject: Subject) -> Paper:
    """``eu_training_summary.md`` of a model."""
    page = Page()
    page.say("# ", WORDS[0], facts.at(subject.model.record, "name"))
    page.add(WORDS[1])
    fill(page, QUESTIONS, _answers(subject), lambda key: facts.stated(subject, key))
    return page.paper("eu_training_summary.md")


def band(tokens: int) -> str:
    """The template's range of a number of tokens.

    >>> band(999_999_999), band(10**9)
    ('less than 1 billion tokens', '1 billion to 10 trillion tokens')
    """
    return next(text for limit, text in BANDS if tokens < limit)


def _answers(subject: Subject) -> Mapping[str, Sequence[Block]]:
    return {**_general(subject), **_listed(subject), **_crawled(subject), **_processing(subject)}


def _general(subject: Subject) -> dict[str, Sequence[Block]]:
    model = subject.model.record
    tokens = facts.total(blocks.token_counts(subject))
    size: list[Block] = []
    if tokens is not None:
        chosen = facts.made(band(tokens.value), "range of the template", tokens)
        size = [("Text: ", chosen, "."), *blocks.amounts(subject)]
    latest = [facts.at(one, "metrics", "crawl", "finished") for one in blocks.crawls(subject)]
    times = [facts.at(one.reader, "created") for one in facts.sources(subject) if one.how != "crawl"]
    known = [time for time in times if time is not None]
    last = facts.made(max(time.value for time in known), "the latest", *known) if known else None
    read = [("Files were read until ", last, "; when their content was collected is *not recorded*.")] if last else []
    parents = [record for record in subject.records("model") if not record.inputs]
    return {
        "model_names": [(code(model.name), ", digest ", facts.at(model, "digest"))],
        "model_dependencies": [(code(one.name), ", digest ", facts.at(one, "digest")) for one in parents]
        or [("None: every model in the lineage was trained from the start by groundup.",)],
        "modalities": size,
        "latest_acquisition": [*[("A crawl ended at ", one, ".") for one in latest if one], *read],
        "linguistic_characteristics": blocks.languages(subject),
    }


def _listed(subject: Subject) -> dict[str, Sequence[Block]]:
    """The sources by kind; those of which no kind is known are listed where they can't be missed."""
    by_kind = {kind: of_kind(subject, kind) for kind in KINDS}
    unsorted = of_kind(subject, None)
    open_question: list[Block] = (
        [
            ("For these sources no record says of which kind of section two they are; state it in the file of facts:",),
            blocks.source_rows(unsorted),
        ]
        if unsorted
        else []
    )
    text: list[Block] = [("Text.",)]
    return {
        "public_datasets": [*_yes(by_kind["public"], unsorted), *open_question],
        "public_modalities": text if by_kind["public"] else [],
        "public_large": [_table(subject, by_kind["public"])] if by_kind["public"] else [],
        "licensed_datasets": [*_yes(by_kind["licensed"], unsorted), *_tables(subject, by_kind["licensed"])],
        "private_datasets": [*_yes(by_kind["private"], unsorted), *_tables(subject, by_kind["private"])],
        "user_interactions": [*_yes(by_kind["user"], unsorted), *_tables(subject, by_kind["user"])],
        "user_modalities": text if by_kind["user"] else [],
        "synthetic": [*_yes(by_kind["synthetic"], unsorted), *_tables(subject, by_kind["synthetic"])],
        "synthetic_modalities": text if by_kind["synthetic"] else [],
        "other_sources": _tables(subject, by_kind["other"]),
    }


def _yes(found: Sequence[Source], unsorted: Sequence[Source]) -> list[Block]:
    """Yes if there are any; no only if the kind of every source is known."""
    if found:
        return [("Yes.",)]
    return [] if unsorted else [("No: the kind of every source is known, and none is of this one.",)]


def _tables(subject: Subject, found: Sequence[Source]) -> list[Block]:
    return [_table(subject, found)] if found else []


def _table(subject: Subject, found: Sequence[Source]) -> Table:
    table = blocks.source_rows(found)
    return Table(
        (*table.head, "link"), tuple((*row, link(subject, one)) for row, one in zip(table.rows, found, strict=True))
    )


def _crawled(subject: Subject) -> dict[str, Sequence[Block]]:
    crawls = list(blocks.crawls(subject))
    if not crawls:
        unsorted = of_kind(subject, None)
        said = (
            "No crawl is recorded in the lineage. Whether others crawled what the files above hold is *not recorded*."
        )
        return {"crawled": [(said,)] if unsorted else _yes([], unsorted)}
    configured = [facts.at(one, "config", "crawl", "agent") for one in crawls]
    return {
        "crawled": [("Yes.",)],
        "crawler_names": [(fact,) for fact in configured],
        "crawler_purposes": [("Collecting text to train generative models.",)],
        "crawler_behaviour": [blocks.crawl_table(one) for one in crawls],
        "crawler_period": [("Until ", facts.at(one, "metrics", "crawl", "finished"), ".") for one in crawls],
        "crawled_content": [blocks.source_rows(of_kind(subject, "crawled"))],
        "crawled_modalities": [("Text.",)],
        "crawled_domains": _domains(subject),
    }


def _domains(subject: Subject) -> list[Block]:
    """The first tenth of the hosts by bytes of the pages that were kept; a twentieth, 1,000 at most, for an SME."""
    small = str(subject.stated.get("small_enterprise", "")).lower() in ("yes", "true")
    names = [source.name for source in of_kind(subject, "crawled")]
    found: list[Block] = []
    for ledger in blocks.ledgers(subject):
        hosts = tables.hosts(ledger, names)
        most = min(math.ceil(len(hosts) * 0.05), 1000) if small else math.ceil(len(hosts) * 0.1)
        if hosts:
            rows = tuple((code(one.name), one.documents, one.bytes) for one in hosts[:most])
            found += [(WORDS[3 if small else 2],), Table(("domain", "documents", "bytes of pages"), rows)]
    return found


def _processing(subject: Subject) -> dict[str, Sequence[Block]]:
    measures = [*blocks.opt_outs(subject), *blocks.withdrawn(subject)]
    rules = [
        (name, fact)
        for record in subject.corpora
        for name, fact in facts.rows(record, "metrics", "rejected")
        if name.split(":")[0] in ("toxicity", "spam", "url", "policy")
    ]
    return {
        "opt_outs": measures,
        "illegal_content": [table_of(rules, ("rule", "documents that it took away"))] if rules else [],
    }
