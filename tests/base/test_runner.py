"""The shard runner: jobs survive kills and notice damage, runs lose nothing, units cover every row once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import DataError, ResourceError

sys.path.insert(0, str(Path(__file__).parent))  # worker processes unpickle the work by module name
from square_work import Square

from groundup.base.runner import units
from groundup.base.runner.executor import run_jobs
from groundup.base.runner.jobs import Done, FreedError, Job, carry_out, free, renew
from groundup.base.runner.runs import partitions_for, read_partition, write_run


def _jobs(count: int) -> list[Job]:
    return [Job({"number": number}, 1, number) for number in range(count)]


def _squares(results: list[Done]) -> list[int]:
    return [int(done.file("square.txt").read_text()) for done in results]


def _silent(number: int, done: Done) -> None:
    pass


# -- jobs ---------------------------------------------------------------------------------------------------------


def test_a_finished_job_is_not_done_again_but_a_damaged_one_is(tmp_path: Path) -> None:
    work, home = Square(tmp_path), tmp_path / "jobs"
    job = Job({"number": 3}, 1, 3)
    done = carry_out(work, job, home)
    mark = next(tmp_path.glob("did-3-*"))
    mark.unlink()
    assert carry_out(work, job, home).facts == {"square": 9}
    assert not list(tmp_path.glob("did-3-*")), "it was done twice"
    done.file("square.txt").write_text("8")
    assert carry_out(work, job, home).file("square.txt").read_text() == "9"
    assert list(tmp_path.glob("did-3-*"))


def test_another_input_or_another_work_is_another_job() -> None:
    job = Job({"sha256": "a"}, 1)
    assert job.digest("w") != Job({"sha256": "b"}, 1).digest("w")
    assert job.digest("w") != job.digest("v")
    assert job.digest("w") == Job({"sha256": "a"}, 9, payload="elsewhere").digest("w")


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken:
        digest = "broken"

        def __call__(self, payload: object, folder: Path) -> dict[str, object]:
            (folder / "half").write_text("x")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        carry_out(Broken(), Job({}, 1), tmp_path / "jobs")
    assert list((tmp_path / "jobs").iterdir()) == []


def test_results_come_in_order_and_are_reported_as_they_finish(tmp_path: Path) -> None:
    seen: list[int] = []
    results = run_jobs(
        Square(tmp_path), _jobs(5), tmp_path / "jobs", workers=1, report=lambda number, done: seen.append(number)
    )
    assert _squares(results) == [0, 1, 4, 9, 16]
    assert seen == [0, 1, 2, 3, 4]


def test_a_killed_worker_costs_nothing_but_time(tmp_path: Path) -> None:
    results = run_jobs(Square(tmp_path, fatal=(2,)), _jobs(6), tmp_path / "jobs", workers=2, report=_silent)
    assert _squares(results) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "died-2").exists()
    for number in range(6):
        assert len(list(tmp_path.glob(f"did-{number}-*"))) <= 2


def test_a_job_that_always_kills_its_worker_ends_the_run_and_keeps_the_rest(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="killed 3 times in a row"):
        run_jobs(Square(tmp_path, fatal=(1,), always=True), _jobs(3), tmp_path / "jobs", workers=2, report=_silent)
    assert (tmp_path / "jobs" / Job({"number": 0}, 1).digest("square")).is_dir()


def test_what_was_freed_counts_as_finished_until_it_is_needed(tmp_path: Path) -> None:
    work, home = Square(tmp_path), tmp_path / "jobs"
    first, other = carry_out(work, Job({"number": 3}, 1, 3), home), carry_out(work, Job({"number": 4}, 1, 4), home)
    reads = (first.file("square.txt"),)
    carry_out(work, Job({"number": 5}, 1, 5, reads), home)
    for _ in range(2):
        free(first, "square.txt")
        assert not first.file("square.txt").exists()
    for mark in tmp_path.glob("did-*"):
        mark.unlink()
    again = carry_out(work, Job({"number": 3}, 1, 3), home)
    assert (again.facts, again.hashes) == (first.facts, first.hashes)
    carry_out(work, Job({"number": 5}, 1, 5, reads), home)
    assert not list(tmp_path.glob("did-*")), "it was done twice"
    with pytest.raises(FreedError) as caught:
        run_jobs(work, [Job({"number": n}, 1, n, reads) for n in (6, 7)], home, workers=2, report=_silent)
    renew(home, str(caught.value.args[0]))
    assert not first.folder.exists() and other.folder.exists()
    assert carry_out(work, Job({"number": 3}, 1, 3), home).file("square.txt").read_text() == "9"
    carry_out(work, Job({"number": 6}, 1, 6, reads), home)


# -- runs ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=30), min_size=1, max_size=3),
    st.sampled_from([1, 2, 8, 64]),
)
def test_partitions_of_runs_hold_every_row_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, keys: list[list[int]], partitions: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for number, one in enumerate(keys):
        table = pa.table({"key": pa.array(one, pa.uint64()), "row": pa.array(range(len(one)), pa.int64())})
        paths.append(folder / f"{number}.parquet")
        write_run(paths[-1], table, np.array(one, np.uint64), partitions)
    found: list[int] = []
    for partition in range(partitions):
        table = read_partition(paths, partition)
        values = table.column("key").to_pylist()
        assert all(value * partitions >> 64 == partition for value in values)
        found += values
    assert sorted(found) == sorted(value for one in keys for value in one)


def test_there_are_never_too_many_partitions() -> None:
    assert partitions_for(0, 10) == 1
    assert partitions_for(10**18, 1) == 4096


# -- units --------------------------------------------------------------------------------------------------------


def _table(path: Path, rows: int, group: int) -> Path:
    pq.write_table(pa.table({"n": list(range(rows)), "text": ["x" * 100] * rows}), path, row_group_size=group)
    return path


def test_units_cover_every_row_once(tmp_path: Path) -> None:
    path = _table(tmp_path / "t.parquet", 100, 7)
    one = units.cut([(path, "a")], 1)
    assert [unit.rows for unit in one] == [7] * 14 + [2]
    whole = units.cut([(path, "a")], 10**9)
    assert len(whole) == 1 and whole[0].rows == 100
    for cuts in (one, whole):
        numbers = [n for unit in cuts for batch in units.read(unit, ["n"], 300) for n in batch.column("n").to_pylist()]
        assert numbers == list(range(100))


def test_units_do_not_depend_on_the_order_of_tables(tmp_path: Path) -> None:
    tables = [(_table(tmp_path / f"{name}.parquet", 20, 5), name) for name in "ba"]
    assert units.cut(tables, 1) == units.cut(tables[::-1], 1)


def test_a_damaged_table_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"t\.parquet is not a readable Parquet file"):
        units.cut([(path, "a")], 1)
