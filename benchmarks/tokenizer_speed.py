"""Tokenizers: training and encoding speed beside ``tokenizers`` and ``sentencepiece``.

    python benchmarks/tokenize.py [--quick] [--file JSONL] [--vocab N] [--folder FOLDER]

*train*: the stage's way from Parquet to merges (words counted in jobs on disk, added up, chosen, merged) beside the
faster of the two libraries, which have the text in memory. Same text, same size of vocabulary, one core. *encode*:
``Tokenizer.encode_column`` beside the library's ``encode_batch_fast`` with the same ``tokenizer.json``, one core, ids
equal; ``cold`` is the first encoding by a fresh encoder, ``warm`` a later one. The peers run in an environment of their
own (../shared/peers/setup tok; ``PEERS_HOME`` says where) as one process that answers once a round.

The peer's time includes reading the ids as lists, which is how Python gets them from it; ours come as arrays.

Prints a table, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KIT = Path(os.environ.get("GROUNDUP_SHARED", ROOT / "../shared")).resolve() / "peers"
FILE = KIT.parent / "data/text/books/books.jsonl.gz"
TARGETS = {"train": 1.0, "encode cold": 3.0, "encode warm": 3.0}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS")

SERVER = """
import hashlib, io, json, os, sys, time
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
texts = json.load(open(sys.argv[1])); vocab = int(sys.argv[3]); split = sys.argv[4]
import sentencepiece, tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

def train_tokenizers():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(split), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    start = time.perf_counter()
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts, trainer)
    return time.perf_counter() - start, ""

def train_sentencepiece():
    start = time.perf_counter()
    lines = (line for text in texts for line in text.splitlines() if line)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=io.BytesIO(), model_type="bpe",
        vocab_size=vocab, num_threads=1, byte_fallback=True, normalization_rule_name="identity", minloglevel=3,
        remove_extra_whitespaces=False, add_dummy_prefix=False, max_sentence_length=1 << 20, hard_vocab_limit=False)
    return time.perf_counter() - start, ""

def encode(made):
    start = time.perf_counter()
    found = made.encode_batch_fast(texts, add_special_tokens=False)
    ids = [one.ids for one in found]
    taken = time.perf_counter() - start
    return taken, hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()

def fresh():
    made = Tokenizer.from_file(sys.argv[2]); made.encode_special_tokens = True
    return made

def encode_cold():
    return encode(fresh())

known = None
def encode_warm():
    global known
    if known is None:
        known = fresh(); encode(known)
    return encode(known)

