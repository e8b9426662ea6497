"""Automata find what Oniguruma finds, for any pattern that is taken; what isn't known is refused with a reason."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from groundup.text.bpe.automaton import compile_pattern
from groundup.text.bpe.pattern import CannotCompileError, parse
from groundup.text.bpe.splitter import Splitter, Stage

SETS = ("a", "b", "c", " ", r"\n", r"\s", r"\S", "[ab]", "[^a]", r"[^\sb]", r"\p{L}", r"\p{Lu}", r"\d", "(?i:a)", ".")
ONE = st.sampled_from(SETS)
MARKS = st.sampled_from(["?", "*", "+", "{1,2}", "{2}", "{2,}", "{,2}", "??", "*?", "+?", "{1,3}?", "{1,2}+"])
LOOKS = st.sampled_from([r"(?!\S)", "(?=b)", "(?=[ab]|$)", r"(?!a|\s)", "$"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.tuples(inner, inner).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda options: f"(?:{'|'.join(options)})")
        | st.tuples(inner, MARKS).map(lambda both: f"(?:{both[0]}){both[1]}")
    )


POSSESSIVE = st.tuples(ONE.filter(lambda one: "?i" not in one), st.sampled_from(["?+", "*+", "++"])).map("".join)
PATTERN = st.recursive(
    ONE | POSSESSIVE | st.tuples(ONE, MARKS).map("".join) | st.tuples(ONE, LOOKS).map("".join), _larger, max_leaves=7
)


def both(pattern: str, text: str) -> tuple[list[str], list[str]]:
    """What we and what the library make of a text."""
    ours = Splitter((Stage(compile_pattern(pattern)),)).pieces(pa.array([text]))[0]
    theirs = tokenizers.NormalizedString(text).split(tokenizers.Regex(pattern), "isolated")
    return [piece.decode() for piece in ours], [piece.normalized for piece in theirs if piece.normalized]


@given(PATTERN, st.lists(st.text("abcAB \n1é", max_size=14), min_size=1, max_size=6))
@settings(max_examples=600)
def test_any_pattern_that_is_taken_cuts_as_oniguruma_does(pattern: str, texts: list[str]) -> None:
    try:
        compile_pattern(pattern)
    except CannotCompileError:
        assume(False)
    for text in texts:
        ours, theirs = both(pattern, text)
        assert ours == theirs, (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "pieces"),
    [
        ("a|ab", "ab", ["a", "b"]),  # the first alternative, not the longest
        ("(?:a|ab)(?:c|bcd)", "abcd", ["abcd"]),
        ("a+?b?", "aab", ["a", "ab"]),
        (r"\s++$|x", "  \n x", ["  \n ", "x"]),  # gives nothing back, so that there is no line's end before x
        (r"\s+$|x", "  \n x", ["  ", "\n ", "x"]),  # but greedy it goes back to the one before the line feed
        (r"\p{N}{1,3}+", "1234567", ["1234567"]),  # in Oniguruma no possessive repetition, but a repeated one
        (r"\p{N}{1,3}", "1234567", ["123", "456", "7"]),
        ("(?i:'s)", "x's'S'ſ", ["x", "'s", "'S", "'ſ"]),
        ("(?i:k)", "kKKx", ["k", "K", "K", "x"]),
        (r"a(?=b|$)", "aab\na", ["a", "a", "b\n", "a"]),
        (r"\.\+", "a.+b", ["a", ".+", "b"]),
    ],
)
def test_what_matches_first_wins(pattern: str, text: str, pieces: list[str]) -> None:
    assert both(pattern, text) == (pieces, pieces)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?<=a)b", "the group"),
        ("(?<!a)b", "the group"),
        ("(?>a+)b", "the group"),
        ("(?<name>a)", "the group"),
        ("(?i)a", "the group"),
        (r"(a)\1", "escape"),
        (r"a\b", "escape"),
        (r"\X", "escape"),
        (r"\h", "escape"),
        ("^a", "here"),
        ("a(?=bc)", "more than one character"),
        ("(?:ab)++", "possessive"),
        ("a**", "repetition of a repetition"),
        ("(?:a?)*", "may be empty"),
        ("a*", "nothing at all"),
        ("(?!a)", "nothing at all"),
        ("", "nothing at all"),
        ("a{2}?", "optional"),
        ("a{x}", "brace"),
        ("a{1,1000}", "too long"),
        ("(?:(?:(?:a{1,100}){1,100}){1,100})", "too long"),
        ("[]a]", "begins with its end"),
        ("[a", "unbalanced"),
        ("(?:a", "unbalanced"),
        ("a)", "unbalanced"),
        ("[\U00050000-\U00060000]", "rare"),
        ("(?i:é)", "regardless of case"),
        (r"(?i:\p{L})", "regardless of case"),
        ("(?i:[^a])", "regardless of case"),
        ("(?i:ss)", "regardless of case"),  # Oniguruma also finds ß
        ("(?i:[sx]t)", "regardless of case"),
        ("(?i:s)(?i:t|x)", "regardless of case"),
        ("(?i:a+)", "regardless of case"),
        ("(?i:(?:a|b))", "regardless of case"),
        ("(?:" * 60 + "a" + ")" * 60, "too deep"),
        ("(?:" * 5000 + "a" + ")" * 5000, "too deep"),
    ],
)
def test_what_is_not_known_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(CannotCompileError, match=re.escape(why)):
        compile_pattern(pattern)


def test_too_many_states_are_refused() -> None:
    with pytest.raises(CannotCompileError, match="too many states"):
        compile_pattern("(?:a|b)*a(?:a|b){14}")


@given(st.text(r"ab()[]{}|?*+\^$.,=!<>:i-1 pPL", max_size=20))
@settings(max_examples=300)
def test_nonsense_is_parsed_or_refused_but_never_an_accident(pattern: str) -> None:
    try:
        parse(pattern)
    except CannotCompileError as error:
        assert str(error)
