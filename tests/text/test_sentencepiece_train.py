"""SentencePiece from counted words: a model as from sentences, nothing lost, and clear refusals."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from groundup.base.errors import DataError, RequestError
from groundup.text import sentencepiece_train as module
from groundup.text.adopt.splits import byte_level
from groundup.text.bpe.splitter import Splitter
from groundup.text.chat.template import CHAT_TEMPLATE
from groundup.text.sentencepiece_train import WORDS, Kind, describe_trained, train_sentencepiece
from groundup.text.special import STANDARD
from groundup.text.tokenizer import Roles, Tokenizer

EXAMPLES = Path(__file__).parents[2] / "examples"
KINDS: tuple[Kind, ...] = ("bpe", "unigram")
SPLIT = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False},
        byte_level(split_words=False),
    ],
}


def sentences(seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    names = ["".join(draw.choices("abcdefghijé猫", k=draw.randint(1, 6))) for _ in range(150)]
    weights = [1 / (place + 1) for place in range(len(names))]
    return [" ".join(draw.choices(names, weights, k=12)) for _ in range(200)]


def table(words: Counter[str]) -> pa.Table:
    ordered = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    names = pa.array([word.encode() for word, _ in ordered], pa.binary())
    return pa.table({"word": names, "count": pa.array([count for _, count in ordered], pa.int64())})


def counted(texts: list[str]) -> Counter[str]:
    rows = Splitter.parse(SPLIT).pieces(pa.array(texts))
    return Counter(word.decode() for row in rows for word in row)


def processor(model: bytes) -> Any:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    words = counted([*sentences(), "    if x:\n\treturn  y", "        " * 3])
    return train_sentencepiece(table(words), 380, request.param, STANDARD, tmp_path_factory.mktemp("scratch"))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=40))
@example("  a  b\n\n\tc   \r\n x ")
@example(" ")
@example("<|im_end|><unk><0x41>\x00\u2028\u0085猫👩‍👩‍👧")
def test_no_text_is_lost_and_none_is_special(trained: bytes, text: str) -> None:
    model = processor(trained)
    ids = model.encode(text)
    assert model.decode(ids) == text
    assert not any(model.is_control(index) or model.is_unknown(index) for index in ids)


def test_a_tokenizer_of_it_gives_its_ids(trained: bytes) -> None:
    made, model = tokenizer_of(trained), processor(trained)
    for text in [*sentences(2)[:20], "  a\n\tb  <|im_end|> 猫👩‍👩‍👧 ", "    x"]:
        assert made.encode(text) == model.encode(text)
        assert made.decode(made.encode(text)) == text
    assert [made.special_tokens[token] for token in STANDARD] == list(range(1, len(STANDARD) + 1))
    assert made.vocab_size == 380


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \u2581ab"), max_size=40))
@example("\u2581")
@example(" \u2581 a\u2581\u2581b")
def test_ids_are_those_of_the_model_and_every_text_comes_back(trained: bytes, text: str) -> None:
    """SentencePiece takes U+2581 for a blank where it encodes; it decodes it."""
    made, model = tokenizer_of(trained), processor(trained)
    ids = made.encode(text)
    assert made.decode(ids) == model.decode(ids) == text
    assert made.decode_bytes(ids) == text.encode()
    if "\u2581" not in text:
        assert ids == model.encode(text)


@cache
def tokenizer_of(model: bytes) -> Tokenizer:
    return Tokenizer.parse(describe_trained(model), CHAT_TEMPLATE, Roles())


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_with_blanks_are_not_made_of_text(kind: Kind, tmp_path: Path) -> None:
    special = [*STANDARD, "<|my tool|>", "a b", " a", "猫 é"]
    trained = train_sentencepiece(table(counted(sentences())), 380, kind, special, tmp_path, ["b c"])
    made, model = tokenizer_of(trained), processor(trained)
    assert set(made.special_tokens) == {"<unk>", *special, "b c"}
    for text in ("<|my tool|> x", "x a b y a b", "a b", " a a", "猫 é", "b c b c"):
        ids = made.encode(text)
        assert ids == model.encode(text) and made.decode(ids) == text
        assert not set(ids) & set(made.special_tokens.values())


@pytest.mark.parametrize("kind", KINDS)
def test_those_in_reserve_stand_at_the_end(kind: Kind, tmp_path: Path) -> None:
    words = counted([*sentences(), "<|later_0|>" * 9])
    reserved = [f"<|later_{number}|>" for number in range(200)]
    model = processor(train_sentencepiece(table(words), 580, kind, STANDARD, tmp_path, reserved))
    plain = processor(train_sentencepiece(table(words), 380, kind, [*STANDARD], tmp_path))
    assert len(model) == 580 and model.id_to_piece(list(range(380, 580))) == reserved
    assert all(model.is_control(index) for index in range(380, 580))
    text = " ".join(sentences(3)) + "<|later_0|>"
    assert model.decode(model.encode(text)) == plain.decode(plain.encode(text)) == text
    with pytest.raises(DataError, match=r"supports only \d+ vocabulary entries of 50000"):
        train_sentencepiece(table(words), 50_000, kind, (), tmp_path, reserved)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_training_on_the_sentences(kind: Kind, tmp_path: Path) -> None:
    with gzip.open(EXAMPLES / "stories.jsonl.gz", "rt", encoding="utf-8") as lines:
        stories = [json.loads(line)["text"] for _, line in zip(range(300), lines, strict=False)]
    texts = [line for text in stories for line in text.splitlines() if line]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type=kind,
        vocab_size=900,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=3,
    )
    theirs = processor(model.getvalue())
    ours = processor(train_sentencepiece(table(counted(texts)), 900, kind, (), tmp_path))
    if kind == "bpe":
        assert [ours.id_to_piece(n) for n in range(900)] == [theirs.id_to_piece(n) for n in range(900)]
    else:  # its first candidates come from another place
        tokens = [sum(map(len, model.encode(texts))) for model in (ours, theirs)]
        assert tokens[0] < 1.01 * tokens[1]


@pytest.mark.parametrize("kind", KINDS)
def test_large_counts(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unigram's trainer writes every word out as often as it counts: beyond some gigabytes it would not come back."""
    monkeypatch.setattr(module, "MOST_WRITTEN_OUT", 1 << 20)
    words = counted(sentences(4))
    huge = Counter({word: count << 33 for word, count in words.items()})
    assert len(processor(train_sentencepiece(table(huge), 330, kind, (), tmp_path))) == 330
    assert not list(tmp_path.iterdir())


