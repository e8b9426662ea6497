"""Texts on which filters are compared: those of examples/, cut into documents, and mixtures made to be awkward."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa

EXAMPLES = Path(__file__).parents[3] / "examples"

_ODD = [
    ":)",
    ":(",
    "x:)",
    ")",
    "(:",
    "8)",
    "o.O",
    "Mr.",
    "e.g.",
    "10a.m.",
    "dont",
    "it's",
    "don't",
    "'tis",
    "and/or",
    "U.S.",
    "12km",
    "US$5",
    "http://x.y/z?a=1",
    "[1]",
    "[edit]",
    "[citation",
    "needed]",
    "javascript",
    "JavaScript",
    "{",
    "#",
    "-",
    "•",
    "...",
    "…",
    "?!",
    "“ok”",
    "’s",
    "é",
    "ÀÉ",
    "漢字かな",
    "ไทย",
    "हिन्दी",
    "\u200d",
    "👍🏽",
    "\x00",
    "K",
    "lorem",
    "ipsum",
    "privacy",
    "policy",
    "use",
    "cooKies",
]
_GAPS = (" ", " ", " ", " ", " ", "\n", "\n\n", "  ", "\t", "\r\n", "\n \n", ". ", ".\n", "\x85", "\u2028", "\xa0")


def example_texts() -> list[str]:
    """A few hundred documents, the same on every machine."""
    draw = random.Random(20)
    stories = _texts("stories")
    books = _texts("books")
    found = draw.sample(stories, 60)
    for book in draw.sample(books, min(20, len(books))):
        for _ in range(4):
            start = draw.randrange(max(1, len(book) - 2500))
            found.append(book[start : start + draw.randrange(300, 2500)])
    words = [word for text in found[:20] for word in text.split()]
    for number in range(200):
        chosen = draw.choices([*words, *_ODD * 4] if number % 2 else _ODD, k=draw.randrange(1, 150))
        if number % 4 == 0:
            chosen = chosen[: max(1, len(chosen) // 6)] * 6
        found.append("".join(word + draw.choice(_GAPS) for word in chosen))
    found += [_flawed(text, number % len(_FLAWS), draw) for number, text in enumerate(draw.sample(stories, 140))]
    return [text for text in found if text.strip()]


def _flawed(text: str, flaw: int, draw: random.Random) -> str:
    """A story with one flaw, about as strong as the rule for it allows."""
    lines = [line for line in text.replace(". ", ".\n").split("\n") if line]
    return _FLAWS[flaw](lines, draw)


def _some(lines: list[str], draw: random.Random, low: float, high: float) -> list[bool]:
    share = draw.uniform(low, high)
    return [draw.random() < share for _ in lines]


# Each takes a story's sentences; the shares lie on both sides of the published limits.
_FLAWS = (
    lambda lines, draw: "\n".join(lines + lines[: int(len(lines) * draw.uniform(0, 0.8))]),
    lambda lines, draw: "\n\n".join(lines + lines[: int(len(lines) * draw.uniform(0, 0.8))]),
    lambda lines, draw: "\n".join(line[: draw.choice((29, 31))] for line in lines),
    lambda lines, draw: "\n".join(
        ("- " if flaw else "") + line for line, flaw in zip(lines, _some(lines, draw, 0.8, 1), strict=True)
    ),
    lambda lines, draw: "\n".join(
        line + ("..." if flaw else "") for line, flaw in zip(lines, _some(lines, draw, 0.1, 0.5), strict=True)
    ),
    lambda lines, draw: " ".join(lines).replace(" the ", draw.choice((" # ", " the ", " ## "))),
    lambda lines, draw: " ".join(
        word for line in lines for word in line.split() if word not in {"the", "be", "to", "of", "and", "that"}
    ),
    lambda lines, draw: "\n".join([*lines, draw.choice(lines) * draw.randrange(1, 3)]),
    lambda lines, draw: "\n".join(line.rstrip(".!?") for line in lines),
    lambda lines, draw: " ".join(lines).replace(" ", draw.choice((" x y z ", " 1 ", " of the ", " xy "))),
    lambda lines, draw: "\n".join([*lines, draw.choice(("Lorem ipsum dolor sit amet.", "It is {a} set of it."))]),
    lambda lines, draw: "\n".join(line + draw.choice(("[1]", " [edit] ", "  [12]", "")) for line in lines),
    lambda lines, draw: "\n".join([*lines * 3, "We use cookies, see our privacy policy.", "Turn JavaScript on now."]),
    lambda lines, draw: " ".join(word * draw.choice((1, 3)) for line in lines for word in line.split()),
)


def _texts(name: str) -> list[str]:
    with gzip.open(EXAMPLES / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def batch_of(texts: list[str]) -> pa.RecordBatch:
    """A batch as the engine makes it."""
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})
