"""Tokenizers that groundup learns, at a realistic size, held against every program that reads their files.

    python benchmarks/tokenizer_trained.py FILE [FILE...] [--vocab 16000] [--strings 20000 | --quick]

FILEs are text or JSON lines with a field ``text``, plain or .gz. One tokenizer of each kind is learned from them by the
product's own stage. Then the hard and random strings of tokenizer_parity.py, and lines of the files, are encoded by
groundup, by ``tokenizers`` and ``transformers`` from what was written, and, for SentencePiece's kinds, by
``sentencepiece`` from the .model beside it. Strings with U+2581 are counted apart for the .model: SentencePiece takes
that character for its own sign of a blank, and no tokenizer.json can say so.

Prints a table of how many strings differ, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizer_corpora import task_of
from tokenizer_parity import strings

KINDS = ("bpe", "sentencepiece-bpe", "unigram")
BLANK = "\u2581"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--vocab", type=int, default=16_000)
    parser.add_argument("--strings", type=int, default=20_000, help="random strings")
    parser.add_argument("--quick", action="store_true", help="500 random strings, and 2,000 entries")
    options = parser.parse_args()
    documents = [text for path in options.files for text in texts(path)]
    lines = [line for text in documents for line in text.split("\n") if line]
    number = 500 if options.quick else options.strings
    given = [*strings(number), *lines[:: max(1, len(lines) // number)]]
    size = sum(len(text.encode()) for text in documents)
    vocab = min(options.vocab, 2000) if options.quick else options.vocab
    print(f"{len(documents):,} documents, {size / 1e6:.1f} MB; {len(given):,} strings; {vocab:,} entries")
    print(f"{'kind':<20}{'seconds':>9}{'tokenizers':>12}{'transformers':>14}{'sentencepiece':>15}{'with U+2581':>13}")
    results = {}
    for kind in KINDS:
        results[kind] = found = compare(kind, documents, vocab, given)
        cells = (found["tokenizers"], found["transformers"], found["sentencepiece"], found["with_blank_sign"])
        shown = ["-" if cell is None else f"{cell:,}" for cell in cells]
        print(f"{kind:<20}{found['seconds']:>9.1f}{shown[0]:>12}{shown[1]:>14}{shown[2]:>15}{shown[3]:>13}")
    print(json.dumps({"benchmark": "tokenizer_trained", "bytes": size, "strings": len(given), "results": results}))


def texts(path: Path) -> Iterator[str]:
    """The documents of a file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if ".jsonl" in path.name:
        yield from (json.loads(line)["text"] for line in text.split("\n") if line)
    else:
        yield text


def compare(kind: str, documents: Iterable[str], vocab: int, given: list[str]) -> dict[str, Any]:
    """How many strings each program encodes otherwise than groundup does, from the files that were written."""
    import sentencepiece
    import tokenizers
    import transformers

    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        ours = learn(kind, documents, vocab, Path(name))
        seconds = time.perf_counter() - start
        written = Path(name) / "payload"
        want = [ours.encode(text) for text in given]
        library = tokenizers.Tokenizer.from_file(str(written / "tokenizer.json"))
        library.encode_special_tokens = True  # as groundup reads people's text
        auto = transformers.AutoTokenizer.from_pretrained(written, split_special_tokens=True)
        found: dict[str, Any] = {
            "seconds": round(seconds, 1),
            "entries": ours.vocab_size,
            "tokenizers": differing(given, want, lambda text: library.encode(text, add_special_tokens=False).ids),
            "transformers": differing(given, want, lambda text: auto(text, add_special_tokens=False)["input_ids"]),
            "sentencepiece": None,
            "with_blank_sign": None,
        }
        if kind != "bpe":
            model = sentencepiece.SentencePieceProcessor(model_file=str(written / "tokenizer.model"))
            for name_, signed in (("sentencepiece", False), ("with_blank_sign", True)):
                at = [place for place, text in enumerate(given) if (BLANK in text) == signed]
                found[name_] = differing([given[place] for place in at], [want[place] for place in at], model.encode)
        return found


def differing(given: list[Any], want: list[Any], encode: Any) -> int:
    """How many strings ``encode`` gives other ids for; the shortest of them is shown on stderr."""
    wrong = [text for text, ids in zip(given, want, strict=True) if list(encode(text)) != ids]
    if wrong:
        print(f"  differs: {ascii(min(wrong, key=len))[:200]}", file=sys.stderr)
    return len(wrong)


def learn(kind: str, documents: Iterable[str], vocab: int, folder: Path) -> Any:
    """The tokenizer that the stage learns from these documents."""
    from groundup.stages.tokenize.config import TokenizerConfig
    from groundup.text.document import CORPUS, document_id, write_shards
    from groundup.text.tokenizer import Tokenizer

    rows = [
        {
            "id": document_id("files", str(number), text.encode()),
            "text": text,
            "source": "files",
            "record": str(number),
            "licence": "LicenseRef-benchmark",
            "language": "eng_Latn",
            "language_score": 1.0,
            "split": "train" if number else "held_out",
            "chars": len(text),
        }
        for number, text in enumerate(["held out", *documents])
    ]
    write_shards(folder / "artifact", "corpus", CORPUS, sorted(rows, key=lambda row: str(row["id"])))
    config = TokenizerConfig.parse({"corpus": "corpus", "vocab_size": vocab, "algorithm": kind, "workers": 1}, "")
    config.run(task_of(folder / "artifact", folder))
    return Tokenizer.load(folder / "payload")


if __name__ == "__main__":
    main()