def test_what_a_line_cannot_hold_is_left_out(tmp_path: Path) -> None:
    words = counted(sentences(5)) + Counter(
        {"a\tb": 10**6, "\n": 10**6, "\u2581": 10**6, "x<|pad|>y": 10**6, "<|pad|>": 7}
    )
    model = processor(train_sentencepiece(table(words), 340, "bpe", ["<|pad|>"], tmp_path))
    assert model.is_control(1) and model.id_to_piece(1) == "<|pad|>"
    assert not any("|" in model.id_to_piece(index) for index in range(2, len(model)))


@pytest.mark.parametrize(
    ("kind", "size", "error", "why"),
    [
        ("bpe", 50_000, DataError, r"supports only \d+ vocabulary entries of 50000; lower vocab_size"),
        ("unigram", 50_000, DataError, r"supports only \d+ vocabulary entries of 50000; lower vocab_size"),
        ("bpe", 262, RequestError, r"vocab_size is 262; the characters of the corpus and special tokens need \d+"),
        ("unigram", 200, RequestError, r"vocab_size is 200; the characters of the corpus and special tokens need \d+"),
    ],
)
def test_a_size_that_does_not_fit(kind: Kind, size: int, error: type[Exception], why: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=why):
        train_sentencepiece(table(counted(sentences())), size, kind, (), tmp_path)


def test_no_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no words"):
        train_sentencepiece(table(Counter({"\n": 3})), 300, "bpe", (), tmp_path)
