"""What comes with an adopted tokenizer's ids: decoding, special tokens, roles, templates, more pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from others import END, sentences

from groundup.base.errors import DataError, RequestError
from groundup.text.adopt.adopt import NO_TEMPLATE, Adopted, Choices, adopt, load_or_adopt, read, with_tokens
from groundup.text.adopt.check import HARD, check
from groundup.text.adopt.description import added_token
from groundup.text.adopt.extension import learn_extension, new_entries, splitting
from groundup.text.chat.template import CHAT_TEMPLATE
from groundup.text.tokenizer import Tokenizer


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


def with_open_tokens(folder: Path, place: Path, names: list[str]) -> Path:
    """A tokenizer.json whose last added tokens are not special, as those of models that think aloud."""
    described = json.loads((folder / "tokenizer.json").read_text())
    first = max(described["model"]["vocab"].values()) + 1
    described["added_tokens"] += [added_token(first + n, name, special=False) for n, name in enumerate(names)]
    (place / "tokenizer.json").write_text(json.dumps(described))
    return place / "tokenizer.json"


def test_added_tokens_that_are_not_special_are_made_of_text_unless_named(tmp_path: Path, folder: Path) -> None:
    path = with_open_tokens(folder, tmp_path, ["<think>", "[INST]"])
    text = "a<think>b[INST]c"
    as_it_is = read(path)
    assert as_it_is.closed == () and as_it_is.original is not None
    ids = as_it_is.tokenizer.encode(text)
    assert ids == as_it_is.original(text) and as_it_is.tokenizer.backend.token_to_id("<think>") in ids
    checked = check(as_it_is)
    assert checked is not None and checked.left_out == 0
    hidden = read(path, Choices(special_tokens=["<think>", "[INST]"]))
    assert hidden.closed == ("<think>", "[INST]")
    assert not set(hidden.tokenizer.encode(text)) & set(hidden.tokenizer.special_tokens.values())
    assert hidden.tokenizer.decode(hidden.tokenizer.encode(text)) == text
    # The hard strings that hold such a token are the only ones whose ids are no longer the library's.
    checked = check(hidden)
    assert checked is not None and checked.left_out == sum("[INST]" in one for one in HARD) > 0


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
    with pytest.raises(DataError, match=r"hold only \d+ more pieces of 500"):
        learn_extension(old, words, 500)


def test_only_texts_words_as_they_are_can_be_learned(known: Callable[..., Adopted]) -> None:
    old = known("tokenizer.json").tokenizer
    described = old.describe()

    def changed(**parts: object) -> Tokenizer:
        return Tokenizer.parse({**described, **parts}, old.template.source, old.roles)

    assert splitting(old) == (described["pre_tokenizer"], False)
    assert splitting(changed(normalizer={"type": "NFC"}))[1]
    with pytest.raises(RequestError, match="not by Lowercase"):
        splitting(changed(normalizer={"type": "Lowercase"}))
    with pytest.raises(RequestError, match="can't be compiled"):
        splitting(changed(pre_tokenizer={"type": "WhitespaceSplit"}))
    with pytest.raises(RequestError, match="byte-level"):
        splitting(known("bpe.model").tokenizer)


def test_a_models_folder_of_ours_or_of_others(tmp_path: Path, folder: Path, known: Callable[..., Adopted]) -> None:
    ours = with_tokens(known("tokenizer.json").tokenizer, ["<x>"])
    ours.save(tmp_path / "ours")
    assert load_or_adopt(tmp_path / "ours").special_tokens == ours.special_tokens
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert load_or_adopt(tmp_path / "theirs").vocab_size == ours.vocab_size - 1


def test_only_an_extension_is_one(known: Callable[..., Adopted]) -> None:
    old, other = known("tokenizer.json").tokenizer, known("small.tiktoken", "cl100k").tokenizer
    with pytest.raises(DataError, match="id 0 was"):
        new_entries(old, other)
    with pytest.raises(RequestError, match="byte-level"):
        learn_extension(known("bpe.model").tokenizer, pa.table({"word": [b"a"], "count": [1]}), 1)
