"""Where toolkits read the published rules differently, and what each mode does (data-definitions, section 2)."""

from __future__ import annotations

import pytest
from test_filters_rules import LONG, measured, run

from groundup.stages.curate.filters.modes import chain, modes

DATATROVE, DOLMA, DCLM, OURS = "gopher-datatrove", "gopher-dolma", "gopher-dclm", "groundup"
pytest.importorskip("spacy")
pytest.importorskip("punkt")


def kept_text(mode: str, text: str) -> str:
    kept: str = run(chain(mode, {"c4": {"min_sentences": 0, "min_lines": 0}}), [text]).column("text")[0].as_py()
    return kept


def test_1_words_a_line_and_sentences_a_page() -> None:
    """C4's code asks for 5 words and 3 sentences; datatrove's defaults are 3 and 5."""
    four, three = "One two three four.", "\n".join([LONG] * 3)
    assert [kept_text(mode, four) for mode in ("c4-tfds", "c4-datatrove", "c4-dolma")] == ["", four, four]
    rules = [run(chain(mode), [three]).column("rule")[0].as_py() for mode in ("c4-tfds", "c4-datatrove", "fineweb-en")]
    assert rules[:2] == [None, "too_few_sentences"]


def test_2_which_marks_end_a_line() -> None:
    """datatrove accepts an apostrophe, C4's code does not; FineWeb's chain does not ask."""
    quoted, bare = "He told them all 'it ends here'", "This line ends without a mark"
    ends = {mode: (kept_text(mode, quoted) != "", kept_text(mode, bare) != "") for mode in ("c4-tfds", "c4-datatrove")}
    assert ends == {"c4-tfds": (False, False), "c4-datatrove": (True, False)}
    (c4,) = (one for one in modes()["fineweb-en"].filters if one.name == "c4")
    assert c4.readings["end_marks"] == []
    # A closing quotation mark after the full stop: datatrove's list of terminal marks has none.
    found = [measured(mode, "fineweb", "“It ends.”\n")["line_punct_ratio"] for mode in (OURS, "fineweb-en")]
    assert found == [1, 0]


def test_3_words_are_counted_before_or_after_citations_are_cut_out() -> None:
    line = "Two [1] [2] words."
    assert [kept_text(mode, line) for mode in ("c4-datatrove", "c4-dolma")] == ["Two   words.", line]
    five = "These are four [1] words."
    assert kept_text("c4-tfds", five) == ""
    assert kept_text("c4-tfds", "These now are five [1] words.") == "These now are five  words."


def test_4_javascript_is_a_line_or_a_word_of_the_page() -> None:
    """Dolma flags the page, and only for the whole token."""
    in_word, alone = f"{LONG}\nSee javascript: it is on.", f"{LONG}\nSee javascript if you like it."
    assert [kept_text(mode, in_word) for mode in ("c4-tfds", "c4-datatrove")] == [LONG, LONG]
    rules = [run(chain("c4-dolma"), [text]).column("rule")[0].as_py() for text in (in_word, alone)]
    assert rules == [None, "javascript"]


def test_5_dolma_takes_the_median_length_white_space_words_and_its_own_marks() -> None:
    text = "a bb, cccccccccccc"
    assert measured(DATATROVE, "gopher_quality", text)["word_length"] == 5  # the comma does not count
    assert measured(DOLMA, "gopher_quality", text)["word_length"] == 3
    assert measured(DATATROVE, "gopher_quality", text)["words"] == 3
    bullets = "• a\n- b\n* c\n - d"
    found = {mode: measured(mode, "gopher_quality", bullets)["bullet_lines_ratio"] for mode in (DATATROVE, DOLMA, DCLM)}
    assert found == {DATATROVE: 3 / 4, DOLMA: 2 / 4, DCLM: 1}
    ends = "a...\nb…\nc…  \nd. . ."
    found = {mode: measured(mode, "gopher_quality", ends)["ellipsis_lines_ratio"] for mode in (DATATROVE, DOLMA, DCLM)}
    assert found == {DATATROVE: 3 / 4, DOLMA: 1 / 4, DCLM: 1}
    symbols = "#a# b… c... d"
    assert measured(DOLMA, "gopher_quality", symbols)["symbol_ratio"] == 2 / 4
    assert measured(DCLM, "gopher_quality", symbols)["symbol_ratio"] == 4 / 4


