"""Redaction: precision and recall on templates held out, what it finds in real text, and how fast.

    python benchmarks/curate_redact.py [--quick] [--calling-codes] [--shared FOLDER]

The corpus of templates is the tests' (tests/stages/curate/test_redaction_corpus.py), with another seed. Real text is
books, the SQLite, PostgreSQL and Debian manuals, and a sample of C4; only counts are printed, never values. There is no
peer that finds the same kinds at a speed to compare with, so the ratio is to the speed asked for. The last line is
JSON. ``--calling-codes`` writes the product's table of calling codes (needs ``phonenumbers``).
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from groundup.base.machine import cpu_name
from groundup.stages.curate import redaction
from groundup.stages.curate.redaction.redact import DEFAULT_KINDS, Redact
from groundup.stages.curate.redaction.spans import KINDS

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
TESTS = ROOT / "tests/stages/curate"
ASKED = 10.0
MANUALS = {
    "sqlite": "sqlite_doc/sqlite_doc.tar.xz",
    "postgresql": "postgresql_doc/postgresql_doc.tar.xz",
    "handbook": "debian_handbook/handbook_12lang.tar.xz",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer documents and rounds")
    parser.add_argument("--calling-codes", action="store_true", help="write calling_codes.tsv, and nothing else")
    parser.add_argument("--shared", type=Path, default=SHARED)
    options = parser.parse_args()
    if options.calling_codes:
        write_calling_codes()
        return
    if not (options.shared / "data").is_dir():
        sys.exit(f"{options.shared}/data is not there: give the shared folder with --shared")
    results = [accuracy(300 if options.quick else 1500)]
    for name, documents in real_text(options.shared / "data", 100 if options.quick else 400):
        for which, kinds in (("default kinds", DEFAULT_KINDS), ("all kinds", KINDS)):
            results.append(speed(f"{name}, {which}", documents, Redact(kinds), 1 if options.quick else 3))
    print(json.dumps({"benchmark": "curate_redact", "results": results}))


def accuracy(documents: int) -> dict[str, Any]:
    sys.path.insert(0, str(TESTS))
    import test_redaction as measure
    import test_redaction_corpus as corpus

    recall, precision, all_recall, all_precision = measure.shares(corpus.corpus(corpus.HELD_OUT, documents, 2026))
    for kind in KINDS:
        print(f"{kind:<12} recall {recall[kind]:.3f}  precision {precision[kind]:.3f}")
    print(f"{'all':<12} recall {all_recall:.3f}  precision {all_precision:.3f}")
    return {
        "workload": f"{documents} documents of held-out templates",
        "recall": {kind: round(share, 4) for kind, share in recall.items()},
        "precision": {kind: round(share, 4) for kind, share in precision.items()},
        "recall_all": round(all_recall, 4),
        "precision_all": round(all_precision, 4),
        "target": 0.95,
    }


def real_text(data: Path, pages: int) -> list[tuple[str, list[str]]]:
    from resiliparse.extract.html2text import extract_plain_text

    with gzip.open(data / "text/books/books.jsonl.gz", "rt", encoding="utf-8") as file:
        books = [json.loads(line)["text"] for line in file][: pages // 4]
    found = [("books", [text[at : at + 4000] for text in books for at in range(0, len(text), 4000)])]
    for name, path in MANUALS.items():
        texts: list[str] = []
        with tarfile.open(data / "html" / path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".html") else None
                if file is not None and len(texts) < pages:
                    texts.append(extract_plain_text(file.read().decode("utf-8", "replace"), main_content=True))
        found.append((name, texts))
    with gzip.open(data / "text/c4_demo/c4_demo.jsonl.gz", "rt", encoding="utf-8") as file:
        found.append(("c4", [json.loads(line)["text"] for line in file][:pages]))
    return found


def speed(workload: str, documents: list[str], operator: Redact, rounds: int) -> dict[str, Any]:
    """Megabytes a second of processor time, and what was found by kind."""
    size = sum(len(document.encode()) for document in documents) / 1e6
    batch = pa.RecordBatch.from_pydict({"text": pa.array(documents, pa.large_string())})
    operator(batch.slice(0, 2))
    rates = []
    for _ in range(rounds):
        start = time.process_time()
        done = operator(batch)
        rates.append(size / (time.process_time() - start))
    counts: Counter[str] = Counter()
    for row in done.column("redactions").to_pylist():
        counts.update(dict(row or ()))
    ours = statistics.median(rates)
    print(f"{workload:<28} {size:6.1f} MB  {ours:6.1f} MB/s  {dict(sorted(counts.items()))}")
    return {
        "workload": workload,
        "machine": cpu_name(),
        "threads": 1,
        "ours": round(ours, 2),
        "peer": ASKED,
        "peer_name": "the speed asked for",
        "unit": "MB/s",
        "ratio": round(ours / ASKED, 2),
        "ratio_low": round(min(rates) / ASKED, 2),
        "ratio_high": round(max(rates) / ASKED, 2),
        "target": 1.0,
        "found": dict(sorted(counts.items())),
    }


def write_calling_codes() -> None:
    import phonenumbers

    lines = []
    for code, regions in sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()):
        lengths: set[int] = set()
        for region in regions:
            known = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
            for use in (
                known.fixed_line, known.mobile, known.toll_free, known.premium_rate,
                known.shared_cost, known.voip, known.personal_number, known.uan,
            ):  # fmt: skip
                lengths |= {length for length in (use.possible_length if use else ()) or () if length > 0}
        if lengths:
            lines.append(f"{code}\t{' '.join(map(str, sorted(lengths)))}\n")
    head = (
        "# Country calling codes (ITU E.164) and the lengths of their national numbers, in digits. Facts from\n"
        "# libphonenumber's metadata (Apache-2.0), written by benchmarks/curate_redact.py --calling-codes.\n"
    )
    (Path(redaction.__path__[0]) / "calling_codes.tsv").write_text(head + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
