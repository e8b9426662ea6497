"""Why a document was dropped, in words. Most names of rules say it themselves; the others are told here."""

from __future__ import annotations

import re
from typing import Final

_TOLD: Final = {
    "code:secrets": "holds a key or a password",
    "exact_dedup:duplicate": "another document that stays has the same text",
    "exact_dedup:duplicate_id": "the same page came in twice",
    "extract:failed": "the parser gave up on the page",
    "extract:no_text": "no main text was found on the page",
    "extract:too_large": "the page is too large to be parsed",
    "extract:too_slow": "parsing the page took too long",
    "gopher_repetition:dup_line_char_frac": "too much of it stands in repeated lines",
    "gopher_repetition:dup_line_frac": "too many of its lines are repeats",
    "gopher_repetition:dup_para_char_frac": "too much of it stands in repeated paragraphs",
    "gopher_repetition:dup_para_frac": "too many of its paragraphs are repeats",
    "identify:other_language": "in a language that is not wanted",
    "identify:unsure": "its language can't be told for sure",
    "near_dedup:near_duplicate": "nearly the same as a document that stays",
    "quality:below_threshold": "the quality model scores it too low",
    "repair:no_text": "nothing but control characters",
    "semantic_dedup:semantic_duplicate": "says what a document that stays says",
}
_TOLD_OF_STEP: Final = {
    "decontaminate": "holds an item of the benchmark {}",
    "redact": "holds personal data: {}",
    "repeated_passages": "nothing is left without passages that stand elsewhere",
    "repeated_text": "nothing is left without text that stands elsewhere",
    "toxicity": "above the limit for {} text",
    "url": "its address is on a list: {}",
}
_TOP: Final = re.compile(r"gopher_repetition:top_(\d+)_gram")
_DUPLICATED: Final = re.compile(r"gopher_repetition:duplicated_(\d+)_n_grams")


def in_words(reason: str) -> str:
    """What ``step:rule`` means.

    >>> in_words("gopher_quality:too_few_words"), in_words("redact:national_id")
    ('too few words', 'holds personal data: national id')
    >>> in_words("gopher_repetition:top_2_gram")
    'one run of 2 words makes up too much of it'
    """
    step, _, rule = reason.partition(":")
    if reason in _TOLD:
        return _TOLD[reason]
    if match := _TOP.fullmatch(reason):
        return f"one run of {match[1]} words makes up too much of it"
    if match := _DUPLICATED.fullmatch(reason):
        return f"too much of it stands in repeated runs of {match[1]} words"
    if step == "decontaminate":
        return _TOLD_OF_STEP[step].format(rule)
    return _TOLD_OF_STEP.get(step, "{}").format(rule.replace("_", " "))
