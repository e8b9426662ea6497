"""What the ledger costs, and how fast it answers: bytes beside the corpus, time of curation, queries over 100M rows.

    python benchmarks/ledger.py [--quick] [--rows N] [--folder FOLDER] [--text FILE.jsonl.gz ...]

Cost: the quickstart's pages, and files of web text if named, are curated by the stages that a user runs; the ledger's
bytes are set beside the compressed bytes of the corpus (target: at most 10 %), and the time in which its rows are put
together and written beside the whole time of curation (at most 5 %). The peer is the corpus.

Queries: ledger rows of N synthetic pages (100 million; 1 million with --quick) in files as curation writes them, and
the token ranges of two fifths of them, opened as ``groundup ledger`` does: two threads within 2 GiB. Each query is to
answer in 10 seconds, ``peer``; the memory is the largest resident size of the process that asks.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from groundup.artifact import ledger
from groundup.artifact.record import FORMAT, Cost, Record
from groundup.artifact.sql.ask import open_ledger
from groundup.artifact.store import Store
from groundup.artifact.terms import Terms
from groundup.base.files import write_json
from groundup.base.machine import cpu_name
from groundup.base.progress import Silent
from groundup.flow import run
from groundup.stages.curate.passes import finish
from groundup.stages.tokenize.gather import SCHEMA

ROOT = Path(__file__).parents[1]
SECONDS = 10.0
SHARD = 1 << 21
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
LICENCES = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "MIT", "Apache-2.0", "ODC-By-1.0", "LicenseRef-public-domain")
STEPS = (None, None, "gopher_quality", "identify", "near_dedup")
QUERIES = {
    "group by licence and verdict": "SELECT licence, step, count(*) FROM documents GROUP BY ALL",
    "find a page by its address": "SELECT id, step, detail FROM documents WHERE url = '{url}'",
    "pages of a site": "SELECT count(*) FROM documents WHERE url LIKE 'https://site7.example/%'",
    "tokens of a site": "SELECT sum(t.tokens) FROM documents d JOIN tokens t USING (id) "
    "WHERE d.url LIKE 'https://site7.example/%'",
    "join all with tokens": "SELECT d.extractor, sum(t.tokens) FROM documents d JOIN tokens t USING (id) GROUP BY ALL",
    "tokens by licence": "SELECT licence, sum(tokens) FROM tokens GROUP BY ALL",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a million rows")
    parser.add_argument("--rows", type=int, help="synthetic rows")
    parser.add_argument("--folder", type=Path, help="where to work; needs about 100 bytes a row")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="JSON lines of web text to curate as well")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)  # the process whose memory is measured
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(asked(options.ask)))
        return
    rows = options.rows or (1_000_000 if options.quick else 100_000_000)
    results = []
    for name, files in {"quickstart": None, **{path.name: path for path in options.text}}.items():
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            results += cost(name, files, Path(folder))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        workspace = Path(folder)
        made = synthetic(workspace, rows)
        command = [sys.executable, __file__, "--ask", str(workspace)]
        answers = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        results += [
            result(f"{rows:,} rows: {name}", seconds, SECONDS, "s") for name, seconds in answers["times"].items()
        ]
        print("processor seconds of the queries:", json.dumps(answers["cpu"]), file=sys.stderr)
        results.append(result(f"{rows:,} rows: largest memory", answers["memory"], float(2 << 30), "bytes"))
        results.append(result(f"{rows:,} rows: bytes a row", made, None, "bytes"))
    for row in results:
        limit = f"of {row['peer']:.6g}" if row["peer"] is not None else ""
        print(f"{row['workload']:<60}{row['ours']:>16.6g} {row['unit']:<8}{limit}")
    print(json.dumps({"benchmark": "ledger", "results": results}))


def result(workload: str, ours: float, peer: float | None, unit: str, target: float = 1.0) -> dict[str, Any]:
    """``ratio``: how many times below its bound a figure is."""
    ratio = round(peer / ours, 3) if peer and ours else None
    return {
        "benchmark": "ledger", "workload": workload, "machine": cpu_name(), "threads": 2, "ours": ours, "peer": peer,
        "peer_name": "the bound", "unit": unit, "ratio": ratio, "ratio_low": ratio, "ratio_high": ratio,
        "target": target,
    }  # fmt: skip


# -- cost --------------------------------------------------------------------------------------------------------


def cost(name: str, text: Path | None, folder: Path) -> list[dict[str, Any]]:
    """Curate and measure: bytes and seconds of the ledger, with a tenth and a twentieth of the whole as bounds."""
    spent = 0.0

    def timed(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            nonlocal spent
            start = time.perf_counter()
            try:
                return plain(*given)
            finally:
                spent += time.perf_counter() - start

        return call

    recipe = yaml.safe_load((ROOT / "groundup" / "recipes" / "quickstart.yaml").read_text())
    recipe["artifacts"] = {key: recipe["artifacts"][key] for key in ("pages", "corpus")}
    recipe["artifacts"]["corpus"]["workers"] = 1  # in this process, where it can be timed
    for file in recipe["artifacts"]["pages"]["files"]:
        file["path"] = str(ROOT / file["path"])
    if text is not None:
        terms = {"licence": "LicenseRef-unknown", "origin": text.name}
        recipe["artifacts"]["pages"]["files"] = [{"path": str(text.absolute()), **terms}]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    store = Store(folder / "workspace")
    whole = (finish.Finish._ledger, finish._write_ledger)
    finish.Finish._ledger, finish._write_ledger = map(timed, whole)  # type: ignore[method-assign, assignment]
    try:
        run(str(folder / "recipe.yaml"), (), store, Silent())
    finally:
        finish.Finish._ledger, finish._write_ledger = whole  # type: ignore[method-assign, assignment]
    record = store.find("corpus").record
    sizes = {part: sum(f.bytes for n, f in record.files.items() if n.startswith(part)) for part in ("ledger", "corpus")}
    pages = int(record.metrics["documents_in"])
    return [
        result(f"{name}: bytes of the ledger, {pages} pages", sizes["ledger"], 0.1 * sizes["corpus"], "bytes"),
        result(f"{name}: seconds for the ledger", spent, 0.05 * record.cost.seconds, "s"),
    ]


# -- queries -----------------------------------------------------------------------------------------------------


def synthetic(workspace: Path, rows: int) -> float:
    """A workspace with a corpus of so many ledger rows and a token store; bytes of the ledger a row."""
    corpus, tokens = (workspace / "artifacts" / (digit * 16) for digit in "ab")
    (corpus / "ledger").mkdir(parents=True)
    tokens.mkdir()
    shards, position = -(-rows // SHARD), 0
    with pq.ParquetWriter(tokens / "documents.parquet", SCHEMA, compression="zstd") as ranges:
        for number in range(shards):
            table = shard(number, shards, min(SHARD, rows - number * SHARD))
            with ledger.writer(corpus / "ledger" / f"{number:05d}.parquet") as file:
                file.write_table(table, row_group_size=ledger.ROWS_PER_GROUP)
            kept = table.filter(table["step"].is_null())
            position = write_ranges(ranges, kept, position)
    for folder, kind in ((corpus, "corpus"), (tokens, "tokens")):
        write_json(folder / "record.json", record_of(folder.name, kind).model_dump(mode="json"))
    return sum(path.stat().st_size for path in (corpus / "ledger").iterdir()) / rows


def shard(number: int, shards: int, rows: int) -> pa.Table:
    """Rows whose ids ascend from shard to shard. All else is drawn once, and stands a little further on in each."""
    chance = np.random.default_rng(number)
    width = (1 << 63) // shards
    high = np.sort(chance.integers(0, width, rows, np.uint64) + np.uint64(number * width)) << np.uint64(1)
    whole = np.stack([high, chance.integers(0, 1 << 63, rows, np.uint64) << np.uint64(1)], axis=1)
    packed = whole.astype(">u8").view(np.uint8).reshape(-1)
    digits = np.stack([HEX[packed >> 4], HEX[packed & 15]], axis=1).reshape(-1)
    offsets = pa.py_buffer(np.arange(rows + 1, dtype=np.int32) * 32)
    ids = pa.StringArray.from_buffers(rows, offsets, pa.py_buffer(digits))
    others = drawn(rows)
    at = number * 9973 % rows
    others = pa.concat_tables([others.slice(at), others.slice(0, at)]).combine_chunks()
    return others.add_column(0, ledger.LEDGER.field("id"), ids).cast(ledger.LEDGER)


@cache
def drawn(rows: int) -> pa.Table:
    """All columns but the ids; addresses and details are as good as unique."""
    chance = np.random.default_rng(0)
    pages = pa.array(chance.integers(0, 1 << 40, rows)).cast(pa.string())
    hosts = pa.array(chance.zipf(1.3, rows) % 100_000).cast(pa.string())
    step = pa.array(STEPS).take(pa.array(chance.integers(0, len(STEPS), rows)))
    measured = pa.array(chance.integers(0, 10_000, rows) / 10_000).cast(pa.string())
    detail = joined(measured, " is below 0.8")
    gone = step.is_valid()
    none = pa.nulls(rows, pa.string())
    columns: dict[str, Any] = {
        "source": constant("crawl", rows),
        "record": joined("record ", pages),
        "url": joined("https://site", hosts, ".example/articles/", pages),
        "licence": pa.array(LICENCES).take(pa.array(chance.integers(0, len(LICENCES), rows))),
        "author": none, "found_licence": none, "permission": constant("allowed", rows),
        "media_type": constant("text/html", rows),
        "page_bytes": pa.array(chance.integers(500, 200_000, rows)),
        "extractor": pa.array(("blocks", "tree", "decode")).take(pa.array(chance.integers(0, 3, rows))),
        "language": constant("eng_Latn", rows),
        "language_score": pa.array(np.round(chance.beta(9, 1, rows), 4)),
        "chars": pa.array(chance.integers(200, 20_000, rows)),
        "redactions": pa.nulls(rows, ledger.LEDGER.field("redactions").type),
        "step": step,
        "rule": pc.if_else(gone, "a_rule", none),
        "detail": pc.if_else(gone, detail, none),
        "survivor": none, "similarity": pa.nulls(rows, pa.float64()),
        "split": pc.if_else(gone, none, "train"),
        "pipeline": constant("p" * 64, rows),
    }  # fmt: skip
    return pa.table(columns)


def joined(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")


def constant(value: str, rows: int) -> pa.Array:
    return pa.array([value]).take(pa.array(np.zeros(rows, np.int64)))


def write_ranges(ranges: pq.ParquetWriter, kept: pa.Table, position: int) -> int:
    """The token ranges of documents, one behind the other; where the last one ends."""
    ends = position + np.cumsum(kept["chars"].to_numpy() // 4)
    starts = np.concatenate([[position], ends[:-1]])
    count = kept.num_rows
    columns = {
        **{name: kept[name] for name in ("id", "source", "url", "licence", "split")},
        "copy": pa.array(np.zeros(count, np.int32)), "start": starts, "end": ends, "bytes": kept["chars"],
    }  # fmt: skip
    ranges.write_table(
        pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA), row_group_size=ledger.ROWS_PER_GROUP
    )
    return int(ends[-1]) if count else position


def record_of(digest: str, kind: str) -> Record:
    nothing = Cost(seconds=0, cpu_seconds=0, peak_memory_bytes=0, energy_joules=0, watts_per_core=0, attempts=1)
    return Record(
        format=FORMAT, name=kind, kind=kind, digest=digest, stage=kind, stage_version=1, config={}, inputs={},
        code_version="0", environment={}, created="", cost=nothing, metrics={}, terms=Terms(), files={}, payload="",
    )  # fmt: skip


def asked(workspace: Path) -> dict[str, Any]:
    """Seconds of each query, in a process that does nothing else, and its largest memory."""
    store = Store(workspace)
    first = pq.ParquetFile(workspace / "artifacts" / ("a" * 16) / "ledger" / "00000.parquet")
    url = first.read_row_group(0, columns=["url"])["url"][17].as_py()
    first.close()
    times, busy = {}, {}
    with open_ledger(store, verify=False) as opened:
        for name, query in QUERIES.items():
            start, cpu = time.perf_counter(), time.process_time()
            found = list(opened.ask(query.format(url=url)).rows)
            times[name] = round(time.perf_counter() - start, 3)
            busy[name] = round(time.process_time() - cpu, 3)
            assert found, name
    return {"times": times, "cpu": busy, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}


if __name__ == "__main__":
    main()
