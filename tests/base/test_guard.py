"""Native code behind a guard: every way to misbehave costs the item that does, and nobody else."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator

import pytest
from guard_work import end_at_start, refuse_to_start, work

from groundup.base.errors import RequestError, ResourceError
from groundup.base.guard import Failure, Guard

MEMORY = 256 << 20


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard[str, str]]:
    """Time enough on a busy machine: what takes too much memory must not be too slow first."""
    with Guard(work, 20, MEMORY) as made:
        yield made


@pytest.fixture(scope="module")
def hasty() -> Iterator[Guard[str, str]]:
    with Guard(work, 0.5, MEMORY) as made:
        yield made


@pytest.mark.parametrize(
    ("item", "rule"),
    [
        ("segfault", "failed"),
        ("abort", "failed"),
        ("exit", "failed"),
        ("raise", "failed"),
        ("unpicklable", "failed"),
        ("swallow", "too_large"),
        ("native swallow", "too_large"),
    ],
)
def test_a_culprit_fails_alone(guard: Guard[str, str], item: str, rule: str) -> None:
    _fails_alone(guard, item, rule)


def test_one_that_computes_for_ever_fails_alone(hasty: Guard[str, str]) -> None:
    _fails_alone(hasty, "spin", "too_slow")


def _fails_alone(guard: Guard[str, str], item: str, rule: str) -> None:
    found = guard.map(["a", "b", item, "c", "d"])
    assert [found[at] for at in (0, 1, 3, 4)] == ["A", "B", "C", "D"]
    assert isinstance(found[2], Failure)
    assert found[2].rule == rule
    assert "secret" not in found[2].detail


def test_a_sleeper_ends_by_the_clock() -> None:
    with Guard(work, 0.1, MEMORY) as guard:
        start = time.monotonic()
        found = guard.map(["a", "sleep", "b"])
        assert found[0] == "A" and found[2] == "B"
        assert isinstance(found[1], Failure) and found[1].rule == "too_slow"
        assert time.monotonic() - start < 30


def test_what_fails_does_not_depend_on_grouping(guard: Guard[str, str]) -> None:
    items = ["a", "segfault", "raise", "swallow", "c"]
    together = guard.map(items)
    singly = [guard.map([item])[0] for item in items]
    assert together == singly == [*guard.map(items[:2]), *guard.map(items[2:])]


def test_a_child_that_says_much_is_not_held_up(guard: Guard[str, str]) -> None:
    assert guard.map(["chatter", "a"]) == ["CHATTER", "A"]


def test_many_and_large_items_come_back_in_order(guard: Guard[str, str]) -> None:
    items = [f"{number}x" * (1 + number % 7 * 9000) for number in range(300)]
    assert guard.map(items) == [item.upper() for item in items]
    assert guard.map([]) == []


def test_a_missing_package_is_an_error_not_a_failure_of_pages() -> None:
    with Guard(work, 1, MEMORY, prepare=refuse_to_start) as guard, pytest.raises(RequestError, match="not installed"):
        guard.map(["a"])


def test_a_child_that_never_starts_is_an_error() -> None:
    with Guard(work, 1, MEMORY, prepare=end_at_start) as guard, pytest.raises(ResourceError, match="did not start"):
        guard.map(["a"])


def test_a_guard_travels_without_its_child(guard: Guard[str, str]) -> None:
    assert guard.map(["a"]) == ["A"]
    with pickle.loads(pickle.dumps(guard)) as other:
        assert other.map(["b"]) == ["B"]


def test_a_closed_guard_starts_again_and_leaves_no_process() -> None:
    guard = Guard(os.path.basename, 1, MEMORY)
    assert guard.map(["x/y"]) == ["y"]
    assert guard._child is not None
    process = guard._child._process
    guard.close()
    assert process.returncode is not None
    assert guard.map(["x/z"]) == ["z"]
    guard.close()
