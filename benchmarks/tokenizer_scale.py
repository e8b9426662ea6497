"""Learning a tokenizer out of core: its memory, and what is left of the work after a kill.

    python benchmarks/tokenizer_scale.py [--quick] [--size GB] [--vocab N] [--folder FOLDER] [--workers N]

The corpus has paragraphs of the example books and stories, with ten new words in each document: as many different words
as the web has in as much text, tens of millions in 20 GB, of which memory holds only a part. The stage is killed
(SIGKILL, all its processes) half way through counting and run again; reported are the largest resident size of any
process, that of all together, and how many counting jobs outlived the kill.

Prints what happens, and one JSON object as its last line: ``ratio`` is that of the bound of 4 GiB to the largest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate_scale import BOUND, example_paragraphs
from process_memory import Peak
from tokenizer_corpora import artifact_of, task_of, write_corpus

from groundup.base.machine import cpu_name
from groundup.stages.tokenize.config import TokenizerConfig
from groundup.stages.tokenize.corpus_words import corpus_units
from groundup.stages.tokenize.train_tokenizer import learn_bpe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.2 GB")
    parser.add_argument("--size", type=float, default=20.0, help="gigabytes of text")
    parser.add_argument("--vocab", type=int, default=8192, help="vocabulary size")
    parser.add_argument("--folder", type=Path, help="where to work; needs about twice the size")
    parser.add_argument("--workers", type=int, default=2, help="processes that count")
    parser.add_argument("--stage", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(run_stage(options.stage, options.vocab, options.workers)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        size = 0.2 if options.quick else options.size
        print(json.dumps(scaled(size, options.vocab, options.workers, Path(folder))))


def scaled(size: float, vocab: int, workers: int, folder: Path) -> dict[str, Any]:
    """Write a corpus, train on it, kill it half way, train again."""
    text = write_corpus(folder / "corpus", expanded(int(size * 1e9)))
    jobs = folder / "task" / "scratch" / "jobs"
    command = [sys.executable, __file__, "--stage", str(folder), "--vocab", str(vocab), "--workers", str(workers)]
    peak = Peak()
    start = time.monotonic()
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    wanted = len(corpus_units(artifact_of(folder / "corpus"))) // 2
    with peak.watching(first.pid):
        while first.poll() is None and len(list(jobs.glob("*/manifest.json"))) < wanted:
            time.sleep(0.1)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    before, finished = time.monotonic() - start, len(list(jobs.glob("*/manifest.json")))
    second = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    with peak.watching(second.pid):
        out, _ = second.communicate()
    if second.returncode:
        sys.exit(second.returncode)
    found = json.loads(out.splitlines()[-1])
    whole = time.monotonic() - start
    print(
        f"{text / 1e9:.2f} GB, {workers} workers: killed after {before:.0f} s with {finished} jobs finished", flush=True
    )
    print(f"resumed; {whole:.0f} s in all, {text / 1e6 / whole:.1f} MB/s; learned from {found['words']}", flush=True)
    print(f"largest process {peak.bytes / 2**30:.2f} GiB, all together {peak.together / 2**30:.2f} GiB", flush=True)
    return {
        "benchmark": "tokenizer_scale",
        "workload": f"train out of core, {text / 1e9:.2f} GB, vocabulary {vocab}, {workers} workers, one kill -9",
        "machine": cpu_name(),
        "threads": workers,
        "ours": round(peak.bytes / 2**30, 3),
        "peer": BOUND / 2**30,
        "peer_name": "bound",
        "unit": "GiB of the largest process",
        "ratio": round(BOUND / peak.bytes, 3),
        "ratio_low": round(BOUND / peak.bytes, 3),
        "ratio_high": round(BOUND / peak.bytes, 3),
        "target": 1.0,
        "gib_of_all_processes": round(peak.together / 2**30, 3),
        "seconds": round(whole, 1),
        "jobs_kept_over_the_kill": finished,
        "words": found["words"],
    }


def run_stage(folder: Path, vocab: int, workers: int) -> dict[str, Any]:
    """Learn from the corpus in ``folder``, in this process and its workers."""
    config = TokenizerConfig.parse({"corpus": "corpus", "vocab_size": vocab, "workers": workers}, "tokenizer")
    tokenizer, words = learn_bpe(config, task_of(folder / "corpus", folder / "task", loud=True))
    digest = hashlib.sha256(json.dumps(tokenizer.describe()).encode()).hexdigest()
    facts = {"different": words.found, "learned_from": words.words.num_rows, "covered": round(words.covered, 6)}
    return {"digest": digest, "words": facts}


def expanded(size: int) -> Iterator[str]:
    """Documents of six paragraphs of the examples and ten made-up words each, until there are ``size`` bytes."""
    draw = random.Random(1)
    paragraphs = example_paragraphs()
    written = 0
    while written < size:
        made = ["".join(draw.choices("etaoinshrdlucmfwypvbgkjqxz", k=draw.randint(5, 14))) for _ in range(10)]
        text = "\n\n".join([*draw.choices(paragraphs, k=6), f"He called them {' '.join(made)}."])
        written += len(text.encode())
        yield text


if __name__ == "__main__":
    main()
