"""Real text in the index of spans: exact characters, also where text and document are cut into other tokens."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tokenizers
from tiny import tiny_tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from groundup.text.chat.template import CHAT_TEMPLATE, END_OF_TEXT, PAD, TURN_END, TURN_START
from groundup.text.store.spans import GRAM, PROMISE, WINDOW, Spans, build
from groundup.text.store.spans_search import search
from groundup.text.store.spans_text import Spelled, Text, _ways
from groundup.text.tokenizer import Tokenizer

_TEXT = """the little girl lived in a small house near the sea and played with dogs until evening came walking
untalkative 1234567 3.14159 naïve façade Straße 猫と犬 😀 don't (see) "quoted" x=y+z; ---- tab"""
WORDS = [*_TEXT.split(), "\n", "\n\n\t"]


class Made(NamedTuple):
    tokenizer: Tokenizer
    spelled: Spelled
    ids: np.ndarray
    offsets: np.ndarray
    spans: Spans

    def find(self, text: str, least: int = PROMISE) -> set[tuple[int, int, int]]:
        """(document, first character, the one behind)."""
        read = Text.read(text, self.tokenizer, self.spelled)
        found = search(self.spans, self.ids, self.offsets, self.spelled, read, least)
        rows = zip(found.documents.tolist(), found.starts.tolist(), found.ends.tolist(), strict=True)
        return {(document, *read.characters(start, end)) for document, start, end in rows}


def documents(count: int) -> list[str]:
    rng = np.random.default_rng(8)
    return [" ".join(rng.choice(WORDS, rng.integers(20, 90)).tolist()) for _ in range(count)]


