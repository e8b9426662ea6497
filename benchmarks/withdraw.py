"""How fast near-duplicates of withdrawn texts are found, and what the filter for verbatim output costs.

    python benchmarks/withdraw.py [--quick]

Workloads: texts searched for copies of 200 others, in megabytes a second on one thread, beside a plain loop of Python
over sets of runs of words, which gives the same matches (they are compared); words of an answer passed through the
filter, in a second; and how much ordinary text the filter stops that was never withdrawn, per withdrawn story. The
target of the search is a gigabyte in a few minutes: 5 MB a second.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import statistics
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from groundup.base.machine import cpu_name
from groundup.rights.fingerprint import SHINGLE, SPAN, runs_of, words
from groundup.rights.verbatim import Verbatim
from groundup.serve.withheld import Withheld
from groundup.withdrawal.near import CONTAINMENT, FEWEST, SAME, Probe
from groundup.withdrawal.texts import Row

EXAMPLES = Path(__file__).parents[1] / "examples"
TARGET = 5.0


def stories() -> list[str]:
    """Texts of people's language, none twice."""
    with gzip.open(EXAMPLES / "stories.jsonl.gz", "rt", encoding="utf-8") as lines:
        return list(dict.fromkeys(json.loads(line)["text"] for line in lines))


def manual() -> list[str]:
    """Pages of a manual, as text."""
    with tarfile.open(EXAMPLES / "sqlite-doc.tar.xz") as archive:
        files = [archive.extractfile(member) for member in archive if member.name.endswith(".html")]
        return [re.sub("<[^>]*>", " ", file.read().decode("utf-8", "replace")) for file in files if file is not None]


def enlarged(texts: Sequence[str], size: int) -> list[str]:
    """At least ``size`` characters of texts made of the words of these, no two alike."""
    rng, pool = random.Random(1), [word for text in texts for word in text.split()]
    found, total = [], 0
    while total < size:
        place, length = rng.randrange(len(pool) - 400), rng.randint(50, 300)
        part = pool[place : place + length]
        rng.shuffle(part)
        found.append(" ".join(part))
        total += len(found[-1])
    return found


def ours(wanted: Mapping[str, str], texts: Sequence[str]) -> set[str]:
    """The matches of the product."""
    probe = Probe({name: words([text]).shingles() for name, text in wanted.items()})
    for _ in probe.search(Row(f"d{number}", True, text=text) for number, text in enumerate(texts)):
        pass
    return {near.id for near in probe.found()}


def plain(wanted: Mapping[str, str], texts: Sequence[str]) -> set[str]:
    """The same by sets of tuples."""

    def runs(text: str) -> set[tuple[str, ...]]:
        cut = re.findall(r"\w+", text.casefold())
        return {tuple(cut[place : place + SHINGLE]) for place in range(len(cut) - SHINGLE + 1)}

    sets = [runs(text) for text in wanted.values()]
    owners: dict[tuple[str, ...], list[int]] = {}
    for number, one in enumerate(sets):
        for run in one:
            owners.setdefault(run, []).append(number)
    found = set()
    for number, text in enumerate(texts):
        mine = runs(text)
        shared: dict[int, int] = {}
        for run in mine:
            for owner in owners.get(run, ()):
                shared[owner] = shared.get(owner, 0) + 1
        for owner, both in shared.items():
            other = sets[owner]
            least = CONTAINMENT * min(len(mine), len(other))
            if both >= SAME * len(mine | other) or (both >= FEWEST and both >= least):
                found.add(f"d{number}")
    return found


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of CPU, result): one thread works, and a busy machine shall not be measured."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def search(size: int, pairs: int) -> dict[str, Any]:
    """Megabytes a second of both, in alternating pairs."""
    known = stories()
    wanted = {f"w{number}": text for number, text in enumerate(known[:200])}
    texts = [*enlarged(known[200:], size), *known[:100], *known[200:300]]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    ratios, rates = [], []
    for _ in range(pairs):
        (mine, a), (other, b) = timed(lambda: ours(wanted, texts)), timed(lambda: plain(wanted, texts))
        assert a == b and len(a) >= 100, "the matches differ"
        ratios.append(other / mine)
        rates.append((megabytes / mine, megabytes / other))
    rate, peer = (round(statistics.median(column), 2) for column in zip(*rates, strict=True))
    return {
        "workload": f"near-duplicates of 200 texts in {megabytes:.0f} MB", "ours": rate, "peer": peer,
        "peer_name": "sets of tuples in Python", "unit": "MB/s", "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(min(ratios), 2), "ratio_high": round(max(ratios), 2), "target": TARGET,
    }  # fmt: skip


def guard(pairs: int) -> dict[str, Any]:
    """Words a second through the filter, and through none."""
    texts = stories()[900:1000]
    verbatim = Verbatim(np.unique(np.concatenate([runs_of(text, SPAN) for text in stories()[:300]])))
    pieces = [piece for text in texts for piece in re.findall(r"\s*\S{1,4}", text)]
    count = sum(len(text.split()) for text in texts)

    def passed(filter_: Verbatim | None) -> None:
        one = Withheld(filter_)
        for piece in pieces:
            one.push(piece)
            if one.stopped:
                one = Withheld(filter_)

    rates = [(count / timed(lambda: passed(verbatim))[0], count / timed(lambda: passed(None))[0]) for _ in range(pairs)]
    ratios = [a / b for a, b in rates]
    rate, peer = (round(statistics.median(column)) for column in zip(*rates, strict=True))
    return {
        "workload": "an answer through the filter", "ours": rate, "peer": peer, "peer_name": "no filter",
        "unit": "words/s", "ratio": round(statistics.median(ratios), 4), "ratio_low": round(min(ratios), 4),
        "ratio_high": round(max(ratios), 4), "target": 20_000,
    }  # fmt: skip


def false_stops() -> list[dict[str, Any]]:
    """Ordinary text that a filter of other texts stops, where the filter was checked against a corpus."""
    known = stories()
    withdrawn, corpus, fresh = known[:100], known[100:1000], known[1000:]
    mine = np.unique(np.concatenate([runs_of(text, SPAN) for text in withdrawn]))
    common = np.unique(np.concatenate([runs_of(text, SPAN) for text in corpus]))
    verbatim = Verbatim(np.setdiff1d(mine, common))
    found = []
    for name, texts in (("other stories", fresh), ("a manual's pages", manual())):
        hit = sum(bool(np.isin(runs_of(text, SPAN), verbatim.hashes).any()) for text in texts)
        share = hit / (len(texts) * len(withdrawn))
        found.append(
            {"workload": f"{len(texts)} {name} stopped, per withdrawn story", "ours": round(share, 6), "peer": 0.0,
             "peer_name": "no filter", "unit": "share", "ratio": None, "ratio_low": None, "ratio_high": None,
             "target": 0.001}
        )  # fmt: skip
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    results = [search(4_000_000 if quick else 40_000_000, 2 if quick else 3), guard(3 if quick else 7), *false_stops()]
    for one in results:
        print(
            f"{one['workload']:<60} {one['ours']} {one['unit']}, {one['peer_name']} {one['peer']}, ratio {one['ratio']}"
        )
    head = {"benchmark": "withdraw", "machine": cpu_name(), "threads": 1, "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({**head, "results": results}))


if __name__ == "__main__":
    main()
