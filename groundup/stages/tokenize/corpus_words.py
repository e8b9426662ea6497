"""The words of a corpus to learn from: counted in jobs, weighed, chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from groundup.artifact.stage import Artifact, Task
from groundup.base.errors import DataError
from groundup.base.files import sha256_json
from groundup.base.machine import cores
from groundup.base.runner import units
from groundup.base.runner.crew import Crew
from groundup.base.runner.jobs import Done, Job
from groundup.base.runner.runs import partitions_for
from groundup.stages.tokenize.choose import Limits, choose
from groundup.stages.tokenize.config import TokenizerConfig
from groundup.stages.tokenize.count import WORDS, CountWords, Runs, SumWords, run_name
from groundup.stages.tokenize.weigh import PARTS, Group, factors
from groundup.text.document import tables

UNIT_BYTES: Final = 64 << 20
"""Text of a counting job, uncompressed: what a kill can cost each worker."""
PARTITION_BYTES: Final = 256 << 20
"""Text of which one partition has the words."""
WORTH_A_POOL: Final = 32 << 20
"""Bytes from which starting processes (a second or two each) pays."""

_JOBS: Final = "jobs"
_compute: Any = pc


@dataclass(frozen=True)
class CorpusWords:
    """What the training documents are made of.

    ``words`` (large_binary) and their counts: in parts of one, ``parts``, where groups are weighed. ``bytes`` is the
    text as often as it is read, by group; ``languages`` their documents. ``found`` are the different words of all;
    ``covered`` is the share of the text that those chosen make up, weighed.
    """

    words: pa.Table
    parts: int
    bytes: Mapping[Group, int]
    factors: Mapping[Group, float]
    languages: Mapping[str, int]
    found: int
    covered: float


def corpus_units(corpus: Artifact, size: int = UNIT_BYTES) -> list[units.Unit]:
    """The work units of a corpus, about ``size`` bytes of text each."""
    files = corpus.record.files
    found = [(path, files[str(path.relative_to(corpus.path))].sha256) for path in tables(corpus.path, "corpus")]
    return units.cut(found, size)


def corpus_words(
    config: TokenizerConfig, task: Task, pre_tokenizer: Mapping[str, Any], nfc: bool, limits: Limits
) -> CorpusWords:
    """Count the words of the training documents, as ``pre_tokenizer`` cuts them, and choose from them."""
    parts = corpus_units(task.input("corpus"))
    size = sum(unit.size for unit in parts)
    workers = 1 if size < WORTH_A_POOL else config.workers or cores()
    crew = Crew(task.scratch / _JOBS, task.progress, workers, config.executor)
    weighed = bool(config.weights) or config.balance is not None
    partitions = partitions_for(size, PARTITION_BYTES)
    work = CountWords(pre_tokenizer, nfc, weighed, partitions)
    counted = crew.do("counting words", work, [Job(unit.identity, unit.size, unit) for unit in parts])
    text, languages = Counter[Group](), Counter[str]()
    for done in counted:
        languages.update(done.facts["languages"])
        for source, language, number in done.facts["bytes"]:
            text[source, language] += number
    if not sum(text.values()):
        raise DataError(f"the corpus {task.input('corpus').record.name!r} has no training text to learn words from")
    found = factors(text, config.weights, config.balance) if weighed else {}
    summed = _summed(crew, SumWords(found), counted, partitions)
    words = choose([done.file(WORDS) for done in summed], limits)
    sizes: Any = _compute.binary_length(words.column("word"))
    covered = int(np.dot(words.column("count").to_numpy(), sizes.to_numpy().astype(np.int64)))
    return CorpusWords(
        words=words,
        parts=PARTS if weighed else 1,
        bytes=dict(sorted(text.items())),
        factors=found,
        languages=dict(sorted(languages.items())),
        found=sum(done.facts["words"] for done in summed),
        covered=covered / max(1, sum(done.facts["total"] for done in summed)),
    )


def _summed(crew: Crew, work: SumWords, counted: Sequence[Done], partitions: int) -> list[Done]:
    paths, groups, hashes = [], [], []
    for done in counted:
        for number, names in enumerate(done.facts["runs"]):
            paths.append(done.file(run_name(number)))
            groups.append([(str(source), str(language)) for source, language in names])
            hashes.append(done.hashes[run_name(number)])
    defined = sha256_json(hashes)
    each = max(1, sum(path.stat().st_size for path in paths) // partitions)
    return crew.do(
        "adding up words",
        work,
        [
            Job({"runs": defined, "partition": number}, each, Runs(number, paths, groups), tuple(paths))
            for number in range(partitions)
        ],
    )
