"""Artifacts made by hand, and hostile names, for the tests of papers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from committed import link
from store_task import record

from groundup.artifact.ledger import LEDGER
from groundup.artifact.papers.subject import Subject
from groundup.artifact.record import Record, payload_digest
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store, scan
from groundup.artifact.terms import SourceTerms, Terms

HOSTS = {"a.example": 700, "b.example": 300, "c.example": 40}
"""Host to bytes of the pages that were kept."""
HOSTILE = {
    "quotes": "a\"b'c\\d",
    "markup": "x|y`z\n\n---\n# <script>alert(1)</script> ![a](http://b) *c* [d](javascript:e)",
    "controls": "a\x00b\r\n\x7f\u2028\ud800c",
    "long": "ä" * 10_000,
    "json": '{"@id": "x", "@context": {}}',
    "spaces": "  ",
}


def subject_of(store: Store, name: str, **stated: Any) -> Subject:
    return Subject.find(store, store.find(name), stated)


def hostile(store: Store, name: str, text: str) -> Subject:
    """The subject with this text wherever a name can be."""
    subject = subject_of(store, name)
    source = SourceTerms(source=text, licence=text, origin=text, sha256="e" * 64, documents=3)

    def change(record: Record) -> None:
        object.__setattr__(record, "name", text)
        object.__setattr__(record, "terms", Terms(sources=(source,)))
        record.metrics["rejected"] = {text: 3}
        record.config["languages"] = [text]

    for one in [*subject.records(), *(branch.record for branch in subject.lineage.walk())]:
        change(one)
    return subject


def commit(store: Store, name: str, fill: dict[str, Any], **fields: Any) -> Artifact:
    """An artifact made by hand: ``fill`` maps file names to bytes, texts or tables."""
    digest = hashlib.sha256(f"{name} {fields.get('metrics')}".encode()).hexdigest()
    payload, _, _ = store.begin(digest)
    for file, content in fill.items():
        (payload / file).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, payload / file)
        else:
            (payload / file).write_bytes(content.encode() if isinstance(content, str) else content)
    files = scan(payload)
    stage = fields.pop("stage", fields["kind"])
    created = "2026-11-25T13:03:42.530+00:00"
    made = record(
        name=name, digest=digest, files=files, payload=payload_digest(files), stage=stage, created=created, **fields
    )
    artifact = store.commit(made, payload)
    store.set_names({f"hand/{name}": digest})
    return artifact


def source_terms(name: str, licence: str, **fields: Any) -> SourceTerms:
    """The terms of a source."""
    plain = {"origin": f"where {name} is from", "sha256": name[0] * 64, "documents": 7}
    return SourceTerms(source=name, licence=licence, **{**plain, **fields})


def ledger(rows: list[dict[str, Any]]) -> pa.Table:
    """A ledger of these rows, whose other columns are null or empty."""
    plain = {"record": "r", "licence": "CC0-1.0", "pipeline": "p"}
    whole = [{**plain, "id": f"{number:032x}", "source": "web", **row} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(whole, schema=LEDGER)


def model_of(store: Store, data: Artifact, name: str = "model", **fields: Any) -> Artifact:
    """Tokens of a corpus and a model that was trained on them."""
    tokens = commit(
        store, f"{name}-tokens", {"documents.parquet": pa.table({"id": ["x"]})}, kind="tokens",
        inputs={"corpus": [link(data)]}, terms=data.record.terms,
        metrics={"train_tokens": 1_234_567_890, "train_documents": 9, "held_out_documents": 2},
    )  # fmt: skip
    config = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "max_position_embeddings": 64,
        "architectures": ["Qwen3ForCausalLM"],
    }
    metrics = {"parameters": 7_000_000_001, "flops": 31_835_773_992_960, "steps": 4}
    whole: dict[str, Any] = {"kind": "model", "stage": "pretrain", "metrics": metrics, "terms": data.record.terms}
    return commit(
        store, name, {"config.json": json.dumps(config), "model.safetensors": b"weights"},
        inputs={"tokens": [link(tokens)]}, environment={"python": "3.11.7", "cpu": "A chip"}, **{**whole, **fields},
    )  # fmt: skip
