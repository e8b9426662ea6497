"""A scaling law predicts a model that it was not fitted to: ``groundup sweep`` on books, with the target trained too.

    python benchmarks/sweep.py [--quick] [--books FILE] [--keep FOLDER]

Nine models of depths 1 to 3, no token read twice, predict one of depth 4, which is then trained. Prints what the
command prints, and one JSON object as its last line; ``ratio`` is the largest error allowed (5 %) over the error found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from groundup.base.machine import cores, cpu_name

BOOKS = Path(__file__).parents[1] / "../shared/data/text/books/books.jsonl.gz"
LARGEST_ERROR = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter runs of narrower models, in two or three minutes")
    parser.add_argument("--books", type=Path, default=BOOKS, help="JSONL, gzipped, with title and text")
    parser.add_argument("--keep", type=Path, help="a folder to make the workspace in, and leave it there")
    options = parser.parse_args()
    if not options.books.is_file():
        sys.exit(f"{options.books} is not there: give a gzipped JSONL file of books (title, text) with --books")
    width, horizon, ratios = (64, "1M tokens", "1,2,4") if options.quick else (128, "6M tokens", "4,8,16")
    with tempfile.TemporaryDirectory() as folder:
        workspace = options.keep or Path(folder)
        workspace.mkdir(parents=True, exist_ok=True)
        recipe = workspace / "law.yaml"
        recipe.write_text(yaml.safe_dump(described(options.books.resolve(), width, horizon)), encoding="utf-8")
        command = [
            "sweep",
            str(recipe),
            "base",
            "--depths",
            "1,2,3",
            "--ratios",
            ratios,
            "-w",
            str(workspace),
            "--json",
        ]
        done = subprocess.run([sys.executable, "-m", "groundup", *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    report = json.loads(done.stdout)
    goal = report["prediction"]
    for row in report["runs"]:
        print(f"{row['name']:<12} {row['parameters']:>9,} parameters {row['tokens']:>10,} tokens  {row['loss']:.4f}")
    print(
        f"predicted {goal['loss']:.4f} ({goal['low']:.4f} to {goal['high']:.4f}), reached {goal['measured']:.4f}: "
        f"off by {goal['error']:+.2%}, for {goal['parameters']:,} parameters and {goal['tokens']:,} tokens"
    )
    edges = [abs(goal[edge] / goal["measured"] - 1) for edge in ("low", "loss", "high")]
    result = {
        "benchmark": "sweep",
        "workload": "depth 4 from depths 1 to 3, books" + (", quick" if options.quick else ""),
        "machine": cpu_name(),
        "threads": cores(),
        "ours": round(goal["loss"], 5),
        "peer": goal["measured"],
        "peer_name": "the trained model",
        "unit": "bits per byte",
        "ratio": round(LARGEST_ERROR / max(abs(goal["error"]), 1e-9), 3),
        "ratio_low": round(LARGEST_ERROR / max(edges), 3),
        "ratio_high": round(LARGEST_ERROR / max(min(edges), 1e-9), 3),
        "target": 1.0,
    }
    print(json.dumps(result))


def described(books: Path, width: int, horizon: str) -> dict[str, object]:
    """The recipe: books as they are, a small vocabulary, and the model to predict."""
    source = {"path": str(books), "licence": "LicenseRef-public-domain", "origin": "classic-books-markdown"}
    return {
        "name": "law",
        "artifacts": {
            "pages": {
                "stage": "source",
                "files": [{**source, "title_field": "title", "split_headings": True}],
            },
            "corpus": {"stage": "curate", "pages": ["pages"]},
            "tokenizer": {"stage": "tokenizer", "corpus": "corpus", "vocab_size": 2048},
            "tokens": {"stage": "tokens", "corpus": "corpus", "tokenizer": "tokenizer"},
            "base": {
                "stage": "pretrain",
                "tokens": "tokens",
                "tokenizer": "tokenizer",
                "depth": 4,
                "hidden_size": width,
                "horizon": horizon,
            },
        },
    }


if __name__ == "__main__":
    main()
