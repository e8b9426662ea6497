"""An ablation tells what helps from what doesn't, where the answer is known: ``groundup ablate`` on stories.

    python benchmarks/ablation.py [--quick] [--seeds N] [--keep FOLDER]

The stories are dealt into three parts. The baseline learns from the first, and its held-out stories are predicted. The
variant *other* learns from the second part: as good, so nothing may be seen but chance. The variant *shuffled* learns
from the third part, in which every second story has its words in random order: that must hurt. Prints what the command
prints, and one JSON object as its last line; ``ratio`` is 1 if both verdicts are right and 0 if not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from groundup.base.machine import cores, cpu_name

STORIES = Path(__file__).parents[1] / "examples" / "stories.jsonl.gz"
KNOWN = {"other": "no difference seen", "shuffled": "hurts"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a narrower model and shorter runs, in about two minutes")
    parser.add_argument("--seeds", type=int, default=3, help="how often each variant is trained")
    parser.add_argument("--keep", type=Path, help="a folder to make the workspace in, and leave it there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = options.keep or Path(folder)
        workspace.mkdir(parents=True, exist_ok=True)
        deal(workspace)
        recipe = workspace / "known.yaml"
        recipe.write_text(yaml.safe_dump(described(64 if options.quick else 128)), encoding="utf-8")
        command = [sys.executable, "-m", "groundup", "ablate", str(recipe), "base", "-w", str(workspace), "--json"]
        command += ["--variant", "other: corpus.pages=[second]", "--variant", "shuffled: corpus.pages=[third]"]
        command += ["--seeds", str(options.seeds), "--horizon", "150k tokens" if options.quick else "600k tokens"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    report = json.loads(done.stdout)
    right = True
    rows = {row["name"]: row for row in report["variants"]}
    print(f"baseline   {rows['baseline']['loss']['value']:.4f} bits a byte")
    for name, known in KNOWN.items():
        found = rows[name]["comparison"]
        mean = found["difference"]
        right &= found["verdict"] == known
        print(
            f"{name:<10} {mean['value']:+.4f} ({mean['low']:+.4f} to {mean['high']:+.4f}), p {found['adjusted']:.2g}, "
            f"smallest visible {found['visible']:.4f}: {found['verdict']} (known: {known})"
        )
    shuffled = rows["shuffled"]["comparison"]
    result = {
        "benchmark": "ablation",
        "workload": f"stories, {options.seeds} seeds" + (", quick" if options.quick else ""),
        "machine": cpu_name(),
        "threads": cores(),
        "ours": round(shuffled["difference"]["value"], 5),
        "peer": round(rows["other"]["comparison"]["difference"]["value"], 5),
        "peer_name": "as good text",
        "unit": "bits a byte less the baseline",
        "ratio": float(right),
        "ratio_low": float(right),
        "ratio_high": float(right),
        "target": 1.0,
    }
    print(json.dumps(result))


def deal(folder: Path) -> None:
    """Write ``first``, ``second`` and ``third.jsonl``."""
    with gzip.open(STORIES, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    draw = random.Random(1)
    for place, name in enumerate(("first", "second", "third")):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            for number, text in enumerate(texts[place::3]):
                if name == "third" and number % 2:
                    words = text.split()
                    draw.shuffle(words)
                    text = " ".join(words)
                out.write(json.dumps({"text": text}) + "\n")


def described(width: int) -> dict[str, Any]:
    """The recipe: three sets of pages, of which the baseline reads one."""
    terms = {"licence": "CDLA-Sharing-1.0", "origin": "TinyStories (Eldan and Li 2023), a sample"}
    parts = ("first", "second", "third")
    pages = {name: {"stage": "source", "files": [{"path": f"{name}.jsonl", **terms}]} for name in parts}
    corpus = {"stage": "curate", "pages": ["first"], "filters": [], "held_out": 0.1, "decontaminate": []}
    base = {"stage": "pretrain", "tokens": "tokens", "tokenizer": "tokenizer", "depth": 2, "hidden_size": width}
    return {
        "name": "known",
        "artifacts": {
            **pages,
            "corpus": corpus,
            "tokenizer": {"stage": "tokenizer", "corpus": "corpus", "vocab_size": 2048},
            "tokens": {"stage": "tokens", "corpus": "corpus", "tokenizer": "tokenizer", "max_seq_len": 256},
            "base": {**base, "batch_tokens": 4096},
        },
    }


if __name__ == "__main__":
    main()
