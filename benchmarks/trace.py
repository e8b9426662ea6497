"""An index of the spans of a token store: size, time to build, memory, and how fast a span is found again.

    python benchmarks/trace.py [--quick] [--folder FOLDER]

Stores of 10, 100 and 500 million uint16 ids (the last is 1 GB), and of 10, 100 and 250 million of int32 (again 1 GB):
documents of some 700 tokens whose ids follow Zipf's law, and a phrase that stands in one document of twenty. A thousand
spans of 20 to 100 tokens of random documents, each between other tokens, are looked for: the first hundred with nothing
in the page cache. Then text: the stories that come with groundup, a tokenizer trained on them, and a thousand spans of
20 tokens and more given as text. The peer has no index: it is one search of the system library (mmap.find) for the very
bytes of the span, through the whole file; it would not find a span whose ends aren't known. The target is 1 second.
"""

from __future__ import annotations

import argparse
import gzip
import json
import mmap
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import numpy as np

from groundup.base.machine import cpu_name
from groundup.text.learned import train_bpe
from groundup.text.special import special_tokens
from groundup.text.store.spans import Spans, build, grams_of
from groundup.text.store.spans_search import search
from groundup.text.store.spans_text import Grams, Spelled, Text

TARGET = 1.0
LENGTH = 700
QUERIES = 1000
COLD = 100
PEERS = 20
STORE = "0" * 64


