"""Small fixed texts that show a tokenizer's habits: how it cuts numbers, white space and code.

They are ours and the same for every tokenizer, so that two can be compared without any corpus at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol


class Looker(Protocol):
    """What is probed: a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    def encode_spans(self, text: str) -> list[tuple[int, int, int]]:
        """(id, start, end) of each token."""

    def decode(self, ids: list[int]) -> str:
        """The text of ids."""


class Digits(NamedTuple):
    """How numbers of so many digits are cut: the commonest cut, such as ``3+1``, and the share of numbers cut so."""

    length: int
    tokens: float
    cut: str
    share: float
    cuts: int


_NUMBERS: Final = 250
LENGTHS: Final = range(1, 7)


def digits(tokenizer: Looker) -> list[Digits]:
    """Numbers of one to six digits, each written alone; up to 250 of a length, evenly spaced."""
    found = []
    for length in LENGTHS:
        cuts: Counter[str] = Counter()
        tokens = 0
        numbers = list(_numbers(length))
        for number in numbers:
            sizes = [end - start for _, start, end in tokenizer.encode_spans(number) if end > start]
            cuts["+".join(map(str, sizes))] += 1
            tokens += len(sizes)
        cut, times = max(cuts.items(), key=lambda item: (item[1], item[0]))
        found.append(Digits(length, tokens / len(numbers), cut, times / len(numbers), len(cuts)))
    return found


def _numbers(length: int) -> Iterator[str]:
    first, last = (0 if length == 1 else 10 ** (length - 1)), 10**length
    count = min(_NUMBERS, last - first)
    return (str(first + (last - first) * place // count) for place in range(count))


class Probe(NamedTuple):
    """A text, what it takes, and whether it comes back as it was."""

    name: str
    bytes: int
    tokens: int
    same: bool

    @property
    def bytes_per_token(self) -> float:
        """Compression; 0 where the tokenizer knows nothing of the text."""
        return self.bytes / self.tokens if self.tokens else 0.0


WHITESPACE: Final = (
    ("1 space", "a b"),
    *((f"{count} spaces", f"a{' ' * count}b") for count in (2, 4, 8, 16)),
    ("1 tab", "a\tb"),
    *((f"{count} tabs", f"a{chr(9) * count}b") for count in (2, 4)),
    ("1 line break", "a\nb"),
    *((f"{count} line breaks", f"a{chr(10) * count}b") for count in (2, 4)),
    ("line break of Windows", "a\r\nb"),
    ("indented by 4", "a\n    b"),
    ("indented by 8", "a\n        b"),
    ("indented by a tab", "a\n\tb"),
    ("space at both ends", " a "),
    ("no-break and wide spaces", "a\u00a0b\u3000c"),
)
"""(name, text); each has letters around it, which are counted too."""

CODE: Final = {
    "Python": '''def mean(values: list[float]) -> float:
    """The arithmetic mean; 0.0 of nothing."""
    if not values:
        return 0.0
    total = sum(value for value in values if value == value)
    return total / len(values)


class Counter:
    def __init__(self, *, start: int = 0) -> None:
        self._count = start

    def __iadd__(self, other):
        self._count += other
        return self
''',
    "C": """#include <stdio.h>

static int gcd(int a, int b) {
    while (b != 0) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int main(void) {
    for (size_t i = 1; i <= 10; i++)
        printf("%zu: %d\\n", i, gcd((int)i, 12));
    return 0;
}
""",
    "JavaScript": """const debounce = (fn, wait = 250) => {
  let timer = null;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn.apply(this, args), wait);
  };
};

document.querySelectorAll("a[href^='http']").forEach((link) => {
  link.addEventListener("click", async (event) => event.preventDefault());
});
""",
    "JSON": """{
  "name": "example",
  "version": "1.4.0",
  "flags": [true, false, null],
  "limits": {"memory_mb": 2048, "threads": 8, "ratio": 0.75}
}
""",
    "HTML": """<!doctype html>
<html lang="en">
  <head><meta charset="utf-8"><title>Page</title></head>
  <body class="wide dark"><p id="first">One &amp; two</p><img src="a.png" alt=""></body>
</html>
""",
    "SQL": """SELECT c.name, COUNT(*) AS orders, SUM(o.total) AS spent
FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.id
WHERE o.placed_at >= '2020-01-01' AND c.country IN ('CH', 'FR')
GROUP BY c.name HAVING COUNT(*) > 3 ORDER BY spent DESC LIMIT 20;
""",
}
"""A few lines of each language, written for this."""


def whitespace(tokenizer: Looker) -> list[Probe]:
    """Runs, indentation, tabs, line breaks."""
    return [_probe(tokenizer, name, text) for name, text in WHITESPACE]


def code(tokenizer: Looker) -> list[Probe]:
    """A few lines of several programming languages."""
    return [_probe(tokenizer, name, text) for name, text in CODE.items()]


def _probe(tokenizer: Looker, name: str, text: str) -> Probe:
    ids = tokenizer.encode(text)
    return Probe(name, len(text.encode()), len(ids), tokenizer.decode(ids) == text)
