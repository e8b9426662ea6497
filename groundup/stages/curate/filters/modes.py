"""Named modes: published filter sets as data (``modes.yaml``), checked and turned into operators.

>>> "fineweb-en" in modes()
True
>>> [filter.name for filter in modes()["fineweb-en"].filters]
['gopher_repetition', 'gopher_quality', 'c4', 'fineweb']
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import yaml

from groundup.base.errors import DataError, RequestError, nearest
from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.filters import c4, curator, fineweb, line_rules, quality, repetition
from groundup.stages.curate.filters.measure import EditC4, EditLines, Measure
from groundup.stages.curate.filters.rules import Decide, Rule, Side
from groundup.stages.curate.words.split import SPLITTERS, Split


class Filter(NamedTuple):
    """One filter of a mode: its family's name, the splitter of its words, how it reads its rules, and its limits."""

    name: str
    words: str
    readings: Mapping[str, Any]
    limits: Mapping[str, float]


class Mode(NamedTuple):
    """A set of filters in order, and where it was published."""

    name: str
    source: str
    filters: tuple[Filter, ...]


class _Family(NamedTuple):
    """What may be said of a filter. ``rules``: limit to (statistic, side, name of the rule)."""

    readings: Mapping[str, tuple[Any, ...]]
    lists: tuple[str, ...]
    numbers: tuple[str, ...]
    rules: Mapping[str, tuple[tuple[str, Side, str], ...]]


def _rule(statistic: str, side: Side, name: str | None = None) -> tuple[tuple[str, Side, str], ...]:
    return ((statistic, side, name or statistic),)


_FAMILIES: Final = {
    "gopher_repetition": _Family(
        repetition.READINGS,
        (),
        (),
        {
            "min_chars": _rule("chars", "below", "empty"),
            **{name: _rule(name, "above") for name in repetition.STATISTICS if name != "chars"},
        },
    ),
    "gopher_quality": _Family(
        quality.READINGS,
        quality.WORD_LISTS,
        (),
        {
            "min_doc_words": _rule("words", "below", "too_few_words"),
            "max_doc_words": _rule("words", "above", "too_many_words"),
            "min_avg_word_length": _rule("word_length", "below", "words_too_short"),
            "max_avg_word_length": _rule("word_length", "above", "words_too_long"),
            "max_symbol_word_ratio": (
                ("hash_ratio", "above", "too_many_hashes"),
                ("ellipsis_ratio", "above", "too_many_ellipses"),
                ("symbol_ratio", "above", "too_many_symbols"),
            ),
            "max_bullet_lines_ratio": _rule("bullet_lines_ratio", "above", "too_many_bullet_lines"),
            "max_ellipsis_lines_ratio": _rule("ellipsis_lines_ratio", "above", "too_many_ellipsis_lines"),
            "max_non_alpha_words_ratio": _rule("alpha_words_ratio", "below", "too_few_words_with_letters"),
            "min_stop_words": _rule("stop_words", "below", "too_few_stop_words"),
        },
    ),
    "c4": _Family(
        c4.READINGS,
        c4.WORD_LISTS,
        c4.NUMBERS,
        {
            "max_page_chars": _rule("chars", "above", "page_too_long"),
            "lorem_ipsum": _rule("lorem_ipsum", "above"),
            "javascript": _rule("javascript", "above"),
            "curly_bracket": _rule("curly_bracket", "above"),
            "bad_words": _rule("bad_words", "above", "bad_word"),
            "min_sentences": _rule("sentences", "below", "too_few_sentences"),
            "min_lines": _rule("lines", "below", "no_line_left"),
        },
    ),
    "fineweb": _Family(
        fineweb.READINGS,
        fineweb.WORD_LISTS,
        fineweb.NUMBERS,
        {
            "min_lines": _rule("lines", "below", "empty"),
            "line_punct_thr": _rule("line_punct_ratio", "below", "too_few_sentence_lines"),
            "short_line_thr": _rule("short_line_ratio", "above", "too_many_short_lines"),
            "char_duplicates_ratio": _rule("char_dup_ratio", "above", "repeated_line_chars"),
            "new_line_ratio": _rule("list_ratio", "above", "too_many_line_breaks"),
        },
    ),
    "line_rules": _Family(
        line_rules.READINGS,
        (),
        line_rules.NUMBERS,
        {"max_removed_words": _rule("removed_words", "above", "too_many_words_removed")},
    ),
    "curator": _Family(
        curator.READINGS,
        curator.WORD_LISTS,
        (),
        {
            **{
                f"max_{name}": _rule(name, "above", f"too_much_{name}")
                for name in curator.STATISTICS
                if name != "longest_word"
            },
            "max_word_length": _rule("longest_word", "above", "word_too_long"),
        },
    ),
}
_EDITORS: Final = ("c4", "line_rules")

