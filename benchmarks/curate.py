"""All of curation's benchmarks in turn, each beside its peers: filters, near duplicates, extraction, judges and more.

    python benchmarks/curate.py [--quick] [NAME ...]

NAMEs choose some of them, such as ``filters minhash``. Peers run in environments of their own (PEERS_HOME). Prints what
each of them prints, and one JSON object with all their results as its last line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("filters", "minhash", "extract", "identify", "redact", "quality")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="each in its short form")
    options = parser.parse_args()
    for name in options.names:
        if name not in NAMES:
            parser.error(f"no benchmark {name!r}; known: {', '.join(NAMES)}")
    results: list[dict[str, Any]] = []
    failed = []
    for name in options.names or NAMES:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, str(HERE / f"curate_{name}.py"), *(["--quick"] if options.quick else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            if last:
                print(last, flush=True)
            last = line.rstrip("\n")
        if process.wait():
            failed.append(name)
            continue
        found = json.loads(last)
        results += found.get("results", [found])
    print(json.dumps({"results": results}))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
