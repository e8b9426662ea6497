"""What curation shows: the funnel, the tables of removals, the sources, and pages to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from groundup.artifact.exhibit import Exhibit, Funnel, Sample, Samples, Table
from groundup.stages.curate.reasons import in_words
from groundup.stages.curate.redaction.redact import find, redact
from groundup.stages.curate.redaction.spans import KINDS
from groundup.stages.curate.removals import by_origin, by_rule, origins_by_rule, overlaps, tokens_about
from groundup.stages.curate.summary import Summary

_SHOWN_CHARS: Final = 700
_LOOKED_AT: Final = 1000
"""Characters of which a sample is made: fewer than are at hand, so that no value in them is cut off."""
_SHOWN_REASONS: Final = 100
"""Rules whose samples are in the report. Folded away they are no trouble, but a report has to open."""
_SHOWN_SHARDS: Final = 5
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
    "semantic_dedup": "says something of its own",
    "decontaminate": "no benchmark item inside",
}


def show(found: Summary, steps: Sequence[str], struck: Mapping[str, int], html: str) -> list[Exhibit]:
    """The exhibits of a finished curation; ``steps`` are those that can drop a document, in order.

    ``struck`` counts what was struck from texts, by what it is; empty if none were looked for. ``html`` is the page of
    ``found.page`` as it came.
    """
    exhibits: list[Exhibit | None] = [
        funnel(found, steps),
        by_rule(found),
        origins_by_rule(found),
        by_origin(found),
        overlaps(found),
        _sources(found),
        _struck(struck),
        _redactions(found),
        _contamination(found),
        _contaminated_shards(found),
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


def _sources(found: Summary) -> Table:
    pages, kept = found.count("source"), found.count("source", reason="")
    chars = found.count("source", of="chars", reason="")
    licences = {group.source: group.licence for group in found.groups}
    rows = tuple(
        (name, pages[name], kept.get(name, 0), chars.get(name, 0), tokens_about(chars.get(name, 0)), licences[name])
        for name in pages
    )
    return Table(
        title="What is kept of each source",
        columns=("source", "pages", "documents kept", "characters kept", "tokens (about)", "licence"),
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


def _contaminated_shards(found: Summary) -> Table | None:
    """Where the items were: the shards of pages with the most, of each benchmark."""
    rows = [
        (benchmark, shard, count)
        for benchmark in sorted(found.items)
        for shard, count in list(found.shards_of(benchmark).items())[:_SHOWN_SHARDS]
    ]
    if not rows:
        return None
    return Table(
        title="Where benchmark items were found",
        caption=(
            f"Shards of pages, as ARTIFACT/FILE, with the documents that held an item: the {_SHOWN_SHARDS} with the "
            "most for each benchmark. contamination/ names all, with the item and the document."
        ),
        columns=("benchmark", "shard", "documents"),
        rows=tuple(rows),
    )


def _before_and_after(found: Summary, html: str) -> Samples | None:
    page = found.page
    if page is None:
        return None
    raw = " ".join(html[max(0, html.lower().find("<body")) :].split())[: 4 * _SHOWN_CHARS]
    return Samples(
        title="A page before and after",
        samples=(
            Sample(label=_labelled(f"{page['record']}: as it came"), parts=((_short(_labelled(raw)), "plain"),)),
            Sample(label=_labelled(f"{page['record']}: as it is kept"), parts=((_short(page["text"]), "kept"),)),
        ),
    )


def _kept(found: Summary) -> Samples | None:
    samples = tuple(_samples(found.samples.get("", ())))
    return Samples(title="Documents as they are kept", samples=samples) if samples else None


def _dropped(found: Summary) -> Samples | None:
    """The first documents, by id, of each reason, under the reason in words."""
    shown = [
        Sample(
            label=_labelled(f"{row['source']} {row['record']}") + (f" ({row['detail']})" if row["detail"] else ""),
            parts=((_short(_labelled(row["text"])), "plain") if row["text"] else ("no text was extracted", "note"),),
            fold=f"{reason}: {in_words(reason)} ({count})",
        )
        for reason, count in list(found.reasons.items())[:_SHOWN_REASONS]
        for row in found.samples.get(reason, ())
    ]
    if not shown:
        return None
    return Samples(
        title="Pages that were dropped",
        caption=(
            "Up to three pages for each rule, the first by id; open a rule to read them. In brackets is what was "
            "measured. Personal data is labelled here, and not in rejects/, which has them all. 'groundup show CORPUS "
            "--why ID' tells what happened to any page."
        ),
        samples=tuple(shown),
    )


def _samples(rows: Sequence[Any]) -> Iterator[Sample]:
    for row in rows:
        yield Sample(label=_labelled(f"{row['source']}: {row['record']}"), parts=((_short(row["text"]), "kept"),))


def _labelled(text: str) -> str:
    """The beginning of a text that was not redacted, fit to be shown, whatever the corpus keeps."""
    end = min([_LOOKED_AT, *(span.start for span in find(text, KINDS) if span.end > _LOOKED_AT)])
    return redact(text[:end], dict.fromkeys(KINDS, "label"))[0]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS].rstrip() + " …"