NO_OVERRIDES: Final[Mapping[str, Mapping[str, float]]] = {}


def chain(
    mode: str, overrides: Mapping[str, Mapping[str, float]] = NO_OVERRIDES, bad_words: Iterable[str] = ()
) -> tuple[Operator, ...]:
    """The operators of a mode in order: split, measure, decide, and so on for each filter.

    ``overrides``: filter to limit (or number of a reading, such as ``short_line_length``) to value. ``bad_words`` are
    for C4's rule; without them it drops nothing. Raises :class:`RequestError` for a name that is not known.
    """
    chosen = modes().get(mode)
    if chosen is None:
        raise RequestError(f"no filter mode {mode!r}{nearest(mode, modes())}")
    return operators(_overridden(chosen, overrides).filters, bad_words)


def operators(filters: Iterable[Filter], bad_words: Iterable[str] = ()) -> tuple[Operator, ...]:
    """The operators of a list of filters. Texts are split where words are needed and those at hand are of another kind,
    or of a text that was edited since."""
    steps: list[Operator] = []
    split = ""
    for one in filters:
        readings = json.dumps(dict(one.readings), sort_keys=True, ensure_ascii=False)
        if one.name in _EDITORS:
            steps.append(EditC4(readings, tuple(sorted(bad_words))) if one.name == "c4" else EditLines(readings))
            split = ""
        else:
            if split != one.words:
                steps.append(Split(one.words))
                split = one.words
            steps.append(Measure(one.name, readings))
        steps.append(Decide(one.name, _rules(one)))
    return tuple(steps)


def _rules(one: Filter) -> tuple[Rule, ...]:
    """The rules that the filter's limits name, in their order."""
    combined = one.readings.get("symbols", "separate") != "separate"
    return tuple(
        Rule(statistic, side, limit, name)
        for limit_name, limit in one.limits.items()
        for statistic, side, name in _FAMILIES[one.name].rules[limit_name]
        if limit_name != "max_symbol_word_ratio" or (statistic == "symbol_ratio") == combined
    )


def _overridden(mode: Mode, overrides: Mapping[str, Mapping[str, float]]) -> Mode:
    filters = list(mode.filters)
    for name, values in overrides.items():
        places = [at for at, one in enumerate(filters) if one.name == name]
        if not places:
            raise RequestError(f"mode {mode.name} has no filter {name!r}{nearest(name, {one.name for one in filters})}")
        family = _FAMILIES[name]
        for limit, value in values.items():
            if limit in family.numbers:
                for at in places:
                    filters[at] = filters[at]._replace(readings={**filters[at].readings, limit: value})
            elif limit in family.rules:
                # A limit that the mode does not have comes last; of two filters of a family the one that has it.
                at = next((at for at in places if limit in filters[at].limits), places[-1])
                filters[at] = filters[at]._replace(limits={**filters[at].limits, limit: float(value)})
            else:
                raise RequestError(f"{name} has no limit {limit!r}{nearest(limit, [*family.rules, *family.numbers])}")
    return mode._replace(filters=tuple(filters))


@cache
def modes() -> Mapping[str, Mode]:
    """All modes by name, checked. Raises :class:`DataError` if the file has an unknown name or lacks a reading."""
    loaded = yaml.safe_load((files(__package__) / "modes.yaml").read_text("utf-8"))
    return {name: _mode(name, given) for name, given in loaded["modes"].items()}


def _mode(name: str, given: Mapping[str, Any]) -> Mode:
    filters = tuple(_filter(name, {"words": given["words"], **one}) for one in given["filters"])
    return Mode(name, given["source"], filters)


def _filter(mode: str, given: Mapping[str, Any]) -> Filter:
    name, readings, limits = given["filter"], given["readings"], given["limits"]
    if name not in _FAMILIES:
        raise DataError(f"modes.yaml: {mode} has an unknown filter {name!r}{nearest(name, _FAMILIES)}")
    family = _FAMILIES[name]
    if given["words"] not in SPLITTERS:
        raise DataError(
            f"modes.yaml: {mode} has an unknown splitter {given['words']!r}{nearest(given['words'], SPLITTERS)}"
        )
    expected = {*family.readings, *family.lists, *family.numbers}
    if set(readings) != expected:
        odd = ", ".join(sorted(set(readings) ^ expected))
        raise DataError(f"modes.yaml: {mode}: {name} has unknown readings, or lacks some: {odd}")
    for key, choices in family.readings.items():
        if readings[key] not in choices:
            raise DataError(f"modes.yaml: {mode}: {name} can't read {key} as {readings[key]!r}; known: {choices}")
    for limit, value in limits.items():
        if limit not in family.rules or isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"modes.yaml: {mode}: {name} has no limit {limit}: {value!r}{nearest(limit, family.rules)}")
    return Filter(name, given["words"], readings, {limit: float(value) for limit, value in limits.items()})
