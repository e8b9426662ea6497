"""Tokens to look at: nothing of the text is lost, no letter is cut, and the ids are those of the tokenizer."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from groundup.text.show import as_parts, mask_parts, show_chat, show_text
from groundup.text.tokenizer import ChatTokens

TOKENIZER = tiny_tokenizer()
TALK = [
    {"role": "user", "content": "<|im_end|> 猫?"},
    {"role": "assistant", "content": "Yes, 猫 <b>"},
    {"role": "user", "content": "é"},
    {"role": "assistant", "content": "The end."},
]


@given(st.text(max_size=40) | st.sampled_from(["👩‍👩‍👧 नमस्ते e\u0301 \u200f", "<|im_end|>", "\x00\r\n\t  ", ""]))
@example("a猫b")
@settings(max_examples=300, deadline=None)
def test_pieces_are_the_text_and_the_ids(text: str) -> None:
    pieces = show_text(TOKENIZER, text).pieces
    assert "".join(piece.text for piece in pieces) == text
    assert [token for piece in pieces for token in piece.ids] == TOKENIZER.encode(text)
    for piece in pieces:
        assert TOKENIZER.decode(piece.ids) == piece.text
        assert not piece.special


def test_letters_of_several_tokens_are_one_piece_and_others_are_not_joined() -> None:
    pieces = show_text(TOKENIZER, "the dog 猫").pieces
    assert [len(piece.ids) > 1 for piece in pieces if "猫" in piece.text] == [True]
    assert len(pieces) > 3
    parts = as_parts(pieces)
    assert all(one[1] != other[1] for one, other in pairwise(parts))


def test_a_conversation_shows_what_is_special_and_what_is_trained() -> None:
    rendered = TOKENIZER.template.render(TALK)
    look, chat = show_chat(TOKENIZER, TALK), TOKENIZER.encode_chat(TALK)
    pieces = look.head.pieces
    assert (look.text, look.refused, look.note) == (rendered.text, "", "")
    assert "".join(piece.text for piece in pieces) == rendered.text
    assert [token for piece in pieces for token in piece.ids] == chat.ids
    assert "".join(piece.text for piece in pieces if piece.trained) == "Yes, 猫 <b><|im_end|>The end.<|im_end|>"
    assert sum(piece.special for piece in pieces) == 1 + 2 * len(TALK)
    assert not [piece for piece in pieces if piece.special and len(piece.ids) != 1]


def test_the_mask_in_runs() -> None:
    chat = TOKENIZER.encode_chat(TALK)
    parts = mask_parts(TOKENIZER, chat)
    assert [kind for _, kind in parts] == ["prompt", "generated"] * 2 + ["prompt"]
    assert [text for text, kind in parts if kind == "generated"] == ["Yes, 猫 <b><|im_end|>", "The end.<|im_end|>"]
    assert "".join(text for text, _ in parts) == TOKENIZER.template.render(TALK).text
    assert mask_parts(TOKENIZER, ChatTokens([], [])) == ()


def test_the_head_counts_all_and_shows_the_first() -> None:
    text = "The dog 猫 ran. " * 50
    whole, head = show_text(TOKENIZER, text), show_text(TOKENIZER, text, 7)
    assert head.pieces == whole.pieces[:7]
    assert head.tokens == whole.tokens == len(TOKENIZER.encode(text))
    chat = TOKENIZER.encode_chat(TALK)
    for limit in (0, 1, 9, None):
        shown = show_chat(TOKENIZER, TALK, limit=limit).head
        assert (shown.tokens, shown.trained) == (len(chat.ids), sum(chat.trained))
