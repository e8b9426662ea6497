"""The small tables: what records and the register of withdrawals say, without opening a file of text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from groundup.artifact.record import Record
from groundup.artifact.sql.files import schema, short
from groundup.base.errors import ArtifactError

_S: Final = pa.string()
_N: Final = pa.int64()

ARTIFACTS: Final = schema(
    [
        ("digest", _S), ("name", _S), ("kind", _S), ("stage", _S), ("created", _S), ("bytes", _N),
        ("seconds", pa.float64()), ("steps", _N), ("licences", pa.list_(_S)),
    ]
)  # fmt: skip
"""An artifact each; ``steps`` are those that a model was trained for."""

LINEAGE: Final = schema([("digest", _S), ("name", _S), ("made_from", _S), ("made_from_name", _S), ("kind", _S)])
"""An artifact and one of all that it was made from, near or far; ``kind`` is the latter's."""

TERMS: Final = schema(
    [
        ("digest", _S), ("artifact", _S), ("source", _S), ("licence", _S), ("origin", _S), ("sha256", _S),
        ("documents", _N), ("terms", _S), ("use", _S),
    ]
)  # fmt: skip
"""A source of an artifact, with the terms under which it came in."""

RULES: Final = schema([("digest", _S), ("place", _N), ("step", _S), ("rule", _S), ("of", _S)])
"""The rules of a corpus in order. ``rule`` is null for a step whose rules have no order among themselves."""

WITHDRAWALS: Final = schema([("id", _S), ("at", _S), ("kind", _S), ("what", _S), ("reason", _S)])
"""An entry of the register each."""

_MIX: Final = ({"step": "mix", "of": "all", "rules": []},)


def artifacts(records: Sequence[Record]) -> pa.Table:
    """ARTIFACTS."""
    rows = (
        {
            "digest": short(one.digest), "name": one.name, "kind": one.kind, "stage": one.stage,
            "created": one.created, "bytes": sum(file.bytes for file in one.files.values()),
            "seconds": one.cost.seconds, "steps": one.metrics.get("steps") if one.kind == "model" else None,
            "licences": list(one.terms.licences),
        }
        for one in records
    )  # fmt: skip
    return pa.Table.from_pylist(list(rows), schema=ARTIFACTS)


def lineage(records: Sequence[Record]) -> pa.Table:
    """LINEAGE of records among which all inputs of each are, as far as they are there."""
    known = {one.digest: one for one in records}
    below: dict[str, list[str]] = {}

    def reached(digest: str) -> list[str]:
        if digest not in below:
            direct = [link.digest for links in known[digest].inputs.values() for link in links if link.digest in known]
            far = [deeper for one in direct for deeper in reached(one)]
            below[digest] = list(dict.fromkeys([*direct, *far]))
        return below[digest]

    rows = [
        {
            "digest": short(one.digest), "name": one.name, "made_from": short(other),
            "made_from_name": known[other].name, "kind": known[other].kind,
        }
        for one in records
        for other in reached(one.digest)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LINEAGE)


def terms(records: Sequence[Record]) -> pa.Table:
    """TERMS."""
    rows = [
        {**{name: source.model_dump().get(name) for name in TERMS.names}, "digest": short(one.digest),
         "artifact": one.name}
        for one in records
        for source in one.terms.sources
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=TERMS)


def rules(records: Sequence[Record]) -> pa.Table:
    """RULES of the corpora whose records name them: those that older versions made don't."""
    rows = [
        {"digest": short(record.digest), "place": place, **rule}
        for record in records
        if record.kind == "corpus"
        for place, rule in enumerate(_in_order(record.metrics.get("steps") or (_MIX if record.stage == "mix" else ())))
    ]
    return pa.Table.from_pylist(rows, schema=RULES)


def _in_order(steps: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        for rule in step["rules"] or [None]:
            yield {"step": step["step"], "rule": rule, "of": step["of"]}


def withdrawals(workspace: Path) -> pa.Table:
    """WITHDRAWALS; none if there is no register. ArtifactError for a line that is no entry."""
    path = workspace / "register" / "withdrawals.jsonl"
    raw = path.read_bytes() if path.is_file() else b""
    rows = []
    for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].split(b"\n"), 1):  # a kill may have torn the last one
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            rows.append({name: _text(entry.get(name)) for name in WITHDRAWALS.names})
        except (ValueError, AttributeError):
            raise ArtifactError(f"{path} is damaged at line {number}") from None
    return pa.Table.from_pylist(rows, schema=WITHDRAWALS)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
