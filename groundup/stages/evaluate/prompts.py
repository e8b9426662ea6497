"""Prompts of lm-eval tasks that a template can't say. The YAML files in ``tasks/`` name these functions.

The wording is what lm-eval 0.4.13 gives a model, so that scores can be compared with published ones; the tests hold
both definitions against each other, request by request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def clean_wikihow(text: str) -> str:
    """HellaSwag's WikiHow texts carry marks in square brackets: a title becomes a sentence end, the rest goes.

    >>> clean_wikihow(" How to bake [title] Mix it. [step] Stir  well. ")
    'How to bake. Mix it. Stir well.'
    """
    titled = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", titled).replace("  ", " ")


def hellaswag_context(row: Row) -> str:
    """The activity, then the beginning of the text."""
    return clean_wikihow(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")


def hellaswag_endings(row: Row) -> list[str]:
    """The four endings, cleaned alike."""
    return [clean_wikihow(ending) for ending in row["endings"]]


def winogrande_gold(row: Row) -> int:
    """Which filling is right. In lm-eval a task whose contexts differ gives the right one in place of its text."""
    return int(row["answer"]) - 1


def winogrande_contexts(row: Row) -> list[str]:
    """The sentence up to the blank, filled in both ways: what differs is the context (Trinh & Le 2018)."""
    before, _, _ = row["sentence"].partition("_")
    return [before + row["option1"], before + row["option2"]]


def winogrande_rest(row: Row) -> str:
    """The sentence after the blank, which is what is scored."""
    _, _, after = row["sentence"].partition("_")
    rest: str = after.strip()
    return rest
