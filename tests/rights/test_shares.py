"""How much of an artifact stands under which licence: counted in tokens, documents or terms, whatever is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_task import record
from typer.testing import CliRunner

from groundup.artifact.ledger import LEDGER
from groundup.artifact.record import InputLink, Record
from groundup.artifact.store import Store, scan
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import ArtifactError
from groundup.cli import app
from groundup.rights.policy import Policy
from groundup.rights.shares import shares, table

DOCUMENTS = [
    # id, licence, stated, tokens, dropped
    ("1", "CC-BY-4.0", None, 60, None),
    ("2", "CC-BY-4.0", "CC-BY-NC-4.0", 30, None),
    ("3", "MIT", None, 10, None),
    ("4", "MIT", None, 0, "filter"),
]


def commit(store: Store, number: int, kind: str, inputs: dict[str, list[Record]], **fields: Any) -> Record:
    """An artifact in the store; ``table`` is (file, pyarrow table) of its payload."""
    digest = f"{number:02x}" * 32
    payload, _, _ = store.begin(digest)
    path, rows = fields.pop("table", ("note.txt", None))
    (payload / path).parent.mkdir(parents=True, exist_ok=True)
    (payload / path).write_text("") if rows is None else pq.write_table(rows, payload / path)
    links = {f: [InputLink(name=r.name, kind=r.kind, digest=r.digest) for r in found] for f, found in inputs.items()}
    whole = record(kind, digest=digest, inputs=links, files=scan(payload), **{"name": f"{kind}{number}", **fields})
    made = store.commit(whole, payload)
    store.set_names({f"r/{whole.name}": digest})
    return made.record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    terms = Terms(
        sources=(
            SourceTerms(source="a", licence="CC-BY-4.0", origin="o", sha256="1", documents=2, terms="tos",
                        use="evaluate", found=(("CC-BY-NC-4.0", 1),)),
            SourceTerms(source="b", licence="MIT", origin="o", sha256="2", documents=2),
        )
    )  # fmt: skip
    plain = {"source": "a", "record": "r", "pipeline": "p"}
    rows = [
        {"id": name, "licence": licence, "found_licence": stated, "step": step, **plain}
        for name, licence, stated, _, step in DOCUMENTS
    ]
    pages = commit(made, 1, "pages", {}, terms=terms, config={"files": [{"path": "x"}]})
    ledger = ("ledger/00000.parquet", pa.Table.from_pylist(rows, schema=LEDGER))
    corpus = commit(made, 2, "corpus", {"pages": [pages]}, terms=terms, table=ledger)
    other = commit(made, 3, "corpus", {"pages": [pages]}, table=ledger)
    ids = [
        {"id": name, "licence": licence, "start": 0, "end": tokens}
        for name, licence, _, tokens, step in DOCUMENTS
        if step is None
    ]
    tokens = ("documents.parquet", pa.Table.from_pylist(ids))
    train = commit(made, 4, "tokens", {"corpus": [corpus]}, terms=terms, table=tokens)
    held = commit(made, 5, "tokens", {"corpus": [other]}, terms=terms, table=tokens)
    commit(made, 6, "model", {"tokens": [train], "validation": [held]}, terms=terms)
    return made


def test_a_model_is_counted_in_the_tokens_that_it_learned_from(store: Store) -> None:
    found = shares(store, store.find("model6").record)
    assert [(one.licence, one.stated, one.documents, one.tokens, round(one.share, 3)) for one in found] == [
        ("CC-BY-4.0", None, 1, 60, 0.6),
        ("CC-BY-4.0", "CC-BY-NC-4.0", 1, 30, 0.3),
        ("MIT", None, 1, 10, 0.1),
    ]


def test_a_corpus_is_counted_in_kept_documents(store: Store) -> None:
    found = shares(store, store.find("corpus2").record)
    assert sorted((one.licence, one.documents, one.tokens) for one in found) == [
        ("CC-BY-4.0", 1, None), ("CC-BY-4.0", 1, None), ("MIT", 1, None),
    ]  # fmt: skip
    assert sum(one.share for one in found) == pytest.approx(1)


def test_the_stricter_licence_decides_on_the_use(store: Store) -> None:
    found = shares(store, store.find("model6").record, Policy.load("open"))
    assert [(one.stated, one.use) for one in found] == [(None, "train"), ("CC-BY-NC-4.0", "never"), (None, "train")]
    assert found[1].reason == "default: never"
    assert table(found)[0].split() == [
        "licence", "stated", "by", "the", "pages", "documents", "tokens", "share", "use", "because",
    ]  # fmt: skip


def test_terms_are_counted_where_nothing_else_is_there(store: Store) -> None:
    terms = Terms(sources=(SourceTerms(source="x", licence="MIT", origin="o", sha256="1", documents=7),))
    made = commit(store, 9, "conversations", {}, terms=terms)
    (only,) = shares(store, made)
    assert (only.licence, only.documents, only.tokens, only.share) == ("MIT", 7, None, None)
    assert shares(store, commit(store, 10, "scores", {})) == []


def test_what_is_learned_beside_pages_is_told_too(store: Store) -> None:
    terms = Terms(sources=(SourceTerms(source="x", licence="ISC", origin="o", sha256="9", documents=7),))
    talks = commit(store, 9, "conversations", {}, terms=terms)
    base = store.find("model6").record
    union = Terms.union([terms, base.terms])
    aligned = commit(store, 10, "model", {"model": [base], "conversations": [talks]}, terms=union)
    found = shares(store, aligned)
    assert [(one.licence, one.tokens, one.share) for one in found][-1] == ("ISC", None, None)
    assert sum(one.share or 0 for one in found) == pytest.approx(1) and len(found) == 4
    assert table(found)[-1].split() == ["ISC", "–", "7", "–", "–"]


def test_a_damaged_table_is_told(store: Store) -> None:
    path = store.find("tokens4").path / "documents.parquet"
    path.write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"documents\.parquet can't be read .*make the artifact again"):
        shares(store, store.find("model6", verify=False).record)


def shown(store: Store, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "-w", str(store.workspace)])
    assert result.exit_code == 0, result.output
    return result.output


def test_show_prints_the_table(store: Store) -> None:
    lines = shown(store, "show", "model6", "--licences", "--policy", "open").splitlines()
    assert lines[0].startswith("licence") and "never" in lines[2] and "60.0%" in lines[1]
    rows = json.loads(shown(store, "show", "model6", "--licences", "--json"))
    assert [row["tokens"] for row in rows] == [60, 30, 10]


def test_every_artifact_shows_its_terms(store: Store) -> None:
    said = shown(store, "show", "model6")
    assert "licences stated by pages:\n- CC-BY-NC-4.0" in said
    assert "declared use: evaluate" in said and "terms of service:\n- tos" in said
    tree = shown(store, "lineage", "model6")
    assert "use: evaluate" in tree and "terms: tos" in tree and "1 pages state CC-BY-NC-4.0" in tree
    (source, _) = json.loads(shown(store, "lineage", "pages1", "--json"))["sources"]
    assert source["found"] == [["CC-BY-NC-4.0", 1]]


def test_licences_of_a_bundle_tell_what_pages_state_and_what_was_declared(store: Store) -> None:
    from groundup.artifact.papers.annexes import render_licences

    said = render_licences(store.find("model6").record)
    assert "a: terms of service tos; may be used for: evaluate" in said
    assert "a: 1 pages state CC-BY-NC-4.0 themselves" in said
