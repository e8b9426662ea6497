"""The passes that compare and join, on columns: what they give is what plain rules over Python's rows give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import DataError
from groundup.base.runner.jobs import Done, Job, carry_out
from groundup.stages.curate.duplicates.minhash import MinHash, shingle_sets
from groundup.stages.curate.duplicates.similarity import ShingleTable
from groundup.stages.curate.duplicates.survivors import buckets_of, survivors
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.ids import id_names, id_words, key_words
from groundup.stages.curate.passes import near, rewriting
from groundup.stages.curate.passes.clean import KEPT
from groundup.stages.curate.passes.decisions import DECISIONS, gather, of_unit, write_decisions
from groundup.stages.curate.passes.exact import exact_decisions
from groundup.stages.curate.passes.inputs import UNIT_BITS, Partition, UnitInput
from groundup.stages.curate.passes.tables import conform

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
