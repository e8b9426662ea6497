"""Tokenizers through GGUF's keys: the same ids before and after, and the kinds that aren't known refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SENTENCES, tiny_tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from groundup.base.errors import DataError
from groundup.text import gguf_vocabulary
from groundup.text.tokenizer import LLAMA3_SPLIT, Roles, Tokenizer

NASTY = st.lists(
    st.sampled_from(["<|im_end|>", "12345", "don't", "  ", "\r\n", "e\u0301", "é", "猫", "<a>"]) | st.text(max_size=6),
    max_size=6,
).map("".join)


def split_by(pattern: str) -> Any:
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def words() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# As the published tokenizer.json of each family says it.
FAMILIES = {
    "gpt-2": (None, words(), False),
    "smollm": (None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words()]), False),
    "smaug-bpe": (None, split_by(LLAMA3_SPLIT), False),
    "llama-bpe": (None, split_by(LLAMA3_SPLIT), True),
    "qwen2": (normalizers.NFC(), split_by(LLAMA3_SPLIT.replace("{1,3}", "")), False),
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def family(name: str) -> Tokenizer:
    normalizer, splitter, ignore_merges = FAMILIES[name]
    backend = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer, backend.decoder = splitter, decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(SENTENCES * 4, trainer)
    backend.add_tokens(["<a>"])  # atomic, but people may write it
    return Tokenizer(
        backend, "{{ bos_token }}{{ messages[0]['content'] }}", Roles.derive(SPECIAL, None, SPECIAL[2], None)
    )


TOKENIZERS = {name: family(name) for name in FAMILIES}


@pytest.mark.parametrize("name", FAMILIES)
@given(text=NASTY)
@settings(max_examples=100, deadline=None)
def test_ids_are_the_same_after_a_round_trip(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    again = again_of(name)
    ids = tokenizer.encode(text)
    assert again.encode(text) == ids
    assert again.decode(ids) == tokenizer.decode(ids)


AGAIN: dict[str, Tokenizer] = {}


def again_of(name: str) -> Tokenizer:
    if name not in AGAIN:
        AGAIN[name] = gguf_vocabulary.from_metadata(gguf_vocabulary.to_metadata(TOKENIZERS[name]))
    return AGAIN[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_split_is_recognised_and_roles_and_template_come_back(name: str) -> None:
    keys = gguf_vocabulary.to_metadata(TOKENIZERS[name])
    assert keys["tokenizer.ggml.pre"] == name
    assert keys["tokenizer.ggml.add_bos_token"] is True  # the template begins with it
    again = again_of(name)
    assert again.roles == TOKENIZERS[name].roles
    assert again.special_tokens == TOKENIZERS[name].special_tokens
    assert again.template.source == TOKENIZERS[name].template.source
    assert again.template.render([{"role": "user", "content": "x"}]).text == "<|endoftext|>x"
    assert gguf_vocabulary.to_metadata(again) == keys
    assert keys["tokenizer.ggml.token_type"][-1] == 4  # <a>
    assert keys["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]


def test_our_own_tokenizer_goes_through() -> None:
    keys = gguf_vocabulary.to_metadata(tiny_tokenizer())
    assert keys["tokenizer.ggml.pre"] == "smaug-bpe"  # llama-bpe, but always merged
    again = gguf_vocabulary.from_metadata(json.loads(json.dumps(keys)))
    assert again.roles == tiny_tokenizer().roles
    assert again.stop_ids == tiny_tokenizer().stop_ids
    for text in SENTENCES:
        assert again.encode(text) == tiny_tokenizer().encode(text)


def test_without_a_template_a_chat_is_refused_and_a_text_is_not() -> None:
    keys = gguf_vocabulary.to_metadata(tiny_tokenizer())
    del keys["tokenizer.chat_template"]
    tokenizer = gguf_vocabulary.from_metadata(keys)
    assert tokenizer.encode("hello") == tiny_tokenizer().encode("hello")
    with pytest.raises(DataError, match="continue a text"):
        tokenizer.encode_chat([{"role": "user", "content": "hello"}])


def test_llama_3_starts_its_texts_even_if_the_file_does_not_say_so() -> None:
    keys = gguf_vocabulary.to_metadata(TOKENIZERS["llama-bpe"]) | {"tokenizer.ggml.bos_token_id": 1}
    del keys["tokenizer.ggml.add_bos_token"]
    assert gguf_vocabulary.from_metadata(keys).start_id == 1
    assert gguf_vocabulary.from_metadata({**keys, "tokenizer.ggml.add_bos_token": False}).start_id == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer.ggml.model": "llama"}, "'llama'"),
        ({"tokenizer.ggml.model": ...}, "None"),
        ({"tokenizer.ggml.pre": "deepseek-llm"}, "deepseek-llm"),
        ({"tokenizer.ggml.pre": ...}, "default"),
        ({"tokenizer.ggml.merges": ...}, "merges"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "can't be used"),
        ({"tokenizer.ggml.merges": ["a nothing"]}, "can't be used"),
        ({"tokenizer.ggml.token_type": [1]}, "type for each"),
        ({"tokenizer.ggml.eos_token_id": 10_000}, "incomplete"),
        ({"tokenizer.ggml.padding_token_id": 300}, "lacks the special token"),
        ({"tokenizer.chat_template": "{{ messages"}, "jinja"),
    ],
)
def test_other_kinds_and_broken_ones_are_refused(change: dict[str, Any], message: str) -> None:
    keys = {**gguf_vocabulary.to_metadata(tiny_tokenizer()), **change}
    with pytest.raises(DataError, match=message):
        gguf_vocabulary.from_metadata({name: value for name, value in keys.items() if value is not ...})


def test_a_split_that_gguf_has_no_name_for_is_refused() -> None:
    backend = tokenizers.Tokenizer.from_str(json.dumps(tiny_tokenizer().describe()))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(DataError, match="no name"):
        gguf_vocabulary.to_metadata(Tokenizer(backend))
