"""Croissant: the metadata of a data set that programs read, as JSON-LD (MLCommons Croissant 1.1 with RAI 1.0).

Every file stands there with size and SHA-256, every Parquet table as a record set with its columns. Addresses are
relative: the document belongs beside the files that it describes.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pyarrow as pa

from groundup.artifact.papers import blocks, facts, tables
from groundup.artifact.papers.facts import Fact
from groundup.artifact.papers.hub import language_code, one_line
from groundup.artifact.papers.page import NOT_RECORDED, Paper, Question, Teller
from groundup.artifact.papers.subject import Subject
from groundup.artifact.present import value_text
from groundup.artifact.stage import Artifact

_RAI: Final = "Responsible AI (Croissant)"
QUESTIONS: Final = (
    Question("data_url", _RAI, "Address of the folder in which the files are published"),
    Question("homepage", _RAI, "Page about the data"),
    Question("published", _RAI, "Day on which it was published, as 2026-12-31"),
    Question("known_biases", _RAI, "Known biases"),
    Question("known_limitations", _RAI, "Known limitations"),
    Question("purpose", _RAI, "Intended use cases"),
    Question("social_impact", _RAI, "Social impact"),
    Question("updates", _RAI, "Plan for release and maintenance"),
    Question("annotation_protocol", _RAI, "How it was annotated"),
    Question("annotation_platform", _RAI, "Platform of the annotation"),
    Question("annotator_demographics", _RAI, "Who annotated it"),
)
_STATED: Final = {
    "rai:dataBiases": "known_biases",
    "rai:dataLimitations": "known_limitations",
    "rai:dataUseCases": "purpose",
    "rai:dataSocialImpact": "social_impact",
    "rai:dataReleaseMaintenancePlan": "updates",
    "rai:dataAnnotationProtocol": "annotation_protocol",
    "rai:dataAnnotationPlatform": "annotation_platform",
    "rai:annotatorDemographics": "annotator_demographics",
}
VERSIONS: Final = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
_BLANK: Final = NOT_RECORDED.strip("*")
_FORMATS: Final = {
    ".parquet": "application/x-parquet",
    ".jsonl": "application/jsonlines",
    ".json": "application/json",
    ".warc.gz": "application/warc",
}
_PLAIN: Final = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
    "subField", "transform",
)  # fmt: skip
# The names that Croissant 1.1 gives in its own context.
_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in _PLAIN},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "sc": "https://schema.org/",
}


def croissant(subject: Subject) -> Paper:
    """``croissant.json`` of the data, or of the data that a model was trained on."""
    tell, record = Teller(), subject.record
    created = facts.at(record, "created")
    stated = facts.stated(subject, "published")
    day = stated or (facts.made(str(created.value)[:10], "the day", created) if created else None)
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(VERSIONS),
        "name": one_line(str(tell(facts.at(record, "name")))) or "unnamed",
        "description": _description(subject, tell),
        "identifier": tell(facts.at(record, "digest")),
        "version": tell(_version(subject)),
        "citeAs": tell(facts.stated(subject, "citation")) or _cite(subject, tell),
        "dateCreated": tell(created),
        "datePublished": str(tell(day)),
        "license": [one_line(str(tell(fact))) or _BLANK for fact in facts.licences(subject)] or [_BLANK],
        "creator": _creator(subject, tell),
        "keywords": ["groundup", "text"],
        "inLanguage": _languages(subject, tell),
        "url": tell(facts.stated(subject, "homepage")),
        **_rai(subject, tell),
        "distribution": [one for artifact in subject.data for one in _distribution(subject, artifact, tell)],
        "recordSet": [one for artifact in subject.data for one in _record_sets(subject, artifact, tell)],
    }
    whole = {key: value for key, value in document.items() if value not in (None, [], {})}
    return Paper("croissant.json", json.dumps(whole, indent=2, ensure_ascii=False) + "\n", tuple(tell.facts))


# -- what it is --------------------------------------------------------------------------------------------------------


def _description(subject: Subject, tell: Teller) -> str:
    said = [
        f"{tell(facts.documents(one.record)) or _BLANK} {blocks.unit(one.record)} in {one_line(one.record.name)}"
        for one in subject.data
    ]
    what = "The data that a model was trained on" if subject.is_model else f"A data set, {subject.record.kind}"
    return f"{what}, made by groundup: {', '.join(said) or _BLANK}."


def _version(subject: Subject) -> Fact:
    """A semantic version: that of the stage, and the digest as build metadata, which alone names the content."""
    number, digest = subject.record.stage_version, subject.record.digest
    found = facts.at(subject.record, "digest"), facts.at(subject.record, "stage_version")
    return facts.made(f"{number}.0.0+{digest[:12]}", "version of the stage and start of the digest", *found)


def _cite(subject: Subject, tell: Teller) -> str:
    """A citation that can be looked up: name, digest and program, since no record knows an author."""
    names = [one_line(str(tell(facts.at(subject.record, key)))) for key in ("name", "digest", "code_version")]
    return f"{names[0]}, groundup artifact {names[1]}, made with groundup {names[2]}"


def _creator(subject: Subject, tell: Teller) -> dict[str, Any]:
    return {"@type": "Organization", "name": tell(facts.stated(subject, "provider_name")) or _BLANK}


def _languages(subject: Subject, tell: Teller) -> list[str]:
    return sorted({language_code(str(tell(fact))) for fact in facts.kept_languages(subject.corpora)})


def _rai(subject: Subject, tell: Teller) -> dict[str, Any]:
    """The properties about responsible AI: sources, collection, cleaning and redaction from records, the rest blank."""
    came = facts.sources(subject)
    collection = [
        f"{one_line(str(tell(one.terms['source'])))}: {one_line(str(tell(one.terms.get('origin')) or _BLANK))}, "
        f"licence {one_line(str(tell(one.terms['licence'])))}, {tell(one.terms.get('documents'))} entered"
        for one in came
    ]
    types = {"crawl": "Web Scraping", "hub": "Secondary Data Analysis", "address": "Others", "file": "Others"}
    cleaning = [
        one_line(f"{record.name} {name}: {value_text(tell(fact))}")
        for record in subject.corpora
        for name, fact in [*facts.settings(record), *facts.rows(record, "metrics", "rejected")]
    ]
    redacted = [
        one_line(f"{record.name}: {tell(fact)} of kind {name} found and replaced")
        for record in subject.corpora
        for name, fact in facts.rows(record, "metrics", "redactions")
    ]
    times = [tell(facts.at(record, "metrics", "crawl", "finished")) for record in blocks.crawls(subject)]
    return {
        "rai:dataCollection": "; ".join(collection) or _BLANK,
        "rai:dataCollectionType": sorted({types[one.how] for one in came}) or [_BLANK],
        "rai:dataCollectionRawData": _raw(subject, tell),
        "rai:dataCollectionTimeframe": [time for time in times if time] or None,
        "rai:dataPreprocessingProtocol": cleaning or [_BLANK],
        "rai:personalSensitiveInformation": redacted or [_BLANK],
        **{name: tell(facts.stated(subject, key)) or _BLANK for name, key in _STATED.items()},
    }


def _raw(subject: Subject, tell: Teller) -> str:
    pages = [record for record in subject.records("pages") if record.digest != subject.record.digest]
    said = [f"artifact {one_line(record.name)}, digest {tell(facts.at(record, 'digest'))}" for record in pages]
    return "; ".join(said) or _BLANK


# -- files and tables --------------------------------------------------------------------------------------------------


def _distribution(subject: Subject, artifact: Artifact, tell: Teller) -> list[dict[str, Any]]:
    """A file object for each file, and a file set for each table: the shards of a table are read through it."""
    base = str(tell(facts.stated(subject, "data_url")) or "")
    found: list[dict[str, Any]] = []
    for one in facts.files(artifact.record):
        path = _inside(subject, artifact, one.name)
        found.append(
            {
                "@type": "cr:FileObject",
                "@id": _id(path),
                "name": path,
                "contentUrl": f"{base.rstrip('/')}/{path}" if base else path,
                "contentSize": f"{tell(one.bytes)} B",
                "sha256": tell(one.sha256),
                "encodingFormat": next(
                    (kind for end, kind in _FORMATS.items() if one.name.endswith(end)), "application/octet-stream"
                ),
            }
        )
    for table in tables.schemas(artifact):
        one_file = f"{table}.parquet" in artifact.record.files
        found.append(
            {
                "@type": "cr:FileSet",
                "@id": _set(subject, artifact, table),
                "name": _set(subject, artifact, table),
                "includes": _inside(subject, artifact, f"{table}.parquet" if one_file else f"{table}/*.parquet"),
                "encodingFormat": _FORMATS[".parquet"],
            }
        )
    return found


def _record_sets(subject: Subject, artifact: Artifact, tell: Teller) -> list[dict[str, Any]]:
    found = []
    for table, schema in tables.schemas(artifact).items():
        name = _id(_inside(subject, artifact, table))
        fields = [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{_id(one.name)}",
                "name": one.name,
                "dataType": kind,
                "source": {"fileSet": {"@id": _set(subject, artifact, table)}, "extract": {"column": one.name}},
            }
            for one in schema
            if (kind := _type(one.type)) is not None
        ]
        found.append({"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields})
    return found


def _type(kind: pa.DataType) -> str | None:
    """Croissant's name of a column's type; None for maps and lists, which it can't say of a Parquet column.

    Croissant has no type for bytes: raw pages are read as ``sc:Text``, which mlcroissant hands over as bytes.
    """
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return "sc:Text" if any(is_kind(kind) for is_kind in texts) else None


def _inside(subject: Subject, artifact: Artifact, name: str) -> str:
    """The path of a file as it is published: artifacts lie beside each other where there are several."""
    return f"{_id(artifact.record.name)}/{name}" if len(subject.data) > 1 else name


def _set(subject: Subject, artifact: Artifact, table: str) -> str:
    return f"{_id(_inside(subject, artifact, table))}-files"


def _id(name: str) -> str:
    """A name as an identifier of JSON-LD: letters, digits and a few signs."""
    return re.sub(r"[^A-Za-z0-9/_.-]+", "-", name)[:200] or "x"
