"""Shares and supply: what the rules of a mixture promise, on any groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.stages.mix.allot import allot, shares
from groundup.stages.mix.choose import Survey, copies

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(1.0, 1e9), min_size=1)


@pytest.mark.parametrize(
    ("named", "temperature", "expected"),
    [
        ({}, 1.0, {"web": 0.8, "books": 0.16, "code": 0.04}),
        ({}, math.inf, {"web": 1 / 3, "books": 1 / 3, "code": 1 / 3}),
        ({"code": 0.5}, 1.0, {"code": 0.5, "web": 0.5 * 800 / 960, "books": 0.5 * 160 / 960}),
        ({"web": 0.0}, 1.0, {"web": 0.0, "books": 0.8, "code": 0.2}),
        ({"web": 0.5, "books": 0.5}, 1.0, {"web": 0.5, "books": 0.5, "code": 0.0}),
        ({"web": 0.2, "books": 0.1, "code": 0.1}, 1.0, {"web": 0.5, "books": 0.25, "code": 0.25}),
    ],
)
def test_shares(named: dict[str, float], temperature: float, expected: dict[str, float]) -> None:
    assert shares({"web": 800.0, "books": 160.0, "code": 40.0}, named, temperature) == pytest.approx(expected)


def test_the_temperature_is_a_root() -> None:
    assert shares({"web": 900.0, "books": 100.0}, {}, 2.0) == pytest.approx({"web": 0.75, "books": 0.25})


def test_mt5s_exponent() -> None:
    """A temperature of 1/0.3 is mT5's alpha of 0.3 (Xue et al. 2021, section 3.1)."""
    found = shares({"en": 1e9, "sw": 1e5}, {}, 1 / 0.3)
    assert found["en"] / found["sw"] == pytest.approx((1e9 / 1e5) ** 0.3)


def test_shares_of_unknown_or_empty_groups_are_refused() -> None:
    with pytest.raises(RequestError, match=r"shares name wiki, .*there are: web$"):
        shares({"web": 1.0, "empty": 0.0}, {"wiki": 0.1}, 1.0)
    with pytest.raises(RequestError, match="shares name empty"):
        shares({"web": 1.0, "empty": 0.0}, {"empty": 0.1}, 1.0)
    with pytest.raises(RequestError, match="no group of the mixture has a share above 0"):
        shares({"web": 1.0}, {"web": 0.0}, 1.0)


@given(SIZES, st.floats(1.0, 20.0), st.floats(0.25, 8.0), st.floats(0.01, 30.0))
def test_no_group_beyond_its_cap_and_nothing_left_unfilled(
    sizes: dict[str, float], temperature: float, cap: float, epochs: float
) -> None:
    wanted = shares(sizes, {}, temperature)
    total = epochs * sum(sizes.values())
    parts = allot(sizes, wanted, dict.fromkeys(sizes, cap), total)
    room = cap * sum(sizes.values())
    assert sum(part.amount for part in parts.values()) == pytest.approx(min(total, room))
    for part in parts.values():
        assert part.amount <= cap * part.supply * (1 + 1e-9)
    # Groups below their caps keep their proportions, and are read no less than the shares say.
    free = [part for part in parts.values() if part.amount < cap * part.supply * (1 - 1e-6)]
    for part in free:
        assert part.amount >= part.wanted * total * (1 - 1e-6)
        assert part.amount / part.wanted == pytest.approx(free[0].amount / free[0].wanted)


@given(SIZES, st.floats(1.0, 4.0), st.floats(0.1, 10.0))
def test_unimax(sizes: dict[str, float], cap: float, epochs: float) -> None:
    """Equal shares with a cap are what UniMax's own procedure gives: languages from the smallest on take the equal part
    of what is left, or all of their epochs (Chung et al. 2023, algorithm 1)."""
    total = epochs * sum(sizes.values())
    left, expected = total, {}
    for place, name in enumerate(sorted(sizes, key=sizes.__getitem__)):
        expected[name] = min(left / (len(sizes) - place), cap * sizes[name])
        left -= expected[name]
    parts = allot(sizes, shares(sizes, {}, math.inf), dict.fromkeys(sizes, cap), total)
    assert {name: part.amount for name, part in parts.items()} == pytest.approx(expected)


@given(SIZES, st.floats(0.25, 4.0), st.floats(0.1, 10.0), st.floats(1.0, 5.0))
def test_shrinking_keeps_the_shares(sizes: dict[str, float], cap: float, epochs: float, temperature: float) -> None:
    wanted = shares(sizes, {}, temperature)
    parts = allot(sizes, wanted, dict.fromkeys(sizes, cap), epochs * sum(sizes.values()), "shrink")
    for name, part in parts.items():
        assert part.share == pytest.approx(wanted[name])
        assert part.epochs <= cap * (1 + 1e-9)


def test_refusing_names_the_group() -> None:
    with pytest.raises(RequestError, match=r"books has 10, and 50.0% of 110 are 5.5 epochs \(at most 4\)"):
        allot({"web": 100.0, "books": 10.0}, {"web": 0.5, "books": 0.5}, {"web": 4.0, "books": 4.0}, 110.0, "refuse")


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200), st.floats(0.0, 5.0), st.integers(0, 99))
def test_copies_come_to_the_epochs_within_half_a_document(lengths: list[int], epochs: float, seed: int) -> None:
    size = np.array(lengths)
    draw = np.random.default_rng(seed).random(len(size))
    times = copies(draw, size, epochs)
    assert times.max() - times.min() <= 1
    assert abs(int((times * size).sum()) - epochs * size.sum()) <= size.max() / 2 + 1e-6 * size.sum()
    more = copies(draw, size, epochs + 0.3)
    assert (more >= times).all()


def test_the_first_of_equal_documents_counts() -> None:
    keys = np.array([[1, 1], [2, 2], [1, 1], [3, 3]], dtype=np.uint64)
    names = np.array([[9, 1], [9, 2], [9, 3], [9, 2]], dtype=np.uint64)
    blank = np.zeros(4, dtype=np.int64)
    found = Survey(blank, blank, blank.astype(float), keys, names, np.ones(4, dtype=bool)).first()
    assert found.tolist() == [True, True, False, False]
