"""Pages to corpus, pass by pass; nothing here looks at a text.

1. *clean*: every unit of pages through the pipeline of operators (``pipeline.py``).
2. *exact*: documents whose texts are equal, met by key in sorted runs.
3. *repeated text* and *passages*, if asked for: what stands in several documents is struck from all but one.
4. *near*: documents that are alike, met by band, verified on their shingles.
5. *semantic*, if asked for: documents whose embeddings are alike, met by cluster.
6. *finish*: verdicts joined, benchmark items decided on, the tables written in the order of ids.

All intermediate results lie in the task's scratch folder, each whole or absent, so an interrupted run goes on where it
was, with any number of workers. The corpus is the same, byte for byte, whatever they were. What is large is freed as
soon as the passes that read it are done: bands and shingles after the search for near duplicates, the units' texts once
they are in the order of ids.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.artifact.ledger import LEDGER
from groundup.artifact.stage import Outcome, Task
from groundup.base.errors import DataError
from groundup.base.files import read_json, sha256_file, sha256_json, write_atomic
from groundup.base.machine import cores
from groundup.base.runner import units
from groundup.base.runner.crew import Crew
from groundup.base.runner.jobs import Done, FreedError, Job, Work, carry_out, forget, free, renew
from groundup.base.runner.runs import partitions_for
from groundup.stages.curate.config import CurateConfig
from groundup.stages.curate.exhibits import show
from groundup.stages.curate.extraction.encoding import decode
from groundup.stages.curate.passes import near, passages, pieces, rewriting, semantic
from groundup.stages.curate.passes.clean import Clean
from groundup.stages.curate.passes.decisions import gather
from groundup.stages.curate.passes.exact import ExactReduce
from groundup.stages.curate.passes.finish import CONTAMINATION, COUNTS, Finish, PhraseCount, Place, set_phrases
from groundup.stages.curate.passes.inputs import Partition, UnitInput
from groundup.stages.curate.passes.near import Candidates, DiskShingles
from groundup.stages.curate.pipeline import keys, pipeline, rules, steps
from groundup.stages.curate.quality import MODEL
from groundup.stages.curate.summary import summary
from groundup.text.benchmark import item_id, item_texts, read_rows
from groundup.text.document import CORPUS, REJECTS, tables, write_rows

UNIT_BYTES: Final = 32 << 20
PARTITION_BYTES: Final = 64 << 20
WORTH_A_POOL: Final = 8 << 20
"""Bytes of pages from which starting processes (more than a second each) pays."""

_JOBS: Final = "jobs"
_TEXTS: Final = ("kept.parquet", "dropped.parquet")
_OVERLAP_PAGES: Final = 500
"""Pages that are shown to every rule, to see which rules go together."""


def run(config: CurateConfig, task: Task) -> Outcome:
    """Write ``corpus/``, ``rejects/``, ``ledger/`` and, if items were looked for, ``contamination/``: shards by id."""
    while True:  # each time round, the results of at least one pass are made again
        try:
            return _run(config, task)
        except FreedError as error:
            renew(task.scratch / _JOBS, str(error.args[0]))


def _run(config: CurateConfig, task: Task) -> Outcome:
    passes = Passes(config, task)
    cleaned = passes.clean()
    decisions = passes.exact(cleaned)
    kept, emptied = passes.repeated_text(cleaned, decisions)
    decisions += emptied
    kept, emptied = passes.repeated_passages(kept, decisions)
    decisions += emptied
    decisions += passes.near(kept, decisions)
    decisions += passes.semantic(kept, decisions)
    finished = passes.finish(kept, decisions)
    counts = (read_json(done.file(COUNTS)) for done in finished)
    found = summary(counts, [done.facts for done in cleaned], passes.items)
    if not found.kept:
        raise DataError(found.all_gone())
    made = {"corpus": CORPUS, "rejects": REJECTS, "ledger": LEDGER}
    if passes.items:
        made["contamination"] = CONTAMINATION
    for name, schema in made.items():
        _collect(finished, name, schema, task.payload)
    task.show(*show(found, steps(config), passes.struck, passes.as_it_came(found.page)))
    rule_order = rules(config, passes.pipeline)
    return Outcome({**found.metrics(config.redact), **passes.counted, "steps": rule_order})


class Passes:
    """The passes of one run: each takes results of jobs and gives results of jobs."""

    def __init__(self, config: CurateConfig, task: Task) -> None:
        self.config, self.task = config, task
        self.home = task.scratch / _JOBS
        hashes = {
            path: artifact.record.files[str(path.relative_to(artifact.path))].sha256
            for artifact in task.inputs["pages"]
            for path in tables(artifact.path, "pages")
        }
        self.units = units.cut(list(hashes.items()), UNIT_BYTES)
        self.shard_names = _shard_names(hashes, {a.path: a.record.digest[:16] for a in task.inputs["pages"]})
        self.size = sum(unit.size for unit in self.units)
        self.rows = sum(unit.rows for unit in self.units)
        workers = 1 if self.size < WORTH_A_POOL else config.workers or cores()
        self.crew = Crew(self.home, task.progress, workers, config.executor)
        self.partitions = partitions_for(self.size, PARTITION_BYTES)
        self.shards = 1
        self.items, self.texts = self._benchmarks()
        judge = task.input("quality").path / MODEL if config.quality else None
        self.pipeline = pipeline(config, self.texts, task.files, judge)
        self.struck: dict[str, int] = {}
        self.counted: dict[str, Any] = {}

    def clean(self) -> list[Done]:
        """The first pass, over units of pages."""
        share = min(1.0, _OVERLAP_PAGES / max(1, self.rows))
        work = Clean(self.pipeline, self.partitions, round(share, 6))
        try:
            done = self.crew.do("clean and filter", work, [Job(unit.identity, unit.size, unit) for unit in self.units])
        finally:
            self.pipeline.close()
        # By what the pages hold, not by how much room they take here: so the same pages make the same shards.
        self.shards = partitions_for(sum(one.facts["page_bytes"] for one in done), PARTITION_BYTES)
        return done

    def exact(self, cleaned: Sequence[Done]) -> list[Path]:
        """Exact duplicates; the files with the decisions."""
        done = self._reduce("exact duplicates", ExactReduce(), cleaned, "exact.arrow")
        return self._gathered("exact", [one.file("decisions.parquet") for one in done])

    def repeated_text(self, cleaned: Sequence[Done], decisions: Sequence[Path]) -> tuple[list[Done], list[Path]]:
        """The units without lines or paragraphs that stand elsewhere; the files with decisions on what is empty now."""
        wanted = self.config.repeated_text
        if wanted is None:
            return list(cleaned), []
        work = pieces.PieceMap(wanted.pieces, wanted.min_bytes, self.partitions)
        mapped = self.crew.do("pieces", work, self._unit_jobs(cleaned, decisions))
        found = self._reduce("repeated pieces", pieces.PieceReduce(), mapped, "pieces.arrow")
        jobs = self._marked(self._unit_jobs(cleaned, decisions), found, "struck.parquet")
        rewritten = self.crew.do("strike", pieces.PieceStrike(wanted.pieces, keys(self.config, self.texts)), jobs)
        self.struck[f"{wanted.pieces}s"] = sum(done.facts["pieces"] for done in rewritten)
        self._free(mapped, "pieces.arrow")
        self._free(found, "struck.parquet")
        self._free(cleaned, *_TEXTS)
        return rewritten, self._gathered("pieces", [done.file("decisions.parquet") for done in rewritten])

    def repeated_passages(self, kept: Sequence[Done], decisions: Sequence[Path]) -> tuple[list[Done], list[Path]]:
        """The units without passages that stand elsewhere; the files with decisions on what is empty now."""
        wanted = self.config.repeated_passages
        if wanted is None:
            return list(kept), []
        jobs = self._unit_jobs(kept, decisions)
        prints = self.crew.do("fingerprints", passages.PrintMap(wanted.min_bytes, self.partitions), jobs)
        hot = self._reduce("shared fingerprints", passages.PrintReduce(), prints, "prints.arrow")
        work = passages.WindowMap(wanted.min_bytes, self.partitions)
        windows = self.crew.do("windows", work, self._marked(jobs, hot, "hot.parquet"))
        found = self._reduce("repeated passages", passages.WindowReduce(), windows, "windows.arrow")
        strike = passages.PassageStrike(wanted.min_bytes, wanted.keep, keys(self.config, self.texts))
        rewritten = self.crew.do("strike", strike, self._marked(jobs, found, "struck.parquet"))
        self.struck["bytes of passages"] = sum(done.facts["bytes"] for done in rewritten)
        self._free(prints, "prints.arrow")
        self._free(hot, "hot.parquet")
        self._free(windows, "windows.arrow")
        self._free(found, "struck.parquet")
        self._free(kept, *_TEXTS)
        return rewritten, self._gathered("passages", [done.file("decisions.parquet") for done in rewritten])

    def near(self, cleaned: Sequence[Done], decisions: Sequence[Path]) -> list[Path]:
        """Near duplicates among what is left; the file with the decisions."""
        wanted = self.config.near_duplicates
        if wanted is None:
            return []
        jobs = self._unit_jobs(cleaned, decisions)
        needed: list[Done] = []

        def find() -> tuple[Candidates, DiskShingles]:
            spread = self.crew.do("bands", near.BandMap(self.partitions), jobs)
            shared = self._reduce("shared bands", near.BandReduce(), spread, "bands.arrow")
            found = near.candidates(shared)
            sets = self.crew.do("shingles", near.ShingleMap(wanted.shingle_words), self._shingle_jobs(cleaned, found))
            needed.extend([*spread, *shared, *sets])
            folders = {number: done.folder for (number, _), done in zip(found.units(), sets, strict=True)}
            return found, near.shingled(found, folders)

        work = near.NearReduce(wanted.min_jaccard, wanted.shingle_words)
        done = carry_out(work, Job({"units": sha256_json([job.identity for job in jobs])}, 1, find), self.home)
        for one in needed:
            forget(one)
        return self._gathered("near", [done.file("decisions.parquet")])

    def semantic(self, kept: Sequence[Done], decisions: Sequence[Path]) -> list[Path]:
        """Semantic duplicates among what is left; the files with the decisions."""
        wanted = self.config.semantic_duplicates
        if wanted is None:
            return []
        given = self.task.files[wanted.embeddings] if wanted.embeddings is not None else None
        hands = semantic.Hands(self.crew.do, self.home, UNIT_BYTES, PARTITION_BYTES)
        found = semantic.find(
            self._unit_jobs(kept, decisions),
            hands,
            min_cosine=wanted.min_cosine,
            keep=wanted.keep,
            clusters=wanted.clusters,
            given=given,
        )
        self.counted["semantic_duplicates"] = found.counts
        return self._gathered("semantic", found.decisions)

    def finish(self, cleaned: Sequence[Done], decisions: Sequence[Path]) -> list[Done]:
        """The tables by partition of ids, and what was counted in each."""
        config = self.config
        jobs = self._unit_jobs(cleaned, decisions)
        phrases = set_phrases([done.facts for done in self.crew.do("benchmark items", PhraseCount(), jobs)])
        placed = self.crew.do("verdicts", Place(self.shards, phrases, config.held_out, config.seed), jobs)
        self._free(cleaned, *_TEXTS)
        forced = _forced([done.facts for done in placed], config.held_out)
        work = Finish(config.held_out, config.seed, forced, self.pipeline.digest)
        return self._reduce("corpus", work, placed, "documents.arrow", self.shards)

    def as_it_came(self, page: Mapping[str, Any] | None) -> str:
        """The HTML of a page; empty for none."""
        if page is None:
            return ""
        for path in dict.fromkeys(unit.path for unit in self.units):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    at = pc.index(file.read_row_group(group, columns=["id"]).column("id"), page["id"]).as_py()
                    if at >= 0:
                        row = file.read_row_group(group, columns=["content", "encoding"]).slice(at, 1).to_pylist()[0]
                        return decode(row["content"], row["encoding"])
        return ""

    # -- how jobs are made and done ----------------------------------------------------------------------------

    def _reduce(
        self, phase: str, work: Work, mapped: Sequence[Done], name: str, partitions: int | None = None
    ) -> list[Done]:
        count = partitions or self.partitions
        runs = [done.file(name) for done in mapped]
        hashes = [done.hashes[name] for done in mapped]
        defined, reads = sha256_json(hashes), tuple(runs)
        size = max(1, sum(map(_size, runs)) // count)
        jobs = [
            Job({"runs": defined, "partition": number}, size, Partition(number, reads), reads)
            for number in range(count)
        ]
        return self.crew.do(phase, work, jobs)

    def _unit_jobs(self, cleaned: Sequence[Done], decisions: Sequence[Path]) -> list[Job]:
        decided = [path.name for path in decisions]
        jobs = []
        for number, (done, unit) in enumerate(zip(cleaned, self.units, strict=True)):
            kept, shard = done.file("kept.parquet"), self.shard_names[unit.sha256]
            defined = {"unit": number, "kept": done.hashes[kept.name], "shard": shard, "decisions": decided}
            payload = UnitInput(number, kept, decisions, shard)
            jobs.append(Job(defined, max(1, _size(kept)), payload, (kept,)))
        return jobs

    def _shingle_jobs(self, cleaned: Sequence[Done], found: Candidates) -> list[Job]:
        jobs = []
        for number, rows in found.wanted().items():
            kept = cleaned[number].file("kept.parquet")
            defined = {"kept": cleaned[number].hashes[kept.name], "rows": sha256_json(rows.tolist())}
            jobs.append(Job(defined, len(rows), (kept, rows), (kept,)))
        return jobs

    def _marked(self, jobs: Sequence[Job], reduced: Sequence[Done], name: str) -> list[Job]:
        """The jobs of units with what a reduction marked in them."""
        files = tuple(done.file(name) for done in reduced)
        defined = {"marks": sha256_json([done.hashes[name] for done in reduced])}
        size = max(1, sum(map(_size, files)))
        (gathered,) = self.crew.do(
            "gather marks", rewriting.Gather(len(self.units)), [Job(defined, size, files, files)]
        )
        marks = gathered.file(rewriting.MARKS)
        return [
            replace(job, identity={**job.identity, **defined}, payload=rewriting.Marked(job.payload, marks))
            for job in jobs
        ]

    def _gathered(self, name: str, decisions: Sequence[Path]) -> list[Path]:
        """The one file of a pass with its decisions by unit, named by what they are."""
        defined = sha256_json([sha256_file(one) for one in decisions])
        path = self.home / "decisions" / f"{name}-{defined[:32]}.arrow"
        write_atomic(path, lambda beside: gather(decisions, len(self.units), beside))
        return [path]

    def _free(self, finished: Sequence[Done], *names: str) -> None:
        for done in finished:
            free(done, *names)

    def _benchmarks(self) -> tuple[dict[str, int], tuple[tuple[str, str, str], ...]]:
        """How many items each benchmark has, and (benchmark, item id, text) of all of them."""
        counts = Counter[str]()
        texts: list[tuple[str, str, str]] = []
        for benchmark in self.config.decontaminate or ():
            rows = read_rows(self.task.files[benchmark.rows])
            counts[benchmark.name] += len(rows)
            for number, row in enumerate(rows, 1):
                texts += [(benchmark.name, item_id(row, number), text) for text in item_texts(benchmark.name, row)]
        return dict(counts), tuple(texts)


def _shard_names(hashes: Mapping[Path, str], artifacts: Mapping[Path, str]) -> dict[str, str]:
    """The name of the shard of pages with each hash, ``DIGEST/FILE``; the least of those with equal content."""
    names: dict[str, str] = {}
    for path, sha256 in hashes.items():
        name = f"{artifacts[path.parents[1]]}/{path.name}"
        names[sha256] = min(name, names.get(sha256, name))
    return names


def _size(path: Path) -> int:
    """Bytes of a file; 0 of one that was freed."""
    return path.stat().st_size if path.exists() else 0


def _forced(facts: Sequence[Mapping[str, Any]], share: float) -> str:
    """The document that is held out although its hash says otherwise: where a share was asked for and none fell below.

    Validation needs something to look at, as long as there is something left to learn from.
    """
    if share <= 0 or sum(one["held_out"] for one in facts) or sum(one["staying"] for one in facts) < 2:
        return ""
    return str(min(tuple(one["first"]) for one in facts)[1])


def _collect(finished: Sequence[Done], name: str, schema: pa.Schema, payload: Path) -> None:
    """Move the partitions that hold something into ``name/00000.parquet`` and on; an empty table if none does."""
    (payload / name).mkdir()
    found = [path for done in finished if (path := done.file(f"{name}.parquet")).is_file()]
    for number, path in enumerate(found):
        shutil.move(path, payload / name / f"{number:05d}.parquet")
    if not found:
        write_rows(payload / name / "00000.parquet", schema, ())
