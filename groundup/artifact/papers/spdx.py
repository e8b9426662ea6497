"""SPDX 3.0.1 with the dataset profile, as JSON-LD: the data, its sources, and the licences between them.

Rules: every ``dataset_DatasetPackage`` has exactly one relationship ``hasDeclaredLicense`` and one
``hasConcludedLicense`` (SPDX 3.0.1, Dataset profile). What the records declare is declared; what it adds up to in law
is for a person to conclude, so the conclusion is ``NoAssertion``. Properties of which nothing is recorded are left out
and named in the package's comment, since SPDX reads an absent property as one that is not asserted.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any, Final

from groundup.artifact.papers import blocks, facts
from groundup.artifact.papers.facts import Fact, Source
from groundup.artifact.papers.hub import one_line
from groundup.artifact.papers.page import Paper, Question, Teller
from groundup.artifact.papers.subject import Subject
from groundup.artifact.present import clean
from groundup.artifact.record import Record
from groundup.base.files import sha256_json

_GROUP: Final = "SPDX"
QUESTIONS: Final = (
    Question("provider_name", _GROUP, "Name of the organisation that provides it"),
    Question("data_url", _GROUP, "Address of the folder in which the files are published"),
    Question("published", _GROUP, "Day on which it was published, as 2026-12-31"),
    Question("purpose", _GROUP, "Intended use"),
    Question("known_biases", _GROUP, "Known biases"),
    Question("noise", _GROUP, "Errors, noise and redundancies"),
    Question("updates", _GROUP, "How it is updated"),
)
CONTEXT: Final = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
VERSION: Final = "3.0.1"
_NO_LICENCE_ASSERTED: Final = "expandedlicensing_NoAssertionLicense"
_INFO: Final = "_:creation"
_UNNAMED: Final = "unnamed"
_STATED: Final = {
    "dataset_intendedUse": "purpose",
    "dataset_datasetNoise": "noise",
    "dataset_datasetUpdateMechanism": "updates",
}


class _Graph:
    """The elements of a document, named after the digest of the artifact: the same artifact has the same names."""

    def __init__(self, subject: Subject, tell: Teller) -> None:
        self.base = f"https://spdx.org/spdxdocs/groundup-{subject.record.digest}"
        self.elements: list[dict[str, Any]] = []
        self.tell = tell

    def add(self, kind: str, fragment: str, **properties: Any) -> str:
        """Add an element; its id."""
        found = f"{self.base}#{fragment}" if fragment else self.base
        known = {key: value for key, value in properties.items() if value not in (None, [], "")}
        self.elements.append({"type": kind, "spdxId": found, "creationInfo": _INFO, **known})
        return found

    def relate(self, kind: str, start: str, ends: Sequence[str], **more: str) -> None:
        """Add a relationship."""
        name = f"relationship-{sha256_json([kind, start, list(ends)])[:16]}"
        self.add("Relationship", name, relationshipType=kind, **{"from": start}, to=list(ends), **more)


def spdx(subject: Subject) -> Paper:
    """``spdx.json`` of the data, or of a model with the data that it was trained on."""
    tell = Teller()
    graph = _Graph(subject, tell)
    agent = graph.add("SoftwareAgent", "groundup", name=f"groundup {tell(facts.at(subject.record, 'code_version'))}")
    provider = _provider(graph, subject, agent)
    graph.elements.insert(0, _creation(graph, subject, agent))
    sources = [_source(graph, source) for source in facts.sources(subject)]
    data = _dataset(graph, subject, provider)
    declared = sorted({str(fact.value) for fact in facts.licences(subject)})
    tell.facts += facts.licences(subject)
    _license(graph, data, declared)
    if sources:
        graph.relate("descendantOf", data, sources)
    for artifact in subject.data:
        _files(graph, data, artifact.record)
    root = _model(graph, subject, provider, data) if subject.is_model else data
    profiles = ["core", "software", "dataset", "simpleLicensing", "expandedLicensing"] + ["ai"] * subject.is_model
    graph.add("SpdxDocument", "", profileConformance=sorted(profiles), rootElement=[root], name=_name(graph, subject))
    text = json.dumps({"@context": CONTEXT, "@graph": graph.elements}, indent=2, ensure_ascii=False) + "\n"
    return Paper("spdx.json", text, tuple(tell.facts))


def moment(text: str) -> str | None:
    """A time in the one form that SPDX takes: UTC, whole seconds; None if it is no time.

    >>> moment("2026-11-25T13:12:35.907+00:00"), moment("2026-12-31"), moment("soon")
    ('2026-11-25T13:12:35Z', '2026-12-31T00:00:00Z', None)
    """
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    utc = found.replace(tzinfo=found.tzinfo or datetime.UTC).astimezone(datetime.UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%SZ")


def _creation(graph: _Graph, subject: Subject, agent: str) -> dict[str, Any]:
    """The document tells of records alone, so its time is that of the record: the same artifact has the same paper."""
    time = _moment(graph, facts.at(subject.record, "created")) or "1970-01-01T00:00:00Z"
    return {"type": "CreationInfo", "@id": _INFO, "specVersion": VERSION, "created": time, "createdBy": [agent]}


def _provider(graph: _Graph, subject: Subject, agent: str) -> str:
    stated = facts.stated(subject, "provider_name")
    return graph.add("Organization", "provider", name=graph.tell(stated)) if stated else agent


def _dataset(graph: _Graph, subject: Subject, provider: str) -> str:
    tell = graph.tell
    records = [artifact.record for artifact in subject.data]
    size = facts.total(one.bytes for record in records for one in facts.files(record))
    sensitive = facts.total(
        fact for record in subject.corpora for _, fact in facts.rows(record, "metrics", "redactions")
    )
    collected = [
        f"{one_line(str(tell(one.terms['source'])))} "
        f"({one_line(str(tell(one.terms.get('origin')) or 'origin not recorded'))})"
        for one in facts.sources(subject)
    ]
    properties = {
        "name": _name(graph, subject),
        "software_primaryPurpose": "data",
        "software_packageVersion": tell(facts.at(subject.record, "digest")),
        "software_downloadLocation": tell(facts.stated(subject, "data_url")),
        "builtTime": _moment(graph, facts.at(records[-1], "created") if records else None),
        "releaseTime": _moment(graph, facts.stated(subject, "published")),
        "originatedBy": [provider],
        "dataset_datasetType": ["text"],
        "dataset_datasetSize": tell(size),
        "dataset_dataCollectionProcess": "; ".join(collected),
        "dataset_dataPreprocessing": _preprocessing(graph, subject),
        "dataset_anonymizationMethodUsed": _anonymization(graph, subject),
        "dataset_knownBias": _listed(tell(facts.stated(subject, "known_biases"))),
        **{name: tell(facts.stated(subject, key)) for name, key in _STATED.items()},
        "dataset_hasSensitivePersonalInformation": "noAssertion" if sensitive is None else None,
    }
    missing = sorted(name.rpartition("_")[2] for name, value in properties.items() if value in (None, [], ""))
    comment = f"Not recorded, so not asserted: {', '.join(missing)}." if missing else None
    return graph.add("dataset_DatasetPackage", "data", **properties, comment=comment)


def _source(graph: _Graph, source: Source) -> str:
    """A source file as a package of its own with its declared licence."""
    tell, digest = graph.tell, source.terms["sha256"]
    # A source that was read from an address is known by its pages' ids: that hash is of no file.
    hashes = [_hash(tell, digest)] if source.how == "file" else []
    name = f"source-{sha256_json([clean(source.name), digest.value])[:16]}"
    found = graph.add(
        "dataset_DatasetPackage",
        name,
        name=one_line(str(tell(source.terms["source"]))) or _UNNAMED,
        description=one_line(str(tell(source.terms.get("origin")) or "")),
        software_primaryPurpose="data",
        dataset_datasetType=["text"],
        dataset_dataCollectionProcess=_CAME[source.how],
        verifiedUsing=hashes,
        comment="Not recorded, so not asserted: builtTime, originatedBy, releaseTime, downloadLocation.",
    )
    _license(graph, found, [str(tell(source.terms["licence"]))])
    return found


_CAME: Final = {
    "crawl": "Collected from the web by the crawler of groundup.",
    "hub": "Read from the Hugging Face Hub.",
    "address": "Read from an address.",
    "file": "Read from a file; how its content was collected is not recorded.",
}


def _license(graph: _Graph, package: str, licences: Sequence[str]) -> None:
    """The declared licence: all that hold of the sources, at once. No conclusion is drawn from it."""
    alone = len(licences) == 1
    expression = " AND ".join(
        one if alone or " OR " not in one.upper() else f"({one})" for one in map(one_line, licences)
    )
    to = _NO_LICENCE_ASSERTED
    if expression:
        name = f"licence-{sha256_json(expression)[:16]}"
        to = f"{graph.base}#{name}"
        if not any(one.get("spdxId") == to for one in graph.elements):
            graph.add("simplelicensing_LicenseExpression", name, simplelicensing_licenseExpression=expression)
    graph.relate("hasDeclaredLicense", package, [to])
    graph.relate("hasConcludedLicense", package, [_NO_LICENCE_ASSERTED])


def _model(graph: _Graph, subject: Subject, provider: str, data: str) -> str:
    tell, model = graph.tell, subject.model.record
    stages = [f"{one.name}: {one.stage}" for one in subject.training]
    found = graph.add(
        "ai_AIPackage",
        "model",
        name=one_line(str(tell(facts.at(model, "name")))) or _UNNAMED,
        software_packageVersion=tell(facts.at(model, "digest")),
        software_primaryPurpose="model",
        builtTime=_moment(graph, facts.at(model, "created")),
        originatedBy=[provider],
        ai_typeOfModel=["transformer"],
        ai_informationAboutTraining=one_line("; ".join(stages)),
    )
    graph.relate("trainedOn", found, [data])
    _files(graph, found, model)
    graph.relate("hasDeclaredLicense", found, [_NO_LICENCE_ASSERTED])
    graph.relate("hasConcludedLicense", found, [_NO_LICENCE_ASSERTED])
    return found


def _files(graph: _Graph, package: str, record: Record) -> None:
    """Every file of an artifact with its hash, contained in the package."""
    found = [
        graph.add(
            "software_File",
            f"file-{sha256_json([record.digest, one.name])[:16]}",
            name=one_line(f"{record.name}/{one.name}"),
            verifiedUsing=[_hash(graph.tell, one.sha256)],
        )
        for one in facts.files(record)
    ]
    if found:
        graph.relate("contains", package, found, completeness="complete")


def _preprocessing(graph: _Graph, subject: Subject) -> list[str]:
    return [
        one_line(f"{record.name}: {name} took away {graph.tell(fact)}")
        for record in subject.corpora
        for name, fact in facts.rows(record, "metrics", "rejected")
    ]


def _anonymization(graph: _Graph, subject: Subject) -> list[str]:
    found = []
    for record in subject.corpora:
        kind = graph.tell(blocks.way(record))
        for name, fact in facts.rows(record, "metrics", "redactions"):
            found.append(one_line(f"{record.name}: {name} replaced ({kind}), {graph.tell(fact)} times"))
    return found


def _hash(tell: Teller, fact: Fact | None) -> dict[str, Any]:
    return {"type": "Hash", "algorithm": "sha256", "hashValue": tell(fact)}


def _moment(graph: _Graph, fact: Fact | None) -> str | None:
    time = moment(str(fact.value)) if fact is not None else None
    return None if fact is None or time is None else str(graph.tell(facts.made(time, "UTC, whole seconds", fact)))


def _name(graph: _Graph, subject: Subject) -> str:
    return one_line(str(graph.tell(facts.at(subject.record, "name")))) or _UNNAMED


def _listed(value: Any) -> list[str] | None:
    return None if value is None else [str(value)]