def test_6_stop_words_distinct_repeated_or_in_any_case() -> None:
    text = "the the The of x"
    found = {mode: measured(mode, "gopher_quality", text)["stop_words"] for mode in (DATATROVE, DOLMA, DCLM, OURS)}
    assert found == {DATATROVE: 2, DOLMA: 3, DCLM: 4, OURS: 2}


def test_7_copies_after_the_first_or_all() -> None:
    """Four lines with one pair: opposite verdicts at the limit of .30."""
    text = "one line\ntwo lines\none line\nthree lines"
    found = {
        mode: measured(mode, "gopher_repetition", text)["dup_line_frac"] for mode in (DATATROVE, OURS, DOLMA, DCLM)
    }
    assert found == {DATATROVE: 0.25, OURS: 0.25, DOLMA: 0.5, DCLM: 0.5}


def test_7_blank_lines() -> None:
    """datatrove#273: a run of line feeds parts two lines; only Dolma counts the empty ones between."""
    text = "a b\n\n\n\nc d"
    found = {mode: measured(mode, "gopher_repetition", text)["dup_line_frac"] for mode in (DATATROVE, DOLMA, DCLM)}
    assert found == {DATATROVE: 0, DOLMA: 3 / 5, DCLM: 0}


def test_8_what_n_grams_are_a_share_of() -> None:
    text = "aa bb aa bb cc"  # 14 characters, 10 without the blanks
    found = {mode: measured(mode, "gopher_repetition", text)["top_2_gram"] for mode in (DATATROVE, DOLMA, DCLM)}
    assert found == pytest.approx({DATATROVE: 10 / 14, DOLMA: 8 / 10, DCLM: 8 / 10})
    text = "a b c d e f a b c d e g"  # 23 characters; one run of five words comes again
    found = {
        mode: measured(mode, "gopher_repetition", text)["duplicated_5_n_grams"] for mode in (DATATROVE, DOLMA, DCLM)
    }
    assert found == pytest.approx({DATATROVE: 5 / 23, DOLMA: 2 * 5 / (8 * 5), DCLM: 10 / 12})


def test_9_ties_between_n_grams_do_not_depend_on_set_order() -> None:
    """The first of the most frequent counts, for DCLM the longest; Curator's pick changes from run to run."""
    text = "a b x a b y long words z long words"
    first, longest = 2 * 3 / len(text), 2 * 9 / len(text.replace(" ", ""))
    assert measured(DATATROVE, "gopher_repetition", text)["top_2_gram"] == pytest.approx(first)
    assert measured(DCLM, "gopher_repetition", text)["top_2_gram"] == pytest.approx(longest)
    assert measured(DCLM, "gopher_repetition", "a b c d")["top_2_gram"] == 0  # nothing occurs twice


def test_10_english_words_are_spacys_or_ours() -> None:
    text = "I don't know, U.S.-based."
    assert measured(DATATROVE, "gopher_quality", text)["words"] == 5  # I, do, n't, know, U.S.-based
    assert measured(OURS, "gopher_quality", text)["words"] == 6
    assert measured(DOLMA, "gopher_quality", text)["words"] == 4
    assert measured(DATATROVE, "gopher_quality", "don't")["words"] == 2
    assert measured(OURS, "gopher_quality", "don't")["words"] == 1


def test_letters_of_all_scripts_are_letters() -> None:
    """``isalpha`` on CJK letters differs by toolkit; here it is Unicode's in every mode."""
    for mode in (DATATROVE, DOLMA, DCLM, OURS):
        assert measured(mode, "gopher_quality", "漢字 ひら हिन्दी")["alpha_words_ratio"] == 1
