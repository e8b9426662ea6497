"""Adopted tokenizers give the original library's ids on any text, but where it is said that they don't."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import tiktoken
import tokenizers
from hypothesis import given
from others import ANY, END, FUZZ, MODELS, ranks_of, same, sentencepiece_model, sentences, tiktoken_lines

from groundup.text.adopt.adopt import Adopted, Choices, adopt, read
from groundup.text.adopt.charsmap import SEPARATORS
from groundup.text.adopt.check import HARD, check
from groundup.text.adopt.splits import SPLITS

REAL = os.environ.get("GROUNDUP_TOKENIZERS")
MARKS = "\u0301\u030a\u0323\u0327\u0345\u1161\u11ab\u093c\u200d\ufe0f"
LONG = ("abc" * 20000, "é" * 20000, " " * 5000, "the old house " * 4000)


@pytest.mark.parametrize("split", ["gpt2", "cl100k", "llama3", "o200k", "tekken", r"\w+|[^\w\s]+|\s+"])
def test_ranks_give_tiktokens_ids(folder: Path, known: Callable[..., Adopted], split: str) -> None:
    adopted = known("small.tiktoken", split)
    pattern = SPLITS[split].pattern if split in SPLITS else split
    encoding = tiktoken.Encoding("t", pat_str=pattern, mergeable_ranks=ranks_of(folder), special_tokens={})

    @FUZZ
    @given(ANY)
    def fuzz(text: str) -> None:
        same(adopted, [text], encoding.encode_ordinary)

    fuzz()
    same(adopted, [*HARD, *LONG[1:]], encoding.encode_ordinary)
    assert check(adopted) is not None
    assert adopted.tokenizer.special_tokens == {END: len(ranks_of(folder))}


MEGABYTE = "".join(random.Random(5).choices("abcdefgh", k=1 << 20))
"""One word."""


@pytest.mark.parametrize("name", ["small.tiktoken", "tekken.json", "tokenizer.json", "bpe.model", "bpe_llama.model"])
def test_a_word_of_a_megabyte(known: Callable[..., Adopted], name: str) -> None:
    adopted = known(name, "cl100k" if name.endswith("tiktoken") else None)
    assert adopted.original is not None
    ids = adopted.tokenizer.encode(MEGABYTE)
    assert ids == adopted.original(MEGABYTE)
    assert adopted.tokenizer.decode(ids) == MEGABYTE


@pytest.mark.parametrize("name", ["unigram", "unigram_bare"])
def test_a_word_of_a_megabyte_is_cut_no_worse_by_unigram(known: Callable[..., Adopted], name: str) -> None:
    """Its paths are added up in float32 by SentencePiece, so over such a length it may take the worse of two."""
    adopted = known(f"{name}.model")
    assert adopted.original is not None
    ours, theirs = adopted.tokenizer.encode(MEGABYTE), adopted.original(MEGABYTE)
    assert adopted.tokenizer.decode(ours) == MEGABYTE
    scores = [score for _, score in adopted.tokenizer.describe()["model"]["vocab"]]
    ahead = math.fsum(scores[index] for index in ours) - math.fsum(scores[index] for index in theirs)
    assert ahead + 1e-6 * len(ours) >= 0
    assert ahead <= 1e-3 * len(ours)


def test_any_two_pieces_with_a_rank_are_joined(tmp_path: Path) -> None:
    """Vocabularies that no training would give: pieces made of pieces that came later, many ways to cut one."""
    for seed in range(40):
        draw = random.Random(seed)
        pieces = {bytes([byte]) for byte in range(256)}
        made = sorted({bytes(draw.choices(b"ab", k=draw.randint(2, 5))) for _ in range(14)})
        draw.shuffle(made)
        table = {piece: rank for rank, piece in enumerate([*sorted(pieces), *made])}
        (tmp_path / "t.tiktoken").write_text(tiktoken_lines(table))
        adopted = read(tmp_path / "t.tiktoken", Choices(split="gpt2", special_tokens=[END], eos=END))
        encoding = tiktoken.Encoding("t", pat_str=SPLITS["gpt2"].pattern, mergeable_ranks=table, special_tokens={})
        same(adopted, ["".join(draw.choices("ab", k=draw.randint(1, 40))) for _ in range(60)], encoding.encode_ordinary)


def test_qwens_split_composes_first(folder: Path, known: Callable[..., Adopted]) -> None:
    adopted = known("small.tiktoken", "qwen2")
    assert adopted.tokenizer.encode("cafe\u0301") == adopted.tokenizer.encode("caf\u00e9")
    assert adopted.original is not None
    same(adopted, HARD, adopted.original)
    # The boundary that the module names: marks that are newer than the library's tables stay where they are.
    assert adopted.tokenizer.encode("a\u06eb\u05b5") == adopted.original("a\u06eb\u05b5")
    assert adopted.tokenizer.encode("a\u06eb\u0d3b") != adopted.original("a\u06eb\u0d3b")


def test_tekken_gives_tiktokens_ids_behind_its_special_tokens(folder: Path, known: Callable[..., Adopted]) -> None:
    adopted = known("tekken.json")
    encoding = tiktoken.Encoding(
        "t", pat_str=SPLITS["tekken"].pattern, mergeable_ranks=ranks_of(folder), special_tokens={}
    )
    same(adopted, HARD, lambda text: [index + 4 for index in encoding.encode_ordinary(text)])
    assert adopted.tokenizer.special_tokens == {"<unk>": 0, "<s>": 1, "</s>": 2, "<SPECIAL_3>": 3}
    assert (adopted.tokenizer.roles.start, adopted.tokenizer.roles.end_of_text) == ("<s>", "</s>")


def test_gpt2s_two_files_give_the_librarys_ids(folder: Path) -> None:
    adopted = read([folder / "encoder.json", folder / "vocab.bpe"], Choices(split="gpt2"))
    reference = tokenizers.Tokenizer.from_file(str(folder / "gpt2.json"))
    reference.encode_special_tokens = True

    @FUZZ
    @given(ANY)
    def fuzz(text: str) -> None:
        same(adopted, [text], lambda text: list(reference.encode(text).ids))

    fuzz()
    same(adopted, [*HARD, *LONG], lambda text: list(reference.encode(text).ids))
    assert adopted.tokenizer.roles.end_of_text == END


@pytest.mark.parametrize("name", MODELS)
def test_sentencepiece_models_give_its_ids(folder: Path, known: Callable[..., Adopted], name: str) -> None:
    adopted = known(f"{name}.model")
    processor = sentencepiece.SentencePieceProcessor(model_proto=(folder / f"{name}.model").read_bytes())
    checked = check(adopted)
    assert checked is not None and checked.compared == len(HARD)

    @FUZZ
    @given(ANY)
    def fuzz(text: str) -> None:
        if not set(text) & set(SEPARATORS):
            same(adopted, [text], processor.encode)

    fuzz()
    same(adopted, sentences(2, 40), processor.encode)
    assert adopted.tokenizer.vocab_size == processor.get_piece_size()
    everything = {processor.id_to_piece(index): index for index in range(processor.get_piece_size())}
    assert adopted.tokenizer.backend.get_vocab() == everything


@pytest.mark.parametrize("name", ["bpe_nmt", "unigram_nmt"])
def test_characters_are_folded_alike(folder: Path, known: Callable[..., Adopted], name: str) -> None:
    adopted = known(f"{name}.model")
    processor = sentencepiece.SentencePieceProcessor(model_proto=(folder / f"{name}.model").read_bytes())
    points = [chr(point) for point in range(1, 0x30000, 7) if not 0xD800 <= point < 0xE000]
    texts = [f"a{point} b" for point in points if point not in SEPARATORS]
    texts += [f"A{mark}{other}\r\n" for mark in MARKS for other in MARKS]
    made = adopted.tokenizer.encode_batch(texts)
    theirs = processor.encode(texts)
    assert [text for text, ids, other in zip(texts, made, theirs, strict=True) if ids != other] == []


def test_the_places_where_ids_differ_are_those_that_are_named(folder: Path, known: Callable[..., Adopted]) -> None:
    data = (folder / "unigram_nmt.model").read_bytes()
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    ours = known("unigram_nmt.model").tokenizer.backend.normalizer
    assert ours.normalize_str("a b") == theirs.normalize("a b")
    lost = f"a{SEPARATORS[0]}b"  # unassigned: the steps need two code points of their own
    assert ours.normalize_str(lost) != theirs.normalize(lost)
    (folder / "prefix.model").write_bytes(
        data := sentencepiece_model(
            model_type="bpe", normalization_rule_name="identity", user_defined_symbols=["xyz"], vocab_size=700
        )
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = adopt(folder / "prefix.model")
    assert tokenizer.encode("the xyz house") == theirs.encode("the xyz house")
    assert theirs.encode("xyz")[1:] == tokenizer.encode("xyz") and len(theirs.encode("xyz")) == 2


@pytest.mark.skipif(not REAL, reason="GROUNDUP_TOKENIZERS names no folder of published tokenizers")
def test_published_tokenizers() -> None:
    found = sorted(Path(REAL or "").rglob("*.tiktoken"))
    assert found
    for path in found:
        split = "qwen2" if "qwen" in path.name else "o200k" if "o200k" in path.name else "cl100k"
        adopted = read(path, Choices(split=split, special_tokens=["<|endoftext|>"]))
        assert check(adopted) is not None
