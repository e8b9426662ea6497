"""The store hands out what was committed, byte for byte, or refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundup.artifact.record import FORMAT, Cost, Record, payload_digest
from groundup.artifact.store import Store, scan
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import ArtifactError, RequestError

DIGEST = "ab" * 32


def commit(store: Store, digest: str = DIGEST, name: str = "thing") -> None:
    payload, _, attempts = store.begin(digest)
    (payload / "sub").mkdir()
    (payload / "sub" / "data.bin").write_bytes(b"123")
    (payload / "log").mkdir()
    (payload / "log" / "speed.txt").write_text("fast")
    files = scan(payload)
    cost = Cost(seconds=1, cpu_seconds=1, peak_memory_bytes=1, energy_joules=6, watts_per_core=6, attempts=attempts)
    record = Record(
        format=FORMAT, name=name, kind="tokens", digest=digest, stage="tokens", stage_version=1, config={}, inputs={},
        code_version="0", environment={}, created="2026-01-01T00:00:00+00:00", cost=cost, metrics={}, terms=Terms(),
        files=files, payload=payload_digest(files),
    )  # fmt: skip
    store.commit(record, payload)
    store.set_names({f"recipe/{name}": digest})


def test_committed_artifact_is_found_by_each_kind_of_reference(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    for reference in ("thing", "recipe/thing", DIGEST[:8]):
        assert store.find(reference).file("sub/data.bin").read_bytes() == b"123"
    assert not store.partial.joinpath(DIGEST[:16]).exists()
    with pytest.raises(RequestError, match="did you mean 'thing'"):
        store.find("thin")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "sub/data.bin").write_bytes(b"124"), "'sub/data.bin' was altered"),
        (lambda f: (f / "sub/data.bin").unlink(), "'sub/data.bin' is missing"),
        (lambda f: (f / "new.txt").write_text(""), "'new.txt' is not in its record"),
        (lambda f: (f / "log/speed.txt").write_text("slow"), "'log/speed.txt' was altered"),
        (lambda f: (f / "record.json").write_text("{"), "damaged"),
    ],
)
def test_any_change_is_refused(tmp_path: Path, damage: object, said: str) -> None:
    store = Store(tmp_path)
    commit(store)
    damage(store.artifacts / DIGEST[:16])  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=said):
        store.open(DIGEST)


def test_payload_digest_leaves_logs_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    record = store.open(DIGEST).record
    assert "log/speed.txt" in record.files
    files = {name: entry for name, entry in record.files.items() if not name.startswith("log/")}
    assert record.payload == payload_digest(files)


def test_a_name_of_two_artifacts_must_be_made_clear(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    commit(store, "cd" * 32)
    store.set_names({"other/thing": DIGEST})
    with pytest.raises(RequestError, match="other/thing, recipe/thing"):
        store.find("thing")
    assert store.find("recipe/thing").record.digest == "cd" * 32


def test_scratch_survives_an_attempt_and_payload_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    payload, scratch, first = store.begin(DIGEST)
    (payload / "half").write_text("x")
    (scratch / "checkpoint").write_text("y")
    payload, scratch, second = store.begin(DIGEST)
    assert list(payload.iterdir()) == []
    assert (scratch / "checkpoint").read_text() == "y"
    assert (first, second) == (1, 2)


def test_terms_union_keeps_each_source_once_in_a_fixed_order() -> None:
    one = SourceTerms(source="a", licence="MIT", origin="o", sha256="1", documents=1)
    two = SourceTerms(source="b", licence="CC0-1.0", origin="o", sha256="2", documents=1)
    assert Terms.union([Terms(sources=(two,)), Terms(sources=(one, two))]).sources == (one, two)
    assert Terms(sources=(one, two)).licences == ("CC0-1.0", "MIT")
