"""The report's tables of what curation took away: by rule, by where it came from, and which rules go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from groundup.artifact.exhibit import Cell, Table
from groundup.stages.curate.summary import UNKNOWN, Summary

CHARS_PER_TOKEN: Final = 4.0
"""The usual rule of thumb for English and vocabularies of some ten thousand tokens: curation runs before there is a
tokenizer. Other scripts have fewer characters a token, Chinese between one and two."""

_ASSUMED: Final = (
    f"Tokens are characters divided by {CHARS_PER_TOKEN:g}, the rule of thumb for English; there is no tokenizer yet."
)
_IN_A_CELL: Final = 3
_MOST_ORIGINS: Final = 8
_SHOWN_OVERLAPS: Final = 12
_LEAST_OVERLAP: Final = 3


def tokens_about(chars: int) -> int:
    """How many tokens so many characters are, by the rule of thumb.

    >>> tokens_about(4001)
    1000
    """
    return round(chars / CHARS_PER_TOKEN)


def by_rule(found: Summary) -> Table | None:
    """How much each rule took."""
    if not found.reasons:
        return None
    alone = _alone(found)
    chars = found.count("reason", of="chars")
    rows = [
        (reason, count, f"{count / found.pages:.1%}", tokens_about(chars[reason]) or None, alone.get(reason, ""))
        for reason, count in found.reasons.items()
    ]
    return Table(
        title="What each rule took",
        caption=(
            "A document is counted at the first rule that drops it, and its tokens as they were at that point of the "
            "way: none before its text was extracted. 'Alone' is of the pages that every rule saw: how many of those "
            f"that break this rule break no other. {_ASSUMED}"
        ),
        columns=("rule", "documents", "of all pages", "tokens (about)", "alone"),
        rows=tuple(rows),
    )


def origins_by_rule(found: Summary) -> Table | None:
    """Where the documents came from that each rule took."""
    if not found.reasons:
        return None
    rows = [
        (
            reason,
            _most(found.count("language", reason=reason)),
            _most(found.count("licence", reason=reason)),
            _most(dict(found.domains_of(reason)), sum(1 for _, why in found.domains if why == reason)),
        )
        for reason in found.reasons
    ]
    return Table(
        title="Whose documents each rule took",
        caption=f"Documents by language, licence and domain of the address: the {_IN_A_CELL} with the most of each.",
        columns=("rule", "languages", "licences", "domains"),
        rows=tuple(rows),
    )


def by_origin(found: Summary) -> Table | None:
    """What languages, licences and domains lost, those that lost the most first."""
    if not found.reasons:
        return None
    rows: list[tuple[Cell, ...]] = []
    for name in ("language", "licence"):
        rows += _rows(name, _by_group(found, name), _chars(found, name))
    rows += _rows("domain", _by_domain(found), None)
    return Table(
        title="Who lost what",
        caption=(
            f"The {_MOST_ORIGINS} languages, licences and domains that lost the most documents, with the rule that "
            f"took most of them. {_ASSUMED} They are not counted by domain."
        ),
        columns=("by", "which", "pages", "removed", "share", "tokens removed (about)", "most often by"),
        rows=tuple(rows),
    )


def _rows(by: str, found: Mapping[str, Counter[str]], chars: Mapping[str, int] | None) -> Iterator[tuple[Cell, ...]]:
    """Rows of one kind of origin; those beyond the first few in one row."""
    lost = {name: counts.total() - counts[""] for name, counts in found.items()}
    ordered = sorted((name for name in found if lost[name]), key=lambda name: (-lost[name], name))
    rest = Counter[str]()
    for name in ordered[_MOST_ORIGINS:]:
        rest.update(found[name])
    shown = [(name, found[name], None if chars is None else chars[name]) for name in ordered[:_MOST_ORIGINS]]
    if rest:
        many = len(ordered) - _MOST_ORIGINS
        last = None if chars is None else sum(chars[name] for name in ordered[_MOST_ORIGINS:])
        shown.append((f"{many} more", rest, last))
    for name, counts, removed in shown:
        gone = Counter({reason: count for reason, count in counts.items() if reason})
        number, pages = gone.total(), counts.total()
        rule, most = min(gone.items(), key=lambda pair: (-pair[1], pair[0]))
        tokens = None if removed is None else tokens_about(removed)
        yield by, name, pages, number, f"{number / pages:.0%}", tokens, f"{rule} {most}"


def _by_group(found: Summary, name: str) -> dict[str, Counter[str]]:
    """For each language (or licence) its documents by reason; the empty one for those that stay."""
    counts: dict[str, Counter[str]] = {}
    for group in found.groups:
        counts.setdefault(getattr(group, name) or UNKNOWN, Counter())[group.reason] += group.documents
    return counts


def _chars(found: Summary, name: str) -> Counter[str]:
    """For each language (or licence) the characters that were removed."""
    chars = Counter[str]()
    for group in found.groups:
        if group.reason:
            chars[getattr(group, name) or UNKNOWN] += group.chars
    return chars


def _by_domain(found: Summary) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for (host, reason), count in found.domains.items():
        counts.setdefault(host, Counter())[reason] += count
    return counts


def _alone(found: Summary) -> dict[str, str]:
    """For each rule, ``3 of 20``: how many of the sampled pages that break it break no other."""
    breaks = {one: count for (one, other), count in found.overlap().items() if one == other}
    only = Counter[str]()
    for rules, count in found.together.items():
        if len(set(rules)) == 1:
            only[rules[0]] += count
    return {reason: f"{only[reason]} of {count}" for reason, count in breaks.items()}


def overlaps(found: Summary) -> Table | None:
    """Pairs of rules that take the same pages, the strongest first."""
    both = found.overlap()
    pairs = [
        (count / (both[one, one] + both[other, other] - count), one, other, count)
        for (one, other), count in both.items()
        if one < other and count >= _LEAST_OVERLAP
    ]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    sampled = sum(found.together.values())
    return Table(
        title="Rules that take the same pages",
        caption=(
            f"Of {sampled} pages that every rule saw, whatever earlier ones said: how many break both, and what share "
            "that is of those that break either."
        ),
        columns=("rule", "and", "both", "share"),
        rows=tuple((one, other, count, f"{share:.0%}") for share, one, other, count in pairs[:_SHOWN_OVERLAPS]),
    )


def _most(counts: Mapping[str, int], of: int | None = None) -> str:
    """``eng_Latn 12, deu_Latn 3, 2 more``; ``of``: how many there are, where ``counts`` is not all."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{name} {count}" for name, count in ordered[:_IN_A_CELL]]
    left = (len(ordered) if of is None else of) - len(shown)
    return ", ".join([*shown, *([f"{left} more"] if left > 0 else [])])
