"""The sieve before the exact search for benchmark items lets every sharer through, and few others."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.overlap_kernels import Sieve
from groundup.stages.curate.overlaps import Overlaps
from groundup.text.overlap import OverlapIndex

ITEM = "A brave little otter swam across the wide cold river to find her lost red kite again."
SHORT = "Why do otters hold hands?"
ITEMS = (("b", "long", ITEM), ("b", "short", SHORT))


def _batch(*rows: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(rows, pa.large_string())})


def test_what_shares_a_run_is_found_and_nothing_else() -> None:
    tagged = Overlaps(ITEMS)(
        _batch(
            f"Before. {ITEM.upper()} After.",
            "why, do OTTERS hold   hands",
            "A brave little otter swam across the wide cold river, then slept.",  # 10 words of it
            "",
        )
    )
    hits = tagged.column("hits").to_pylist()
    assert [json.loads(one)[0][:2] if one else None for one in hits] == [["b", "long"], ["b", "short"], None, None]


words = st.sampled_from(
    ["otter", "Otter's", "don’t", "don't", "Kelvin", "\u212aelvin", "İ", "naïve", "été", "5", "_", "-", "ǅ", "ß"]
)


@given(st.lists(words, max_size=20), st.lists(words, max_size=40), st.sampled_from([" ", ", ", "\n", "_"]))
@example(["\u212aelvin"] * 5, ["kelvin"] * 9, " ")
@example(["kelvin"] * 5, ["\u212aelvin"] * 9, " ")
@settings(max_examples=300)
def test_the_sieve_never_holds_back_a_sharer(item: list[str], text: list[str], between: str) -> None:
    index = OverlapIndex.build([("b", "1", " ".join(item))])
    body = between.join([*text, *item[2:], *text])
    sieve = Sieve(texts(_batch(*index.texts)))
    may = sieve.may_share(texts(_batch("x", body).slice(1)))
    if index.find(body):
        assert may.tolist() == [True]


def test_the_sieve_holds_back_what_shares_nothing() -> None:
    sieve = Sieve(texts(_batch(*OverlapIndex.build(ITEMS).texts)))
    draw = np.random.default_rng(0)
    vocabulary = ITEM.lower().strip(".").split()
    rows = [" ".join(draw.permutation(vocabulary * 8)) for _ in range(200)]
    assert sieve.may_share(texts(_batch(*rows))).sum() == 0


def test_without_items_nothing_is_found() -> None:
    assert Overlaps(())(_batch("a b c")).column("hits").to_pylist() == [None]
