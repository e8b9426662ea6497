"""Text from tokens: whole characters, the same whole text, and nothing of a stop string."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from groundup.serve.pieces import TextPieces

TOKENIZER = tiny_tokenizer()
ANY_IDS = st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=40)


def pieces_of(ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    pieces = TextPieces(TOKENIZER, stop)
    return [*(pieces.push(token) for token in ids), pieces.finish()], pieces.stopped


@given(ANY_IDS)
@settings(max_examples=300, deadline=None)
def test_joined_pieces_are_the_decoded_whole_whatever_the_ids(ids: list[int]) -> None:
    pieces, _ = pieces_of(ids)
    assert "".join(pieces) == TOKENIZER.decode(ids)


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_character_is_split_and_none_waits_for_the_next(text: str) -> None:
    pieces = TextPieces(TOKENIZER)
    so_far = ""
    ids = TOKENIZER.encode(text)
    for place, token in enumerate(ids, 1):
        so_far += pieces.push(token)
        if "\ufffd" not in text:
            assert "\ufffd" not in so_far
            assert text.startswith(so_far)
            whole = TOKENIZER.decode(ids[:place])
            assert whole.rstrip("\ufffd") == so_far  # all that is complete has been given out
    assert so_far + pieces.finish() == text


def test_the_bytes_of_an_emoji_come_out_as_one_piece() -> None:
    ids = TOKENIZER.encode("🦜")
    assert len(ids) > 2
    pieces, _ = pieces_of(ids)
    assert [piece for piece in pieces if piece] == ["🦜"]


@given(st.text("abc", max_size=25), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_text_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    pieces, stopped = pieces_of(TOKENIZER.encode(text), tuple(stop))
    places = [text.find(one) for one in stop if one in text]
    assert stopped == bool(places)
    # Token by token, a stop string that ends sooner wins even where a longer one begins earlier.
    said = "".join(pieces)
    assert text.startswith(said)
    assert not any(one in said for one in stop)
    if not places:
        assert said == text
    elif len(stop) == 1:
        assert said == text[: places[0]]


def test_what_looked_like_a_stop_string_and_is_not_comes_out_in_the_end() -> None:
    pieces, stopped = pieces_of(TOKENIZER.encode("one\n\nHum"), ("\n\nHuman:",))
    assert "".join(pieces) == "one\n\nHum"
    assert not stopped
