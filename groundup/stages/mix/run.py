"""Make a mixture: survey the corpora, allot the shares, draw the documents, write them with how often each is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from groundup.artifact import ledger
from groundup.artifact.ledger import LEDGER
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import DataError
from groundup.stages.mix.allot import Part, allot, shares
from groundup.stages.mix.choose import Survey, copies
from groundup.stages.mix.config import MixConfig
from groundup.stages.mix.exhibits import exhibits
from groundup.stages.mix.owners import owners_of
from groundup.stages.mix.survey import Groups, batches, documents_of, survey
from groundup.text.document import COPIES, CORPUS, MIXED, write_shards
from groundup.text.tokenizer import Tokenizer

_KEPT, _DUPLICATE, _LEFT_OUT, _NOT_DRAWN = range(4)
_RULES: Final = {
    _DUPLICATE: ("duplicate", "an earlier document of the mixture has its id or its text"),
    _LEFT_OUT: ("left_out", "its group has no share"),
    _NOT_DRAWN: ("not_drawn", "the mixture takes less of its group than there is"),
}


def run(config: MixConfig, task: Task) -> Outcome:
    """Write ``corpus/``, with a column ``copies``, and ``ledger/``, a row for every document of every input."""
    corpora = task.inputs["corpora"]
    seen, found = survey(corpora, config.by, config.seed, task.progress)
    fresh = seen.first()
    rates = _rates(config, task, found)
    parts = _parts(config, seen, fresh, found, rates)
    times, verdict = _decide(seen, fresh, found.names, parts)
    if not (times[seen.train] > 0).any():
        raise DataError("the mixture holds no training document: it is smaller than one")
    sources = _write(corpora, times, verdict, task)
    measured = _measured(seen, times, found.names, parts, rates)
    unit = "tokens" if config.tokenizer else "bytes"
    task.show(*exhibits(measured, parts, unit, int((~fresh).sum())))
    held_out = int(((times > 0) & ~seen.train).sum())
    return Outcome(
        metrics={
            "documents_in": len(times),
            "documents": int((times > 0).sum()),
            "held_out": held_out,
            "text_bytes": int((seen.size * (times > 0)).sum()),
            "training_bytes": int((seen.size * times)[seen.train].sum()),
            "readings": int(times.sum()),
            "duplicates": int((~fresh).sum()),
            "sources": {source: {"documents": count} for source, count in sorted(sources.items())},
            "unit": unit,
            "by": config.by,
            "mixture": measured,
        }
    )


def _rates(config: MixConfig, task: Task, found: Groups) -> dict[str, float]:
    """What a byte of each group counts: 1, or its tokens."""
    if config.tokenizer is None:
        return dict.fromkeys(found.names, 1.0)
    rates = found.tokens_per_byte(Tokenizer.load(task.input("tokenizer").path))
    return {name: rates.get(name, 0.0) for name in found.names}


def _parts(
    config: MixConfig, seen: Survey, fresh: npt.NDArray[np.bool_], found: Groups, rates: dict[str, float]
) -> dict[str, Part]:
    counts = fresh & seen.train
    size = np.bincount(seen.group[counts], weights=seen.size[counts], minlength=len(found.names))
    supply = {name: float(size[number]) * rates[name] for number, name in enumerate(found.names)}
    wanted = shares(supply, config.shares, config.temperature)
    caps = {name: config.caps.get(name, config.max_epochs) for name in supply}
    have = sum(supply[name] for name in supply if wanted[name] > 0)
    if config.size is not None:
        total = float(config.size)
    elif config.length is not None:
        total = config.length.value * (have if config.length.unit == "epochs" else 1.0)
    else:
        total = have
    return allot(supply, wanted, caps, total, config.when_short)


def _decide(
    seen: Survey, fresh: npt.NDArray[np.bool_], names: Sequence[str], parts: dict[str, Part]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8]]:
    """How often each document is read, int32 (documents,), and the verdict on it."""
    times = np.zeros(len(seen.group), dtype=np.int32)
    verdict = np.full(len(seen.group), _DUPLICATE, dtype=np.int8)
    for number, name in enumerate(names):
        mine = fresh & (seen.group == number)
        asked = parts[name].amount > 0
        verdict[mine] = _NOT_DRAWN if asked else _LEFT_OUT
        if asked:
            learnt = np.flatnonzero(mine & seen.train)
            times[learnt] = copies(seen.draw[learnt], seen.size[learnt], parts[name].epochs)
            times[mine & ~seen.train] = 1
    verdict[times > 0] = _KEPT
    return times, verdict


def _measured(
    seen: Survey,
    times: npt.NDArray[np.int32],
    names: Sequence[str],
    parts: dict[str, Part],
    rates: dict[str, float],
) -> dict[str, dict[str, Any]]:
    """What came of each group, in the unit of the shares."""
    learnt = seen.train & (times > 0)
    read = np.bincount(seen.group, weights=seen.size * times * seen.train, minlength=len(names))
    amounts = {name: float(read[number]) * rates[name] for number, name in enumerate(names)}
    documents = np.bincount(seen.group[learnt], minlength=len(names))
    whole = sum(amounts.values())
    return {
        name: {
            "supply": round(parts[name].supply),
            "wanted_share": round(parts[name].wanted, 6),
            "share": round(amounts[name] / whole, 6),
            "amount": round(amounts[name]),
            "epochs": round(amounts[name] / parts[name].supply, 4) if parts[name].supply else 0.0,
            "documents": int(documents[number]),
        }
        for number, name in enumerate(names)
    }


def _write(
    corpora: Sequence[Artifact], times: npt.NDArray[np.int32], verdict: npt.NDArray[np.int8], task: Task
) -> Counter[str]:
    """Write both tables, a pass over the corpora each; how many documents of each source are in the mixture."""
    sources = Counter[str]()

    def taken() -> Iterator[dict[str, Any]]:
        for place, _, row in _rows(corpora, CORPUS.names, task, "writing the corpus"):
            if times[place]:
                sources[row["source"]] += 1
                yield {**row, COPIES: int(times[place])}

    def decided() -> Iterator[dict[str, Any]]:
        columns = [name for name in CORPUS.names if name in LEDGER.names]
        last, owner = None, None
        for place, corpus, row in _rows(corpora, columns, task, "writing the ledger"):
            if corpus is not last or owner is None:
                last, owner = corpus, owners_of(corpus)
            rule, detail = _RULES.get(int(verdict[place]), (None, None))
            gone = {"step": "mix", "rule": rule, "detail": detail, "split": None} if rule else {}
            yield {**row, **owner(row["id"]), **gone, "pipeline": task.digest}

    write_shards(task.payload, "corpus", MIXED, taken())
    ledger.write_shards(task.payload / "ledger", decided())
    return sources


def _rows(
    corpora: Sequence[Artifact], columns: Sequence[str], task: Task, phase: str
) -> Iterator[tuple[int, Artifact, dict[str, Any]]]:
    """The documents of all corpora as dictionaries, numbered in their order, each with its corpus."""
    place, total = 0, documents_of(corpora)
    for corpus, batch in batches(corpora, columns):
        for row in batch.to_pylist():
            yield place, corpus, row
            place += 1
        task.progress.update(phase, place, total, "documents")
