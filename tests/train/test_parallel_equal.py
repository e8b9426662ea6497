"""Every kind of parallelism and their combinations learn what one process learns: same losses, norms and weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from parallel_world import CASES, HALF, NUM_STEPS, RESUMED, Case, advance, new_engine, resume, start

from groundup.train.parallel.layout import Layout

Results = dict[str, dict[str, Any]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(590)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture(scope="module")
def two(folder: Path) -> Results:
    return start(2, folder)


@pytest.fixture(scope="module")
def four(folder: Path, two: Results) -> Results:
    return start(4, folder)  # reads the checkpoint that two processes wrote


@pytest.fixture(scope="module")
def uninterrupted() -> list[list[float]]:
    case = Case({})
    return advance(new_engine(case, Layout()), case, range(NUM_STEPS))


def deviation(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """The largest relative distance of any number of two curves; infinite where one is not a number."""
    pairs = [pair for rows in zip(ours, theirs, strict=True) for pair in zip(*rows, strict=True)]
    assert all(math.isfinite(value) for pair in pairs for value in pair)
    return max(abs(a - b) / max(abs(b), 1e-9) for a, b in pairs)


def check(found: dict[str, Any], case: Case) -> None:
    assert "error" not in found, found["error"]
    alone = found["alone"]
    coarse = case.precision == "bf16"
    assert deviation(found["curve"], alone["curve"]) < (1e-2 if coarse else 1e-5)
    assert coarse or found["weights"] < 1e-4
    for when in ("before", "after"):
        assert found[when]["loss"] == pytest.approx(alone[when]["loss"], rel=1e-2 if coarse else 1e-5)
        assert coarse or found[when]["best"] == alone[when]["best"]
    losses = [row[0] for row in found["curve"]]
    assert max(losses) - min(losses) > 1e-3  # something happened at all


@pytest.mark.parametrize("name", CASES[2])
def test_two_processes_learn_what_one_learns(two: Results, name: str) -> None:
    assert name in two, f"not reached: {[row['error'] for row in two.values() if 'error' in row]}"
    check(two[name], CASES[2][name])


@pytest.mark.parametrize("name", CASES[4])
def test_four_processes_learn_what_one_learns(four: Results, name: str) -> None:
    assert name in four, f"not reached: {[row['error'] for row in four.values() if 'error' in row]}"
    check(four[name], CASES[4][name])


@pytest.mark.parametrize("name", RESUMED[2])
def test_two_processes_go_on_from_a_checkpoint_of_another_layout(
    two: Results, uninterrupted: list[list[float]], name: str
) -> None:
    found = two[f"resumed {name}"]
    assert "error" not in found, found["error"]
    assert deviation(found["curve"], uninterrupted[HALF:]) < 1e-5


@pytest.mark.parametrize("name", RESUMED[4])
def test_four_processes_go_on_from_a_checkpoint_of_two(
    four: Results, uninterrupted: list[list[float]], name: str
) -> None:
    found = four[f"resumed {name}"]
    assert "error" not in found, found["error"]
    assert deviation(found["curve"], uninterrupted[HALF:]) < 1e-5


def test_one_process_goes_on_from_a_checkpoint_of_two(
    folder: Path, two: Results, uninterrupted: list[list[float]]
) -> None:
    found = resume(Case({}), Layout(), folder / "checkpoint")
    assert deviation(found["curve"], uninterrupted[HALF:]) < 1e-5


def test_a_step_that_cannot_be_split_is_refused_on_every_process(two: Results) -> None:
    said = two["refused"]
    assert "fewer rows than parts (2)" in said["no rows"]
    assert "context needs a loss of single targets, not one of PairBatch" in said["pairs"]
