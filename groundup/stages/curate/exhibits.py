"""What curation shows: the funnel, the sources, what was redacted, and pages to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from groundup.artifact.exhibit import Funnel, Sample, Samples, Table
from groundup.artifact.stage import Task
from groundup.stages.curate.config import CurateConfig
from groundup.stages.curate.document import Document
from groundup.stages.curate.extract import HTML, decode_html
from groundup.text.document import read_rows

_SHOWN_CHARS: Final = 400
_SHOWN_REJECTS: Final = 4
_TITLES: Final = {
    "extract": "main text extracted",
    "repair": "characters repaired",
    "identify": "in a wanted language",
    "gopher_quality": "looks like running text",
    "gopher_repetition": "does not repeat itself",
    "fineweb": "prose, not a list",
    "exact_dedup": "no exact duplicate",
    "near_dedup": "no near duplicate",
    "decontaminate": "no benchmark item inside",
}


def show(
    task: Task, config: CurateConfig, documents: Sequence[Document], tables: Sequence[Path], metrics: dict[str, Any]
) -> None:
    """Hand the exhibits of a finished curation to the task."""
    task.show(funnel(config, documents), _sources(documents, metrics))
    if config.redact:
        task.show(_redactions(metrics))
    if config.decontaminate:
        task.show(_contamination(metrics))
    if before_after := _before_after(documents, tables):
        task.show(before_after)
    if any(document.refusal for document in documents):
        task.show(_rejected(documents))


def funnel(config: CurateConfig, documents: Sequence[Document]) -> Funnel:
    """How many documents each step left, and why it dropped the others."""
    steps = ["extract", "repair", "identify", *config.filters, "exact_dedup"]
    steps += ["near_dedup"] if config.near_duplicates else []
    steps += ["decontaminate"] if config.decontaminate else []
    left = len(documents)
    shown: list[tuple[str, int, dict[str, int]]] = [("pages", left, {})]
    for step in steps:
        dropped = Counter(document.refusal.rule for document in documents if document.refusal and document.step == step)
        left -= dropped.total()
        shown.append((_TITLES[step], left, dict(sorted(dropped.items(), key=lambda pair: (-pair[1], pair[0])))))
    return Funnel(
        title="From pages to documents",
        caption="Each step takes the pages that the one before it left; the reasons say what it dropped.",
        unit="documents",
        steps=tuple(shown),
    )


def _sources(documents: Sequence[Document], metrics: dict[str, Any]) -> Table:
    licences = {document.source: document.licence for document in documents}
    rows = tuple(
        (source, counts["pages"], counts["documents"], counts["chars"], licences[source])
        for source, counts in metrics["sources"].items()
    )
    return Table(
        title="What is kept of each source",
        columns=("source", "pages", "documents kept", "characters kept", "licence"),
        rows=rows,
    )


def _redactions(metrics: dict[str, Any]) -> Table:
    return Table(
        title="Personal data replaced by a label",
        caption="Counted in the documents that were kept.",
        columns=("kind", "replaced"),
        rows=tuple(metrics["redactions"].items()),
    )


def _contamination(metrics: dict[str, Any]) -> Table:
    return Table(
        title="Benchmark items found in the pages",
        caption="A document that holds one is dropped, so that the scores measure what was learned, not remembered.",
        columns=("benchmark", "items", "documents dropped"),
        rows=tuple((name, one["items"], one["documents"]) for name, one in metrics["contamination"].items()),
    )


def _before_after(documents: Sequence[Document], tables: Sequence[Path]) -> Samples | None:
    """One kept HTML page as it came and as it is kept; the first by id, so that it is always the same."""
    kept = {document.id: document for document in documents if document.refusal is None}
    pages = (page for table in tables for page in read_rows(table, ["id", "media_type"]))
    wanted = min((page["id"] for page in pages if page["media_type"] == HTML and page["id"] in kept), default=None)
    if wanted is None:
        return None
    content = next(
        page["content"] for table in tables for page in read_rows(table, ["id", "content"]) if page["id"] == wanted
    )
    document = kept[wanted]
    html = decode_html(content)
    raw = " ".join(html[max(0, html.lower().find("<body")) :].split())
    samples = (
        Sample(label=f"{document.record}: as it came", parts=((_short(raw), "plain"),)),
        Sample(label=f"{document.record}: as it is kept", parts=((_short(document.text), "kept"),)),
    )
    return Samples(title="A page before and after", samples=samples)


def _rejected(documents: Sequence[Document]) -> Samples:
    """The first document, by id, of each of the most frequent reasons."""
    dropped = [document for document in documents if document.refusal and document.text]
    order = sorted(Counter(document.reason for document in dropped).items(), key=lambda pair: (-pair[1], pair[0]))
    firsts = [next(one for one in dropped if one.reason == reason) for reason, _ in order[:_SHOWN_REJECTS]]
    return Samples(
        title="Pages that were dropped",
        caption="One page for each of the most frequent reasons; all are in rejects.parquet.",
        samples=tuple(
            Sample(
                label=f"{one.reason} ({one.refusal.detail}): {one.source} {one.record}" if one.refusal else one.reason,
                parts=((_short(one.text), "plain"),),
            )
            for one in firsts
        ),
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS].rstrip() + " …"
