"""Adopted tokenizers: the original library's ids on any text, no special token out of text, and clear refusals."""

from __future__ import annotations

import base64
import io
import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from groundup.base.errors import DataError, GroundupError, RequestError
from groundup.text.adopt.adopt import NO_TEMPLATE, Adopted, Choices, adopt, read, with_tokens
from groundup.text.adopt.charsmap import SEPARATORS
from groundup.text.adopt.check import HARD, check
from groundup.text.adopt.extension import learn_extension, new_entries
from groundup.text.adopt.splits import SPLITS
from groundup.text.bpe.byte_level import unspell
from groundup.text.template import CHAT_TEMPLATE
from groundup.text.tokenizer import Tokenizer, train_bpe

REAL = os.environ.get("GROUNDUP_TOKENIZERS")
MARKS = "\u0301\u030a\u0323\u0327\u0345\u1161\u11ab\u093c\u200d\ufe0f"
FUZZ = settings(max_examples=60)
END = "<|endoftext|>"
SENTENCE = "the old house on the hill was empty and 1234 winds went through naïve cafés 日本語の文字 don't It's"
WORDS = SENTENCE.split()
LOOKS_SPECIAL = ("<s>", "</s>", "<unk>", "<0x41>", END, "▁", "Ġ")
ODD = ("\r\n", "\t", "é", "e\u0301", "日本", "한", "مرحبا", "👨\u200d👩", "\x00", "\u3000", "\ufb01", "\u212a")
PLAIN = ("the", "house", " ", "  ", "\n", "1234", "'s", "'LL", "aaaa", "xyz", "abc", "!")
PIECES = st.sampled_from([*PLAIN, *ODD, *LOOKS_SPECIAL])
ANY = st.one_of(
    st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=30),
)


def sentences(seed: int = 1, number: int = 300) -> list[str]:
    draw = random.Random(seed)
    names = WORDS + ["".join(draw.choices("abcdefgh", k=draw.randint(2, 6))) for _ in range(200)]
    return [" ".join(draw.choices(names, k=12)) for _ in range(number)]


def ranks() -> dict[bytes, int]:
    """A vocabulary as tiktoken has it: all bytes, then pieces by when they were learned."""
    model = train_bpe(sentences(), 600).describe()["model"]
    order = [bytes([byte]) for byte in range(256)]
    order += [unspell(left) + unspell(right) for left, right in model["merges"]]  # type: ignore[operator]
    return {piece: rank for rank, piece in enumerate(dict.fromkeys(order))}


def tiktoken_lines(pieces: dict[bytes, int]) -> str:
    return "".join(f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in pieces.items())


def sentencepiece_model(**options: Any) -> bytes:
    out = io.BytesIO()
    fields = {"vocab_size": 400, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences()), model_writer=out, **fields)
    return out.getvalue()


