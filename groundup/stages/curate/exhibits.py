"""What curation shows: the funnel, what each rule took, which rules go together, the sources, and pages to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from groundup.artifact.exhibit import Exhibit, Funnel, Sample, Samples, Table
from groundup.stages.curate.summary import Summary

_SHOWN_CHARS: Final = 700
_SHOWN_REASONS: Final = 12
_SHOWN_OVERLAPS: Final = 12
_LEAST_OVERLAP: Final = 3
_TITLES: Final = {
    "extract": "main text extracted",
    "repair": "characters repaired",
    "identify": "in a wanted language",
    "url": "from no listed address",
    "gopher_quality": "looks like running text",
    "gopher_repetition": "does not repeat itself",
    "c4": "has sentences enough",
    "fineweb": "prose, not a list",
    "line_rules": "keeps most of its words",
    "curator": "is mostly text",
    "toxicity": "insults nobody",
    "spam": "is no spam",
    "code": "code that people wrote",
    "quality": "reads like the good examples",
    "redact": "holds no personal data to drop for",
    "exact_dedup": "no exact duplicate",
    "repeated_text": "something of its own is left",
    "repeated_passages": "something of its own is left",
    "near_dedup": "no near duplicate",
    "decontaminate": "no benchmark item inside",
}


def show(found: Summary, steps: Sequence[str], struck: Mapping[str, int], html: str) -> list[Exhibit]:
    """The exhibits of a finished curation; ``steps`` are those that can drop a document, in order.

    ``struck`` counts what was struck from texts, by what it is; empty if none were looked for. ``html`` is the page of
    ``found.page`` as it came.
    """
    exhibits: list[Exhibit | None] = [
        funnel(found, steps),
        _rules(found),
        _overlaps(found),
        _sources(found),
        _struck(struck),
        _redactions(found),
        _contamination(found),
        _before_and_after(found, html),
        _kept(found),
        _dropped(found),
    ]
    return [exhibit for exhibit in exhibits if exhibit is not None]


def funnel(found: Summary, steps: Sequence[str]) -> Funnel:
    """How many documents each step left, and why it dropped the others."""
    left = found.pages
    shown: list[tuple[str, int, dict[str, int]]] = [("pages", left, {})]
    for step in steps:
        dropped = {
            reason.partition(":")[2]: count for reason, count in found.reasons.items() if reason.startswith(f"{step}:")
        }
        if step == "code" and not dropped:
            continue  # most corpora hold no source code, and its step would only puzzle
        left -= sum(dropped.values())
        shown.append((_TITLES.get(step, step.replace("_", " ")), left, dropped))
    return Funnel(
        title="From pages to documents",
        caption="Each step takes the pages that the one before it left; the reasons say what it dropped.",
        unit="documents",
        steps=tuple(shown),
    )


def _rules(found: Summary) -> Table | None:
    if not found.reasons:
        return None
    alone = _alone(found)
    rows = []
    for reason, count in found.reasons.items():
        chars = sum(group.chars for group in found.groups if group.reason == reason)
        rows.append(
            (
                reason,
                count,
                chars,
                alone.get(reason, ""),
                _most(found.count("language", reason=reason)),
                _most(found.count("licence", reason=reason)),
                ", ".join(f"{host} {number}" for host, number in found.domains_of(reason)[:3]),
            )
        )
    return Table(
        title="What each rule took",
        caption=(
            "A document is counted at the first rule that drops it. 'Alone' is of the pages that every rule saw: how "
            "many of those that break this rule break no other. Characters are those at that point of the way."
        ),
        columns=("rule", "documents", "characters", "alone", "languages", "licences", "hosts"),
        rows=tuple(rows),
    )


def _alone(found: Summary) -> dict[str, str]:
    """For each rule, ``3 of 20``: how many of the sampled pages that break it break no other."""
    breaks = {one: count for (one, other), count in found.overlap().items() if one == other}
    only: dict[str, int] = {}
    for rules, count in found.together.items():
        if len(set(rules)) == 1:
            only[rules[0]] = only.get(rules[0], 0) + count
    return {reason: f"{only.get(reason, 0)} of {count}" for reason, count in breaks.items()}


def _overlaps(found: Summary) -> Table | None:
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


def _sources(found: Summary) -> Table:
    pages, kept = found.count("source"), found.count("source", reason="")
    chars = found.count("source", of="chars", reason="")
    licences = {group.source: group.licence for group in found.groups}
    rows = tuple((name, pages[name], kept.get(name, 0), chars.get(name, 0), licences[name]) for name in pages)
    return Table(
        title="What is kept of each source",
        columns=("source", "pages", "documents kept", "characters kept", "licence"),
        rows=rows,
    )


def _struck(struck: Mapping[str, int]) -> Table | None:
    if not struck:
        return None
    return Table(
        title="Text that stands in several documents",
        caption="Struck from all documents but one.",
        columns=("what", "struck"),
        rows=tuple(struck.items()),
    )


def _redactions(found: Summary) -> Table | None:
    if not found.redactions:
        return None
    return Table(
        title="Personal data replaced",
        caption="Counted in the documents that were kept; the values are nowhere.",
        columns=("kind", "replaced"),
        rows=tuple(sorted(found.redactions.items())),
    )


def _contamination(found: Summary) -> Table | None:
    if not found.items:
        return None
    rows: list[tuple[str, int, int, int, str]] = []
    for name, items in sorted(found.items.items()):
        hit = {item: count for (benchmark, item), count in found.hits.items() if benchmark == name}
        worst = sorted(hit.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
        rows.append((name, items, len(hit), sum(hit.values()), ", ".join(f"{item} ({count})" for item, count in worst)))
    return Table(
        title="Benchmark items found in the pages",
        caption="A document that holds one is dropped, so that the scores measure what was learned, not remembered.",
        columns=("benchmark", "items", "items found", "documents dropped", "most often"),
        rows=tuple(rows),
    )


def _before_and_after(found: Summary, html: str) -> Samples | None:
    page = found.page
    if page is None:
        return None
    raw = " ".join(html[max(0, html.lower().find("<body")) :].split())
    return Samples(
        title="A page before and after",
        samples=(
            Sample(label=f"{page['record']}: as it came", parts=((_short(raw), "plain"),)),
            Sample(label=f"{page['record']}: as it is kept", parts=((_short(page["text"]), "kept"),)),
        ),
    )


def _kept(found: Summary) -> Samples | None:
    samples = tuple(_samples(found.samples.get("", ())))
    return Samples(title="Documents as they are kept", samples=samples) if samples else None


def _dropped(found: Summary) -> Samples | None:
    """The first document, by id, of each of the most frequent reasons."""
    shown = [
        Sample(
            label=f"{reason} ({row['detail']}): {row['source']} {row['record']}",
            parts=((_short(row["text"]), "plain"),),
        )
        for reason in list(found.reasons)[:_SHOWN_REASONS]
        for row in found.samples.get(reason, ())[:1]
        if row["text"]
    ]
    if not shown:
        return None
    return Samples(
        title="Pages that were dropped",
        caption=(
            "One page for each of the most frequent reasons. All are in rejects/, and 'groundup show CORPUS --why ID' "
            "tells what happened to any page."
        ),
        samples=tuple(shown),
    )


def _samples(rows: Sequence[Any]) -> Iterator[Sample]:
    for row in rows:
        yield Sample(label=f"{row['source']}: {row['record']}", parts=((_short(row["text"]), "kept"),))


def _most(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    return ", ".join(f"{name} {count}" for name, count in ordered)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS].rstrip() + " …"
