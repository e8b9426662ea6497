"""The whole English FineWeb filter chain beside datatrove: MB of text a second on one core.

    python benchmarks/curate_filters.py [--quick] [--rounds N] [--peers FOLDER] [--text FILE]

Gopher repetition, Gopher quality, C4 without its rule of end marks, and FineWeb's own rules, in that order, a document
leaving at the first rule it breaks. Everything counts on both sides: splitting words, measuring, deciding, rewriting
texts; on ours also the Arrow columns in between. Reading the file and compiling the kernels do not. In each round
datatrove's chain runs in a process of its own (``shared/peers/curate_datatrove.py``, spaCy's words) and then ours:

- ``fineweb-en cold``: the same words, by a table of chunks that is empty at the start of the round;
- ``fineweb-en later``: the table knows the chunks of other text, --before: as in the middle of a run, or worse, for
  that text is of other kinds;
- ``fineweb-en warm``: the table knows all chunks of this very text: no run is faster;
- ``groundup``: our default mode, with our own words and without C4's rules.


Prints a table, and one JSON object as its last line; the targets are 5 MB/s and 8 times datatrove.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from groundup.base.machine import cpu_name
from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.filters.modes import chain
from groundup.stages.curate.words import spacy

ROOT: Final = Path(__file__).resolve().parents[1]
BEFORE: Final = [ROOT / "examples" / f"{name}.jsonl.gz" for name in ("books", "stories")]
TARGET_RATIO, TARGET_MB = 8.0, 5.0
BATCH = 256
WORKLOADS: Final = ("fineweb-en cold", "fineweb-en later", "fineweb-en warm", "groundup")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one fifth of the documents, two rounds")
    parser.add_argument("--rounds", type=int, help="rounds of datatrove and ours in turn (5, with --quick 2)")
    parser.add_argument("--peers", type=Path, default=ROOT.parent / "shared" / "peers", help="the kit of peer scripts")
    parser.add_argument("--text", type=Path, help=".jsonl.gz with a text field (c4_demo of the shared data)")
    parser.add_argument("--before", type=Path, nargs="+", default=BEFORE, help=".jsonl.gz of text that was read before")
    options = parser.parse_args()
    check_peers(options.peers)
    source = options.text or options.peers.parent / "data" / "text" / "c4_demo" / "c4_demo.jsonl.gz"
    texts = read(source)
    texts = texts[: len(texts) // 5] if options.quick else texts
    before = [text for file in options.before for text in read(file)]
    size = sum(len(text.encode()) for text in texts)
    compile_s = compiled(texts)
    found: dict[str, list[float]] = {name: [] for name in ("datatrove", *WORKLOADS)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.jsonl.gz"
        with gzip.open(file, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        for _ in range(options.rounds or (2 if options.quick else 5)):
            peer = datatrove(options.peers, file)
            found["datatrove"].append(peer["chain"]["mb_per_s"])
            for name in WORKLOADS:
                found[name].append(size / ours(name, texts, before) / 1e6)
        kept = peer["chain"]["kept"], dict(peer["chain"]["dropped"])
    print(f"before: {sum(len(text.encode()) for text in before) / 1e6:.1f} MB of other text")
    report(found, size, len(texts), compile_s, differences(texts, kept))


def read(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def check_peers(kit: Path) -> None:
    """Stop with what to do if datatrove's environment is not there."""
    home = Path(os.environ.get("PEERS_HOME") or kit)
    if not (home / ".venvs" / "data").is_dir():
        sys.exit(
            f"no environment of peers in {home / '.venvs' / 'data'}: run {kit / 'setup'} data "
            "(PEERS_HOME=/absolute/folder, for it and for this script, puts it elsewhere), or give --peers"
        )


def batches(texts: Sequence[str]) -> list[pa.RecordBatch]:
    return [
        pa.record_batch({"text": pa.array(texts[first : first + BATCH], pa.large_string())})
        for first in range(0, len(texts), BATCH)
    ]


def through(operators: Sequence[Operator], batch: pa.RecordBatch) -> pa.RecordBatch:
    for operator in operators:
        batch = operator(batch)
    return batch


def compiled(texts: Sequence[str]) -> float:
    """Seconds to load or compile the kernels and to load spaCy, on one document."""
    start = time.perf_counter()
    for mode in ("fineweb-en", "groundup"):
        for batch in batches(texts[:1]):
            through(chain(mode), batch)
    return time.perf_counter() - start


def ours(workload: str, texts: Sequence[str], before: Sequence[str]) -> float:
    """Seconds of our chain over all documents; when the table is warm, it is full from the run before."""
    mode, _, table = workload.partition(" ")
    operators = chain(mode)
    parts = batches(texts)
    if table in ("cold", "later"):
        spacy.forget()
        for batch in batches(
            before if table == "later" else ["One."]
        ):  # spaCy itself is loaded before the clock starts
            through(operators, batch)
    start = time.perf_counter()
    for batch in parts:
        through(operators, batch)
    return time.perf_counter() - start


def datatrove(kit: Path, file: Path) -> dict[str, Any]:
    """The peer script's figures."""
    command = [sys.executable, str(kit / "curate_datatrove.py"), str(file), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[1]} failed: {done.stderr.strip().splitlines()[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def differences(texts: Sequence[str], kept: tuple[int, dict[str, int]]) -> dict[str, int]:
    """Documents that fineweb-en and datatrove keep, each."""
    stays = sum(through(chain("fineweb-en"), batch).column("step").null_count for batch in batches(texts))
    return {"ours_kept": stays, "datatrove_kept": kept[0]}


def report(found: dict[str, list[float]], size: int, documents: int, compile_s: float, kept: dict[str, int]) -> None:
    peer = found["datatrove"]
    print(f"{documents} documents, {size / 1e6:.2f} MB; kernels and spaCy loaded in {compile_s:.1f} s; kept: {kept}")
    print(f"{'datatrove':<18} {statistics.median(peer):8.3f} MB/s")
    results = []
    for name in WORKLOADS:
        ratios = [one / other for one, other in zip(found[name], peer, strict=True)]
        rate = statistics.median(found[name])
        print(f"{name:<18} {rate:8.3f} MB/s  {statistics.median(ratios):6.1f} times datatrove")
        results.append(
            {
                "workload": name,
                "ours": round(rate, 3),
                "peer": round(statistics.median(peer), 4),
                "ratio": round(statistics.median(ratios), 2),
                "ratio_low": round(min(ratios), 2),
                "ratio_high": round(max(ratios), 2),
                "target": TARGET_RATIO,
                "target_mb_per_s": TARGET_MB,
                "unit": "MB/s",
                "peer_name": "datatrove",
                "threads": 1,
            }
        )
    print(
        json.dumps(
            {"benchmark": "curate_filters", "machine": cpu_name(), "documents": documents, "mb": size / 1e6, **kept}
            | {"compile_s": round(compile_s, 1), "results": results}
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
