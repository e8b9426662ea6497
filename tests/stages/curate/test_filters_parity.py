"""Verdicts and texts equal datatrove's: on the examples by its recorded verdicts, on real text beside it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from curate_filter_texts import batch_of, example_texts

from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.filters.modes import chain, modes, operators

pytest.importorskip("spacy", reason="datatrove's words are spaCy's: pip install spacy")

FIXTURE: dict[str, Any] = json.loads(Path(__file__).with_name("filters_datatrove.json").read_text("utf-8"))
SHARED = Path(__file__).parents[3] / "../shared"
PEERS = Path(os.environ.get("PEERS_HOME") or SHARED / "peers")

# Our names of the rules, where they are not datatrove's.
REASONS = {
    "too_few_words": "gopher_short_doc",
    "too_many_words": "gopher_long_doc",
    "words_too_short": "gopher_below_avg_threshold",
    "words_too_long": "gopher_above_avg_threshold",
    "too_many_hashes": "gopher_too_many_hashes",
    "too_many_ellipses": "gopher_too_many_ellipsis",
    "too_many_bullet_lines": "gopher_too_many_bullets",
    "too_many_ellipsis_lines": "gopher_too_many_end_ellipsis",
    "too_few_words_with_letters": "gopher_below_alpha_threshold",
    "too_few_stop_words": "gopher_enough_stop_words",
    "too_few_sentence_lines": "line_punct_ratio",
    "too_many_short_lines": "short_line_ratio",
    "repeated_line_chars": "char_dup_ratio",
    "too_many_line_breaks": "list_ratio",
}


def mode_operators(name: str) -> tuple[Operator, ...]:
    """The operators that stand for a filter of datatrove, or for the chain."""
    whole = {"c4": "c4-datatrove", "fineweb": "fineweb-datatrove", "chain": "fineweb-en"}
    if name in whole:
        return chain(whole[name])
    return operators(one for one in modes()["gopher-datatrove"].filters if one.name == name)


def verdicts(name: str, texts: list[str]) -> tuple[list[str | None], list[str]]:
    batch = batch_of(texts)
    for operator in mode_operators(name):
        batch = operator(batch)
    return [REASONS.get(rule, rule) for rule in batch.column("rule").to_pylist()], batch.column("text").to_pylist()


NAMES = ("gopher_repetition", "gopher_quality", "c4", "fineweb", "chain")


@pytest.mark.parametrize("name", NAMES)
def test_equals_datatroves_recorded_verdicts(name: str) -> None:
    texts = example_texts()
    assert hashlib.sha256("\0".join(texts).encode()).hexdigest() == FIXTURE["texts"], "the fixture is of other texts"
    expected = [None if number is None else FIXTURE["reasons"][number] for number in FIXTURE[name]]
    rules, left = verdicts(name, texts)
    assert rules == expected
    if name in ("c4", "chain"):
        digests = FIXTURE[f"{name}_text"]
        assert [
            None if rule else hashlib.sha256(text.encode()).hexdigest()[:12]
            for rule, text in zip(rules, left, strict=True)
        ] == digests


def test_the_fixture_knows_most_reasons() -> None:
    """Equal verdicts say little if all are the same."""
    seen = {FIXTURE["reasons"][number] for name in NAMES for number in FIXTURE[name] if number is not None}
    assert len(seen) >= 18
    assert all(40 < sum(number is None for number in FIXTURE[name]) < 400 for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "limit"), [("text/c4_demo/c4_demo.jsonl.gz", 100), ("text/tinystories/stories.jsonl.gz", 60), ("udhr", 40)]
)
def test_equals_datatrove_on_real_text(file: str, limit: int, tmp_path: Path) -> None:
    script = SHARED / "peers" / "curate_datatrove.py"
    if not script.is_file() or not (PEERS / ".venvs" / "data").is_dir():
        pytest.skip("datatrove's environment is not set up (shared/peers/setup data)")
    texts = _shared_texts("text/udhr/udhr2.jsonl.gz" if file == "udhr" else file, limit)
    source, out = tmp_path / "texts.jsonl.gz", tmp_path / "verdicts.jsonl"
    with gzip.open(source, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    command = [sys.executable, str(script), str(source), "--threads", "1", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    for name in NAMES:
        rules, _ = verdicts(name, texts)
        assert rules == [_reason(answer[name]) for answer in found], name


def _reason(answer: str | None) -> str | None:
    """The peer script puts the filter's name before the reason in a chain."""
    return answer.rpartition(":")[2] if answer else None


def _shared_texts(file: str, limit: int) -> list[str]:
    with gzip.open(SHARED / "data" / file, "rt", encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    return [text[:4000] for text in random.Random(3).sample(texts, min(limit, len(texts)))]
