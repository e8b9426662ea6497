"""The passes that compare and join, on columns: what they give is what plain rules over Python's rows give."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.artifact.ledger import LEDGER
from groundup.base.errors import DataError
from groundup.base.files import read_json
from groundup.base.runner.jobs import Done, Job, carry_out
from groundup.base.runner.runs import read_partition, write_run
from groundup.base.seeds import unit_interval
from groundup.stages.curate import summary as summary_module
from groundup.stages.curate.duplicates.minhash import MinHash, shingle_sets
from groundup.stages.curate.duplicates.similarity import ShingleTable
from groundup.stages.curate.duplicates.survivors import buckets_of, survivors
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.ids import id_names, id_words, key_words
from groundup.stages.curate.passes import near, rewriting
from groundup.stages.curate.passes.clean import DROPPED, KEPT
from groundup.stages.curate.passes.counts import counted, domain_of
from groundup.stages.curate.passes.decisions import DECISIONS, gather, of_unit, write_decisions
from groundup.stages.curate.passes.exact import exact_decisions
from groundup.stages.curate.passes.finish import CONTAMINATION, COUNTS, PLACED, Finish, Place, write_hits
from groundup.stages.curate.passes.inputs import UNIT_BITS, Partition, UnitInput
from groundup.stages.curate.passes.tables import conform
from groundup.text.document import CORPUS, REJECTS
from groundup.text.overlap import Hit

Row = dict[str, Any]


def _id(number: int) -> str:
    """An id whose two halves both matter to the order."""
    return f"{number % 3 << 62:016x}{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


# -- ids ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20), st.integers(0, 5))
def test_ids_and_keys_order_as_pairs_of_numbers(keys: list[bytes], cut: int) -> None:
    names = [key.hex() for key in keys]
    words = id_words(pa.chunked_array([names[:cut], names[cut:]], pa.string()))
    assert id_names(words).to_pylist() == names
    assert [names[at] for at in np.lexsort((words[:, 1], words[:, 0]))] == sorted(names)
    assert key_words(pa.array(keys, pa.binary(16))[cut:]).tolist() == words[cut:].tolist()
    assert id_words(pa.array(names, pa.large_string())[cut:]).tolist() == words[cut:].tolist()


@pytest.mark.parametrize("name", ["a", "g" * 32, "A" * 32, "é" + "0" * 30, None])
def test_an_id_of_other_digits_is_refused(name: str | None) -> None:
    with pytest.raises(DataError, match="32 hex digits"):
        id_words(pa.array(["0" * 32, name]))


# -- exact duplicates ---------------------------------------------------------------------------------------------


def plain_exact(rows: list[tuple[bytes, str, int, int, int]]) -> list[Row]:
    """The rule, one by one, over (key, id, chars, unit, row)."""
    survivor: dict[bytes, str] = {}
    found = []
    for key, name, _, unit, row in sorted(rows, key=lambda one: (one[0], -one[2], one[1], one[3], one[4])):
        if key not in survivor:
            survivor[key] = name
            continue
        stays = survivor[key]
        found.append(
            {
                "unit": unit,
                "row": row,
                "step": "s",
                "rule": "duplicate_id" if name == stays else "duplicate",
                "detail": f"of {stays}",
                "survivor": stays,
                "similarity": 1.0,
            }
        )
    return found


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a" * 16, b"a" * 15 + b"b", b"b" + b"a" * 15, b"\xff" * 16]),
            st.integers(0, 6).map(_id),
            st.integers(0, 3),
            st.integers(0, 2),
            st.integers(0, 9),
        ),
        max_size=40,
        unique_by=lambda one: (one[3], one[4]),
    )
)
def test_exact_duplicates_go_as_the_plain_rule_says(rows: list[tuple[bytes, str, int, int, int]]) -> None:
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
    kinds: list[Any] = [pa.binary(16), pa.string(), pa.int64(), pa.int64(), pa.int64()]
    names = ["exact", "id", "chars", "unit", "row"]
    table = pa.table({n: pa.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)})
    found = exact_decisions(table, table.column("unit").to_numpy(), "s")
    assert found.schema == DECISIONS
    assert found.to_pylist() == plain_exact(rows)


# -- decisions ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40, unique=True),
    st.integers(1, 3),
    st.sampled_from([1, 3, 100]),
)
@settings(deadline=None, max_examples=40)
def test_gathered_decisions_are_found_by_unit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], files: int, at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("gather")
    made = [
        {
            "unit": unit,
            "row": row,
            "step": "s",
            "rule": "r",
            "detail": f"{unit} {row}",
            "survivor": None,
            "similarity": 1.0,
        }
        for unit, row in rows
    ]
    for number in range(files):
        write_decisions(folder / f"{number}.parquet", pa.Table.from_pylist(made[number::files], schema=DECISIONS))
    gather([folder / f"{number}.parquet" for number in range(files)], 6, folder / "all.arrow", at_once)
    other = pa.Table.from_pylist(
        [{**made[0], "rule": "late"}, {**made[0], "row": 99}] if made else [], schema=DECISIONS
    )
    write_decisions(folder / "late.parquet", other)
    gather([folder / "late.parquet"], 6, folder / "late.arrow")
    for unit in range(6):
        mine = sorted((row for row in made if row["unit"] == unit), key=lambda row: row["row"])
        assert of_unit([folder / "all.arrow"], unit).to_pylist() == mine
        both = of_unit([folder / "all.arrow", folder / "late.arrow"], unit).to_pylist()
        new = [{**made[0], "row": 99}] if made and made[0]["unit"] == unit else []
        assert sorted(both, key=lambda row: row["row"]) == [*mine, *new]
    assert of_unit([], 0).to_pylist() == []


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 9)), max_size=40, unique=True),
    st.integers(1, 3),
    st.sampled_from([1, 3, 100]),
)
@settings(deadline=None, max_examples=40)
def test_gathered_marks_are_found_by_unit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], files: int, at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("marks")
    paths = []
    for number in range(files):
        mine = sorted(rows[number::files])
        address = np.array([unit << UNIT_BITS | row for unit, row, _ in mine], np.int64)
        paths.append(folder / f"{number}.parquet")
        pq.write_table(pa.table({"document": address, "place": np.array([p for *_, p in mine], np.int64)}), paths[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewriting, "_AT_ONCE", at_once)
        rewriting.Gather(5)(paths, folder)
    for unit in range(5):
        found = rewriting.of_documents(folder / rewriting.MARKS, unit)
        wanted = sorted((row, place) for one, row, place in rows if one == unit)
        assert list(zip(*found.to_pydict().values(), strict=True)) == wanted


# -- near duplicates ----------------------------------------------------------------------------------------------

BANDS = MinHash(shingle_words=2, bands=6, rows=2)


def _kept_units(folder: Path, seed: int) -> list[Path]:
    """Three units of texts of twelve words that share much, so that documents meet in many buckets."""
    draw = np.random.default_rng(seed)
    roots = [[f"w{chr(97 + word)}" for word in draw.integers(0, 26, 12)] for _ in range(5)]
    paths = []
    for unit in range(3):
        rows = []
        for at in range(int(draw.integers(0, 25))):
            words = list(roots[int(draw.integers(0, 5))])
            for _ in range(int(draw.integers(0, 4))):
                words[int(draw.integers(0, 12))] = f"x{chr(97 + int(draw.integers(0, 26)))}"
            text = " ".join(words[: int(draw.integers(8, 13))])
            rows.append({"id": _id(100 * unit + at), "text": text, "chars": len(text)})
        table = conform(
            pa.Table.from_pylist(rows, schema=pa.schema([KEPT.field(n) for n in ("id", "text", "chars")])), KEPT
        )
        batch = table.drop_columns("bands").combine_chunks().to_batches()
        if batch:
            table = conform(BANDS(batch[0]), KEPT)
        paths.append(folder / f"unit{unit}" / "kept.parquet")
        paths[-1].parent.mkdir(parents=True)
        pq.write_table(table, paths[-1], row_group_size=7)
    return paths


def _near(folder: Path, kept: list[Path], decisions: list[Path], partitions: int) -> tuple[near.Candidates, list[Row]]:
    def done(work: Any, job: Job) -> Done:
        return carry_out(work, job, folder / f"jobs{partitions}")

    band_map = near.BandMap(partitions)
    spread = [
        done(band_map, Job({"unit": number}, 1, UnitInput(number, path, decisions))) for number, path in enumerate(kept)
    ]
    runs = [one.file("bands.arrow") for one in spread]
    shared = [done(near.BandReduce(), Job({"p": p}, 1, Partition(p, runs))) for p in range(partitions)]
    found = near.candidates(shared)
    folders = {
        number: done(near.ShingleMap(2), Job({"s": number}, 1, (kept[number], rows))).folder
        for number, rows in found.wanted().items()
    }
    return found, near.near_decisions(found, near.shingled(found, folders), 0.5, budget=50).to_pylist()


def plain_near(kept: list[Path], leaves: set[tuple[int, int]]) -> list[Row]:
    """All documents at once and all of their buckets, equal ones too."""
    rows = [
        {**row, "unit": unit, "row": at}
        for unit, path in enumerate(kept)
        for at, row in enumerate(pq.read_table(path).to_pylist())
        if (unit, at) not in leaves
    ]
    rows.sort(key=lambda row: (-row["chars"], row["id"]))
    keys = np.array([key for row in rows for key in row["bands"]], np.uint64)
    documents = np.repeat(np.arange(len(rows)), [len(row["bands"]) for row in rows])
    column = texts(pa.record_batch({"text": pa.array([row["text"] for row in rows], pa.large_string())}))
    twins = survivors(buckets_of(keys, documents), ShingleTable(shingle_sets(column, 2)), 0.5)
    return [
        {
            "unit": rows[at]["unit"],
            "row": rows[at]["row"],
            "step": "near_dedup",
            "rule": "near_duplicate",
            "detail": f"of {rows[stays]['id']} (Jaccard similarity {value:.3f})",
            "survivor": rows[stays]["id"],
            "similarity": value,
        }
        for at, stays, value in zip(
            twins.dropped.tolist(), twins.survivor.tolist(), twins.jaccard.tolist(), strict=True
        )
    ]


@pytest.mark.parametrize("seed", range(6))
def test_near_duplicates_go_whatever_the_partitions(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_AT_ONCE", 3)
    monkeypatch.setattr(near, "_WORDED_AT_ONCE", 2)
    kept = _kept_units(tmp_path, seed)
    leaves = {(0, 1), (2, 0)} if seed % 2 else set()
    before = [
        {"unit": u, "row": r, "step": "s", "rule": "r", "detail": "", "survivor": "", "similarity": 1.0}
        for u, r in leaves
    ]
    counts = [pq.read_metadata(path).num_rows for path in kept]
    before = [row for row in before if row["row"] < counts[row["unit"]]]
    write_decisions(tmp_path / "before.parquet", pa.Table.from_pylist(before, schema=DECISIONS))
    gather([tmp_path / "before.parquet"], 3, tmp_path / "before.arrow")
    expected = sorted(plain_near(kept, leaves), key=lambda row: (row["unit"], row["row"]))
    for partitions in (1, 8):
        found, decisions = _near(tmp_path, kept, [tmp_path / "before.arrow"], partitions)
        assert sorted(decisions, key=lambda row: (row["unit"], row["row"])) == expected
        buckets = [
            tuple(found.buckets.members[start:stop].tolist())
            for start, stop in zip(found.buckets.offsets[:-1], found.buckets.offsets[1:], strict=True)
        ]
        assert len(set(buckets)) == len(buckets), "an equal set of documents was kept twice"
        assert all(one == tuple(sorted(set(one))) and len(one) > 1 for one in buckets)
    assert sum(counts) < 8 or expected


# -- verdicts, tables and counts ----------------------------------------------------------------------------------

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
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, write_page_index=False) as writer:
        writer.write_table(pa.table(columns).cast(schema), row_group_size=1024)
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
