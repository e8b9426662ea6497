"""Word lists and the toxicity operator. Offensive words appear only as the encoded list has them; none is printed."""

from __future__ import annotations

import base64
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import DataError, RequestError
from groundup.stages.curate.judging import linear, toxicity, words
from groundup.stages.curate.judging.toxicity import Toxicity, decide_toxicity

PHRASES = {"plum": frozenset({"profane"}), "green pear": frozenset({"adult"}), "kiwi": frozenset({"profane", "slur"})}


def counts(text: str, phrases: dict[str, frozenset[str]] = PHRASES) -> list[int]:
    table = words.build_table(phrases, words.KINDS)
    found, _ = table.count(linear.packed_texts([text]), np.zeros(1, bool))
    return found[0].tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A plum, a PLUM!", [2, 0, 0]),
        ("plums sugarplum plum's", [1, 0, 0]),
        ("green pear", [0, 1, 0]),
        ("Green-Pear and green\npear", [0, 2, 0]),
        ("green big pear", [0, 0, 0]),
        ("kiwi", [1, 0, 1]),
        ("", [0, 0, 0]),
        ("plum" * 2, [0, 0, 0]),
    ],
)
def test_words_and_phrases_are_counted_whole(text: str, expected: list[int]) -> None:
    assert counts(text) == expected


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("груша", "ГРУША и Груша", 2),
        ("梨子", "这是梨子吗", 1),
        ("ลูก", "มีลูกแพร์", 1),
        ("é", "É é", 2),
        ("a b c d e f g h i j", "a b c d e f g h z", 1),
    ],
)
def test_other_alphabets_and_long_phrases(phrase: str, text: str, found: int) -> None:
    assert counts(text, {phrase: frozenset({"profane"})})[0] == found


@given(st.lists(st.sampled_from(["plum", "green", "pear", "kiwi", "fig"]), max_size=20))
def test_counts_equal_a_plain_search(chosen: list[str]) -> None:
    pairs = list(pairwise(chosen))
    kiwis = chosen.count("kiwi")
    assert counts(" ".join(chosen)) == [chosen.count("plum") + kiwis, pairs.count(("green", "pear")), kiwis]


def test_the_shipped_list_is_readable_and_encoded() -> None:
    shipped = words.shipped_words()
    assert len(shipped["eng"]) > 150 and len(shipped) >= 8
    content = (Path(words.__file__).parent / words.SHIPPED).read_text("utf-8").lower()
    plain = [word for word in shipped["eng"] if len(word) > 3 and word in content]
    assert not plain, f"{len(plain)} words stand in the file as they are"
    lines = [line for line in content.splitlines() if line and not line.startswith("#")]
    assert len(lines) == sum(len(phrases) for phrases in shipped.values())


def test_lists_in_ldnoobws_form(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("Sour Plum\n\n# note\nquince\n", "utf-8")
    (tmp_path / "de").write_text("Quitte\n", "utf-8")
    (tmp_path / "README.md").write_text("not a list")
    (tmp_path / "LICENSE").write_text("not a list")
    gathered = words.gather([tmp_path], shipped=False)
    assert {language: sorted(phrases) for language, phrases in gathered.items()} == {
        "eng": ["quince", "sour plum"],
        "deu": ["quitte"],
    }
    found = words.bad_words("eng_Latn", paths=[tmp_path])
    assert "quince" in found and len(found) > 150 and list(found) == sorted(found)
    assert words.bad_words("fin") == ()


def test_bad_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    with pytest.raises(RequestError, match="names no language"):
        words.gather([tmp_path / "notes"])
    (tmp_path / "en").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="not UTF-8"):
        words.gather([tmp_path / "en"])
    with pytest.raises(RequestError, match="no word list"):
        words.gather([tmp_path / "fr"])
    with pytest.raises(RequestError, match="did you mean 'adult'"):
        words.read_words(tmp_path / "en", "adlt")


def batch_of(texts: list[str], languages: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string()), "language": pa.array(languages)})


def listed(kind: str, language: str = "eng") -> str:
    return next(word for word, kinds in sorted(words.shipped_words()[language].items()) if kinds == {kind})


def test_each_mode_drops_what_it_is_for() -> None:
    calm = "The committee met on Tuesday to discuss the new library and its opening hours. " * 4
    texts = [
        calm,
        f"{listed('adult')} " * 3 + calm,
        f"{listed('profane')} " * 4 + calm,
        f"{listed('slur')} " * 2 + calm,
    ]
    done = Toxicity()(batch_of(texts, ["eng_Latn"] * 4))
    for limits, expected in (
        ({"adult": 10.0}, [None, "adult", None, None]),
        ({"profane": 20.0}, [None, None, "profane", None]),
        ({"slur": 5.0}, [None, None, None, "slur"]),
    ):
        decided = decide_toxicity(limits)(done)
        assert decided.column("rule").to_pylist() == expected
        assert all(listed("adult") not in (detail or "") for detail in decided.column("detail").to_pylist())


def test_the_classifier_tells_insults_from_calm_text() -> None:
    insult = base64.b64decode(b"c3R1cGlkIGJpdGNoIHNodXQgdGhlIGZ1Y2sgdXA=").decode()
    calm = "the committee met on tuesday to discuss opening hours"
    done = Toxicity()(
        batch_of([insult, calm, f"{calm} " * 30 + f"{insult} " * 4, insult], ["eng_Latn"] * 3 + ["deu_Latn"])
    )
    toxic, worst = done.column("toxicity.toxic").to_pylist(), done.column("toxicity.worst").to_pylist()
    assert toxic[0] > 0.9 and toxic[1] < 0.4
    assert toxic[2] < 0.5 < worst[2]
    assert math.isnan(toxic[3]) and math.isnan(worst[3])


def test_lists_go_by_the_rows_language() -> None:
    word = listed("profane", "deu")
    done = Toxicity()(batch_of([word] * 4, ["deu_Latn", "eng_Latn", "fin_Latn", None]))
    found = done.column("toxicity.profane").to_pylist()
    assert found[0] == 1000.0 and found[1] == 0.0 and math.isnan(found[2]) and found[3] == 0.0


def test_no_row_looks_at_its_neighbours() -> None:
    texts = [f"{listed('adult')} and so on", "", "calm words", "梨子"]
    batch = batch_of(texts, ["eng_Latn", "eng_Latn", "und_Latn", "cmn_Hani"])
    whole = Toxicity()(batch).to_pylist()
    alone = [Toxicity()(batch.slice(row, 1)).to_pylist()[0] for row in range(4)]
    assert str(whole) == str(alone)


def test_lists_and_model_are_part_of_the_specification(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("quince\n")
    first = Toxicity((str(tmp_path),)).spec.digest
    (tmp_path / "en").write_text("quince\nplum\n")
    assert len({first, Toxicity((str(tmp_path),)).spec.digest, Toxicity().spec.digest}) == 3
    assert set(Toxicity().spec.assets) == {"model", words.SHIPPED}
    with pytest.raises(RequestError, match="did you mean 'toxic'"):
        decide_toxicity({"toxc": 0.5})


def test_the_card_says_what_the_model_says() -> None:
    """The card's figures are those in model.json, which the benchmark wrote."""
    held = linear.read_description(toxicity.SHIPPED)["held_out"]["tweets_at_0.5"]
    card = (toxicity.SHIPPED / "CARD.md").read_text("utf-8")
    for share in (held["precision"], held["recall"]):
        assert f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]" in card
    for name in ("hate", "offensive", "neither"):
        value, low, high, _ = held[name]
        assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in card
