"""The quickstart's claims: time, memory, bits per byte beside xz and Kneser-Ney, time of a second run and of --help.

    python benchmarks/quickstart.py [--quick] [--keep FOLDER]

``--quick`` runs the tests' small recipe, for which the targets don't hold. Prints a table, and one JSON object as its
last line; every ``ratio`` is above 1 where the target is met.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from groundup.artifact.store import Store
from groundup.base.machine import cores, cpu_name

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small recipe of the tests, in about a minute")
    parser.add_argument("--keep", type=Path, help="an empty folder to make the workspace in, and leave it there")
    options = parser.parse_args()
    recipe = str(ROOT / "tests" / "journey" / "small.yaml") if options.quick else "quickstart"
    with tempfile.TemporaryDirectory() as folder:
        workspace = options.keep or Path(folder)
        first, peak = timed("run", recipe, workspace=workspace)
        again = statistics.median(timed("run", recipe, workspace=workspace)[0] for _ in range(3))
        helped = statistics.median(timed("--help")[0] for _ in range(7))
        scores = Store(workspace).find("scores").record.metrics
    bits, baselines = scores["base"], scores["baselines"]
    value, low, high = (bits[f"bits_per_byte{end}"] for end in ("", "_low", "_high"))
    results = [
        claim("run from nothing", first, 600.0, "limit", "s"),
        claim("peak memory", peak / 2**30, 4.0, "limit", "GiB"),
        claim("run again", again, 3.0, "limit", "s"),
        claim("groundup --help", helped, 0.5, "limit", "s"),
        claim("held-out text", value, baselines["xz_9e"], "xz -9e", "bits per byte", low, high),
        claim("held-out text", value, baselines["kneser_ney_5gram"], "Kneser-Ney 5-gram", "bits per byte", low, high),
    ]
    for result in results:
        print(
            f"{result['workload']:<18} {result['ours']:>9.3f}   {result['peer_name']:<18} {result['peer']:>9.3f}  "
            f"{result['unit']:<14} ratio {result['ratio']:.3f}"
        )
    print(json.dumps({"results": [{"recipe": Path(recipe).stem, **result} for result in results]}))


def timed(*arguments: str, workspace: Path | None = None) -> tuple[float, int]:
    """Seconds and peak resident bytes of one command (the largest of the process and its children)."""
    command = [sys.executable, "-m", "groundup", *arguments, *(["-w", str(workspace)] if workspace else [])]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def claim(
    workload: str, ours: float, peer: float, name: str, unit: str, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    """One result; an interval of ours (low, high) becomes one of the ratio."""
    return {
        "benchmark": "quickstart",
        "workload": workload,
        "machine": cpu_name(),
        "threads": cores(),
        "ours": round(ours, 4),
        "peer": round(peer, 4),
        "peer_name": name,
        "unit": unit,
        "ratio": round(peer / ours, 4),
        "ratio_low": round(peer / (high or ours), 4),
        "ratio_high": round(peer / (low or ours), 4),
        "target": 1.0,
    }


if __name__ == "__main__":
    main()