class Anonymous(threading.Thread):
    """The most memory of this process that is no file's, in bytes, while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._over = 0, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.02):
            line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line)
            self.peak = max(self.peak, int(line.split()[1]) << 10)

    def stop(self) -> int:
        self._over.set()
        self.join()
        return self.peak


def alphabet(vocab: int) -> Spelled:
    """Three bytes for each id; id 0 ends a document."""
    table = np.arange(vocab, dtype="<u4").view("u1").reshape(vocab, 4)[1:, :3]
    at = np.maximum(0, 3 * (np.arange(vocab + 1) - 1)).astype(np.int64)
    stops = np.zeros(vocab, bool)
    stops[0] = True
    return Spelled(np.ascontiguousarray(table).ravel(), at, stops, {}, True)


def write_tokens(path: Path, tokens: int, vocab: int, dtype: str) -> np.ndarray:
    """Ids whose logarithm is even, as Zipf's law has it; where the documents begin."""
    chance = np.random.default_rng(1)
    sizes = chance.geometric(1 / LENGTH, 2 * tokens // LENGTH) + 60
    ends = np.cumsum(sizes)
    ends = ends[ends <= tokens]
    phrase = np.exp(chance.random(40) * np.log(vocab)).astype(dtype)
    with path.open("wb") as handle:
        for first in range(0, tokens, 1 << 24):
            count = min(1 << 24, tokens - first)
            ids = np.clip(np.exp(chance.random(count, np.float32) * np.log(vocab)), 1, vocab - 1).astype(dtype)
            here = ends[(ends > first) & (ends <= first + count)] - 1 - first
            ids[here] = 0
            for end in here[::20].tolist():
                ids[max(0, end - 40) : end] = phrase[-min(40, end) :] if end else phrase[:0]
            handle.write(ids.tobytes())
    return np.concatenate([[0], ends[:-1], [tokens]]).astype(np.int64)


def text_of(ids: list[int], spelled: Spelled) -> Text:
    """A text of these ids."""
    numbers = np.array(ids, np.int64)
    begins = spelled.begins(numbers)
    hashes = grams_of(numbers)
    grams = Grams(hashes, begins[: len(hashes)], np.zeros(len(hashes), np.int64))
    data = np.frombuffer(spelled.spell(ids), np.uint8)
    return Text("", numbers, data, begins, np.stack([begins[:-1], begins[1:]]), grams)


def forget(folder: Path) -> None:
    """Take the files below a folder out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def latencies(home: Path, offsets: np.ndarray, vocab: int, dtype: str) -> dict[str, Any]:
    """Look for spans: seconds from the page cache and from the disk, how many were found, and the peer's seconds."""
    spelled, chance = alphabet(vocab), np.random.default_rng(2)
    found, times, peers, ratios = 0, [], [], []
    forget(home)
    ids = np.asarray(np.memmap(home / "train.bin", dtype, "r"))
    opened = Spans.open(home / "spans", STORE, len(ids))
    with (home / "train.bin").open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        for number in range(COLD + QUERIES):
            document = int(chance.integers(len(offsets) - 1))
            first, end = int(offsets[document]), int(offsets[document + 1]) - 1
            length = min(int(chance.integers(20, 101)), end - first)
            start = int(chance.integers(first, end - length + 1))
            inside = ids[start : start + length] if number >= COLD else None
            if inside is None:  # read past the cache, so that the search is the first to touch the store
                inside = np.fromfile(home / "train.bin", dtype, length, offset=start * ids.itemsize)
                if number % 10 == 0:
                    forget(home)
            around = chance.integers(1, vocab, 60).tolist()
            clock = time.perf_counter()
            text = text_of([*around[:30], *inside.tolist(), *around[30:]], spelled)
            got = search(opened, ids, offsets, spelled, text, 20)
            times.append(time.perf_counter() - clock)
            covers = (got.documents == document) & (got.starts <= 90) & (got.ends >= 90 + 3 * length)
            found += bool(covers.any())
            if number >= COLD + QUERIES - PEERS:
                clock = time.perf_counter()
                assert whole.find(inside.tobytes()) >= 0
                peers.append(time.perf_counter() - clock)
                ratios.append(peers[-1] / times[-1])
    cold, warm = np.array(times[:COLD]), np.array(times[COLD:])
    return {
        "ours": round(float(np.median(warm)), 6), "peer": round(statistics.median(peers), 4),
        "p99": round(float(np.quantile(warm, 0.99)), 6), "cold_p50": round(float(np.median(cold)), 6),
        "cold_p99": round(float(np.quantile(cold, 0.99)), 6), "recall": found / (COLD + QUERIES),
        "ratio": round(statistics.median(ratios), 1), "ratio_low": round(min(ratios), 1),
        "ratio_high": round(max(ratios), 1), "reached": float(max(cold.max(), warm.max())) < TARGET,
    }  # fmt: skip


def measure(home: Path, tokens: int, vocab: int, dtype: str) -> dict[str, Any]:
    """One size of one type."""
    offsets = write_tokens(home / "train.bin", tokens, vocab, dtype)
    ids = np.asarray(np.memmap(home / "train.bin", dtype, "r"))
    memory, clock = Anonymous(), time.perf_counter()
    memory.start()
    build(home / "spans", ids, offsets, alphabet(vocab).stops, STORE)
    seconds, peak = time.perf_counter() - clock, memory.stop()
    size = sum(path.stat().st_size for path in (home / "spans").iterdir())
    del ids
    return {
        "benchmark": "trace", "workload": f"{tokens // 10**6}M ids of {np.dtype(dtype).name}", "machine": cpu_name(),
        "threads": 1, "tokens": tokens, "build_seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds), "index_bytes": size,
        "bytes_per_token": round(size / tokens, 3), "peak_memory": peak, "peer_name": "mmap.find of the very bytes",
        "unit": "s", "target": TARGET, **latencies(home, offsets, vocab, dtype),
    }  # fmt: skip


def of_stories(home: Path, count: int) -> dict[str, Any]:
    """Spans of real text, tokenised as a user's is: the time includes it."""
    path = Path(__file__).parents[1] / "examples" / "stories.jsonl.gz"
    with gzip.open(path) as lines:
        stories = [json.loads(line)["text"] for line in lines]
    tokenizer = train_bpe(stories, 4096, special_tokens())
    encoded = [[*ids, tokenizer.eos_id] for ids in tokenizer.encode_batch(stories)]
    ids = np.array([one for document in encoded for one in document], np.uint16)
    offsets, spelled = np.cumsum([0, *map(len, encoded)]).astype(np.int64), Spelled.of(tokenizer)
    build(home / "stories", ids, offsets, spelled.stops, STORE)
    opened, chance = Spans.open(home / "stories", STORE, len(ids)), np.random.default_rng(3)
    whole, found, asked, times, peers = ids.tobytes(), 0, 0, [], []
    while asked < count:
        document = int(chance.integers(len(stories)))
        length, size = int(chance.integers(20, 61)), len(encoded[document]) - 1
        if size < length:
            continue
        start = int(chance.integers(size - length + 1))
        inside = encoded[document][start : start + length]
        try:
            text = tokenizer.decode_bytes(inside).decode()
        except UnicodeDecodeError:  # it begins or ends within a letter: that is no text
            continue
        asked += 1
        clock = time.perf_counter()
        got = search(opened, ids, offsets, spelled, read := Text.read(text, tokenizer, spelled), 20)
        times.append(time.perf_counter() - clock)
        covers = (got.documents == document) & (got.starts == 0) & (got.ends == len(read.data))
        found += bool(covers.any())
        clock = time.perf_counter()
        assert whole.find(np.array(inside, np.uint16).tobytes()) >= 0
        peers.append(time.perf_counter() - clock)
    ratios = sorted(peer / ours for peer, ours in zip(peers, times, strict=True))
    return {
        "benchmark": "trace", "workload": f"text: {len(stories)} stories, {len(ids)} tokens", "machine": cpu_name(),
        "threads": 1, "ours": round(statistics.median(times), 6), "peer": round(statistics.median(peers), 6),
        "peer_name": "bytes.find of the very bytes", "unit": "s", "p99": round(float(np.quantile(times, 0.99)), 6),
        "recall": found / asked, "ratio": round(statistics.median(ratios), 4), "ratio_low": round(ratios[0], 4),
        "ratio_high": round(ratios[-1], 4), "target": TARGET, "reached": max(times) < TARGET and found == asked,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="stores of 2 and 10 million ids")
    parser.add_argument("--folder", type=Path, help="where the stores are written: 4 GB; a temporary folder if not set")
    options = parser.parse_args()
    million, small, large = 10**6, (50_000, "u2"), (128_000, "i4")
    cases = [(2, *small), (10, *small), (10, *large)]
    if not options.quick:
        cases = [(10, *small), (100, *small), (500, *small), (10, *large), (100, *large), (250, *large)]
    results = []
    print(
        f"{'workload':<34}{'build s':>9}{'Mtok/s':>8}{'B/token':>9}{'peak MiB':>10}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'cold p99':>10}{'recall':>8}{'find ms':>9}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        warm = Path(place) / "warm"
        for _, vocab, dtype in cases:  # compile
            warm.mkdir(exist_ok=True)
            measure(warm, 200_000, vocab, dtype)
        for millions, vocab, dtype in cases:
            home = Path(place) / f"{millions}{dtype}"
            home.mkdir()
            row = measure(home, millions * million, vocab, dtype)
            results.append(row)
            for path in sorted(home.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            print(
                f"{row['workload']:<34}{row['build_seconds']:>9}{row['tokens_per_second'] / 1e6:>8.1f}"
                f"{row['bytes_per_token']:>9}{row['peak_memory'] / 2**20:>10.0f}{row['ours'] * 1e3:>8.2f}"
                f"{row['p99'] * 1e3:>8.2f}{row['cold_p99'] * 1e3:>10.1f}{row['recall']:>8}{row['peer'] * 1e3:>9.1f}",
                flush=True,
            )
        row = of_stories(Path(place), 200 if options.quick else QUERIES)
        results.append(row)
        print(
            f"{row['workload']:<70}{row['ours'] * 1e3:>8.2f}{row['p99'] * 1e3:>8.2f}{'':>10}{row['recall']:>8}"
            f"{row['peer'] * 1e3:>9.1f}"
        )
    print(json.dumps({"benchmark": "trace", "results": results}))


if __name__ == "__main__":
    main()
