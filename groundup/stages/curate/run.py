"""Pages to corpus: every step in order, every rejection counted and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup.artifact.stage import Outcome, Task
from groundup.base.errors import DataError
from groundup.base.machine import cores
from groundup.base.seeds import unit_interval
from groundup.stages.curate.config import CurateConfig
from groundup.stages.curate.dedup import Fingerprint, exact_twins, near_twins
from groundup.stages.curate.document import Document
from groundup.stages.curate.exhibits import show
from groundup.stages.curate.verdict import Refusal
from groundup.stages.curate.workers import WORTH_A_POOL, process_all
from groundup.text.benchmark import item_id, item_texts, read_rows
from groundup.text.document import CORPUS, REJECTS, count_rows, write_rows
from groundup.text.document import read_rows as read_table
from groundup.text.overlap import OverlapIndex, evidence


def run(config: CurateConfig, task: Task) -> Outcome:
    """Write ``corpus.parquet`` (ordered by id) and ``rejects.parquet`` (ordered by id)."""
    tables = sorted((artifact.file("pages.parquet") for artifact in task.inputs["pages"]), key=str)
    items, index = _index(config, task)
    documents = _through_own_steps(config, task, tables, index)
    documents = _without_exact_twins(documents)
    documents = _without_near_twins(documents, config)
    documents = _without_items(documents)
    kept = [document for document in documents if document.refusal is None]
    if not kept:
        raise DataError(_all_gone(documents))
    held_out = held_out_ids([document.id for document in kept], config.held_out, config.seed)
    write_rows(task.payload / "corpus.parquet", CORPUS, (_corpus_row(one, held_out) for one in kept))
    rejects = [document for document in documents if document.refusal is not None]
    write_rows(task.payload / "rejects.parquet", REJECTS, (_reject_row(one) for one in rejects))
    metrics = _metrics(documents, kept, held_out, items, config)
    show(task, config, documents, tables, metrics)
    return Outcome(metrics)


def held_out_ids(ids: Sequence[str], share: float, seed: int) -> frozenset[str]:
    """Which documents are set aside: those whose hash of seed and id falls below ``share``.

    A document's side never changes when others come or go. At least one is set aside if any share was asked for and
    there are two or more, so that there is always something to validate on.
    """
    places = {name: unit_interval(seed, "held_out", name) for name in ids}
    chosen = {name for name, place in places.items() if place < share}
    if not chosen and share > 0 and len(places) > 1:
        chosen = {min(places, key=lambda name: (places[name], name))}
    return frozenset(chosen)


def _index(config: CurateConfig, task: Task) -> tuple[dict[str, int], OverlapIndex]:
    counts: dict[str, int] = {}
    texts = []
    for benchmark in config.decontaminate or ():
        rows = read_rows(task.files[benchmark.rows])
        counts[benchmark.name] = counts.get(benchmark.name, 0) + len(rows)
        for number, row in enumerate(rows, 1):
            texts += [(benchmark.name, item_id(row, number), text) for text in item_texts(benchmark.name, row)]
    return counts, OverlapIndex.build(texts)


def _through_own_steps(config: CurateConfig, task: Task, tables: Sequence[Path], index: OverlapIndex) -> list[Document]:
    """Every page after the steps that need it alone, ordered by id whatever the order of inputs."""
    total = sum(count_rows(table) for table in tables)
    size = sum(table.stat().st_size for table in tables)
    workers = 1 if size < WORTH_A_POOL else config.workers or cores()
    documents = []
    for document in process_all(_pages(tables), config, index, workers):
        documents.append(document)
        task.progress.update("clean and filter", len(documents), total, "documents")
    return sorted(documents, key=lambda document: document.id)


def _pages(tables: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for table in tables:
        yield from read_table(table, batch_size=64)


def _alive(documents: Sequence[Document]) -> tuple[list[int], list[Fingerprint]]:
    places = [place for place, document in enumerate(documents) if document.keys is not None]
    return places, [keys for document in documents if (keys := document.keys) is not None]


def _without_exact_twins(documents: list[Document]) -> list[Document]:
    places, prints = _alive(documents)
    after = list(documents)
    for twin in exact_twins(prints):
        place, survivor = places[twin.dropped], prints[twin.kept].id
        after[place] = documents[place].dropped("exact_dedup", Refusal("duplicate", f"of {survivor}"))
    return after


def _without_near_twins(documents: list[Document], config: CurateConfig) -> list[Document]:
    if config.near_duplicates is None:
        return documents
    places, prints = _alive(documents)
    after = list(documents)
    for twin in near_twins(prints, config.near_duplicates.min_jaccard):
        place, survivor = places[twin.dropped], prints[twin.kept].id
        detail = f"of {survivor} (Jaccard similarity {twin.jaccard:.3f})"
        after[place] = documents[place].dropped("near_dedup", Refusal("near_duplicate", detail))
    return after


def _without_items(documents: list[Document]) -> list[Document]:
    places, _ = _alive(documents)
    after = list(documents)
    for place, hit in zip(places, evidence([documents[place].hits for place in places]), strict=True):
        if hit is None:
            after[place] = replace(documents[place], hits=())
        else:
            detail = f"item {hit.item_id}: {hit.ngrams} shared runs of words{', a whole text' if hit.whole else ''}"
            dropped = documents[place].dropped("decontaminate", Refusal(hit.benchmark, detail))
            after[place] = replace(dropped, hits=(hit,))
    return after


def _all_gone(documents: Sequence[Document]) -> str:
    if not documents:
        return "there are no pages to curate"
    reasons = Counter(document.reason for document in documents)
    reason, count = min(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return (
        f"no document is left of {len(documents)}; most ({count}) were dropped by {reason}: "
        "look at the pages, or loosen that rule"
    )


def _corpus_row(document: Document, held_out: frozenset[str]) -> dict[str, Any]:
    return {
        "id": document.id,
        "text": document.text,
        "source": document.source,
        "record": document.record,
        "url": document.url,
        "licence": document.licence,
        "language": document.language,
        "language_score": document.language_score,
        "split": "held_out" if document.id in held_out else "train",
        "chars": len(document.text),
    }


def _reject_row(document: Document) -> dict[str, Any]:
    assert document.refusal is not None
    return {
        "id": document.id,
        "source": document.source,
        "record": document.record,
        "step": document.step,
        "reason": document.reason,
        "detail": document.refusal.detail,
        "text": document.text,
    }


def _metrics(
    documents: Sequence[Document],
    kept: Sequence[Document],
    held_out: frozenset[str],
    items: dict[str, int],
    config: CurateConfig,
) -> dict[str, Any]:
    """Counts that belong to the result; the keys are sorted, so that equal results print equally."""
    found = Counter(document.source for document in documents)
    left = Counter(document.source for document in kept)
    chars = Counter[str]()
    redactions = Counter[str](dict.fromkeys(config.redact, 0))
    for document in kept:
        chars[document.source] += len(document.text)
        redactions.update(document.redactions or {})
    leaks = Counter(hit.benchmark for document in documents for hit in document.hits if document.refusal)
    rejected = Counter(document.reason for document in documents if document.refusal)
    return {
        "documents_in": len(documents),
        "documents": len(kept),
        "held_out": len(held_out),
        "page_bytes": sum(document.page_bytes for document in documents),
        "text_bytes": sum(len(document.text.encode()) for document in kept),
        "chars": sum(chars.values()),
        "rejected": dict(sorted(rejected.items())),
        "redactions": dict(sorted(redactions.items())),
        "sources": {
            source: {"pages": found[source], "documents": left[source], "chars": chars[source]}
            for source in sorted(found)
        },
        "contamination": {name: {"items": items[name], "documents": leaks[name]} for name in sorted(items)},
        "languages": dict(sorted(Counter(document.language for document in documents).items())),
    }
