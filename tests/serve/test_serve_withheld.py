"""An answer that is about to repeat a withdrawn text is stopped before its eighth word, and no other one is."""

from __future__ import annotations

import gzip
import json
import random
import re
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_engine, tiny_tokenizer

from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.rights.fingerprint import SPAN, runs_of
from groundup.rights.verbatim import Verbatim
from groundup.serve.answers import Finished, answer
from groundup.serve.sessions import ChatSession
from groundup.serve.terminal import Talk
from groundup.serve.withheld import Withheld

TEXT = "Once upon a time, there was a little girl who lived in a small house near the sea."
FILTER = Verbatim().beside(runs_of(TEXT, SPAN))


def said(pieces: list[str], verbatim: Verbatim | None = FILTER) -> tuple[str, bool]:
    guard = Withheld(verbatim)
    out = "".join(guard.push(piece) for piece in pieces) + guard.finish()
    return out, guard.stopped


def cut(text: str, seed: int) -> list[str]:
    rng = random.Random(seed)
    places = sorted({0, len(text), *(rng.randint(0, len(text)) for _ in range(12))})
    return [text[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize("seed", range(20))
def test_at_most_seven_words_in_a_row_get_out(seed: int) -> None:
    for before in ("", "Well: ", "a b c d e f g h "):
        for text in (
            TEXT,
            TEXT.upper(),
            re.sub(r"\W+", " \n", TEXT),
            " ".join(TEXT.split()[5:13]),
            TEXT.replace(" ", "  "),
        ):
            out, stopped = said(cut(before + text, seed))
            assert stopped and (before + text).startswith(out)
            assert len(re.findall(r"\w+", out[len(before) :])) == 7


@given(st.text(max_size=80), st.integers(0, 9))
def test_other_text_comes_out_as_it_is(text: str, seed: int) -> None:
    assert said(cut(text, seed)) == (text, False)
    assert said(cut(text, seed), None) == said(cut(text, seed), Verbatim()) == (text, False)


def test_seven_words_and_changed_words_pass() -> None:
    words = TEXT.split()
    assert said([" ".join(words[:7])]) == (" ".join(words[:7]), False)
    changed = " ".join("new" if place % 7 == 6 else word for place, word in enumerate(words))
    assert said(list(changed)) == (changed, False)


def test_text_is_late_by_no_more_than_a_word() -> None:
    guard, text, sent = Withheld(FILTER), "These are words that nobody has ever withdrawn from anything.", ""
    for place, char in enumerate(text):
        sent += guard.push(char)
        assert text.startswith(sent) and len(text[: place + 1]) - len(sent) <= 10
    assert sent + guard.finish() == text


class Parrot:
    """An engine that says one text."""

    max_seq_len = 512

    def __init__(self, text: str) -> None:
        self.tokenizer = tiny_tokenizer()
        self._ids = self.tokenizer.encode(text)

    def stream(self, prompt: Any, params: Any) -> Iterator[int]:
        yield from self._ids


def test_answers_end_with_their_reason() -> None:
    parrot: Any = Parrot(f"Now hear: {TEXT} The end.")
    params = SamplingParams(max_new_tokens=400)
    *pieces, end = answer(parrot, [1], params, verbatim=FILTER)
    assert end == Finished("content_filter", end.tokens) and end.tokens < len(parrot._ids)  # type: ignore[union-attr]
    assert "".join(map(str, pieces)) == "Now hear: Once upon a time, there was a "
    *pieces, end = answer(parrot, [1], params)
    assert "".join(map(str, pieces)) == f"Now hear: {TEXT} The end." and end == Finished("stop", len(parrot._ids))
    *pieces, end = answer(parrot, [1], params, ["upon"], FILTER)
    assert "".join(map(str, pieces)) == "Now hear: Once " and isinstance(end, Finished) and end.reason == "stop"


def test_real_answers_are_the_same_with_and_without_a_filter() -> None:
    engine: Engine = tiny_engine(peak=3.0)
    prompt = engine.tokenizer.encode("The dog")
    for seed in range(4):
        params = SamplingParams(max_new_tokens=60, seed=seed, temperature=1.0)
        plain, guarded = list(answer(engine, prompt, params)), list(answer(engine, prompt, params, verbatim=FILTER))
        assert plain[-1] == guarded[-1]
        assert "".join(map(str, plain[:-1])) == "".join(map(str, guarded[:-1]))


def test_a_talk_in_the_terminal_is_stopped_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    parrot: Any = Parrot(TEXT)
    for complete in (True, False):
        session = ChatSession(parrot, SamplingParams(max_new_tokens=300), verbatim=FILTER)
        Talk(session, complete).tell("Say it.")
        captured = capsys.readouterr()
        assert "little" not in captured.out and "there was a" in captured.out
        assert "a text that has been withdrawn" in captured.err and not session.withheld


@pytest.mark.parametrize("stream", [False, True])
def test_over_http_whole_and_streamed(stream: bool) -> None:
    httpx = pytest.importorskip("fastapi.testclient")
    from groundup.serve.app import create_app

    engines: Any = {"parrot": Parrot(TEXT)}
    with httpx.TestClient(create_app(engines, {"parrot": "d"}, verbatim=FILTER)) as client:
        body = {"model": "parrot", "prompt": "Say it.", "stream": stream, "max_tokens": 300}
        found = client.post("/v1/completions", json=body)
    if stream:
        events = [json.loads(line[6:]) for line in found.text.splitlines() if line.startswith("data: {")]
        choices = [event["choices"][0] for event in events]
    else:
        choices = [found.json()["choices"][0]]
    assert choices[-1]["finish_reason"] == "content_filter"
    assert "".join(choice["text"] for choice in choices).strip() == "Once upon a time, there was a"


def test_ordinary_stories_are_not_stopped() -> None:
    """False positives: a filter of some stories, with the runs of the rest left out as when it is installed."""
    path = Path(__file__).parents[2] / "examples" / "stories.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = list(dict.fromkeys(json.loads(line)["text"] for line in lines))[:900]
    withdrawn, corpus, fresh = texts[:100], texts[100:700], texts[700:]
    mine = np.unique(np.concatenate([runs_of(text, SPAN) for text in withdrawn]))
    common = np.unique(np.concatenate([runs_of(text, SPAN) for text in corpus]))
    verbatim = Verbatim(np.setdiff1d(mine, common))
    assert len(verbatim) > 0.9 * len(mine)
    assert all(said([text], verbatim)[1] for text in withdrawn)
    # These stories are made of set phrases; a withdrawn one of them stops less than one in a thousand of the others.
    stopped = sum(said([text], verbatim)[1] for text in fresh)
    assert stopped / (len(fresh) * len(withdrawn)) < 0.001
    with tarfile.open(path.with_name("sqlite-doc.tar.xz")) as archive:
        pages = [archive.extractfile(member) for member in archive if member.name.endswith(".html")][:60]
        manual = [file.read().decode() for file in pages if file is not None]
    assert sum(map(len, manual)) > 500_000 and not any(said([page], verbatim)[1] for page in manual[:12])
    hashes = np.concatenate([runs_of(page, SPAN) for page in manual])
    assert not np.isin(hashes, verbatim.hashes).any()
