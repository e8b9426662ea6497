"""Each rule at its limit, and what each statistic is on texts that can be counted by hand."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from curate_filter_texts import batch_of, example_texts

from groundup.base.errors import DataError, RequestError
from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.filters import modes as module
from groundup.stages.curate.filters.modes import chain, modes, operators
from groundup.stages.curate.filters.rules import Decide, Rule
from groundup.stages.curate.words.words import SPLIT_COLUMNS

PUBLISHED = {
    ("gopher-datatrove", "gopher_repetition"): {
        "dup_line_frac": 0.30,
        "dup_para_frac": 0.30,
        "dup_line_char_frac": 0.20,
        "dup_para_char_frac": 0.20,
        "top_2_gram": 0.20,
        "top_3_gram": 0.18,
        "top_4_gram": 0.16,
        "duplicated_5_n_grams": 0.15,
        "duplicated_6_n_grams": 0.14,
        "duplicated_7_n_grams": 0.13,
        "duplicated_8_n_grams": 0.12,
        "duplicated_9_n_grams": 0.11,
        "duplicated_10_n_grams": 0.10,
    },
    ("gopher-datatrove", "gopher_quality"): {
        "min_doc_words": 50,
        "max_doc_words": 100_000,
        "min_avg_word_length": 3,
        "max_avg_word_length": 10,
        "max_symbol_word_ratio": 0.1,
        "max_bullet_lines_ratio": 0.9,
        "max_ellipsis_lines_ratio": 0.3,
        "max_non_alpha_words_ratio": 0.8,
        "min_stop_words": 2,
    },
    ("c4-tfds", "c4"): {"max_page_chars": 190_000, "min_sentences": 3},
    ("c4-datatrove", "c4"): {"min_sentences": 5},
    ("fineweb-en", "fineweb"): {
        "line_punct_thr": 0.12,
        "short_line_thr": 0.67,
        "char_duplicates_ratio": 0.01,
        "new_line_ratio": 0.3,
    },
    ("fineweb2-fra_Latn", "gopher_repetition"): {"dup_line_frac": 0.264, "top_2_gram": 0.161, "top_4_gram": 0.134},
    ("fineweb2-fra_Latn", "fineweb"): {"line_punct_thr": 0.1, "new_line_ratio": 0.185, "char_duplicates_ratio": 0.1},
    ("fineweb2-fra_Latn", "gopher_quality"): {
        "min_avg_word_length": 2,
        "max_avg_word_length": 11,
        "max_non_alpha_words_ratio": 0.812,
    },
    ("dclm", "line_rules"): {"max_removed_words": 0.05},
    ("curator-en", "curator"): {
        "max_non_alphanumeric": 0.25,
        "max_numbers": 0.15,
        "max_urls": 0.2,
        "max_white_space": 0.25,
        "max_parentheses": 0.1,
        "max_boilerplate": 0.4,
        "max_no_end_mark": 0.85,
    },
}
READING_NUMBERS = {
    ("c4-tfds", "c4", "min_words_per_line"): 5,
    ("c4-datatrove", "c4", "min_words_per_line"): 3,
    ("c4-dolma", "c4", "min_words_per_line"): 3,
    ("c4-tfds", "c4", "max_word_length"): 1000,
    ("fineweb-en", "fineweb", "short_line_length"): 30,
    ("dclm", "line_rules", "max_upper_share"): 0.5,
    ("dclm", "line_rules", "max_digit_share"): 0.999999,
    ("dclm", "line_rules", "min_line_words"): 2,
}


def run(steps: tuple[Operator, ...], texts: list[str]) -> pa.RecordBatch:
    batch = batch_of(texts)
    for operator in steps:
        batch = operator(batch)
    return batch


def measured(mode: str, family: str, text: str) -> dict[str, float]:
    """The statistics of a text, by the last filter of that family in the mode."""
    one = [one for one in modes()[mode].filters if one.name == family][-1]
    batch = run(operators([one]), [text])
    prefix = f"{family}."
    return {
        name.removeprefix(prefix): batch.column(name)[0].as_py()
        for name in batch.schema.names
        if name.startswith(prefix)
    }


@pytest.mark.parametrize(("mode", "family"), PUBLISHED)
def test_limits_are_the_published_ones(mode: str, family: str) -> None:
    limits: dict[str, float] = {}
    for one in modes()[mode].filters:
        if one.name == family:
            limits |= one.limits
    expected = PUBLISHED[mode, family]
    assert {name: limits[name] for name in expected} == expected


@pytest.mark.parametrize(("mode", "family", "name"), READING_NUMBERS)
def test_numbers_of_readings_are_the_published_ones(mode: str, family: str, name: str) -> None:
    (one,) = (one for one in modes()[mode].filters if one.name == family)
    assert one.readings[name] == READING_NUMBERS[mode, family, name]


def all_rules() -> list[tuple[str, str, Rule]]:
    pytest.importorskip("spacy")
    return [
        (mode, step.step, rule)
        for mode in modes()
        if mode != "fineweb2-fra_Latn"
        for step in chain(mode)
        if isinstance(step, Decide)
        for rule in step.rules
    ]


def test_every_rule_decides_strictly_beyond_its_limit() -> None:
    rules = all_rules()
    assert len(rules) > 100
    for mode, step, rule in rules:
        beyond = math.inf if rule.side == "above" else -math.inf
        values = [rule.limit, np.nextafter(rule.limit, beyond), np.nextafter(rule.limit, -beyond), math.nan]
        batch = pa.record_batch({f"{step}.{rule.statistic}": pa.array(values)})
        decided = Decide(step, (rule,))(batch)
        assert decided.column("rule").to_pylist() == [None, rule.name, None, None], (mode, rule)
        assert decided.column("detail")[1].as_py().endswith(f"is {rule.side} {rule.limit:g}")


def test_the_first_rule_in_order_is_the_verdict_and_earlier_verdicts_stay() -> None:
    batch = pa.record_batch(
        {
            "f.a": pa.array([0.9, 0.1, 0.4123, 0.9]),
            "f.b": pa.array([9.0, 9.0, 1.0, 1.0]),
            "step": pa.array([None, None, None, "before"]),
            "rule": pa.array([None, None, None, "why"]),
            "detail": pa.array([None, None, None, "because"]),
        }
    )
    decided = Decide("f", (Rule("a", "above", 0.3, "much_a"), Rule("b", "above", 5, "much_b")))(batch)
    assert decided.column("step").to_pylist() == ["f", "f", "f", "before"]
    assert decided.column("rule").to_pylist() == ["much_a", "much_b", "much_a", "why"]
    assert decided.column("detail").to_pylist() == [
        "0.9 is above 0.3",
        "9 is above 5",
        "0.4123 is above 0.3",
        "because",
    ]


LINES = "aaaa\nbbbb\naaaa\ncccc"  # 4 lines, 19 characters


@pytest.mark.parametrize(
    ("mode", "family", "text", "expected"),
    [
        ("groundup", "gopher_repetition", LINES, {"dup_line_frac": 1 / 4, "dup_line_char_frac": 4 / 19, "chars": 19}),
        ("groundup", "gopher_repetition", "\n\na\n\na\n", {"dup_line_frac": 2 / 4, "dup_para_frac": 1 / 2}),
        ("groundup", "gopher_repetition", "p q\n\nr\n\np q", {"dup_para_frac": 1 / 3, "dup_para_char_frac": 3 / 11}),
        ("groundup", "gopher_repetition", "é x é x y", {"top_2_gram": 6 / 9, "top_3_gram": 5 / 9}),
        ("groundup", "gopher_repetition", "a b a c", {"top_2_gram": 3 / 7}),  # all occur once: the first counts
        ("groundup", "gopher_repetition", "a b c d e " * 3, {"duplicated_5_n_grams": 10 / 30}),
        ("groundup", "gopher_repetition", "a b c d", {"top_4_gram": 7 / 7, "duplicated_5_n_grams": 0}),
        # Glued together, other cuts of the same letters are the same.
        ("groundup", "gopher_repetition", "ab c d e f x a bc d e f", {"duplicated_5_n_grams": 6 / 23}),
        ("groundup", "gopher_quality", "It is 42, ok!", {"words": 4, "word_length": 8 / 4, "alpha_words_ratio": 3 / 6}),
        ("groundup", "gopher_quality", "# a ## b", {"hash_ratio": 3 / 4, "ellipsis_ratio": 0}),
        ("groundup", "gopher_quality", "a... b… c......", {"ellipsis_ratio": 4 / 6}),
        ("groundup", "gopher_quality", "a.. b", {"ellipsis_ratio": 0}),
        ("groundup", "gopher_quality", " - a\n• b\n* c\n", {"bullet_lines_ratio": 2 / 4}),
        ("groundup", "gopher_quality", "a...\nb… \nc", {"ellipsis_lines_ratio": 2 / 3}),
        ("groundup", "gopher_quality", "the THE the of", {"stop_words": 2}),
        (
            "groundup",
            "fineweb",
            "One.\n\ntwo\n“Three.”",
            {"line_punct_ratio": 2 / 3, "short_line_ratio": 1, "lines": 3},
        ),
        ("groundup", "fineweb", "a" * 30 + "\n" + "b" * 31, {"short_line_ratio": 1 / 2}),
        ("groundup", "fineweb", "aaaa\nbb\naaaa", {"char_dup_ratio": 4 / 10, "list_ratio": 2 / 3}),
        ("curator-en", "curator", "ab 12-\t()", {"non_alphanumeric": 5 / 9, "numbers": 2 / 9, "white_space": 2 / 9}),
        ("curator-en", "curator", "see https://a.b/c now", {"urls": 13 / 21, "no_end_mark": 1}),
        ("curator-en", "curator", "x (y) [z]", {"parentheses": 4 / 9, "longest_word": 3}),
        ("curator-en", "curator", "Our Privacy Policy\n\nText.\n\nMore.", {"boilerplate": 1 / 3, "no_end_mark": 1 / 3}),
        ("curator-en", "curator", "a\n\nLorem Ipsum", {"boilerplate": 1}),
    ],
)
def test_statistics(mode: str, family: str, text: str, expected: dict[str, float]) -> None:
    found = measured(mode, family, text)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


LONG = "This line has words enough to stay."


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        (LONG, LONG),
        ("This line has no end mark at all", None),
        ('He said "this line is fine"', 'He said "this line is fine"'),
        ("This line has a trailing thought...", None),
        ("One two three four.", None),  # fewer than five words
        ("One two three four five.", "One two three four five."),
        ("A line about JavaScript is not here.", None),
        ("We use cooKies to make this better.", None),
        ("Read our Terms of Use before you go.", None),
        ("A citation[12] goes but the line stays[edit].", "A citation goes but the line stays."),
        ("One two three [1] [edit].", None),  # four words once they are cut out
        ("word " * 4 + "x" * 1000 + ".", None),
        ("word " * 4 + "x" * 999 + ".", "word " * 4 + "x" * 999 + "."),
    ],
)
def test_c4_lines(line: str, stays: str | None) -> None:
    pytest.importorskip("punkt")
    text = run(chain("c4-tfds"), [f"{LONG}\n{line}\n  {LONG}  "]).column("text")[0].as_py()
    assert text == "\n".join(part for part in (LONG, stays, LONG) if part)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("\n".join([LONG] * 3), None),
        ("\n".join([LONG] * 2), "too_few_sentences"),
        (f"{LONG}\n{LONG}\nThis one has Lorem Ipsum words inside.", "lorem_ipsum"),
        (f"{LONG}\n{LONG}\n{LONG}\nlorem ipsum", None),  # the line is gone before it is looked at
        (f"{LONG}\n{LONG}\n{LONG}\nThis one has a {{ in it, sadly.", "curly_bracket"),
        (f"{LONG}\n{LONG}\n{LONG}\nThis javascript has a {{ in it, sadly.", None),
        (f"{LONG}\n{LONG}\n{LONG}\nThis one has a frobnicate in it.", "bad_word"),
        (f"{LONG}\n{LONG}\n{LONG}\nThis one has frobnicated all of it.", None),
        ("", "too_few_sentences"),
        ((LONG + "\n") * 6000, "page_too_long"),
    ],
)
def test_c4_pages(text: str, rule: str | None) -> None:
    pytest.importorskip("punkt")
    assert run(chain("c4-tfds", bad_words=["frobnicate"]), [text]).column("rule")[0].as_py() == rule


PROSE = "The quick brown fox jumps over the lazy dog and is glad of it."


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("ABCd", None),
        ("two WORDs of it", "two WORDs of it"),
        ("AB cd", "AB cd"),  # upper case is two fifths
        ("ABC de", "ABC de"),  # exactly a half stays
        ("ABCD ef", None),
        ("12345", None),
        ("12 345", "12 345"),  # the blank is no digit
        ("3 likes", None),
        ("* 1,234 shares!", None),
        ("5k followers", None),
        ("3 apples", "3 apples"),
        ("word", None),
        ("my items in cart now", "my now"),
        ("items in cart", None),
        ("go on Read more...", "go on"),
        ("Sign-in to go on", "to go on"),
        ("a b c d e f g h items in cart", "a b c d e f g h items in cart"),  # eleven words
        ("", ""),
    ],
)
def test_line_rules(line: str, stays: str | None) -> None:
    from groundup.stages.curate.filters.line_rules import edited

    limits = {"max_upper_share": 0.5, "max_digit_share": 0.999999, "min_line_words": 2, "max_cut_words": 10}
    assert edited(f"{PROSE}\n{line}\n{PROSE}", limits) == "\n".join(
        part for part in (PROSE, stays, PROSE) if part is not None
    )


def test_a_page_that_loses_more_than_a_twentieth_of_its_words_goes() -> None:
    one = [one for one in modes()["refinedweb"].filters if one.name == "line_rules"]
    words = [f"w{number} and" for number in range(40)]
    kept = "\n".join(words[:38] + ["LOUD OK"] * 2), "\n".join(words[:37] + ["LOUD OK"] * 3)
    assert run(operators(one), list(kept)).column("rule").to_pylist() == [None, "too_many_words_removed"]


def test_tidy_takes_out_addresses_and_line_feeds() -> None:
    from groundup.stages.curate.filters.line_rules import tidied

    assert tidied("see https://a.b/c?d=1, or www.x.org\n\n\n\n10.0.0.1:80 end") == "see, or end"
    assert tidied("a\n\n\n\nb\n\nc") == "a\n\nb\n\nc"


def test_overrides_replace_limits_and_numbers() -> None:
    steps = chain("groundup", {"gopher_quality": {"min_doc_words": 3}, "fineweb": {"short_line_length": 5}})
    rules = [rule for step in steps if isinstance(step, Decide) for rule in step.rules]
    assert [rule.limit for rule in rules if rule.name == "too_few_words"] == [3]
    assert any('"short_line_length": 5' in getattr(step, "readings", "") for step in steps)
    assert {step.spec.digest for step in steps} != {step.spec.digest for step in chain("groundup")}


@pytest.mark.parametrize(
    ("mode", "overrides", "message"),
    [
        ("fineweb", {}, "no filter mode 'fineweb'; did you mean"),
        ("groundup", {"gopher_qualit": {}}, "has no filter 'gopher_qualit'; did you mean 'gopher_quality'"),
        (
            "groundup",
            {"fineweb": {"line_punct": 1}},
            "fineweb has no limit 'line_punct'; did you mean 'line_punct_thr'",
        ),
    ],
)
def test_unknown_names_are_refused(mode: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        chain(mode, overrides)


@pytest.mark.parametrize(
    "broken",
    [
        {"filter": "gopher"},
        {"words": "utf8"},
        {"readings": {"end_marks": ["."]}},
        {"readings": {"end_marks": ["."], "short_line_length": 30, "more": 1}},
        {"limits": {"line_punct": 0.1}},
        {"limits": {"line_punct_thr": True}},
        {"limits": {"line_punct_thr": "much"}},
    ],
)
def test_the_file_of_modes_is_checked(broken: dict[str, Any]) -> None:
    sound = {
        "filter": "fineweb",
        "words": "unicode",
        "readings": {"end_marks": ["."], "short_line_length": 30},
        "limits": {"line_punct_thr": 0.1},
    }
    module._filter("mine", sound)
    with pytest.raises(DataError, match=r"modes\.yaml: mine"):
        module._filter("mine", sound | broken)


@pytest.mark.parametrize("mode", [name for name in modes() if name != "fineweb2-fra_Latn"])
def test_results_do_not_depend_on_batches_or_order(mode: str) -> None:
    pytest.importorskip("spacy")
    pytest.importorskip("punkt")
    texts = ["", *example_texts()[-70:], "\n \n"]
    steps = pickle.loads(pickle.dumps(chain(mode, bad_words=["frog"])))
    whole = verdicts(run(steps, texts))
    assert [verdict for at in range(0, len(texts), 7) for verdict in verdicts(run(steps, texts[at : at + 7]))] == whole
    assert verdicts(run(steps, texts[::-1])) == whole[::-1]
    assert len({rule for _, rule, _ in whole}) > 1
    sliced = batch_of(["front", *texts]).slice(1)
    for step in steps:
        sliced = step(sliced)
    assert verdicts(sliced) == whole
    assert run(steps, []).num_rows == 0


def verdicts(batch: pa.RecordBatch) -> list[tuple[str, str | None, str | None]]:
    return list(zip(*(batch.column(name).to_pylist() for name in ("text", "rule", "detail")), strict=True))


@pytest.mark.parametrize("mode", [name for name in modes() if name != "fineweb2-fra_Latn"])
def test_operators_write_what_their_specifications_say(mode: str) -> None:
    pytest.importorskip("spacy")
    pytest.importorskip("punkt")
    batch = batch_of(example_texts()[:5])
    for step in chain(mode):
        before = set(batch.schema.names)
        after = step(batch)
        assert set(after.schema.names) - before <= set(step.spec.writes)
        assert set(step.spec.writes) <= set(after.schema.names)
        unchanged = before - set(step.spec.writes)
        assert all(str(after.column(name)) == str(batch.column(name)) for name in unchanged)
        assert set(step.spec.reads) <= before | {"step"}
        batch = after
    assert set(SPLIT_COLUMNS) & set(batch.schema.names) or mode.startswith("c4")
