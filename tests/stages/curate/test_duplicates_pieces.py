"""Lines and paragraphs that stand in several documents: against C4's rule in plain Python."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.stages.curate.duplicates.pieces import (
    piece_rows,
    pieces,
    priorities,
    repeated,
    strike,
    struck_pieces,
    without,
)
from groundup.stages.curate.engine.columns import Texts, texts
from groundup.stages.curate.engine.operator import Spec, refuse
from groundup.stages.curate.passes.pieces import piece_reduce, piece_table

LINES = st.lists(st.sampled_from(["", " ", "a", "A ", "b", "été", "c d"]), max_size=6).map("\n".join)


def batch_of(*values: str) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(values, pa.large_string())})


def strings(rows: Texts) -> list[str]:
    return [bytes(rows.data[a:b]).decode() for a, b in zip(rows.offsets[:-1], rows.offsets[1:], strict=True)]


def cut(rows: Texts, unit: str, blanks: bool = False) -> list[list[str]]:
    found = pieces(rows, unit, blanks)  # type: ignore[arg-type]
    spans = [bytes(rows.data[a:b]).decode() for a, b in zip(found.starts, found.stops, strict=True)]
    return [spans[a:b] for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


@pytest.mark.parametrize(
    ("text", "lines", "paragraphs"),
    [
        ("", [], []),
        ("one", ["one"], ["one"]),
        ("one\ntwo\n\n\nthree\n", ["one", "two", "three"], ["one\ntwo", "three"]),
        ("\n \n one\n\t\ntwo", [" one", "two"], [" one", "two"]),
    ],
)
def test_where_pieces_begin_and_end(text: str, lines: list[str], paragraphs: list[str]) -> None:
    rows = texts(batch_of("before\n", text, "after"))
    assert cut(rows, "line") == [["before"], lines, ["after"]]
    assert cut(rows, "paragraph") == [["before"], paragraphs, ["after"]]
    assert cut(rows, "line", blanks=True)[1] == text.split("\n")


def struck(documents: dict[str, str], unit: str = "line", window: int = 1, blanks: bool = False) -> list[str]:
    """The texts after all three steps; documents have their place as their number."""
    batch = batch_of(*documents.values())
    rows = texts(batch)
    found = pieces(rows, unit, blanks)  # type: ignore[arg-type]
    keyed = piece_rows(rows, found, window, 0 if blanks else 1)
    table = piece_table(keyed, priorities(documents), np.arange(len(documents)))
    gone = piece_reduce(table)
    owners, places = (gone.column(name).to_numpy() for name in ("document", "place"))
    return strings(without(rows, found, struck_pieces(found, owners, places, window))[0])


def c4(documents: dict[str, str]) -> list[str]:
    """tfds c4_utils, remove_duplicate_text, as described: MD5 of the stripped lower-cased line, smallest URL."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    owner: dict[str, str] = {}
    for url, text in documents.items():
        for line in text.split("\n"):
            key = line.strip().lower()
            owner[key] = min(owner.get(key, url), url, key=md5)
    result = []
    for url, text in documents.items():
        seen, left = set(), []
        for line in text.split("\n"):
            key = line.strip().lower()
            if owner[key] == url and key not in seen:
                left.append(line)
                seen.add(key)
        result.append("\n".join(left))
    return result


@given(st.lists(LINES, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_lines_go_as_in_c4(values: list[str]) -> None:
    documents = {f"https://example.org/{number}": text for number, text in enumerate(values)}
    assert struck(documents, blanks=True) == c4(documents)


@given(st.lists(LINES, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_every_line_is_left_once_and_blank_lines_are_layout(values: list[str]) -> None:
    documents = {f"u{number}": text for number, text in enumerate(values)}
    left = struck(documents)
    before = {line.strip().lower() for text in values for line in text.split("\n") if line.strip()}
    after = [line.strip().lower() for text in left for line in text.split("\n") if line.strip()]
    assert sorted(after) == sorted(before)


def test_three_sentences_go_only_together() -> None:
    one, two = "a\nb\nc\nd\ne", "x\nb\nc\nd\ny\nb\nc"
    names = sorted(["u0", "u1"], key=lambda name: hashlib.md5(name.encode()).digest())
    left = struck({names[0]: one, names[1]: two}, window=3)
    assert left == ["a\nb\nc\nd\ne", "x\ny\nb\nc"]


def test_the_outcome_does_not_depend_on_the_order_of_rows() -> None:
    chance = np.random.default_rng(0)
    keys, checks = chance.integers(0, 5, 200).astype(np.uint64), chance.integers(0, 2, 200).astype(np.uint64)
    documents, places = chance.integers(0, 30, 200), np.arange(200)
    priority = (documents * 7919 % 31).astype(np.uint64)
    whole = repeated(keys, checks, priority, documents, places)
    order = chance.permutation(200)
    assert (
        repeated(keys[order], checks[order], priority[order], documents[order], places[order]) == whole[order]
    ).all()
    assert (~whole).sum() == len(set(zip(keys.tolist(), checks.tolist(), strict=True)))
    across = repeated(keys, checks, priority, documents, places, within=False)
    assert (whole | ~across).all() and across.sum() < whole.sum()


class TooShort:
    """Texts of fewer than three characters go."""

    spec = Spec("too_short", 1, "decide", ("text",), ())

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        short = [len(text) < 3 for text in batch.column("text").to_pylist()]
        return refuse(batch, "c4", ["too_few_sentences" if s else None for s in short], [None] * len(short))


def test_what_got_short_is_looked_at_again_and_nothing_else() -> None:
    batch = batch_of("abc\nx", "y", "z", "def\nghi")
    found = pieces(texts(batch))
    gone = np.array([True, False, True, False, True, False])  # abc, y, def
    result = strike(batch, found, gone, "line_duplicates", TooShort())
    assert result.column("text").to_pylist() == ["x", "", "z", "ghi"]
    assert result.column("rule").to_pylist() == ["too_few_sentences", "nothing_left", None, None]
    untouched = strike(batch, found, np.zeros(6, bool), "line_duplicates", TooShort())
    assert untouched.column("text").to_pylist() == batch.column("text").to_pylist()
