"""Reading WARC: pages as the source stage reads them, beside FastWARC's bare loop over the same records.

    python benchmarks/source_warc.py [--quick] [--folder FOLDER]

Both parse HTTP and read each body, on one thread, from one gzip file made of the real ones in FOLDER, in turns. Ours
also tells pages from other records, undoes encodings that were left on, keeps headers and dates, and looks for records
that run into the next one. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from groundup.base.machine import cpu_name
from groundup.stages.source.config import SourceFile
from groundup.stages.source.places import local
from groundup.stages.source.readers.reading import Reading
from groundup.stages.source.readers.warc import read_warc
from groundup.stages.source.unpack import unpack

FOLDER = Path(__file__).parents[1] / "../shared/data/warc"
FILES = ("dolma-sample-0000", "dolma-sample-0001-creativecommons", "resiliparse-warcfile", "whirlwind")
TARGET = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller file and fewer rounds")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the WARC files are")
    options = parser.parse_args()
    sources = [options.folder / f"{name}.warc.gz" for name in FILES]
    if not all(path.is_file() for path in sources):
        sys.exit(f"{options.folder} has not all of {', '.join(FILES)}: give their folder by --folder")
    copies, rounds = (20, 3) if options.quick else (100, 7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all.warc.gz"
        path.write_bytes(b"".join(source.read_bytes() for source in sources) * copies)
        runs: dict[str, Callable[[Path], int]] = {"ours": ours, "fastwarc": fastwarc}
        size = fastwarc(path) / 1e6
        rates: dict[str, list[float]] = {name: [] for name in runs}
        print("round" + "".join(f"{name:>12}" for name in runs) + "   MB/s of bodies")
        for number in range(rounds):
            for name in list(runs) if number % 2 else list(runs)[::-1]:
                start = time.process_time()
                runs[name](path)
                rates[name].append(size / (time.process_time() - start))
            print(f"{number:<5}" + "".join(f"{values[-1]:>12.1f}" for values in rates.values()), flush=True)
    ratios = [mine / other for mine, other in zip(rates["ours"], rates["fastwarc"], strict=True)]
    result = {
        "benchmark": "source_warc",
        "workload": f"gzip WARC, {size:.0f} MB of bodies, CPU time",
        "machine": cpu_name(),
        "threads": 1,
        "ours": round(statistics.median(rates["ours"]), 1),
        "peer": round(statistics.median(rates["fastwarc"]), 1),
        "peer_name": "fastwarc 2.0.1, bare loop",
        "unit": "MB/s",
        "ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(min(ratios), 3),
        "ratio_high": round(max(ratios), 3),
        "target": TARGET,
    }
    print(json.dumps(result))


def ours(path: Path) -> int:
    """Bytes of the pages that the reader gives."""
    file = SourceFile.model_validate({"path": str(path), "licence": "LicenseRef-test", "origin": "test"})
    reading = Reading(file)
    reading.rules.as_is = lambda name: True
    places = local(path, reading.skip)
    return sum(len(page.content) for member in unpack(places, reading.rules) for page in read_warc(member, reading))


def fastwarc(path: Path) -> int:
    """Bytes of the bodies of all records."""
    from fastwarc.warc import ArchiveIterator

    with path.open("rb") as handle:
        return sum(len(record.reader.read()) for record in ArchiveIterator(handle, parse_http=True))


if __name__ == "__main__":
    main()
