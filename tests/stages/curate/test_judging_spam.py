"""Signs of spam: each statistic on texts made to show it, and ordinary text left alone."""

from __future__ import annotations

import gzip
import json
import math
import random
import string
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.stages.curate.judging.spam import STATISTICS, Spam, decide_spam

SHARED = Path(__file__).parents[3] / "../shared"
CALM = (
    "The harbour lies on the north side of the island, where the mountains keep off the worst of the wind. Fishermen "
    "mend their nets there in winter; in summer the boats bring visitors, who walk up to the old fort and look over "
    "the strait towards the mainland. Nobody knows who built it, though several books have been written on the matter."
)


def measured(text: str, language: str | None = "eng_Latn") -> dict[str, Any]:
    batch = pa.RecordBatch.from_pydict(
        {"text": pa.array([text], pa.large_string()), "language": pa.array([language], pa.string())}
    )
    return decide_spam()(Spam()(batch)).to_pylist()[0]


def gibberish() -> str:
    draw = random.Random(1)
    return " ".join("".join(draw.choices(string.ascii_lowercase, k=draw.randint(3, 9))) for _ in range(80))


def links() -> str:
    return " ".join(f"good site https://example.org/{number} more words here" for number in range(30))


def hidden() -> str:
    return CALM.replace(" ", " \u200b\u2060")


def mixed() -> str:
    return CALM.replace("e", "\u0435")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (CALM, None),
        (hidden(), "hidden_characters"),
        (mixed(), "mixed_alphabets"),
        ("https://example.org/aaaaaaaaaaaaaaaaaaaaaa see " * 5, "link_farm"),
        (" ".join("cheap watches and cheap straps" for _ in range(3)) + " cheap cheap cheap cheap " + CALM, None),
        (" ".join(f"watches for{number} the" for number in range(40)), "stuffed_word"),
        (", ".join(f"w{number}" for number in range(80)), "keyword_list"),
        (CALM + " click here buy now order now act now shop now", "sales_phrases"),
        (CALM * 20, "repeats_itself"),
        (gibberish(), "gibberish"),
        ("", None),
        ("ok", None),
        ("мир " * 10, None),
    ],
)
def test_rules(text: str, rule: str | None) -> None:
    assert measured(text)["rule"] == rule


def test_statistics_by_hand() -> None:
    row = measured(links())
    assert row["spam.links"] == pytest.approx(30 / (30 * (5 + 4)), abs=1e-6)  # https, example, org and a number
    count = sum(len(f"https://example.org/{number}") for number in range(30))
    assert row["spam.link_share"] == pytest.approx(count / len(links()), abs=1e-6)
    assert row["spam.compression"] == pytest.approx(len(links()) / len(zlib.compress(links().encode(), 6)), abs=1e-6)
    assert row["spam.top_word"] == pytest.approx(30 / 270, abs=1e-6)
    calm = measured(CALM)
    assert calm["spam.commas"] == pytest.approx(CALM.count(",") / len(CALM.split()), abs=1e-6)
    assert -3.5 < calm["spam.letters"] < -2
    assert measured(hidden())["spam.hidden"] == pytest.approx(2 * CALM.count(" ") / len(hidden()), abs=1e-6)


def test_honest_uses_of_invisible_characters_and_two_alphabets() -> None:
    row = measured("\ufeff" + CALM + "می\u200cخواهم " * 20 + "soft\u00adhyphen 👩\u200d👩\u200d👧 µm Ωmega and мир")
    assert row["spam.hidden"] == 0
    assert row["spam.mixed_alphabets"] < 0.05


def test_english_statistics_are_for_english() -> None:
    foreign = measured(gibberish(), "deu_Latn")
    assert math.isnan(foreign["spam.letters"]) and math.isnan(foreign["spam.phrases"])
    assert foreign["rule"] is None
    assert measured(gibberish(), None)["rule"] == "gibberish"


@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_text_is_measured_alone(texts: list[str]) -> None:
    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    batch = pa.RecordBatch.from_pydict({"text": pa.array(clean, pa.large_string())})
    whole = Spam()(batch).to_pylist()
    # As strings, for NaN is not equal to itself.
    assert str(whole) == str([Spam()(batch.slice(row, 1)).to_pylist()[0] for row in range(len(clean))])
    for row in whole:
        for name in ("hidden", "link_share"):
            assert 0 <= row[f"spam.{name}"] <= 1


def test_limits_can_be_set_and_left_out(tmp_path: Path) -> None:
    assert [rule.statistic for rule in decide_spam({"letters": None, "hidden": 0.5}).rules][:1] == ["hidden"]
    assert decide_spam({"hidden": 0.5}).rules[0].limit == 0.5
    with pytest.raises(RequestError, match="did you mean 'letters'"):
        decide_spam({"leters": 1.0})
    (tmp_path / "more.txt").write_text("harbour lies\nnorth side\nold fort\nthe strait\n")
    batch = pa.RecordBatch.from_pydict({"text": pa.array([CALM], pa.large_string())})
    operator = Spam((str(tmp_path / "more.txt"),))
    assert operator(batch).to_pylist()[0]["spam.phrases"] > 0.04
    assert operator.spec.digest != Spam().spec.digest
    with pytest.raises(RequestError, match="no list of phrases"):
        _ = Spam((str(tmp_path / "none.txt"),)).spec
    assert set(Spam().spec.writes) == {f"spam.{name}" for name in STATISTICS}


@pytest.mark.parametrize(("name", "most"), [("books/books", 0.0), ("c4_demo/c4_demo", 0.01)])
def test_ordinary_text_is_left_alone(name: str, most: float) -> None:
    path = SHARED / f"data/text/{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip("the shared data folder is not there")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"][:4000] for line in file]
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    rules = decide_spam()(Spam()(batch)).column("rule").to_pylist()
    assert sum(rule is not None for rule in rules) <= most * len(rules)