def indexed(folder: Path, tokenizer: Tokenizer, texts: list[str]) -> Made:
    encoded = [[*tokenizer.encode(text), tokenizer.eos_id] for text in texts]
    ids = np.array([one for document in encoded for one in document], np.uint16)
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    spelled = Spelled.of(tokenizer)
    build(folder, ids, offsets, spelled.stops, "0" * 64)
    return Made(tokenizer, spelled, ids, offsets, Spans.open(folder, "0" * 64, len(ids)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return indexed(tmp_path_factory.mktemp("spans") / "i", tiny_tokenizer(), documents(30))


def slices(made: Made, length: int) -> Iterator[tuple[int, list[int], str]]:
    """Documents with tokens in a row of them, and their text, where that is text: also inside of words and numbers."""
    for document in range(len(made.offsets) - 1):
        ids = made.ids[made.offsets[document] : made.offsets[document + 1] - 1].tolist()
        for start in range(len(ids) - length + 1):
            part = ids[start : start + length]
            try:
                yield document, part, made.tokenizer.decode_bytes(part).decode()
            except UnicodeDecodeError:
                continue


@pytest.mark.parametrize("kind", ["as the text is cut", "otherwise"])
@pytest.mark.parametrize("length", [20, 27])
def test_every_twenty_tokens_of_a_document_are_found_as_text(made: Made, length: int, kind: str) -> None:
    every = [one for one in slices(made, length) if (made.tokenizer.encode(one[2]) == one[1]) == (kind != "otherwise")]
    chosen = every[:: max(1, len(every) // 120)]
    assert len(chosen) > 40
    for document, _, text in chosen:
        assert (document, 0, len(text)) in made.find(text), text


def test_a_blank_in_front_that_the_text_lacks_costs_nothing(made: Made) -> None:
    places, asked = np.sort(made.spans.places.astype(np.int64)), 0
    for place, following in pairwise(places.tolist()):
        part = made.ids[place : place + PROMISE].tolist()
        first = made.spelled.spell(part[:1])
        if following < place + WINDOW or first[:1] != b" " or len(first) == 1 or made.tokenizer.eos_id in part:
            continue  # only where the one k-gram that is kept begins with the token that the text doesn't have
        bare = made.tokenizer.decode_bytes(part).decode(errors="ignore")[1:]
        asked += 1
        document = int(np.searchsorted(made.offsets, place, side="right")) - 1
        assert (document, 0, len(bare)) in made.find(bare, PROMISE - 1), bare
    assert asked > 3


@pytest.mark.parametrize("text", ["the", "there the", "😀é", "12345"])
def test_the_ways_of_cutting_a_few_bytes_are_all_of_them(made: Made, text: str) -> None:
    data, spelled = text.encode(), made.spelled

    def every(rest: bytes) -> list[list[int]]:
        heads = [(spelled.ids[rest[:end]], rest[end:]) for end in range(1, len(rest) + 1) if rest[:end] in spelled.ids]
        return [[token, *way] for token, behind in heads for way in every(behind)] if rest else [[]]

    want = every(data)
    assert sorted(_ways(data, spelled, 10**6)) == sorted(want)
    few = _ways(data, spelled, 2)
    assert [len(way) for way in few] == sorted(map(len, want))[: len(few)] and all(way in want for way in few)


def test_a_span_between_other_words_is_as_long_as_its_letters_are_the_same(made: Made) -> None:
    texts, rng, asked = documents(30), np.random.default_rng(1), 0
    for document, text in enumerate(texts):
        start = int(rng.integers(0, max(1, len(text) - 200)))
        inside = text[start : start + 180]
        if len(inside) < 180:
            continue
        asked += 1
        whole = f"Zwei Wörter Qx{inside}qZ und mehr."
        match = SequenceMatcher(None, whole, text, autojunk=False).find_longest_match()
        assert (document, match.a, match.a + match.size) in made.find(whole)
        assert match.size >= 180
    assert asked > 15


@pytest.mark.parametrize("cut", ["leading blank", "quote", "end of a word"])
def test_edges_that_make_other_tokens(made: Made, cut: str) -> None:
    text = documents(30)[4]
    where = {"leading blank": text.index(" ", 20) + 1, "quote": text.index("g", 30), "end of a word": 25}[cut]
    asked = text[where : where + 150]
    assert (4, 0, len(asked)) in made.find(asked)
    end = 4 + len(asked)
    assert {(4, 3, end), (4, 4, end)} & made.find(f"And {asked}")  # a blank in front may be the same as well


def test_halves_of_letters_are_not_told(made: Made) -> None:
    # 猫 and 犬 share their first byte with other letters: a span ends before a letter that is another.
    text = documents(30)[2]
    at = text.index("猫")
    start, end = max(0, at - 150), at
    asked = text[start:end] + "狗" + "!"
    assert "狗".encode()[:1] == "犬".encode()[:1]
    assert {b for document, _, b in made.find(asked, GRAM) if document == 2} <= set(range(end - start + 1))


def test_special_tokens_end_a_span(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    story = "The dog ran to the park. He was happy because the sun was shining."
    half = tokenizer.encode(story)
    ids = np.array([*half, tokenizer.pad_id, *half, tokenizer.eos_id], np.uint16)
    spelled = Spelled.of(tokenizer)
    build(tmp_path / "i", ids, np.array([0, len(ids)]), spelled.stops, "0" * 64)
    made = Made(tokenizer, spelled, ids, np.array([0, len(ids)]), Spans.open(tmp_path / "i", "0" * 64, len(ids)))
    assert made.find(story + story) == {(0, 0, len(story)), (0, len(story), 2 * len(story))}
    for place in made.spans.places.tolist():
        assert not made.spelled.stops[ids[place : place + GRAM]].any()


def others() -> dict[str, tokenizers.Tokenizer]:
    """Of other makes: blanks as ▁ with one in front, and words alone, folded, which don't spell their bytes."""
    special = [END_OF_TEXT, PAD, TURN_START, TURN_END]
    letters = sorted({char for word in WORDS for char in word})
    vocab = [*special, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters, "▁the", "▁little"]
    blanks = tokenizers.Tokenizer(
        models.BPE({one: at for at, one in enumerate(dict.fromkeys(vocab))}, [], unk_token="<unk>", byte_fallback=True)
    )
    blanks.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    blanks.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    words = {one: at for at, one in enumerate([*special, "<unk>", *sorted({word.lower().strip() for word in WORDS})])}
    plain = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.normalizer = normalizers.Lowercase()
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found = {"blanks": blanks, "words": plain}
    for one in found.values():
        one.add_special_tokens(special)
    return found


@pytest.mark.parametrize("name", ["blanks", "words"])
def test_tokenizers_of_other_makes(name: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(others()[name], CHAT_TEMPLATE)
    texts = [" ".join(text.split()) for text in documents(12)]
    made = indexed(tmp_path / "i", tokenizer, texts)
    assert made.spelled.exact == (name == "blanks")
    for document, text in enumerate(texts):
        words = text.split(" ")
        if len(words) < 60:
            continue
        asked = " ".join(words[10:50])
        given = asked.replace("little", "LITTLE") if name == "words" else asked
        found = {(a, b) for one, a, b in made.find(f"Other words {given} Other") if one == document}
        assert any(a <= 12 and b >= 12 + len(given) for a, b in found)
        assert all(b <= 12 + len(given) + 1 for a, b in found)


@pytest.mark.parametrize("text", ["", " ", "a", "\ud800", "\n" * 50, "\x00" * 30, "猫" * 9])
def test_odd_texts_are_no_fault(made: Made, text: str) -> None:
    assert made.find(text, GRAM) == set() or text.strip() == ""