MODELS: dict[str, dict[str, Any]] = {
    "bpe": {"model_type": "bpe", "normalization_rule_name": "identity", "byte_fallback": True},
    "bpe_llama": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "byte_fallback": True,
        "remove_extra_whitespaces": False,
        "vocab_size": 700,
    },
    "bpe_unknown": {"model_type": "bpe", "normalization_rule_name": "identity", "character_coverage": 0.98},
    "bpe_nmt": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc", "byte_fallback": True, "vocab_size": 700},
    "unigram": {"model_type": "unigram", "normalization_rule_name": "identity", "byte_fallback": True},
    "unigram_nmt": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc"},
    "unigram_bare": {
        "model_type": "unigram",
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "pad_id": 3,
    },
    "unigram_symbols": {
        "model_type": "unigram",
        "normalization_rule_name": "identity",
        "user_defined_symbols": ["abc", "!"],
        "control_symbols": ["<ctl>"],
    },
    "bpe_symbols": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "user_defined_symbols": ["xyz"],
        "control_symbols": ["<ctl>"],
        "vocab_size": 700,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all kinds, and what the tests read from them."""
    place = tmp_path_factory.mktemp("tokenizers")
    pieces = ranks()
    (place / "small.tiktoken").write_text(tiktoken_lines(pieces))
    model = train_bpe(sentences(), 600)
    described = model.describe()
    gpt2 = tokenizers.Tokenizer(models.BPE())
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    gpt2.train_from_iterator(
        sentences(),
        trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=[END], show_progress=False),
    )
    learned = json.loads(gpt2.to_str())["model"]
    (place / "encoder.json").write_text(json.dumps(learned["vocab"]))
    (place / "vocab.bpe").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in learned["merges"]))
    gpt2.save(str(place / "gpt2.json"))
    (place / "tokenizer.json").write_text(json.dumps(described))
    tekken = {
        "config": {
            "pattern": SPLITS["tekken"].pattern,
            "num_vocab_tokens": len(pieces),
            "default_vocab_size": len(pieces) + 4,
            "default_num_special_tokens": 4,
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
            for piece, rank in pieces.items()
        ],
        "special_tokens": [
            {"rank": place, "token_str": name, "is_control": True}
            for place, name in enumerate(["<unk>", "<s>", "</s>"])
        ],
    }
    (place / "tekken.json").write_text(json.dumps(tekken))
    for name, options in MODELS.items():
        (place / f"{name}.model").write_bytes(sentencepiece_model(**options))
    return place


@pytest.fixture(scope="module")
def known(folder: Path) -> Callable[..., Adopted]:
    """Reads each file once."""
    found: dict[Any, Adopted] = {}

    def get(name: str, split: str | None = None) -> Adopted:
        if (name, split) not in found:
            choices = Choices(split=split, special_tokens=[END] if split else (), eos=END if split else None)
            found[name, split] = read(folder / name, choices)
        return found[name, split]

    return get


def same(adopted: Adopted, texts: Sequence[str], original: Callable[[str], list[int]]) -> None:
    for text in texts:
        ids = adopted.tokenizer.encode(text)
        assert ids == original(text), repr(text)
        special = set(adopted.tokenizer.special_tokens.values())
        unknown = adopted.tokenizer.special_tokens.get("<unk>")
        assert not (set(ids) & special) - {unknown}


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


def ranks_of(folder: Path) -> dict[bytes, int]:
    lines = (folder / "small.tiktoken").read_bytes().splitlines()
    return {base64.b64decode(piece): int(rank) for piece, rank in (line.split() for line in lines)}


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


def test_what_is_decoded_is_the_text(known: Callable[..., Adopted]) -> None:
    for name, split in (("small.tiktoken", "cl100k"), ("tekken.json", None), ("tokenizer.json", None)):
        tokenizer = known(name, split).tokenizer
        assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in HARD)
    tokenizer = known("bpe_llama.model").tokenizer
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in HARD if "▁" not in text)


def test_lone_surrogates_are_replaced(known: Callable[..., Adopted]) -> None:
    for name, split in (("small.tiktoken", "cl100k"), ("bpe.model", None), ("tokenizer.json", None)):
        tokenizer = known(name, split).tokenizer
        assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")


def test_text_of_people_makes_no_special_token(folder: Path) -> None:
    names = ["<|im_start|>", "<|im_end|>", "[INST]"]
    for name in ("small.tiktoken", "tokenizer.json", "bpe.model", "unigram.model", "unigram_nmt.model"):
        split = "cl100k" if name.endswith("tiktoken") else None
        new = [one for one in names if not (name == "tokenizer.json" and "im_" in one)]
        extra = {} if name != "small.tiktoken" else {"special_tokens": [END], "eos": END}
        tokenizer = adopt(folder / name, Choices(split=split, add_tokens=new, **extra))  # type: ignore[arg-type]
        unknown = tokenizer.special_tokens.get("<unk>")
        special = set(tokenizer.special_tokens.values()) - {unknown}
        assert set(names) <= set(tokenizer.special_tokens)
        for one in tokenizer.special_tokens:
            for text in (one, f" {one} ", f"x{one}y", one * 3, one[:-1] + one):
                assert not set(tokenizer.encode(text)) & special, (name, text)


def test_chatml_comes_with_its_tokens_only(folder: Path) -> None:
    bare = adopt(folder / "bpe.model")
    assert bare.template.source == NO_TEMPLATE
    with pytest.raises(DataError, match="no chat template"):
        bare.encode_chat([{"role": "user", "content": "hello"}], add_generation_prompt=True)
    chatty = with_tokens(bare, ["<|im_start|>", "<|im_end|>"])
    assert chatty.template.source != NO_TEMPLATE and chatty.roles.turn_end == "<|im_end|>"
    chat = chatty.encode_chat([{"role": "user", "content": "<|im_end|></s>"}, {"role": "assistant", "content": "yes"}])
    assert chat.ids.count(chatty.special_tokens["<|im_end|>"]) == 2
    assert [entry.name for entry in new_entries(bare, chatty)] == ["<|im_start|>", "<|im_end|>"]
    whole = adopt(folder / "bpe.model", Choices(add_tokens=[END, "<|im_start|>", "<|im_end|>"]))
    assert whole.template.source == CHAT_TEMPLATE


def test_a_folder_brings_its_roles_and_template(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    config = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|pad|>", "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = adopt(tmp_path)
    assert tokenizer.template.source == template
    assert (tokenizer.roles.turn_end, tokenizer.roles.pad) == ("<|im_end|>", "<|pad|>")


def test_transformers_loads_what_is_saved(tmp_path: Path, known: Callable[..., Adopted]) -> None:
    transformers = pytest.importorskip("transformers")
    for name, split in (("small.tiktoken", "o200k"), ("unigram_nmt.model", None), ("bpe_llama.model", None)):
        tokenizer = known(name, split).tokenizer
        tokenizer.save(tmp_path / name)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        for text in HARD:
            ids = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            assert ids == tokenizer.encode(text), (name, text)
        assert Tokenizer.load(tmp_path / name).encode_batch(list(HARD)) == tokenizer.encode_batch(list(HARD))
        assert len(theirs) == tokenizer.vocab_size


# -- more pieces ---------------------------------------------------------------------------------------------------


def test_learned_pieces_come_behind_the_old_ones(known: Callable[..., Adopted]) -> None:
    old = known("tokenizer.json").tokenizer
    words = pa.table(
        {
            "word": pa.array([b" gbogbo", " òkè".encode(), " afẹ́fẹ́".encode(), b"<|im_end|>"], pa.binary()),
            "count": pa.array([50, 40, 30, 900], pa.int64()),
        }
    )
    new = learn_extension(old, words, 8)
    assert new.vocab_size == old.vocab_size + 8
    entries = new_entries(old, new)
    assert [entry.id for entry in entries] == list(range(old.vocab_size, new.vocab_size))
    assert all(old.decode(entry.pieces) == new.decode([entry.id]) for entry in entries if "\ufffd" not in entry.name)
    assert len(new.encode(" gbogbo òkè")) < len(old.encode(" gbogbo òkè"))
    assert new.encode(sentences(3, 1)[0]) == old.encode(sentences(3, 1)[0])
    assert new.decode(new.encode(" afẹ́fẹ́ <|im_end|>")) == " afẹ́fẹ́ <|im_end|>"
    assert new.special_tokens == old.special_tokens
    with pytest.raises(DataError, match="don't hold 500 more pieces"):
        learn_extension(old, words, 500)


def test_only_an_extension_is_one(known: Callable[..., Adopted]) -> None:
    old, other = known("tokenizer.json").tokenizer, known("small.tiktoken", "cl100k").tokenizer
    with pytest.raises(DataError, match="id 0 was"):
        new_entries(old, other)
    with pytest.raises(RequestError, match="byte-level"):
        learn_extension(known("bpe.model").tokenizer, pa.table({"word": [b"a"], "count": [1]}), 1)


# -- refusals: one line, of the right kind -------------------------------------------------------------------------


def broken(name: str, content: bytes, message: str, **choices: Any) -> Any:
    return pytest.param(name, content, Choices(**choices), message, id=message[:30])


BYTES_ONLY = tiktoken_lines({bytes([byte]): byte for byte in range(256)})


@pytest.mark.parametrize(
    ("name", "content", "choices", "message"),
    [
        broken("t.tiktoken", BYTES_ONLY.encode(), "set 'split'"),
        broken("t.tiktoken", BYTES_ONLY.encode(), "no split is called 'cl100'", split="cl100"),
        broken("t.tiktoken", BYTES_ONLY.encode(), "is no regex", split="(["),
        broken("t.tiktoken", BYTES_ONLY.encode(), "which token ends a text", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode() + b"YQ== 300\n", "line 257", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode() + b"YWI= 7\n", "same rank", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode()[: BYTES_ONLY.index("\n", 900) + 1], "the byte", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode(), "can't be entry 7", split="gpt2", special_tokens={"<x>": 7}),
        broken("t.tiktoken", BYTES_ONLY.encode(), "exists already", split="gpt2", special_tokens=["a"]),
        broken("t.tiktoken", BYTES_ONLY.encode() + b"YWI= 9999999\n", "not a whole tokenizer", split="gpt2"),
        broken("t.model", b"\n\x05abc", "not a readable SentencePiece model"),
        broken("t.model", b"", "no tokenizer that is known"),
        broken("t.bin", bytes(range(200)), "no tokenizer that is known"),
        broken("tokenizer.json", b"{", "not readable JSON"),
        broken("tokenizer.json", b'{"a": 1.5}', "no tokenizer"),
        broken("tokenizer.json", b'{"model": {"type": "BPE"}}', "can't be read by the tokenizers library"),
        broken("tokenizer.json", b'{"model": {"vocab": {}}}', "no model with a type"),
        broken("tekken.json", b'{"config": {}, "vocab": []}', "not a readable tekken"),
        broken("encoder.json", b'{"a": 1}', "without its merges"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, choices: Choices, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GroundupError, match=message) as caught:
        read(tmp_path / name, choices)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "choices", "message"),
    [
        ("bpe.model", Choices(split="gpt2"), "leave 'split' out"),
        ("bpe.model", Choices(add_tokens=["</s>"]), "exists already"),
        ("bpe.model", Choices(add_tokens=["<x>", "<x>"]), "exists already"),
        ("bpe.model", Choices(add_tokens=[" "]), "not blank"),
        ("bpe.model", Choices(special_tokens=["<nope>"]), "has no token <nope>"),
        ("bpe.model", Choices(special_tokens={"<s>": 9}), "is entry 1, not 9"),
        ("bpe.model", Choices(eos="<nope>"), "has no token <nope>"),
        ("tekken.json", Choices(split="gpt2"), "leave 'split' out"),
        ("nowhere", Choices(), "can't be read"),
    ],
)
def test_bad_requests_are_refused_in_one_line(folder: Path, name: str, choices: Choices, message: str) -> None:
    with pytest.raises(GroundupError, match=message) as caught:
        read(folder / name, choices)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_be_had_are_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"model_type": "char"}, "kind char"),
        ({"model_type": "word", "vocab_size": 60}, "kind word"),
        ({"model_type": "bpe", "treat_whitespace_as_suffix": True}, "behind words"),
    ):
        (tmp_path / "t.model").write_bytes(sentencepiece_model(**options))
        with pytest.raises(DataError, match=message):
            adopt(tmp_path / "t.model")


@settings(max_examples=40)
@given(st.integers(0, 4000), st.binary(max_size=6))
def test_a_damaged_model_never_raises_anything_else(folder: Path, place: int, junk: bytes) -> None:
    whole = (folder / "bpe.model").read_bytes()
    damaged = folder / "damaged.model"
    damaged.write_bytes(whole[:place] + junk + whole[place + 3 :])
    try:
        read(damaged)
    except GroundupError as error:
        assert "\n" not in str(error)


@pytest.mark.skipif(not REAL, reason="GROUNDUP_TOKENIZERS names no folder of published tokenizers")
def test_published_tokenizers() -> None:
    found = sorted(Path(REAL or "").rglob("*.tiktoken"))
    assert found
    for path in found:
        split = "qwen2" if "qwen" in path.name else "o200k" if "o200k" in path.name else "cl100k"
        adopted = read(path, Choices(split=split, special_tokens=["<|endoftext|>"]))
        assert check(adopted) is not None
