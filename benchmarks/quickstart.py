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
    if options.keep and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"{options.keep} is not empty: a run that finds artifacts is not a run from nothing")
    recipe = str(ROOT / "tests" / "journey" / "small.yaml") if options.quick else "quickstart"
    with tempfile.TemporaryDirectory() as folder:
        workspace = options.keep or Path(folder)
        first, peak = timed("run", recipe, workspace=workspace)
        again = statistics.median(timed("run", recipe, workspace=workspace)[0] for _ in range(3))
        helped = statistics.median(timed("--help")[0] for _ in range(7))
        report = json.loads(Store(workspace).find("scores").file("report.json").read_text())
    paired = {row["first"]: row for row in report["comparisons"] if row["second"] == "base"}
    where = {"model": "base", "task": "bits_per_byte", "part": "all"}
    value = next(row["value"] for row in report["scores"] if where.items() <= row.items())
    results = [
        claim("run from nothing", first, 600.0, "limit", "s"),
        claim("peak memory", peak / 2**30, 4.0, "limit", "GiB"),
        claim("run again", again, 3.0, "limit", "s"),
        claim("groundup --help", helped, 0.5, "limit", "s"),
        *(
            claim("held-out text", value, value - paired[key]["difference"], name, "bits per byte", error(paired[key]))
            for key, name in (("xz_9e", "xz -9e"), ("kneser_ney_5gram", "Kneser-Ney 5-gram"))
        ),
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


def error(comparison: dict[str, Any]) -> float:
    """The standard error of a paired difference; the report gives what 80 % power at 5 % would see, 2.8 of them."""
    return float(comparison["smallest_visible"]) / 2.8


def claim(workload: str, ours: float, peer: float, name: str, unit: str, paired_error: float = 0.0) -> dict[str, Any]:
    """One result; the ratio's interval is that of the paired difference over the documents."""
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
        "ratio_low": round((peer - 1.96 * paired_error) / ours, 4),
        "ratio_high": round((peer + 1.96 * paired_error) / ours, 4),
        "target": 1.0,
    }


if __name__ == "__main__":
    main()
