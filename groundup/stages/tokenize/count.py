"""Counting the words of a corpus on disk: each unit of it by itself, then equal words of all units together.

- :class:`CountWords` cuts the training documents of a unit (a few row groups) into words and writes them with their
  counts as sorted runs. It holds the words in memory until they take ``budget`` bytes, then writes a run and starts
  anew.
- :class:`SumWords` adds up one partition of all runs: all words whose keys are in a range.

A job is whole or absent, so a kill loses what is under way and no more. The counts don't depend on the number of
workers, the budget, or the order in which jobs are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.base.files import sha256_json
from groundup.base.runner import units
from groundup.base.runner.runs import read_partition, write_run
from groundup.stages.tokenize.weigh import PARTS, Group
from groundup.stages.tokenize.word_keys import word_keys
from groundup.text.bpe.splitter import Splitter
from groundup.text.bpe.words import WordCounter
from groundup.text.document import COPIES

BUDGET: Final = 1 << 29
"""Bytes of words in memory of a counting process; to grow and to write them takes up to three times as much."""
WORDS: Final = "words.parquet"

_INT64: Final[pa.DataType] = pa.int64()
_BYTES: Final[pa.DataType] = pa.large_binary()
_RUN: Final = pa.schema({"word": _BYTES, "group": pa.int32(), "count": _INT64})
_SUMS: Final = pa.schema({"word": _BYTES, "count": _INT64, "size": pa.int32()})
_COLUMNS: Final = ("text", "split", "source", "language")
_compute: Any = pc


@dataclass(frozen=True)
class CountWords:
    """Writes ``run-0.arrow`` and so on. ``pre_tokenizer`` is as in ``tokenizer.json``.

    With ``by_group``, words of each source and language are counted apart.
    """

    pre_tokenizer: Mapping[str, Any]
    nfc: bool
    by_group: bool
    partitions: int
    budget: int = field(default=BUDGET, compare=False)

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["count words", 1, self.pre_tokenizer, self.nfc, self.by_group, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Count the words of a unit; ``bytes`` and ``documents`` by group are as often as the documents are read."""
        unit: units.Unit = payload
        splitter = Splitter.parse(self.pre_tokenizer)
        counters: dict[Group, WordCounter] = {}
        sizes, languages = Counter[Group](), Counter[str]()
        runs: list[list[Group]] = []
        for group, language, copies, texts in _parts(unit, self.by_group):
            if self.nfc:
                texts = _compute.utf8_normalize(texts, form="NFC")
            counters.setdefault(group, WordCounter(splitter)).add(texts, weight=copies)
            sizes[group] += copies * (_compute.sum(_compute.binary_length(texts)).as_py() or 0)
            languages[language] += copies * len(texts)
            if sum(counter.nbytes for counter in counters.values()) > self.budget:
                runs.append(self._spill(folder, len(runs), counters))
        if counters:
            runs.append(self._spill(folder, len(runs), counters))
        return {
            "runs": runs,
            "bytes": [[*group, size] for group, size in sorted(sizes.items())],
            "languages": dict(sorted(languages.items())),
        }

    def _spill(self, folder: Path, number: int, counters: dict[Group, WordCounter]) -> list[Group]:
        """Write the words as a run and forget them; the groups that its numbers stand for."""
        groups = sorted(counters)
        parts = []
        for index, group in enumerate(groups):
            table = counters.pop(group).table()
            which = pa.array(np.full(table.num_rows, index, np.int32))
            parts.append(
                pa.table([table.column("word").cast(pa.large_binary()), which, table.column("count")], schema=_RUN)
            )
        table = pa.concat_tables(parts)
        write_run(folder / run_name(number), table, word_keys(table.column("word")), self.partitions)
        return groups


def run_name(number: int) -> str:
    """The file of a job's n-th run."""
    return f"run-{number}.arrow"


def _parts(unit: units.Unit, by_group: bool) -> Iterator[tuple[Group, str, int, Any]]:
    """(group, language, copies, texts) of the unit's training documents."""
    with pq.ParquetFile(unit.path) as file:
        has_copies = COPIES in file.schema_arrow.names
    names = ["source", "language", *([COPIES] if has_copies else [])]
    for batch in units.read(unit, [*_COLUMNS, *names[2:]]):
        table = pa.table(batch).filter(_compute.equal(batch["split"], "train"))
        kinds = table.group_by(names, use_threads=False).aggregate([]).sort_by([(name, "ascending") for name in names])
        for kind in kinds.to_pylist():
            copies = int(kind.get(COPIES, 1))
            wanted = np.ones(table.num_rows, np.bool_)
            for name in names:
                wanted &= _compute.equal(table.column(name), kind[name]).to_numpy()
            texts = table.column("text").filter(pa.array(wanted))
            if copies > 0:
                group = (kind["source"], kind["language"]) if by_group else ("", "")
                yield group, kind["language"], copies, texts


@dataclass(frozen=True)
class Runs:
    """One partition of all runs: their files, and the groups that the numbers in each stand for."""

    number: int
    paths: Sequence[Path]
    groups: Sequence[Sequence[Group]]


@dataclass(frozen=True)
class SumWords:
    """Writes ``words.parquet``: the different words of a partition, most frequent first, equals by their bytes.

    ``factors`` says by how much a group's counts are multiplied (see :mod:`.weigh`); empty if all count the same.
    """

    factors: Mapping[Group, float]

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["sum words", 1, [[*group, factor] for group, factor in sorted(self.factors.items())]])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Add up; ``total`` is of the bytes of all words, as often as they count."""
        runs: Runs = payload
        if self.factors:
            table = self._weighted(runs)
        else:
            table = read_partition(runs.paths, runs.number).select(["word", "count"])
        table = table.group_by("word", use_threads=False).aggregate([("count", "sum")])
        table = table.rename_columns(["word", "count"]).filter(_compute.greater(table.column(1), 0))
        table = table.sort_by([("count", "descending"), ("word", "ascending")])
        sizes = _compute.binary_length(table.column("word")).cast(pa.int32())
        table = pa.table([table.column("word"), table.column("count"), sizes], schema=_SUMS)
        pq.write_table(table, folder / WORDS, compression="zstd", row_group_size=1 << 17)
        counts, lengths = table.column("count").to_numpy(), sizes.to_numpy()
        return {"words": table.num_rows, "total": int(np.dot(counts, lengths.astype(np.int64)))}

    def _weighted(self, runs: Runs) -> pa.Table:
        """The words by group, each count multiplied and rounded: not before it is the group's whole count."""
        names = sorted(self.factors)
        number = {group: index for index, group in enumerate(names)}
        parts = []
        for path, groups in zip(runs.paths, runs.groups, strict=True):
            table = read_partition([path], runs.number)
            place = np.array([number.get(group, -1) for group in groups], np.int32)
            which = pa.array(place[table.column("group").to_numpy()])
            parts.append(pa.table({"word": table.column("word"), "group": which, "count": table.column("count")}))
        whole = pa.concat_tables(parts).group_by(["word", "group"], use_threads=False).aggregate([("count", "sum")])
        factor = np.array([*(self.factors[name] for name in names), 0.0])  # what has no factor is numbered -1
        times = factor[whole.column("group").to_numpy()] * PARTS
        counts = np.floor(whole.column("count_sum").to_numpy() * times + 0.5).astype(np.int64)
        return pa.table({"word": whole.column("word"), "count": counts})
