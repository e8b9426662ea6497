"""Curation's time and memory grow in a line: a synthetic corpus of several sizes, curated end to end.

    python benchmarks/curate_scale.py [--quick] [--sizes GB ...] [--folder FOLDER] [--workers N] [--plot FILE.png]

Documents are drawn from the paragraphs of the example books and stories, six at a time. One in twenty is an exact copy
of an earlier one, one in ten a near copy with a word in two hundred changed. ``source`` and ``curate`` run as a user
runs them, global steps included. Memory is the largest resident size of any one process, sampled; time is wall time.
Prints a table, and one JSON object as its last line: ``ratio`` is that of the bound of 4 GiB to the largest memory.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from process_memory import Peak

from groundup.artifact.store import Store
from groundup.base.machine import cores, cpu_name

ROOT = Path(__file__).parents[1]
BOUND = 4 << 30
_PARAGRAPHS = 6
_REMEMBERED = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.02 and 0.1 GB")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.2, 2.0, 20.0], help="gigabytes of text")
    parser.add_argument("--folder", type=Path, help="where to work; needs about four times the largest size")
    parser.add_argument("--workers", type=int, default=cores(), help="worker processes")
    parser.add_argument("--plot", type=Path, help="draw time and memory into this file")
    options = parser.parse_args()
    sizes = [0.02, 0.1] if options.quick else sorted(options.sizes)
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows.append(measured(size, Path(folder), options.workers))
            row = rows[-1]
            print(
                f"{size:>6g} GB  {row['documents_in']:>10,} documents  {row['source_s']:>8.0f} s source  "
                f"{row['curate_s']:>8.0f} s curate  {size * 1000 / row['curate_s']:>6.2f} MB/s  "
                f"{row['peak'] / 2**30:.2f} GiB  exact {row['exact']:.1%} of planted  near {row['near']:.1%}",
                flush=True,
            )
    if options.plot:
        plot(rows, options.plot)
    last = rows[-1]
    per_gb = [row["curate_s"] / row["size"] for row in rows]
    result = {
        "benchmark": "curate_scale",
        "workload": ", ".join(f"{row['size']:g} GB" for row in rows) + f", {options.workers} workers",
        "machine": cpu_name(),
        "threads": options.workers,
        "ours": round(last["peak"] / 2**30, 3),
        "peer": BOUND / 2**30,
        "peer_name": "bound",
        "unit": "GiB of the largest process",
        "ratio": round(BOUND / last["peak"], 3),
        "ratio_low": round(BOUND / max(row["peak"] for row in rows), 3),
        "ratio_high": round(BOUND / min(row["peak"] for row in rows), 3),
        "target": 1.0,
        "seconds_per_gb": [round(each, 1) for each in per_gb],
    }
    print(json.dumps(result))


def documents(size: int) -> Iterator[tuple[str, str]]:
    """(kind, text) until there are ``size`` bytes; kinds: ``new``, ``exact``, ``near``."""
    draw = random.Random(1)
    paragraphs = example_paragraphs()
    words = " ".join(paragraphs[:200]).split()
    earlier: list[str] = []
    written = 0
    while written < size:
        chance = draw.random()
        if earlier and chance < 0.05:
            kind, text = "exact", draw.choice(earlier)
        elif earlier and chance < 0.15:
            kind, text = "near", edited(draw.choice(earlier), words, draw)
        else:
            kind, text = "new", "\n\n".join(draw.choices(paragraphs, k=_PARAGRAPHS))
            if len(earlier) < _REMEMBERED:
                earlier.append(text)
            else:
                earlier[draw.randrange(_REMEMBERED)] = text
        written += len(text.encode())
        yield kind, text


def example_paragraphs() -> list[str]:
    """The paragraphs of the example texts, books and stories, that are neither short nor long."""
    found: list[str] = []
    for name in ("books", "stories"):
        with gzip.open(ROOT / "examples" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                found += [part for part in json.loads(line)["text"].split("\n\n") if 200 <= len(part) <= 2000]
    return found


def edited(text: str, words: list[str], draw: random.Random) -> str:
    """The text with one word in two hundred changed."""
    parts = text.split(" ")
    for at in draw.sample(range(len(parts)), max(1, len(parts) // 200)):
        parts[at] = draw.choice(words)
    return " ".join(parts)


def measured(size: float, folder: Path, workers: int) -> dict[str, Any]:
    """One size from end to end."""
    planted = {"new": 0, "exact": 0, "near": 0}
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as lines:
        for kind, text in documents(int(size * 1e9)):
            planted[kind] += 1
            lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    source = {
        "path": "corpus.jsonl",
        "licence": "LicenseRef-public-domain",
        "origin": "made by benchmarks/curate_scale.py",
    }
    artifacts = {
        "pages": {"stage": "source", "files": [source]},
        "corpus": {"stage": "curate", "pages": ["pages"], "workers": workers},
    }
    recipe = folder / "scale.yaml"
    recipe.write_text(yaml.safe_dump({"name": "scale", "artifacts": artifacts}), encoding="utf-8")
    peak = run(recipe, folder / "workspace")
    store = Store(folder / "workspace")
    pages, corpus = (store.find(name, verify=False).record for name in ("pages", "corpus"))
    rejected = corpus.metrics["rejected"]
    return {
        "size": size,
        "documents_in": corpus.metrics["documents_in"],
        "source_s": pages.cost.seconds,
        "curate_s": corpus.cost.seconds,
        "peak": peak,
        "exact": rejected.get("exact_dedup:duplicate", 0) / max(1, planted["exact"]),
        "near": rejected.get("near_dedup:near_duplicate", 0) / max(1, planted["near"]),
    }


def run(recipe: Path, workspace: Path) -> int:
    """Run the recipe; the largest resident size of one of its processes, in bytes."""
    process = subprocess.Popen([sys.executable, "-m", "groundup", "run", str(recipe), "-w", str(workspace)])
    peak = Peak()
    with peak.watching(process.pid):
        code = process.wait()
    if code:
        sys.exit(code)
    return peak.bytes


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory against size, both axes logarithmic."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    sizes = [row["size"] for row in rows]
    left.loglog(sizes, [row["curate_s"] for row in rows], marker="o")
    left.set(xlabel="GB of text", ylabel="seconds")
    right.semilogx(sizes, [row["peak"] / 2**30 for row in rows], marker="o")
    right.axhline(BOUND / 2**30, linestyle=":", color="gray")
    right.set(xlabel="GB of text", ylabel="GiB, largest process", ylim=(0, None))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
