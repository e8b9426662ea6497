"""The papers for programs, held against the programs: mlcroissant, rdflib, the rules of SPDX 3.0.1."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from license_expression import get_spdx_licensing
from papers_workspace import HOSTILE, hostile, subject_of

from groundup.artifact.papers.croissant import croissant
from groundup.artifact.papers.spdx import CONTEXT, moment, spdx
from groundup.artifact.store import Store
from groundup.text.document import read_rows

NAMES = ("pages", "corpus", "tokens", "base", "bundle")
# -- Croissant ---------------------------------------------------------------------------------------------------------


def load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rdflib's own, of its own parts
        import mlcroissant

        return mlcroissant.Dataset(str(path))


@pytest.mark.parametrize("name", NAMES)
def test_mlcroissant_has_no_complaint(real: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / "croissant.json").write_text(croissant(subject_of(real, name)).text)
    issues = load(tmp_path / "croissant.json").metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())


def test_the_command_line_of_mlcroissant_validates(real: Store, tmp_path: Path) -> None:
    (tmp_path / "croissant.json").write_text(croissant(subject_of(real, "corpus")).text)
    command = [Path(sys.executable).with_name("mlcroissant"), "validate", "--jsonld", tmp_path / "croissant.json"]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Done." in done.stderr and "WARNING" not in done.stderr


def test_mlcroissant_reads_the_rows_of_a_corpus(real: Store, tmp_path: Path) -> None:
    subject = subject_of(real, "corpus")
    shutil.copytree(subject.artifact.path, tmp_path / "data")
    (tmp_path / "data" / "croissant.json").write_text(croissant(subject).text)
    dataset = load(tmp_path / "data" / "croissant.json")
    for table, columns in (
        ("corpus", ("id", "text", "chars", "language_score")),
        ("ledger", ("id", "step", "page_bytes")),
    ):
        want = [
            tuple(row[column] for column in columns)
            for path in sorted((subject.artifact.path / table).glob("*.parquet"))
            for row in read_rows(path)
        ]
        got = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas, of what mlcroissant calls in it
            for row in dataset.records(table):
                values = (row[f"{table}/{column}"] for column in columns)
                got.append(tuple(value.decode() if isinstance(value, bytes) else value for value in values))
        assert sorted(got, key=str) == sorted(want, key=str)
        assert len(got) > 30


def test_every_file_stands_with_size_and_hash(real: Store) -> None:
    subject = subject_of(real, "corpus")
    document = json.loads(croissant(subject).text)
    listed = {one["name"]: one for one in document["distribution"] if one["@type"] == "cr:FileObject"}
    files = {name: one for name, one in subject.record.files.items() if not name.startswith("log/")}
    assert set(listed) == set(files)
    for name, one in files.items():
        assert (listed[name]["sha256"], listed[name]["contentSize"]) == (one.sha256, f"{one.bytes} B")
    assert "http://mlcommons.org/croissant/1.1" in document["conformsTo"]
    assert document["rai:dataBiases"] == "not recorded"


def test_a_stated_address_is_where_the_files_are(real: Store) -> None:
    document = json.loads(croissant(subject_of(real, "corpus", data_url="https://example.org/data/")).text)
    assert document["distribution"][0]["contentUrl"].startswith("https://example.org/data/co")


def test_a_model_lists_the_data_of_its_training_in_folders(real: Store) -> None:
    document = json.loads(croissant(subject_of(real, "bundle")).text)
    assert {one["@id"] for one in document["recordSet"]} >= {"corpus", "ledger"}
    assert document["license"] == ["CDLA-Sharing-1.0", "LicenseRef-public-domain"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_stay_text_for_programs(real: Store, tmp_path: Path, kind: str) -> None:
    subject = hostile(real, "corpus", HOSTILE[kind])
    (tmp_path / "croissant.json").write_text(croissant(subject).text)
    issues = load(tmp_path / "croissant.json").metadata.ctx.issues
    assert not issues.errors
    check_spdx(json.loads(spdx(subject).text))
    json.loads(spdx(hostile(real, "bundle", HOSTILE[kind])).text)


# -- SPDX --------------------------------------------------------------------------------------------------------------

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_PACKAGES = {"dataset_DatasetPackage", "ai_AIPackage"}
_REQUIRED = {
    "CreationInfo": {"specVersion", "created", "createdBy"},
    "SoftwareAgent": {"name"},
    "Organization": {"name"},
    "SpdxDocument": {"rootElement", "profileConformance"},
    "dataset_DatasetPackage": {"dataset_datasetType", "software_primaryPurpose", "name", "comment"},
    "ai_AIPackage": {"software_primaryPurpose", "name"},
    "software_File": {"name", "verifiedUsing"},
    "Relationship": {"from", "to", "relationshipType"},
    "simplelicensing_LicenseExpression": {"simplelicensing_licenseExpression"},
}


def check_spdx(document: dict[str, Any]) -> dict[str, Any]:
    """The rules of SPDX 3.0.1 that a document of ours can break; its elements by id."""
    assert document["@context"] == CONTEXT
    elements = {one.get("spdxId", one.get("@id")): one for one in document["@graph"]}
    assert len(elements) == len(document["@graph"])
    related: dict[tuple[str, str], list[list[str]]] = {}
    for name, one in elements.items():
        assert _REQUIRED[one["type"]] <= set(one)
        assert one["type"] == "CreationInfo" or elements[one["creationInfo"]]["type"] == "CreationInfo"
        assert not re.search(r"\s", name)
        for key in ("builtTime", "releaseTime", "created"):
            assert key not in one or _TIME.fullmatch(one[key])
        if one["type"] == "Relationship":
            for end in (one["from"], *one["to"]):
                assert end in elements or end == "expandedlicensing_NoAssertionLicense"
            related.setdefault((one["from"], one["relationshipType"]), []).append(one["to"])
        assert None not in one.values()
    for name, one in elements.items():
        if one["type"] in _PACKAGES:  # the profile's two rules
            assert len(related[name, "hasDeclaredLicense"]) == len(related[name, "hasConcludedLicense"]) == 1
    roots = [root for one in elements.values() if one["type"] == "SpdxDocument" for root in one["rootElement"]]
    assert [elements[root]["type"] in _PACKAGES for root in roots] == [True]
    return elements


@pytest.mark.parametrize("name", NAMES)
def test_spdx_keeps_its_rules(real: Store, name: str) -> None:
    subject = subject_of(real, name)
    elements = check_spdx(json.loads(spdx(subject).text))
    data = next(one for key, one in elements.items() if key.endswith("#data"))
    files = [
        one for artifact in subject.data for file, one in artifact.record.files.items() if not file.startswith("log/")
    ]
    assert data["dataset_datasetSize"] == sum(one.bytes for one in files)
    assert "dataset_knownBias" not in data and "knownBias" in data["comment"]
    assert any(one["type"] == "ai_AIPackage" for one in elements.values()) == subject.is_model


def test_two_licences_hold_at_once_and_each_source_has_its_own(crawled: Store) -> None:
    elements = check_spdx(json.loads(spdx(subject_of(crawled, "corpus")).text))
    licences = {key: one.get("simplelicensing_licenseExpression") for key, one in elements.items()}
    declared = {
        elements[one["from"]]["name"]: licences[one["to"][0]]
        for one in elements.values()
        if one.get("relationshipType") == "hasDeclaredLicense"
    }
    assert declared == {
        "corpus": "Apache-2.0 AND (CC-BY-4.0 OR MIT)",
        "extra.jsonl": "Apache-2.0",
        "web": "CC-BY-4.0 OR MIT",
    }
    for expression in declared.values():
        assert not get_spdx_licensing().validate(str(expression)).errors


def test_what_is_stated_stands_in_spdx(crawled: Store) -> None:
    stated = {
        "provider_name": "Us",
        "published": "2026-12-31",
        "data_url": "https://example.org/d",
        "known_biases": "b",
    }
    elements = check_spdx(json.loads(spdx(subject_of(crawled, "corpus", **stated)).text))
    data = next(one for key, one in elements.items() if key.endswith("#data"))
    assert data["releaseTime"] == "2026-12-31T00:00:00Z"
    assert data["software_downloadLocation"] == "https://example.org/d"
    assert data["dataset_knownBias"] == ["b"]
    assert elements[data["originatedBy"][0]]["name"] == "Us"
    assert data["dataset_anonymizationMethodUsed"][0] == "corpus: email replaced (label), 17 times"


def test_a_time_of_any_zone_is_utc() -> None:
    assert moment("2026-01-01T01:30:00+02:00") == "2025-12-31T23:30:00Z"
    assert moment("") is None


def test_json_ld_parses_as_a_graph(real: Store) -> None:
    """With the terms' names as addresses, since the context of SPDX would have to be fetched."""
    from rdflib import Graph

    for paper in (croissant(subject_of(real, "corpus")), spdx(subject_of(real, "corpus"))):
        document = json.loads(paper.text)
        if isinstance(document["@context"], str):
            document["@context"] = {"@vocab": "https://spdx.org/", "spdxId": "@id", "type": "@type"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = Graph().parse(data=json.dumps(document), format="json-ld")
        assert len(graph) > 100
