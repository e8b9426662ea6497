"""The kernels against plain Python written from the published definitions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pytest
from curate_filter_texts import batch_of, example_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.stages.curate.filters.modes import modes, operators
from groundup.stages.curate.filters.quality import _symbols

STOPS = {"the", "be", "to", "of", "and", "that", "have", "with"}
# Few words and many breaks, so that lines, paragraphs and n-grams repeat; odd characters among them.
TEXTS = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "the",
            "ab",
            "é",
            "漢",
            "x.",
            ",",
            "#",
            "...",
            "…",
            "•",
            "- ",
            "The",
            "[1]",
            "{",
            "javascript ",
            " ",
            " ",
            " ",
            "\n",
            "\n",
            "\n\n",
            "\r\n",
            "\x85",
            "\xa0",
            "\x00",
            "\t",
            ". . .",
            "“",
        ]
    ),
    max_size=60,
).map("".join)


def words_of(text: str, mode: str) -> list[str]:
    if mode == "gopher-dolma":
        return text.split()
    return re.findall(r"漢|[^\W漢]+(?:['’][^\W漢]+)*|[^\w\s]+", text)


def statistics_of(mode: str, family: str, texts: list[str]) -> list[dict[str, float]]:
    one = [one for one in modes()[mode].filters if one.name == family][-1]
    batch = batch_of(texts)
    for step in operators([one])[:2]:
        batch = step(batch)
    names = [name for name in batch.schema.names if name.startswith(f"{family}.")]
    return [{name.partition(".")[2]: batch.column(name)[row].as_py() for name in names} for row in range(len(texts))]


def after_first(parts: Sequence[str]) -> tuple[int, int]:
    again = [part for at, part in enumerate(parts) if part in parts[:at]]
    return len(again), sum(map(len, again))


def all_copies(parts: Sequence[str]) -> tuple[int, int]:
    counts = Counter(parts)
    again = [part for part in parts if counts[part] > 1]
    return len(again), sum(map(len, again))


def jumps(words: list[str], n: int) -> int:
    seen, found, at = set[str](), 0, 0
    while at + n <= len(words):
        gram = "".join(words[at : at + n])
        if gram in seen:
            found, at = found + len(gram), at + n
        else:
            seen.add(gram)
            at += 1
    return found


def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def datatrove_repetition(text: str) -> dict[str, float]:
    words, size = words_of(text, "groundup"), max(1, len(text))
    paragraphs, lines = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    found: dict[str, float] = {"chars": len(text)}
    for name, parts in (("para", paragraphs), ("line", lines)):
        count, chars = after_first(parts)
        found[f"dup_{name}_frac"], found[f"dup_{name}_char_frac"] = count / len(parts), chars / size
    for n in (2, 3, 4):
        counts = Counter(" ".join(gram) for gram in grams(words, n))
        (gram, most), *_ = [*counts.most_common(1), ("", 0)]
        found[f"top_{n}_gram"] = most * len(gram) / size
    return found | {f"duplicated_{n}_n_grams": jumps(words, n) / size for n in range(5, 11)}


def dolma_repetition(text: str) -> dict[str, float]:
    words, lines = text.split(), text.split("\n")
    chars = max(1, sum(map(len, words)))
    count, length = all_copies(lines)
    found = {"chars": len(text), "dup_line_frac": count / len(lines), "dup_line_char_frac": length / chars}
    found |= {"dup_para_frac": 0, "dup_para_char_frac": 0}
    for n in range(2, 11):
        counts = Counter(grams(words, n))
        sizes = {gram: sum(map(len, gram)) for gram in counts}
        if n < 5:
            (gram, most), *_ = [*counts.most_common(1), ((), 0)]
            found[f"top_{n}_gram"] = most * sizes.get(gram, 0) / chars
        else:
            total = max(1, sum(count * sizes[gram] for gram, count in counts.items()))
            again = sum(count * sizes[gram] for gram, count in counts.items() if count > 1)
            found[f"duplicated_{n}_n_grams"] = again / total
    return found


def dclm_repetition(text: str) -> dict[str, float]:
    words = [word for word in words_of(text, "groundup") if word[0].isalnum()]
    chars = max(1, sum(map(len, words)))
    found: dict[str, float] = {"chars": len(text)}
    for name, gap in (("para", "\n\n"), ("line", "\n")):
        parts = [part.strip() for part in text.split(gap) if part.strip()]
        count, length = all_copies(parts)
        found[f"dup_{name}_frac"] = count / max(1, len(parts))
        found[f"dup_{name}_char_frac"] = length / max(1, sum(map(len, parts)))
    for n in range(2, 11):
        counts = Counter(grams(words, n))
        if n < 5:
            most = max(counts.values(), default=0)
            longest = max((sum(map(len, gram)) for gram, count in counts.items() if count == most), default=0)
            found[f"top_{n}_gram"] = most * longest / chars if most > 1 else 0
        else:
            repeated = [at for at, gram in enumerate(grams(words, n)) if counts[gram] > 1]
            covered = {at + k for at in repeated for k in range(n)}
            found[f"duplicated_{n}_n_grams"] = sum(len(words[at]) for at in covered) / chars
    return found


def quality(text: str, mode: str) -> dict[str, float]:
    words = words_of(text, mode)
    dolma = mode == "gopher-dolma"
    plain = words if dolma else [word for word in words if any(map(str.isalnum, word))]
    number = len(words)
    lines = text.split("\n")
    bullets, ends = (("*", "-"), ("…",)) if dolma else (("•", "-"), ("...", "…"))
    shown = lines if dolma else [line.strip() for line in lines]
    lengths = [len(word) for word in plain]
    found = {
        "words": len(plain),
        "word_length": (median(lengths) if dolma else sum(lengths) / len(lengths)) if lengths else math.nan,
        "bullet_lines_ratio": sum(line.startswith(bullets) for line in shown) / len(lines),
        "ellipsis_lines_ratio": sum(line.endswith(ends) for line in shown) / len(lines),
        "stop_words": sum(word in STOPS for word in words) if dolma else len(STOPS & set(words)),
    }
    if number:
        found["hash_ratio"] = text.count("#") / number
        found["ellipsis_ratio"] = (text.count("...") + text.count("…")) / number
        found["alpha_words_ratio"] = sum(any(map(str.isalpha, word)) for word in words) / number
        if dolma:
            found["symbol_ratio"] = sum("#" in word or "…" in word for word in words) / number
    return found


def fineweb(text: str) -> dict[str, float]:
    lines = [line for line in text.split("\n") if line.strip()]
    words = words_of(text, "groundup")
    found: dict[str, float] = {"lines": len(lines)}
    if lines:
        marks = (".", "!", "?", "'", '"', "’", "”", "…", "。", "！", "？", "．", "؟", "۔", "।")
        found["line_punct_ratio"] = sum(line.endswith(marks) for line in lines) / len(lines)
        found["short_line_ratio"] = sum(len(line) <= 30 for line in lines) / len(lines)
        found["char_dup_ratio"] = after_first(lines)[1] / len(text.replace("\n", ""))
    if words:
        found["list_ratio"] = text.count("\n") / len(words)
    return found


REFERENCES: dict[str, tuple[str, str, Callable[[str], dict[str, float]]]] = {
    "repetition as datatrove": ("groundup", "gopher_repetition", datatrove_repetition),
    "repetition as Dolma": ("gopher-dolma", "gopher_repetition", dolma_repetition),
    "repetition as DCLM": ("gopher-dclm", "gopher_repetition", dclm_repetition),
    "quality as ours": ("groundup", "gopher_quality", lambda text: quality(text, "groundup")),
    "quality as Dolma": ("gopher-dolma", "gopher_quality", lambda text: quality(text, "gopher-dolma")),
    "fineweb": ("groundup", "fineweb", fineweb),
}


def check(name: str, texts: list[str]) -> None:
    mode, family, reference = REFERENCES[name]
    for text, found in zip(texts, statistics_of(mode, family, texts), strict=True):
        for statistic, expected in reference(text).items():
            assert found[statistic] == pytest.approx(expected, rel=1e-12, nan_ok=True), (text, statistic)


@pytest.mark.parametrize("name", REFERENCES)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_kernels_are_the_plain_definitions(name: str, texts: list[str]) -> None:
    check(name, texts)


@pytest.mark.parametrize("name", REFERENCES)
def test_kernels_are_the_plain_definitions_on_stories(name: str) -> None:
    check(name, example_texts()[:15])


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_symbols_are_counted_as_str_count(text: str) -> None:
    data = np.frombuffer(text.encode() or b" ", np.uint8)
    found = _symbols(data, 0, len(text.encode()))
    assert found == (text.count("#"), text.count("...") + text.count("…"), text.count(". . ."))


CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
LINES = st.lists(
    st.sampled_from(
        [
            "One two three four five. ",
            "a b c ",
            "[1]",
            "[12]",
            "[٣]",
            "[edit]",
            "[citation needed]",
            "[",
            "]",
            "1",
            "JavaScript ",
            "javascript",
            "{",
            "Lorem Ipsum",
            "privacy policy",
            "use cooKies",
            "x" * 1001,
            "...",
            "!",
            '"',
            "'",
            "?",
            ".",
            "\n",
            "\n",
            "\n",
            "\r\n",
            "\x1c",
            "\u2028",
            "  ",
            "\t",
            "é ",
        ]
    ),
    max_size=25,
).map("".join)


def c4_lines(text: str, before: bool, marks: tuple[str, ...], least: int) -> tuple[str, str | None]:
    """(text, what condemned the page)."""
    kept = []
    for line in text.splitlines():
        line = line.strip()
        count = len(line.split())
        if any(len(word) > 1000 for word in line.split()):
            continue
        line = CITATION.sub("", line)
        count = count if before else len(line.split())
        if marks and (not line.endswith(marks) or line.endswith("...")):
            continue
        lowered = line.lower()
        if count < least:
            continue
        if "lorem ipsum" in lowered:
            return text, "lorem_ipsum"
        if "javascript" in lowered:
            continue
        if "{" in line:
            return text, "curly_bracket"
        if not any(phrase in lowered for phrase in POLICY):
            kept.append(line)
    return "\n".join(kept).strip(), None


@pytest.mark.parametrize(
    ("before", "marks", "least"), [(True, (), 3), (False, (".", "?", "!", '"'), 5), (True, (".", "!", "'"), 1)]
)
@given(texts=st.lists(LINES, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_c4_edits_as_its_code(texts: list[str], before: bool, marks: tuple[str, ...], least: int) -> None:
    (c4,) = (one for one in modes()["c4-tfds"].filters)
    readings: dict[str, Any] = {**c4.readings, "sentences": "none", "end_marks": list(marks)}
    readings |= {"citations": "before" if before else "after", "min_words_per_line": least}
    limits = {name: limit for name, limit in c4.limits.items() if name != "min_sentences"}
    batch = batch_of(texts)
    for step in operators([c4._replace(readings=readings, limits=limits)]):
        batch = step(batch)
    found = list(zip(batch.column("text").to_pylist(), batch.column("rule").to_pylist(), strict=True))
    assert found == [c4_lines(text, before, marks, least) for text in texts]


def test_very_long_words_and_many_lines() -> None:
    """Words longer than the table of powers, repeated n-grams of them, and a hundred thousand lines."""
    long = " ".join(["x" * 5000, "y" * 3000, "z", "w", "v"])
    many = "\n".join(["a"] * 100_000)
    check("repetition as datatrove", [f"{long} q {long}"])
    (found,) = statistics_of("groundup", "gopher_repetition", [many])
    assert found["dup_line_frac"] == pytest.approx(99_999 / 100_000)
