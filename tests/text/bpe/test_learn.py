"""Learning merges: the library's trainer is the reference, on random words full of ties and runs, and on real text."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from groundup.base.errors import DataError, RequestError
from groundup.text.bpe import learn as module
from groundup.text.bpe.learn import Learner, Vocabulary, learn
from groundup.text.bpe.splitter import Splitter
from groundup.text.bpe.words import WordCounter

EXAMPLES = Path(__file__).parents[3] / "examples"
SPLIT = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
MANY = 100_000
TEXTS = {
    "English": "the cat and the dog ran to the other cat, and then they sat on the mat 1234 times; ",
    "Russian": "кот и собака побежали к другому коту, а потом сидели на ковре; ",
    "Hindi": "बिल्ली और कुत्ता दूसरी बिल्ली के पास दौड़े और फिर चटाई पर बैठ गए। ",
    "Chinese": "猫和狗跑向另一只猫，然后他们坐在垫子上。",
    "Arabic": "ركض القط والكلب إلى القط الآخر ثم جلسا على السجادة. ",
    "emoji": "👩‍👩‍👧‍👦 naïve café 👩‍👩‍👧‍👦 \t\n\n  for x in y:\n    return x\n",
}


def table(words: Mapping[bytes, int]) -> pa.Table:
    names = sorted(words)
    return pa.table({"word": pa.array(names, pa.binary()), "count": pa.array([words[n] for n in names], pa.int64())})


def by_library(
    texts: Iterable[str], vocab_size: int, special: Sequence[str] = (), *, split: bool = False, **fields: Any
) -> dict[str, Any]:
    """What the library learns; without ``split`` each text is one word."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        **fields,
    )
    made.train_from_iterator(texts, trainer)
    found: dict[str, Any] = json.loads(made.to_str())["model"]
    return found


def repeated(words: Mapping[bytes, int]) -> list[str]:
    return [word.decode() for word, count in words.items() for _ in range(count)]


def same(learned: Vocabulary, reference: dict[str, Any]) -> None:
    model = learned.model()
    assert model["vocab"] == reference["vocab"]
    assert model["merges"] == reference["merges"]


def some_words(seed: int) -> Counter[bytes]:
    """Few letters in long runs: ties at every step, and pairs that overlap themselves."""
    draw = random.Random(seed)
    letters = "abcd"[: draw.randint(1, 4)]
    words = Counter[bytes]()
    for _ in range(draw.randint(1, 40)):
        runs = (draw.choice(letters) * draw.choice([1, 1, 1, 2, 3, 7]) for _ in range(draw.randint(1, 12)))
        words["".join(runs).encode()] += draw.randint(1, 5)
    return words