for line in sys.stdin:
    print(json.dumps(globals()[line.strip()]()), file=out, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less text and fewer rounds")
    parser.add_argument("--file", type=Path, default=FILE, help="gzipped JSONL with a text field")
    parser.add_argument("--vocab", type=int, default=8192, help="vocabulary size")
    parser.add_argument("--folder", type=Path, help="where to work")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compared(options, Path(folder))


def compared(options: argparse.Namespace, folder: Path) -> None:
    """Alternate with the peers; print rates and results."""
    if not options.file.is_file():
        sys.exit(f"{options.file} is not there: give a gzipped JSONL file with a text field by --file")
    for name in THREADS:
        os.environ[name] = "1"
    from tokenizer_corpora import write_corpus  # reads the number of threads

    limit, rounds = (4e6, 3) if options.quick else (20e6, 5)
    texts = read(options.file, int(limit))
    size = sum(len(text.encode()) for text in texts) / 1e6
    corpus = folder / "corpus"
    write_corpus(corpus, texts)
    learn(corpus, folder / "warm", min(options.vocab, 1000))  # compiled, or read from the cache
    description = learn(corpus, folder / "first", options.vocab)[1]
    (folder / "tokenizer.json").write_text(description, encoding="utf-8")
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    peer = start_peer(folder, options.vocab)
    rates: dict[str, list[float]] = {}

    def add(name: str, taken: float) -> None:
        rates.setdefault(name, []).append(size / taken)
        print(f"{name:<22}{rates[name][-1]:>10.2f} MB/s", flush=True)

    sums = set()
    for number in range(rounds):
        steps: list[tuple[str, Callable[[], tuple[float, str]]]] = [
            ("ours train", lambda: (learn(corpus, folder / f"r{number}", options.vocab)[0], "")),  # noqa: B023
            ("tokenizers train", lambda: ask(peer, "train_tokenizers")),
            ("sentencepiece train", lambda: ask(peer, "train_sentencepiece")),
            ("ours encode cold", lambda: encode(description, texts, warm=False)),
            ("tokenizers encode cold", lambda: ask(peer, "encode_cold")),
            ("ours encode warm", lambda: encode(description, texts, warm=True)),
            ("tokenizers encode warm", lambda: ask(peer, "encode_warm")),
        ]
        for name, step in steps if number % 2 == 0 else steps[::-1]:
            taken, digest = step()
            add(name, taken)
            sums.add(digest)
        shutil.rmtree(folder / f"r{number}")
    if len(sums - {""}) != 1:
        sys.exit("the ids are not equal")
    assert peer.stdin is not None
    peer.stdin.close()
    peer.wait()
    best = max(("tokenizers", "sentencepiece"), key=lambda name: statistics.median(rates[f"{name} train"]))
    pairs = [("train", best), ("encode cold", "tokenizers"), ("encode warm", "tokenizers")]
    print(json.dumps({"results": [result(rates, name, one, size, options.vocab) for name, one in pairs]}))


def read(path: Path, limit: int) -> list[str]:
    """Documents of about 10,000 characters, cut at line ends, as the kit's ``tokenizer_peers.py`` does."""
    made: list[str] = []
    size = 0
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            piece = ""
            for part in json.loads(line)["text"].splitlines(keepends=True):
                piece += part
                if len(piece) >= 10_000:
                    made.append(piece)
                    size += len(piece.encode())
                    piece = ""
                    if size >= limit:
                        return made
            made.append(piece)
            size += len(piece.encode())
    return [text for text in made if text]


def learn(corpus: Path, folder: Path, vocab: int) -> tuple[float, str]:
    """Seconds from Parquet to a tokenizer by the stage's own parts, one process; and its description."""
    from tokenizer_corpora import task_of

    from groundup.stages.tokenize import train_tokenizer as stage
    from groundup.stages.tokenize.config import TokenizerConfig

    config = TokenizerConfig.parse({"corpus": "corpus", "vocab_size": vocab, "workers": 1, "reserved": 0}, "tokenizer")
    task = task_of(corpus, folder)
    start = time.perf_counter()
    tokenizer, _ = stage.learn_bpe(config, task)
    return time.perf_counter() - start, json.dumps(tokenizer.describe())


_warm: list[Any] = []


def encode(description: str, texts: list[str], *, warm: bool) -> tuple[float, str]:
    """Seconds to encode all texts, and a hash of their ids."""
    import pyarrow as pa

    from groundup.text.chat.template import CHAT_TEMPLATE
    from groundup.text.tokenizer import Roles, Tokenizer

    column = pa.array(texts, pa.large_string())
    if not _warm:
        _warm.append(Tokenizer.parse(json.loads(description), CHAT_TEMPLATE, Roles()))
        _warm[0].encode_column(column)
    tokenizer = _warm[0] if warm else Tokenizer.parse(json.loads(description), CHAT_TEMPLATE, Roles())
    if not warm:
        tokenizer.encode_column(column.slice(0, 0))  # the encoder is built at first use; the peer's is, at loading
    start = time.perf_counter()
    found = tokenizer.encode_column(column)
    taken = time.perf_counter() - start
    return taken, hashlib.sha256(json.dumps(found.lists(), separators=(",", ":")).encode()).hexdigest()


def start_peer(folder: Path, vocab: int) -> subprocess.Popen[str]:
    """The peers' process, which answers a name with seconds and a hash."""
    from groundup.text.tokenizer import LLAMA3_SPLIT

    home = Path(os.environ.get("PEERS_HOME") or KIT) / ".venvs/tok"
    if not (home / ".ready").exists():
        sys.exit(f"{home} is not there: run {KIT}/setup tok (PEERS_HOME names another folder for it)")
    files = [str(folder / name) for name in ("texts.json", "tokenizer.json")]
    command = [str(home / "bin/python"), "-c", SERVER, *files, str(vocab), LLAMA3_SPLIT]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def ask(peer: subprocess.Popen[str], name: str) -> tuple[float, str]:
    """Seconds and the hash of one run of a peer."""
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write(name + "\n")
    peer.stdin.flush()
    answer = peer.stdout.readline()
    if not answer:
        sys.exit(f"the peers' process ended while it ran {name}: run {KIT}/tokenizer_peers.py to see why")
    taken, digest = json.loads(answer)
    return float(taken), str(digest)


def result(rates: dict[str, list[float]], workload: str, peer: str, size: float, vocab: int) -> dict[str, Any]:
    """One result: the ratio over alternating pairs."""
    from groundup.base.machine import cpu_name

    ours, theirs = rates[f"ours {workload}"], rates[f"{peer} {workload}"]
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "benchmark": "tokenize",
        "workload": f"{workload}, {size:.1f} MB, vocabulary {vocab}",
        "machine": cpu_name(),
        "threads": 1,
        "ours": round(statistics.median(ours), 2),
        "peer": round(statistics.median(theirs), 2),
        "peer_name": peer,
        "unit": "MB/s",
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "target": TARGETS[workload],
    }


if __name__ == "__main__":
    main()
