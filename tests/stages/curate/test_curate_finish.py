"""The end of a curation: verdicts are joined, and tables and counts are those of plain rules over Python's rows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.artifact.ledger import LEDGER
from groundup.base.files import read_json
from groundup.base.runner.runs import read_partition, write_run
from groundup.base.seeds import unit_interval
from groundup.stages.curate import summary as summary_module
from groundup.stages.curate.engine.ids import id_words
from groundup.stages.curate.passes.clean import DROPPED, KEPT
from groundup.stages.curate.passes.counts import counted, domain_of
from groundup.stages.curate.passes.decisions import DECISIONS, gather, write_decisions
from groundup.stages.curate.passes.finish import CONTAMINATION, COUNTS, PLACED, Finish, Place, write_hits
from groundup.stages.curate.passes.inputs import Partition, UnitInput
from groundup.text.document import CORPUS, REJECTS
from groundup.text.overlap import Hit

Row = dict[str, Any]


def _id(number: int) -> str:
    """An id whose two halves both matter to the order."""
    return f"{number % 3 << 62:016x}{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


text_or_none = st.none() | st.text("aé😀\n", max_size=5)


@st.composite
def placed_rows(draw: st.DrawFn) -> list[Row]:
    """Documents with verdicts; an id may come several times, but stays at most once."""
    rows: list[Row] = []
    staying = set()
    for _ in range(draw(st.integers(0, 25))):
        name = _id(draw(st.integers(0, 12)))
        stays = draw(st.booleans()) and name not in staying
        text = draw(text_or_none)
        leak = not stays and draw(st.booleans())
        row: Row = {
            "id": name,
            "source": draw(st.sampled_from(["s", "t"])),
            "record": draw(st.sampled_from(["r", "ü"])),
            "url": draw(st.sampled_from([None, "", "http://A.b/c", "x", "https://u@h:1?q", "a//", "Ä.de/"])),
            "licence": "CC0-1.0",
            "author": draw(st.sampled_from([None, "Ada", "Ü\n"])),
            "found_licence": draw(st.sampled_from([None, "MIT"])),
            "permission": draw(st.sampled_from([None, "allowed"])),
            "media_type": draw(st.sampled_from([None, "text/html", "text/plain"])),
            "page_bytes": draw(st.none() | st.integers(0, 99)),
            "extractor": draw(st.sampled_from([None, "blocks"])),
            "language": draw(st.sampled_from([None, "eng_Latn"])),
            "language_score": draw(st.sampled_from([None, 0.5])),
            "redactions": draw(st.sampled_from([None, [], [("email", 2)], [("email", 1), ("ip", 3)]])),
            "text": text,
            "chars": len(text or ""),
            "step": None if stays else draw(st.sampled_from(["exact_dedup", "c4"])),
            "rule": None if stays else draw(st.sampled_from(["a", "b", "Z"])),
            "detail": None if stays else draw(st.sampled_from([None, "why"])),
            "survivor": None if stays else draw(st.sampled_from([None, _id(1)])),
            "similarity": None if stays else draw(st.sampled_from([None, 0.75])),
            "hit": json.dumps(["bench", "é1", 2, True, "web/00001.parquet"]) if leak else None,
        }
        if stays:
            staying.add(name)
            row.update(text=text or "", language="eng_Latn", language_score=0.5)
        rows.append(row)
    return rows


def plain_finish(rows: list[Row], held_out: float) -> dict[str, list[Row]]:
    """The four tables as rows."""
    rows = sorted(rows, key=lambda row: (row["id"], row["step"] is not None, row["rule"] or ""))
    for row in rows:
        draw = unit_interval(7, "held_out", row["id"])
        row["split"] = None if row["step"] else "held_out" if draw < held_out or row["id"] == _id(3) else "train"
    kept = [row for row in rows if row["step"] is None]
    dropped = [row for row in rows if row["step"] is not None]
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["id"], row)
    leaks = []
    for row in dropped:
        if row["hit"]:
            benchmark, item, runs, whole, shard = json.loads(row["hit"])
            leak = {"benchmark": benchmark, "item": item, "document": row["id"], "shard": shard}
            leaks.append({**row, **leak, "shared_runs": runs, "whole": whole})
    rejects = [
        {**row, "reason": f"{row['step']}:{row['rule']}", "detail": row["detail"] or "", "text": row["text"] or ""}
        for row in dropped
    ]
    return {
        "corpus": kept,
        "rejects": rejects,
        "ledger": [{**row, "pipeline": "p"} for row in first.values()],
        "contamination": leaks,
    }


def plain_counts(rows: list[Row]) -> Row:
    """What is counted, row by row, in the order of ids."""
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("groups", "chars", "sizes", "domains", "redactions", "hits", "shards")
    }
    samples: dict[str, list[Row]] = {}
    text_bytes, page = 0, None
    for row in sorted(rows, key=lambda row: (row["id"], row["step"] is not None, row["rule"] or "")):
        reason = f"{row['step']}:{row['rule']}" if row["step"] else ""
        key = json.dumps([row["source"], row["licence"], row["language"], row["extractor"], reason])
        text = row["text"] or ""
        counts["groups"][key] += 1
        counts["chars"][key] += len(text)
        counts["sizes"][key] += row["page_bytes"] or 0
        names = ("id", "source", "record", "url", "media_type", "detail", "survivor")
        shown = {**{name: row[name] for name in names}, "text": text[:1500]}
        if row["url"]:
            counts["domains"][json.dumps([domain_of(row["url"]), reason], ensure_ascii=False)] += 1
        if not reason:
            text_bytes += len(text.encode())
            counts["redactions"].update(dict(row["redactions"] or ()))
            page = page or (shown if row["media_type"] == "text/html" else None)
        elif row["hit"]:
            benchmark, item, *_, shard = json.loads(row["hit"])
            counts["hits"][json.dumps([benchmark, item], ensure_ascii=False)] += 1
            counts["shards"][json.dumps([benchmark, shard], ensure_ascii=False)] += 1
        samples.setdefault(reason, [])
        samples[reason] += [shown] if len(samples[reason]) < 3 else []
    facts: Row = {name: dict(each) for name, each in counts.items()}
    return {**facts, "text_bytes": text_bytes, "samples": samples, "page": page}


def plain_write(path: Path, schema: pa.Schema, rows: list[Row]) -> bytes | None:
    """A table from Python's rows."""
    if not rows:
        return None
    columns = {name: pa.array([row.get(name) for row in rows], schema.field(name).type) for name in schema.names}
    how: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "write_page_index": False}
    if schema is LEDGER:  # texts lie apart from their lengths, and only columns of few values have dictionaries
        unique = {"id", "record", "url", "author", "page_bytes", "language_score", "chars", "redactions", "detail",
                  "survivor", "similarity"}  # fmt: skip
        how |= {"use_dictionary": [name for name in schema.names if name not in unique]}
        texts = ("id", "record", "url", "author", "detail", "survivor")
        how |= {"column_encoding": dict.fromkeys(texts, "DELTA_LENGTH_BYTE_ARRAY"), "compression_level": 1}
    with pq.ParquetWriter(path, schema, **how) as writer:
        writer.write_table(pa.table(columns).cast(schema), row_group_size=65536 if schema is LEDGER else 1024)
    return path.read_bytes()


