"""The list of special tokens: its order, and what is refused."""

from __future__ import annotations

import pytest

from groundup.base.errors import RequestError
from groundup.text import special
from groundup.text.special import STANDARD, reserved_by_default, special_tokens


def test_order_is_standard_extra_languages_reserved() -> None:
    found = special_tokens(["<|fim|>"], ["fra_Latn", "deu_Latn"], 2)
    assert found == (*STANDARD, "<|fim|>", "<|deu_Latn|>", "<|fra_Latn|>", "<|reserved_0|>", "<|reserved_1|>")


@pytest.mark.parametrize(
    ("extra", "languages", "why"),
    [
        (["<|image|>"], [], r"<\|image\|> exists already"),
        (["<|a|>", "<|b|>", "<|a|>"], [], r"<\|a\|> is given twice"),
        (["<|fra_Latn|>"], ["fra_Latn"], r"<\|fra_Latn\|> is given twice"),
        (["<|reserved_0|>"], [], r"<\|reserved_0\|> is given twice"),
        ([" "], [], "not blank"),
    ],
)
def test_what_is_there_already_is_refused(extra: list[str], languages: list[str], why: str) -> None:
    with pytest.raises(RequestError, match=why):
        special_tokens(extra, languages, 1)


def test_small_vocabularies_keep_little_in_reserve() -> None:
    assert [reserved_by_default(size) for size in (300, 4096, 32_768, 256_000)] == [2, 32, 256, 256]


def test_the_page_lists_every_standard_token() -> None:
    assert special.__doc__ is not None and all(f"``{token}``" in special.__doc__ for token in STANDARD)
