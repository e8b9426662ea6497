"""The datasheet of data, after Gebru et al. 2021 ("Datasheets for Datasets"): their questions, in their seven groups.

The questions stand here in few words of our own. Most ask for what only people know: those stay visibly blank until a
person states them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from groundup.artifact.papers import blocks, facts, tables
from groundup.artifact.papers.page import Block, Page, Paper, Question, Table, code, fill
from groundup.artifact.papers.subject import Subject

_MOTIVATION, _COMPOSITION, _COLLECTION = "Motivation", "Composition", "Collection process"
_PREPROCESSING, _USES = "Preprocessing, cleaning, labelling", "Uses"
_DISTRIBUTION, _MAINTENANCE = "Distribution", "Maintenance"

QUESTIONS: Final = (
    Question("purpose", _MOTIVATION, "For what was it made?"),
    Question("creators", _MOTIVATION, "Who made it, and for whom?"),
    Question("funding", _MOTIVATION, "Who paid for it?"),
    Question("motivation_comments", _MOTIVATION, "More about the motivation"),
    Question("instances", _COMPOSITION, "What is one instance?"),
    Question("number_of_instances", _COMPOSITION, "How many instances are there, of each kind?"),
    Question("sample", _COMPOSITION, "Is it everything there is, or a sample of a larger set?"),
    Question("instance_data", _COMPOSITION, "Of what does an instance consist: raw data or features?"),
    Question("labels", _COMPOSITION, "Has an instance a label or target?"),
    Question("missing_information", _COMPOSITION, "Does information lack in single instances?"),
    Question("relationships", _COMPOSITION, "Are relations between instances made explicit?"),
    Question("splits", _COMPOSITION, "Are there splits to be used?"),
    Question("noise", _COMPOSITION, "Are there errors, noise or redundancies?"),
    Question("external_resources", _COMPOSITION, "Does it stand alone, or rely on things elsewhere?"),
    Question("confidential", _COMPOSITION, "Does it hold confidential data?"),
    Question("offensive", _COMPOSITION, "Does it hold what may offend, insult, threaten or frighten?"),
    Question("relates_to_people", _COMPOSITION, "Is it about people?"),
    Question("subpopulations", _COMPOSITION, "Does it tell groups of people apart, such as by age or gender?"),
    Question("identifiable", _COMPOSITION, "Can individual people be identified, directly or indirectly?"),
    Question("sensitive", _COMPOSITION, "Does it hold sensitive data, such as on origin, belief, health or money?"),
    Question("composition_comments", _COMPOSITION, "More about the composition"),
    Question("acquisition", _COLLECTION, "How was each instance's data acquired?"),
    Question("mechanisms", _COLLECTION, "With what mechanisms was it collected, and how were they validated?"),
    Question("sampling", _COLLECTION, "If it is a sample: how was it drawn?"),
    Question("collectors", _COLLECTION, "Who collected it, and how were they paid?"),
    Question("timeframe", _COLLECTION, "Over what time was it collected?"),
    Question("ethical_review", _COLLECTION, "Was there an ethical review?"),
    Question(
        "collected_from_people", _COLLECTION, "If it is about people: was it got from them, or from third parties?"
    ),
    Question("notified", _COLLECTION, "Were these people told of the collection?"),
    Question("consent", _COLLECTION, "Did they consent to it?"),
    Question("revocation", _COLLECTION, "Can they take their consent back?"),
    Question("impact_analysis", _COLLECTION, "Has the impact on them been analysed?"),
    Question("collection_comments", _COLLECTION, "More about the collection"),
    Question("preprocessing", _PREPROCESSING, "Was it preprocessed, cleaned or labelled?"),
    Question("raw_data", _PREPROCESSING, "Was the raw data kept beside it?"),
    Question("preprocessing_software", _PREPROCESSING, "Is the software for that to be had?"),
    Question("preprocessing_comments", _PREPROCESSING, "More about the preparation"),
    Question("used_for", _USES, "Has it been used for tasks already?"),
    Question("uses_repository", _USES, "Is there a list of papers or systems that use it?"),
    Question("other_tasks", _USES, "For what other tasks could it be used?"),
    Question("impact_on_uses", _USES, "Does its composition or preparation limit future uses?"),
    Question("out_of_scope_uses", _USES, "For what should it not be used?"),
    Question("uses_comments", _USES, "More about uses"),
    Question("third_parties", _DISTRIBUTION, "Will it be given to third parties?"),
    Question("distribution_way", _DISTRIBUTION, "How will it be distributed, and has it a DOI?"),
    Question("distribution_date", _DISTRIBUTION, "When will it be distributed?"),
    Question("distribution_licence", _DISTRIBUTION, "Under what licence or terms of use?"),
    Question("third_party_restrictions", _DISTRIBUTION, "Do third parties restrict the data of instances?"),
    Question("export_controls", _DISTRIBUTION, "Do export controls or other rules apply?"),
    Question("distribution_comments", _DISTRIBUTION, "More about the distribution"),
    Question("maintainer", _MAINTENANCE, "Who supports, hosts and maintains it?"),
    Question("contact", _MAINTENANCE, "How can its owner be reached?"),
    Question("erratum", _MAINTENANCE, "Is there an erratum?"),
    Question("updates", _MAINTENANCE, "Will it be updated, by whom, and how are users told?"),
    Question("retention", _MAINTENANCE, "If it is about people: how long may their data be kept?"),
    Question("older_versions", _MAINTENANCE, "Will older versions stay to be had?"),
    Question("contributions", _MAINTENANCE, "How can others extend it or add to it?"),
    Question("maintenance_comments", _MAINTENANCE, "More about maintenance"),
)


def datasheet(subject: Subject) -> Paper:
    """``datasheet.md`` of the data, or of the data that a model was trained on."""
    page = Page()
    page.say("# Datasheet: ", facts.at(subject.record, "name"))
    about = "the data that this model was trained on" if subject.is_model else "this data"
    page.say(
        f"On {about}, after Gebru et al., *Datasheets for Datasets*. Written by groundup ",
        facts.at(subject.record, "code_version"),
        " from records; what they don't hold is *not recorded*. Digest of ",
        facts.at(subject.record, "kind"),
        ": ",
        facts.at(subject.record, "digest"),
        ".",
    )
    fill(page, QUESTIONS, _answers(subject), lambda key: facts.stated(subject, key))
    return page.paper("datasheet.md")


def _answers(subject: Subject) -> Mapping[str, Sequence[Block]]:
    return {
        **_composition(subject),
        **_collection(subject),
        "preprocessing": [*blocks.curation(subject), *blocks.contamination(subject)],
        "raw_data": _raw(subject),
        "preprocessing_software": [
            ("groundup, free software under Apache License. Version: ", facts.at(subject.record, "code_version"), ".")
        ],
        "used_for": _used(subject),
        "distribution_licence": _licences(subject),
        "third_party_restrictions": [
            *blocks.declared_terms(subject),
            *blocks.found_licences(subject),
            *blocks.opt_outs(subject),
        ],
        "external_resources": [
            (
                "The text itself is in the files, with the address of each page where it has one; nothing is loaded "
                "from elsewhere.",
            )
        ],
    }


def _composition(subject: Subject) -> dict[str, Sequence[Block]]:
    kinds = sorted({blocks.unit(artifact.record) for artifact in subject.data})
    columns = [
        (code(artifact.record.name), code(table), code(column), kind)
        for artifact in subject.data
        for table, column, kind in tables.columns(artifact)
    ]
    language = blocks.languages(subject)
    found: dict[str, Sequence[Block]] = {
        "instances": [(f"Text. The records count {', '.join(kinds)}.",)] if kinds else [],
        "number_of_instances": blocks.amounts(subject) if kinds else [],
        "sample": _limits(subject),
        "relationships": [
            ("The ledger of a corpus names, for each near-duplicate that was dropped, the document that stayed.",)
        ]
        if subject.corpora
        else [],
        "splits": _splits(subject),
        "sensitive": blocks.redactions(subject),
        "identifiable": blocks.authors(subject),
        "subpopulations": [("By language only:",), *language] if language else [],
    }
    if columns:
        found["instance_data"] = [Table(("artifact", "table", "column", "type"), tuple(columns))]
    return found


def _collection(subject: Subject) -> dict[str, Sequence[Block]]:
    sources = facts.sources(subject)
    crawls = list(blocks.crawls(subject))
    finished = [facts.at(record, "metrics", "crawl", "finished") for record in crawls]
    times = [(facts.at(record, "created"),) for record in {one.reader.digest: one.reader for one in sources}.values()]
    when: list[Block] = [("A crawl ended at ", fact, ".") for fact in finished if fact]
    when += [
        ("Read into the workspace at ", *time, ". When the text itself was written is *not recorded*.")
        for time in times
    ]
    return {
        "acquisition": [blocks.source_rows(sources)] if sources else [],
        "mechanisms": [blocks.crawl_table(record) for record in crawls],
        "sampling": _limits(subject),
        "revocation": blocks.withdrawn(subject),
        "timeframe": when,
    }


def _limits(subject: Subject) -> list[Block]:
    """Sources of which a part was drawn at random."""
    rows = []
    for source in facts.sources(subject):
        for number, one in enumerate(source.reader.config.get("files") or ()):
            if one.get("name") == source.name and one.get("limit"):
                limit = facts.at(source.reader, "config", "files", number, "limit")
                rows.append(
                    (source.terms["source"], limit, facts.at(source.reader, "metrics", "sources", source.name, "found"))
                )
    if not rows:
        return (
            [("Of no source was a sample drawn; curation took documents away by rule.",)]
            if facts.sources(subject)
            else []
        )
    intro = (
        "Of these sources at most so many rows or pages were drawn, by a hash of their names (a random sample without "
        "replacement):",
    )
    return [intro, Table(("source", "drawn at most", "there were"), tuple(rows))]


def _splits(subject: Subject) -> list[Block]:
    rows = [
        (code(one.record.name), facts.at(one.record, "config", "held_out"), facts.at(one.record, "metrics", "held_out"))
        for one in subject.data
        if facts.at(one.record, "metrics", "held_out") is not None
    ]
    if not rows:
        return []
    intro = ("Documents are held out by a hash of their id; they are never trained on.",)
    return [intro, Table(("artifact", "share asked for", "held out"), tuple(rows))]


def _raw(subject: Subject) -> list[Block]:
    pages = [record for record in subject.records("pages") if record.digest != subject.record.digest]
    return [
        ("Yes: the pages as they came are artifact ", code(record.name), ", digest ", facts.at(record, "digest"), ".")
        for record in pages
    ]


def _used(subject: Subject) -> list[Block]:
    if not subject.is_model:
        return []
    return [("To train ", code(record.name), " (", facts.at(record, "stage"), ").") for record in subject.training]


def _licences(subject: Subject) -> list[Block]:
    found = facts.licences(subject)
    if not found:
        return []
    rows = tuple((fact,) for fact in found)
    return [
        ("Its sources stand under these licences; that of the collection is for its provider to say.",),
        Table(("licence of a source",), rows),
    ]
