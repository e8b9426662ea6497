"""MinHash signatures with shingling, from text to band keys: MB/s a core, beside datatrove's signature stage.

    python benchmarks/curate_minhash.py [--quick] [--file JSONL]

Both sides take the same documents, on one thread, in turn: ours is the operator :class:`MinHash` on a record batch
(normal form, words, shingles of 5 words, 14 x 8 minima, band keys); the peer is ``MinhashDedupSignature`` as it is run,
with its word split, its files and their sorting. The peer runs in its own environment (../shared/peers/setup data;
``PEERS_HOME`` says where) as one process that answers once a round, so neither side pays for its start.

rensa and datasketch are shown as well. They get shingles ready-made and do signatures alone; the regex shingling that
they need is in their time, as the kit's ``minhash_peers.py`` counts it.

Prints a table, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KIT = Path(os.environ.get("GROUNDUP_SHARED", ROOT / "../shared")).resolve() / "peers"
FILE = KIT.parent / "data/text/c4_demo/c4_demo.jsonl.gz"
TARGET_RATIO, TARGET_RATE = 10.0, 20.0
PEERS = ("datatrove", "rensa", "datasketch")

SERVER = """
import gzip, json, os, re, shutil, sys, tempfile, time
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
    texts = [json.loads(line)["text"] for line in lines][: int(sys.argv[2])]
texts *= int(sys.argv[3])
word = re.compile(r"\\w+")

def sets():
    for text in texts:
        words = word.findall(text.lower())
        yield list({" ".join(words[i : i + 5]) for i in range(len(words) - 4)})

def datatrove():
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash as stage
    folder = tempfile.mkdtemp()
    rows = (Document(text=text, id=str(n)) for n, text in enumerate(texts))
    start = time.perf_counter()
    stage.MinhashDedupSignature(folder, stage.MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)).run(rows)
    taken = time.perf_counter() - start
    shutil.rmtree(folder)
    return taken

def rensa():
    from rensa import RMinHash
    start = time.perf_counter()
    RMinHash.from_token_sets(list(sets()), num_perm=112, seed=1)
    return time.perf_counter() - start

def datasketch():
    from datasketch import MinHash
    start = time.perf_counter()
    list(MinHash.generator(([s.encode() for s in one] for one in sets()), num_perm=112, seed=1))
    return time.perf_counter() - start

for line in sys.stdin:
    print(globals()[line.strip()](), file=out, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer documents and rounds")
    parser.add_argument("--file", type=Path, default=FILE, help="gzipped JSONL with a text field")
    options = parser.parse_args()
    if not options.file.is_file():
        sys.exit(f"{options.file} is not there: give a gzipped JSONL file with a text field by --file")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = "1"
    limit, copies, rounds = (100, 1, 3) if options.quick else (300, 2, 5)
    with gzip.open(options.file, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines][:limit] * copies
    size = sum(len(text.encode()) for text in texts) / 1e6
    peer = start_peer(options.file, limit, copies)
    rates: dict[str, list[float]] = {name: [] for name in ("ours", *PEERS)}
    ours(texts[:3], 1)  # compiled, or read from the cache
    for name in PEERS:
        ask(peer, name)
    print(f"{'round':<6}" + "".join(f"{name:>14}" for name in rates) + "   MB/s")
    for number in range(rounds):
        order = list(rates) if number % 2 == 0 else list(rates)[::-1]
        for name in order:
            taken = ours(texts, 10) if name == "ours" else ask(peer, name)
            rates[name].append(size / taken)
        print(f"{number:<6}" + "".join(f"{values[-1]:>14.2f}" for values in rates.values()), flush=True)
    assert peer.stdin is not None
    peer.stdin.close()
    peer.wait()
    print(json.dumps({"results": [result(rates, name, size, len(texts)) for name in PEERS]}))


def ours(texts: list[str], repeats: int) -> float:
    """Seconds of one run of the operator over a batch, the mean of several."""
    import pyarrow as pa

    from groundup.stages.curate.duplicates.minhash import MinHash

    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    operator = MinHash()
    start = time.perf_counter()
    for _ in range(repeats):
        operator(batch)
    return (time.perf_counter() - start) / repeats


def start_peer(file: Path, limit: int, copies: int) -> subprocess.Popen[str]:
    """The peers' process, which answers a name with seconds."""
    home = Path(os.environ.get("PEERS_HOME") or KIT) / ".venvs/data"
    if not (home / ".ready").exists():
        sys.exit(f"{home} is not there: run {KIT}/setup data (PEERS_HOME names another folder for it)")
    command = [home / "bin/python", "-c", SERVER, file, str(limit), str(copies)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def ask(peer: subprocess.Popen[str], name: str) -> float:
    """Seconds of one run of a peer."""
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write(name + "\n")
    peer.stdin.flush()
    answer = peer.stdout.readline()
    if not answer:
        sys.exit(f"the peers' process ended while it ran {name}: run {KIT}/minhash_peers.py to see why")
    return float(answer)


def result(rates: dict[str, list[float]], name: str, size: float, documents: int) -> dict[str, Any]:
    """One result: the ratio over alternating pairs."""
    from groundup.base.machine import cpu_name

    ratios = [mine / other for mine, other in zip(rates["ours"], rates[name], strict=True)]
    return {
        "benchmark": "curate_minhash",
        "workload": f"text to signatures, 5 words, 14 x 8, {documents} documents, {size:.2f} MB",
        "machine": cpu_name(),
        "threads": 1,
        "ours": round(statistics.median(rates["ours"]), 2),
        "peer": round(statistics.median(rates[name]), 2),
        "peer_name": name,
        "unit": "MB/s",
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "target": TARGET_RATIO if name == "datatrove" else 1.0,
        "target_rate": TARGET_RATE,
    }


if __name__ == "__main__":
    main()