@given(placed_rows(), st.sampled_from([0.0, 0.4]), st.sampled_from([1, 4]))
@settings(deadline=None, max_examples=60)
def test_tables_are_those_of_plain_rows_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], held_out: float, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("finish")
    runs = []
    for number in range(cut):
        part = pa.Table.from_pylist(rows[number::cut], schema=PLACED)
        runs.append(folder / f"{number}.arrow")
        write_run(runs[-1], part, id_words(part.column("id"))[:, 0], 2)
    ordered = [row for number in range(cut) for row in rows[number::cut]]
    work = Finish(held_out, 7, _id(3), "p")
    for partition in range(2):
        mine = [row for row in ordered if int(row["id"][:16], 16) >> 63 == partition]
        out = folder / f"out{partition}"
        out.mkdir()
        assert work(Partition(partition, runs), out) == {}
        expected = plain_finish(mine, held_out)
        for name, schema in (
            ("corpus", CORPUS),
            ("rejects", REJECTS),
            ("ledger", LEDGER),
            ("contamination", CONTAMINATION),
        ):
            made = out / f"{name}.parquet"
            wanted = plain_write(folder / f"{name}{partition}.parquet", schema, expected[name])
            assert (made.read_bytes() if made.exists() else None) == wanted, name
        split = Counter(row["split"] for row in expected["corpus"])
        assert read_json(out / COUNTS) == {**plain_counts(mine), "held_out": split["held_out"]}


