"""Make a mixture: survey the corpora, allot the shares, draw the documents, write them with how often each is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.artifact.ledger import LEDGER
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import DataError
from groundup.stages.mix.allot import Part, allot, shares
from groundup.stages.mix.choose import Survey, copies
from groundup.stages.mix.config import MixConfig
from groundup.stages.mix.exhibits import exhibits
from groundup.stages.mix.survey import Sizes, batches, survey
from groundup.text.document import BYTES_PER_SHARD, COPIES, CORPUS, MIXED, ROWS_PER_GROUP
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
    total = sum(int(corpus.record.metrics["documents"]) for corpus in corpora)
    update = task.progress.update
    seen, found = survey(corpora, config.by, config.seed, lambda done: update("looking", done, total, "documents"))
    fresh = seen.first()
    rates = _rates(config, task, found)
    parts = _parts(config, seen, fresh, found, rates)
    times, verdict = _decide(seen, fresh, found.names, parts)
    if not (times[seen.train] > 0).any():
        raise DataError("the mixture holds no training document: it is smaller than one")
    sources = _write(corpora, times, verdict, task)
    measured = _measured(seen, times, fresh, found.names, parts, rates)
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


def _rates(config: MixConfig, task: Task, found: Sizes) -> dict[str, float]:
    """What a byte of each group counts: 1, or its tokens."""
    if config.tokenizer is None:
        return dict.fromkeys(found.names, 1.0)
    rates = found.tokens_per_byte(Tokenizer.load(task.input("tokenizer").path))
    return {name: rates.get(name, 0.0) for name in found.names}


def _parts(
    config: MixConfig, seen: Survey, fresh: npt.NDArray[np.bool_], found: Sizes, rates: dict[str, float]
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
    fresh: npt.NDArray[np.bool_],
    names: Sequence[str],
    parts: dict[str, Part],
    rates: dict[str, float],
) -> dict[str, dict[str, Any]]:
    """What came of each group, in the unit of the shares."""
    learnt = seen.train & (times > 0)
    got = np.bincount(seen.group, weights=seen.size * times * seen.train, minlength=len(names))
    documents = np.bincount(seen.group[learnt], minlength=len(names))
    whole = sum(float(got[number]) * rates[name] for number, name in enumerate(names))
    return {
        name: {
            "supply": round(parts[name].supply),
            "wanted_share": round(parts[name].wanted, 6),
            "share": round(float(got[number]) * rates[name] / whole, 6),
            "amount": round(float(got[number]) * rates[name]),
            "epochs": round(float(got[number]) * rates[name] / parts[name].supply, 4) if parts[name].supply else 0.0,
            "documents": int(documents[number]),
        }
        for number, name in enumerate(names)
    }


def _write(
    corpora: Sequence[Artifact], times: npt.NDArray[np.int32], verdict: npt.NDArray[np.int8], task: Task
) -> Counter[str]:
    """Write both tables; how many documents of each source are in the mixture."""
    place, sources = 0, Counter[str]()
    corpus, ledger = _Shards(task.payload / "corpus", MIXED), _Shards(task.payload / "ledger", LEDGER)
    for _, batch in batches(corpora, CORPUS.names):
        mine = slice(place, place + batch.num_rows)
        place += batch.num_rows
        table = pa.Table.from_batches([batch])
        taken = pa.array(times[mine] > 0)
        kept = table.append_column(COPIES, pa.array(times[mine], pa.int32())).filter(taken)
        corpus.write(kept.select(MIXED.names).cast(MIXED))
        sources.update(str(source) for source in kept.column("source").to_pylist())
        ledger.write(_ledger(table, verdict[mine], task.digest))
        task.progress.update("writing", place, len(times), "documents")
    corpus.close()
    ledger.close()
    return sources


def _ledger(table: pa.Table, verdict: npt.NDArray[np.int8], digest: str) -> pa.Table:
    rules = [_RULES.get(code, (None, None)) for code in verdict.tolist()]
    kept = [rule is None for rule, _ in rules]
    columns: dict[str, Any] = {
        "step": [None if stays else "mix" for stays in kept],
        "rule": [rule for rule, _ in rules],
        "detail": [detail for _, detail in rules],
        "split": [
            split if stays else None for split, stays in zip(table.column("split").to_pylist(), kept, strict=True)
        ],
        "pipeline": [digest] * len(rules),
    }
    there = set(table.schema.names) - set(columns)
    return pa.table(
        {
            field.name: table.column(field.name).cast(field.type)
            if field.name in there
            else pa.array(columns.get(field.name, [None] * len(rules)), field.type)
            for field in LEDGER
        },
        schema=LEDGER,
    )


class _Shards:
    """A table that is written as ``00000.parquet`` and on, a new file from BYTES_PER_SHARD; its bytes depend on the
    rows alone, not on how they come in."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir()
        self._folder, self._schema = folder, schema
        self._waiting: list[pa.Table] = []
        self._rows = self._size = self._number = 0
        self._writer = self._next()

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= ROWS_PER_GROUP:
            for group in self._groups():
                self._put(group)

    def close(self) -> None:
        """Write what is left."""
        if self._rows:
            self._put(pa.concat_tables(self._waiting))
        self._writer.close()

    def _groups(self) -> Iterator[pa.Table]:
        whole = pa.concat_tables(self._waiting)
        full = whole.num_rows // ROWS_PER_GROUP * ROWS_PER_GROUP
        self._waiting, self._rows = [whole.slice(full)], whole.num_rows - full
        for start in range(0, full, ROWS_PER_GROUP):
            yield whole.slice(start, ROWS_PER_GROUP)

    def _put(self, group: pa.Table) -> None:
        if self._size >= BYTES_PER_SHARD:
            self._writer.close()
            self._writer, self._size = self._next(), 0
        self._writer.write_table(group.combine_chunks(), row_group_size=ROWS_PER_GROUP)
        self._size += group.nbytes

    def _next(self) -> pq.ParquetWriter:
        path = self._folder / f"{self._number:05d}.parquet"
        self._number += 1
        return pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=3, write_page_index=False)