@pytest.mark.parametrize(
    ("special", "fields"),
    [
        ((), {}),
        (("<|endoftext|>", "<|pad|>"), {"min_frequency": 2}),
        ((), {"min_frequency": 7}),
        (("ab", "<|x|>", "a"), {}),  # spelt like a piece that will be made, and like a byte: the id is shared
        (("aaa", "aba"), {"max_token_length": 4}),
        ((), {"max_token_length": 1}),
        ((), {"max_token_length": 6}),
    ],
)
def test_equals_the_library_on_ties_and_runs(special: tuple[str, ...], fields: dict[str, Any]) -> None:
    for seed in range(40):
        words = some_words(seed)
        everything = len(by_library(repeated(words), MANY, special, **fields)["vocab"])
        least = 256 + len({*special} - {"a"})
        for vocab_size in {everything, max(least, everything - 3), max(least, (everything + least) // 2)}:
            if vocab_size < 256 + len(special):
                continue
            reference = by_library(repeated(words), vocab_size, special, **fields)
            same(learn(table(words), vocab_size, special_tokens=special, **fields), reference)


@given(st.dictionaries(st.text("ab", min_size=1, max_size=30), st.integers(1, 3), min_size=1, max_size=12))
@settings(max_examples=100)
def test_equals_the_library_on_any_words(words: dict[str, int]) -> None:
    counted = {word.encode(): count for word, count in words.items()}
    reference = by_library(repeated(counted), MANY)
    size = len(reference["vocab"])
    same(learn(table(counted), size), by_library(repeated(counted), size))


@pytest.mark.parametrize("name", TEXTS)
def test_equals_the_library_in_languages(name: str) -> None:
    draw = random.Random(name)
    parts = TEXTS[name].split(" ")
    texts = [" ".join(draw.choices(parts, k=30)) for _ in range(40)]
    counter = WordCounter(Splitter.parse(SPLIT))
    counter.add(pa.array(texts))
    special = ("<|endoftext|>",)
    everything = len(by_library(texts, MANY, special, split=True, min_frequency=2)["vocab"])
    reference = by_library(texts, everything, special, split=True, min_frequency=2)
    same(learn(counter.table(), everything, special_tokens=special, min_frequency=2), reference)


def stories(number: int) -> list[str]:
    with gzip.open(EXAMPLES / "stories.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for _, line in zip(range(number), lines, strict=False)]


def test_equals_the_library_on_real_text_and_reports() -> None:
    texts = stories(600)
    counter = WordCounter(Splitter.parse(SPLIT))
    counter.add(pa.array(texts))
    steps: list[tuple[int, int]] = []
    found = learn(counter.table(), 3000, special_tokens=["<|pad|>"], report=lambda *step: steps.append(step))
    same(found, by_library(texts, 3000, ["<|pad|>"], split=True))
    assert steps[-1] == (3000, 3000) and len(steps) > 5 and steps == sorted(steps)


def test_counts_beyond_32_bits() -> None:
    """The library wraps there (tokenizers#1170). Counts that are all multiplied give the same merges."""
    words = some_words(3)
    size = len(by_library(repeated(words), MANY)["vocab"])
    huge = {word: count << 33 for word, count in words.items()}
    assert learn(table(huge), size) == learn(table(words), size)
    with pytest.raises(DataError, match="64 bits"):
        learn(table({b"ab": 1 << 62, b"abc": 1 << 61}), 258)


def test_a_vocabulary_that_the_words_do_not_support() -> None:
    words = {b"abab": 3, b"cd": 1}
    with pytest.raises(DataError, match=r"supports only 259 vocabulary entries of 400; lower vocab_size$"):
        learn(table(words), 400)
    with pytest.raises(DataError, match="supports only 259 vocabulary entries of 1000000000000;"):
        learn(table(words), 10**12)
    assert len(learn(table(words), 259).pieces) == 259
    with pytest.raises(DataError, match=r"supports only 258 .* lower vocab_size or min_frequency"):
        learn(table(words), 259, min_frequency=2)
    with pytest.raises(DataError, match="supports only 256"):
        learn(table({}), 257)
    with pytest.raises(RequestError, match="1 special tokens and 256 bytes need 257"):
        learn(table(words), 256, special_tokens=["<|x|>"])


def test_ids_in_reserve_are_left_free() -> None:
    words = {b"abab": 3, b"cd": 1}
    assert learn(table(words), 261, num_reserved=3) == learn(table(words), 258)
    with pytest.raises(DataError, match="supports only 262 vocabulary entries of 400"):
        learn(table(words), 400, num_reserved=3)
    with pytest.raises(RequestError, match="4 special tokens and 256 bytes need 260"):
        learn(table(words), 259, special_tokens=["<|x|>"], num_reserved=3)


def test_words_of_any_shape() -> None:
    """Empty words and counts of zero say nothing; bytes need not be UTF-8; slices and chunks are columns too."""
    words = table({b"": 9, b"\xff\x00\xff\x00": 2, b"gone": 0, b"x": 5})
    found = learn(words, 258)
    assert found.pieces[256:] == (b"\xff\x00", b"\xff\x00\xff\x00")
    assert learn(pa.concat_tables([words.slice(0, 2), words.slice(2)]), 258) == found
    with pytest.raises(DataError, match="negative"):
        learn(table({b"a": -1}), 256)


def test_a_word_of_a_megabyte() -> None:
    word = b"ab" * (1 << 19)
    found = learn(table({word: 1}), 256 + 20)
    assert [len(piece) for piece in found.pieces[256:] if piece] == [2 << step for step in range(20)]
    draw = random.Random(1)
    noise = bytes(draw.choices(b"abcdefgh", k=20_000))
    same(learn(table({noise: 1}), 700), by_library([noise.decode()], 700))


def test_memory_is_what_is_said() -> None:
    """On words with more different pairs than text has."""
    random_words = np.random.default_rng(0)
    lengths = random_words.integers(4, 16, 200_000)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    chances = 1 / np.arange(1, 27) ** 0.9
    data = (97 + random_words.choice(26, int(offsets[-1]), p=chances / chances.sum())).astype(np.uint8)
    counts = 1 + random_words.pareto(1.0, len(lengths)).astype(np.int64).clip(0, 10**6)
    pieces = [bytes([byte]) for byte in range(256)]
    learner = Learner.of_bytes(data, offsets, counts, np.arange(256, dtype=np.int32), pieces)
    learner.run(4000)
    said = module.BYTES_A_POSITION * len(data) + module.BYTES_A_WORD * len(lengths)
    assert said / 2 < learner.nbytes < said + (24 << 17)


def test_learning_goes_on_from_pieces() -> None:
    """To learn some, cut the words by them, and learn the rest, is to learn all: what extending a vocabulary does."""
    counter = WordCounter(Splitter.parse(SPLIT))
    counter.add(pa.array(stories(200)))
    words = counter.table()
    whole, part = learn(words, 900), learn(words, 600)
    described = part.model()
    encoder = Tokenizer(models.BPE(described["vocab"], [(left, right) for left, right in described["merges"]]))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    names: Any = words.column("word").to_pylist()
    cut = [encoder.encode(word.decode()).ids for word in names]
    ids = np.array([index for one in cut for index in one], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in cut])])
    learner = Learner.of_pieces(ids, offsets, words.column("count").to_numpy(), part.pieces)
    learner.run(900)
    found = learner.vocabulary()
    assert found.pieces == whole.pieces
    assert part.merges + found.merges == whole.merges