def test_counts_of_nothing() -> None:
    assert counted(PLACED.empty_table()) == plain_counts([])


def test_verdicts_are_joined_and_items_decided_on_what_is_left(tmp_path: Path) -> None:
    rows = [
        {"id": _id(at), "source": "s", "record": f"{at}", "licence": "l", "text": f"t{at}", "chars": 2, "hits": hits}
        for at, hits in enumerate(
            [
                None,
                write_hits([Hit("b", "i1", 3, True, frozenset({1, 2}))]),
                write_hits([Hit("b", "i2", 1, False, frozenset({9}))]),
                write_hits([Hit("b", "i3", 1, False, frozenset({9})), Hit("c", "i4", 1, False, frozenset({5}))]),
                write_hits([Hit("b", "i5", 3, True, frozenset({1, 2}))]),
            ]
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=KEPT), tmp_path / "kept.parquet")
    gone = [{"id": _id(9), "source": "s", "record": "9", "licence": "l", "step": "c4", "rule": "r", "detail": "d"}]
    pq.write_table(pa.Table.from_pylist(gone, schema=DROPPED), tmp_path / "dropped.parquet")
    twin = {"unit": 2, "row": 4, "step": "near", "rule": "n", "detail": "of", "survivor": _id(0), "similarity": 0.9}
    write_decisions(tmp_path / "d.parquet", pa.Table.from_pylist([twin], schema=DECISIONS))
    gather([tmp_path / "d.parquet"], 3, tmp_path / "d.arrow")
    unit = UnitInput(2, tmp_path / "kept.parquet", [tmp_path / "d.arrow"], "web/00007.parquet")
    facts = Place(2, (9,), 0.5, 7)(unit, tmp_path)
    found = pa.concat_tables([read_partition([tmp_path / "documents.arrow"], p) for p in range(2)])
    assert found.schema == PLACED
    placed = {row["record"]: row for row in found.to_pylist()}
    assert [placed[name]["step"] for name in "012349"] == [None, "decontaminate", None, "decontaminate", "near", "c4"]
    assert placed["1"]["detail"] == "item i1: 3 shared runs of words, a whole text"
    assert json.loads(placed["1"]["hit"]) == ["b", "i1", 3, True, "web/00007.parquet"]
    assert json.loads(placed["3"]["hit"]) == ["c", "i4", 1, False, "web/00007.parquet"]
    assert (placed["4"]["survivor"], placed["4"]["similarity"], placed["4"]["hit"]) == (_id(0), 0.9, None)
    staying = [_id(0), _id(2)]
    draws = sorted((unit_interval(7, "held_out", name), name) for name in staying)
    assert facts["staying"] == len(staying)
    assert facts["held_out"] == sum(draw < 0.5 for draw, _ in draws)
    assert facts["first"] == list(draws[0])


def test_hosts_with_few_documents_are_let_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "_MOST_PAIRS", 8)
    monkeypatch.setattr(summary_module, "_HOSTS_LEFT", 2)

    def facts(part: int) -> Row:
        hosts = {f"rare{part}{at}": 1 for at in range(4)} | {"big": 50, "large": 30}
        domains = {json.dumps([host, "" if host == "big" else "a:b"]): count for host, count in hosts.items()}
        domains[json.dumps(["big", "a:b"])] = 9
        return {**counted(PLACED.empty_table()), "held_out": 1, "domains": domains}

    few = summary_module.summary((facts(part) for part in range(1)), [], {})
    assert len(few.domains) == 7 and few.held_out == 1
    many = summary_module.summary((facts(part) for part in range(4)), [], {})
    assert many.domains[("big", "")] == 200 and many.domains[("large", "a:b")] == 120
    assert many.domains_of("a:b")[:2] == [("large", 120), ("big", 36)]
    assert len(many.domains) <= 8
