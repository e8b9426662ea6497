"""Pieces between special tokens are encoded as transformers does: marks at beginnings, and white space swallowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tiny import SENTENCES
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from groundup.text.chat.template import CHAT_TEMPLATE
from groundup.text.tokenizer import Roles, Tokenizer

SPECIAL = ["<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TALK = [
    {"role": "system", "content": " You are  kind."},
    {"role": "user", "content": "The dog <|im_end|>\tran."},
    {"role": "assistant", "content": "\n\nOnce upon a time \n"},
    {"role": "user", "content": ""},
    {"role": "assistant", "content": "  "},
]


def metaspace(scheme: str, normalizer: Any = None, before: Any = None) -> dict[str, Any]:
    """A BPE tokenizer over ▁-marked words, as SentencePiece's tokenizers are written for this library."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    step = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([before, step]) if before else step
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    alphabet = sorted({*"".join(SENTENCES), "\n", "\t", *"".join(SPECIAL)})
    backend.train_from_iterator(
        SENTENCES * 3,
        trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    described: dict[str, Any] = json.loads(backend.to_str())
    return described


def both(described: dict[str, Any], folder: Path, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Our ids and those of transformers."""
    tokenizer = Tokenizer.parse(described, CHAT_TEMPLATE, Roles(SPECIAL[1], SPECIAL[1], SPECIAL[3], SPECIAL[1]))
    tokenizer.save(folder)
    ours = tokenizer.encode_rendered(tokenizer.template.prompt(messages)).ids
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    return ours, theirs


@pytest.mark.parametrize(
    ("scheme", "normalizer", "before"),
    [
        ("first", None, None),
        ("always", None, None),
        ("never", None, None),
        ("first", None, pre_tokenizers.Punctuation()),
        ("never", normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    ],
)
def test_marks_of_metaspace(tmp_path: Path, scheme: str, normalizer: Any, before: Any) -> None:
    described = metaspace(scheme, normalizer, before)
    harmless = [{**turn, "content": turn["content"].replace("<|im_end|>", "")} for turn in TALK]
    ours, theirs = both(described, tmp_path, harmless)
    assert ours == theirs
    # The scheme matters on this text, or the test would prove nothing.
    if scheme == "first":
        assert ours != both(metaspace("always", normalizer, before), tmp_path, harmless)[0]
    # The hostile turn differs in its ids only where transformers takes it for the real token.
    ours, theirs = both(described, tmp_path, TALK)
    end = 3
    assert theirs.count(end) == ours.count(end) + 1


def test_tokens_that_swallow_white_space(tmp_path: Path) -> None:
    described = metaspace("never")
    for token in described["added_tokens"]:
        token["lstrip"] = token["content"] == "<|im_end|>"
        token["rstrip"] = token["content"] in ("<|im_end|>", "<|im_start|>")
    harmless = [{**turn, "content": turn["content"].replace("<|im_end|>", "")} for turn in TALK]
    ours, theirs = both(described, tmp_path, harmless)
    assert ours == theirs
    plain = both(metaspace("never"), tmp_path, harmless)[0]
    assert len(ours) < len(plain)


def test_the_mask_stays_in_place_where_white_space_is_swallowed() -> None:
    described = metaspace("never")
    for token in described["added_tokens"]:
        token["rstrip"] = token["content"] == "<|im_start|>"
    template = (
        r"{% for m in messages %}<|im_start|>{{ '\n' if m.role == 'assistant' else '' }}"
        r"{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{{ '\n' }}{% endif %}"
    )
    tokenizer = Tokenizer.parse(described, template, Roles(SPECIAL[1], SPECIAL[1], SPECIAL[3], SPECIAL[1]))
    chat = tokenizer.encode_chat([{"role": "user", "content": "The"}, {"role": "assistant", "content": "dog"}])
    trained = [token for token, is_trained in zip(chat.ids, chat.trained, strict=True) if is_trained]
    assert tokenizer.decode_visibly(trained).replace(" ", "") == "dog<|im_end|>"
