"""From a text to the documents that hold it, through all that a model was trained on, and on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committed import commit, link
from store_task import corpus, run_stage
from tiny import SENTENCES, tiny_tokenizer
from typer.testing import CliRunner

from groundup.artifact.store import Store
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import ArtifactError, DataError, RequestError, ResourceError
from groundup.base.files import folder_lock
from groundup.base.progress import Silent
from groundup.cli import app
from groundup.text.conversation import (
    Conversation,
    Message,
    Preference,
    write_conversations,
    write_preferences,
)
from groundup.tracing import Sources, Trace

WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
SHARED = " ".join(SENTENCES[:2])


def sentence(*seed: int, words: int = 40) -> str:
    return " ".join(np.random.default_rng([7, *seed]).choice(WORDS, words).tolist())


def rows(prefix: str, count: int, **fields: Any) -> list[dict[str, Any]]:
    found = []
    for number in range(count):
        text = sentence(*prefix.encode(), number)
        if number % 5 == 3:
            text = f"{text} {SHARED} {sentence(number, words=5)}"
        split = "held_out" if number % 10 == 9 else "train"
        found.append({"id": f"{prefix}{number:031x}", "text": text, "source": prefix, "split": split, **fields})
    return found


def terms(source: str, licence: str) -> Terms:
    return Terms(sources=(SourceTerms(source=source, licence=licence, origin="here", sha256="", documents=1),))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores read as a mixture, a model tuned on conversations and then on preferences, and its bundle."""
    home = tmp_path_factory.mktemp("trace")
    store, tokenizer = Store(home / "workspace"), tiny_tokenizer()
    made = commit(store, "tokenizer", "a", tokenizer.save, kind="tokenizer")
    stores = []
    for name, digit, fields in (("web", "b", {"licence": "CC-BY-4.0"}), ("books", "c", {"copies": 2})):
        payload, outcome = run_stage(home / name, corpus(home / name, rows(name[0], 20, **fields)))
        fill = lambda folder, payload=payload: shutil.copytree(payload, folder, dirs_exist_ok=True)  # noqa: E731
        links = {"tokenizer": [link(made)]}
        stores.append(commit(store, name, digit, fill, kind="tokens", metrics=outcome.metrics, inputs=links))
    ask = Message("user", "Tell me a story.")
    talks = [
        Conversation(f"t{number}", "talk.jsonl", (ask, Message("assistant", sentence(1, number))), split)
        for number, split in enumerate(["train", "train", "held_out"])
    ]
    pairs = [Preference("p0", "pairs.jsonl", (ask,), sentence(2, 0), sentence(2, 1))]
    chats = commit(
        store, "chats", "4", lambda folder: write_conversations(folder / "conversations.jsonl", talks),
        kind="conversations", terms=terms("talk.jsonl", "CC-BY-SA-3.0"),
    )  # fmt: skip
    judged = commit(
        store, "pairs", "5", lambda folder: write_preferences(folder / "preferences.jsonl", pairs),
        kind="preferences", terms=terms("pairs.jsonl", "Apache-2.0"),
    )  # fmt: skip
    links = {"tokens": [link(one) for one in stores], "tokenizer": [link(made)]}
    base = commit(store, "base", "d", tokenizer.save, kind="model", stage="pretrain", inputs=links)
    tuned = {"model": [link(base)], "conversations": [link(chats)]}
    chat = commit(store, "chat", "e", tokenizer.save, kind="model", stage="sft", inputs=tuned)
    judging = {"model": [link(chat)], "preferences": [link(judged)]}
    aligned = commit(store, "aligned", "6", tokenizer.save, kind="model", stage="dpo", inputs=judging)
    commit(store, "bundle", "f", tokenizer.save, kind="bundle", stage="bundle", inputs={"model": [link(aligned)]})
    commit(store, "foreign", "9", tokenizer.save, kind="model", stage="imported")
    return store.workspace


def sources(workspace: Path, name: str = "bundle") -> Sources:
    store = Store(workspace)
    return Sources.find(store, store.find(name, verify=False), Silent())


def traced(workspace: Path, text: str, name: str = "bundle", **asked: Any) -> Trace:
    return sources(workspace, name).trace(text, **asked)


@pytest.mark.parametrize(
    ("text", "artifact", "name", "part", "licence"),
    [
        (sentence(*b"w", 4), "web", f"w{4:031x}", "", "CC-BY-4.0"),
        (sentence(*b"b", 2), "books", f"b{2:031x}", "", "CC0"),
        (sentence(1, 1), "chats", "t1", "assistant", "CC-BY-SA-3.0"),
        (sentence(2, 0), "pairs", "p0", "chosen", "Apache-2.0"),
        (sentence(2, 1), "pairs", "p0", "rejected", "Apache-2.0"),
    ],
)
def test_whatever_a_model_was_trained_on_is_found(
    workspace: Path, text: str, artifact: str, name: str, part: str, licence: str
) -> None:
    given = f"Well: {text}, and so on."
    span = traced(workspace, given).spans[0]
    assert given[span.start : span.end] == span.text and text in span.text
    (document,) = span.documents
    assert (document.artifact, document.id, document.part) == (artifact, name, part)
    assert (document.licence, span.more) == (licence, 0)
    assert document.url == (f"https://example.org/{name}" if not part else None)


def test_held_out_text_was_not_trained_on(workspace: Path) -> None:
    for text in (sentence(*b"w", 9), sentence(*b"b", 19), sentence(1, 2)):
        found = traced(workspace, text)
        assert found.spans == () and found.complete


def test_what_a_model_was_not_tuned_on_is_not_its_source(workspace: Path) -> None:
    assert traced(workspace, sentence(1, 1), "base").spans == ()
    assert traced(workspace, sentence(1, 1), "chat").spans[0].documents[0].id == "t1"
    searched = [one["artifact"] for one in traced(workspace, sentence(1, 1)).searched]
    assert sorted(searched) == ["books", "chats", "pairs", "web"]


def test_a_phrase_of_many_documents_names_each_once(workspace: Path) -> None:
    found = traced(workspace, SHARED)
    span = found.spans[0]
    assert span.text == SHARED and span.tokens == len(tiny_tokenizer().encode(SHARED))
    want = {f"{kind}{number:031x}" for kind in "wb" for number in range(20) if number % 5 == 3}
    assert {one.id for one in span.documents} == want and len(span.documents) == len(want) == 8
    assert span.more == 0  # a mixture's second copies are no further documents


def test_longer_spans_come_first_and_rarer_ones_of_equal_length(workspace: Path) -> None:
    parts = [sentence(*b"w", 4), sentence(*b"b", 2), sentence(1, 1)]
    found = traced(workspace, " | ".join(parts))
    assert [one.tokens for one in found.spans] == sorted((one.tokens for one in found.spans), reverse=True)
    assert {one.documents[0].artifact for one in found.spans} == {"web", "books", "chats"}
    one = traced(workspace, " | ".join(parts), top=1)
    assert one.spans == found.spans[:1] and one.hidden == len(found.spans) - 1 + found.hidden
    assert all(one.bits > 2 * one.tokens for one in found.spans)


def test_the_index_is_made_once_and_says_how_far_it_is(workspace: Path) -> None:
    sources(workspace)
    first = {path: path.stat().st_mtime_ns for path in (workspace / "indexes").rglob("*") if path.is_file()}
    assert sorted({path.relative_to(workspace / "indexes").parts[0] for path in first}) == [
        one * 16 for one in ("4", "5", "b", "c")
    ]
    said: list[tuple[float, float]] = []

    class Said(Silent):
        def update(self, phase: str, done: float, total: float, unit: str, **values: object) -> None:
            assert (phase, unit) == ("indexing web", "tokens")
            said.append((done, total))

    store = Store(workspace)
    Sources.find(store, store.find("base", verify=False), Said())
    assert said == []
    assert first == {path: path.stat().st_mtime_ns for path in first}
    shutil.rmtree(workspace / "indexes" / ("b" * 16))
    Sources.find(store, store.find("base", verify=False), Said())
    assert said and said[-1][0] == said[-1][1] and said == sorted(said)


def test_what_cannot_be_traced_is_one_line(workspace: Path) -> None:
    text = sentence(1, 1)
    for name, words in (("foreign", "was not trained in this workspace"), ("web", "is a tokens, not a model")):
        with pytest.raises(RequestError, match=words):
            traced(workspace, text, name)
    with pytest.raises(RequestError, match="the text has 1 tokens: spans of fewer than 8"):
        traced(workspace, "a")
    with pytest.raises(RequestError, match="there is no text"):
        traced(workspace, " \n")
    with pytest.raises(RequestError, match="fewer than 8 tokens can't be found"):
        traced(workspace, text, min_tokens=7)


@pytest.fixture
def copied(workspace: Path, tmp_path: Path) -> Path:
    shutil.copytree(workspace, tmp_path / "workspace")
    return tmp_path / "workspace"


def test_damage_is_refused(copied: Path) -> None:
    sources(copied)
    index = copied / "indexes" / ("b" * 16) / "spans"
    shutil.rmtree(index)
    shutil.copytree(copied / "indexes" / ("c" * 16) / "spans", index)
    with pytest.raises(ArtifactError, match="is of the store cccccccccccc"):
        sources(copied)
    shutil.rmtree(index)
    with folder_lock(index.parent), pytest.raises(ResourceError, match="another run"):
        sources(copied)
    sources(copied)
    documents = copied / "artifacts" / ("b" * 16) / "documents.parquet"
    documents.write_bytes(documents.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"documents\.parquet can't be read"):
        traced(copied, sentence(*b"w", 4))
    talks = copied / "artifacts" / ("4" * 16) / "conversations.jsonl"
    talks.write_text(talks.read_text() + "{")
    shutil.rmtree(copied / "indexes" / ("4" * 16))
    with pytest.raises(DataError, match=r"conversations\.jsonl line 4 is not valid JSON"):
        sources(copied)
    assert not list((copied / "indexes" / ("4" * 16)).glob("spans*"))


def test_a_store_of_another_tokenizer_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "indexes", ignore_errors=True)
    path = copied / "artifacts" / ("a" * 16) / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"the token store '\w+' was made with tokenizer"):
        sources(copied, "base")


# -- the command line ------------------------------------------------------------------------------------------


def ask(workspace: Path, *words: str, given: bytes | None = None) -> Any:
    return CliRunner().invoke(app, ["trace", *words, "-w", str(workspace)], input=given, catch_exceptions=True)


def test_the_text_comes_from_anywhere(workspace: Path, tmp_path: Path) -> None:
    text = f"Well: {sentence(1, 1)}"
    (tmp_path / "text").write_text(text)
    want = json.loads(json.dumps(traced(workspace, text).as_json()))
    assert want["spans"][0]["documents"][0]["licence"] == "CC-BY-SA-3.0" and want["finds_all_of"] == 20
    file = str(tmp_path / "text")
    ways = [((text,), None), (("-",), text), ((), text), (("--file", file), None), (("--file", "-"), text)]
    for words, given in ways:
        assert json.loads(ask(workspace, "bundle", *words, "--json", given=given and given.encode()).stdout) == want


def test_what_is_printed(workspace: Path) -> None:
    text = f"Well: {sentence(1, 1)} \x1b[31m and {SHARED}"
    shown = ask(workspace, "bundle", text, "--top", "3").stdout
    assert f"Well: ⟦1: {sentence(1, 1)}" in shown and "\x1b" not in shown
    lines = [line.split("\t") for line in shown.splitlines() if "\t" in line]
    assert lines[0] == ["span", "tokens", "characters", "document", "source", "licence", "url"]
    assert lines[1][3:6] == ["t1", "chats/talk.jsonl (assistant)", "CC-BY-SA-3.0"]
    assert [line[3] for line in lines if line[0] == "2"][3:] == ["and 5 more"]
    assert "searched: pairs (3 documents), chats (4 documents)" in shown
    nothing = ask(workspace, "bundle", "Nothing of this stands anywhere at all, for it was never written.").stdout
    assert "no span of 20 tokens of this text stands in" in nothing and "--min-tokens 8" in nothing


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        (("bundle", "a", "--file", "b"), None, "a text or --file, not both"),
        (("bundle", "--file", "/nowhere/x"), None, "No such file"),
        (("bundle", "-"), b"\xff\xfe", "standard input is not UTF-8 at byte 0"),
        (("bundle", "-"), b"", "there is no text"),
        (("/tmp", "text"), None, "a model of another program"),
        (("nobody", "text"), None, "no artifact 'nobody'"),
    ],
)
def test_wrong_requests(workspace: Path, words: tuple[str, ...], given: bytes | None, message: str) -> None:
    done = ask(workspace, *words, given=given)
    assert isinstance(done.exception, RequestError) and message in str(done.exception)
    assert done.stdout == ""


def test_help_has_examples() -> None:
    shown = CliRunner().invoke(app, ["trace", "--help"], env={"COLUMNS": "200"}).stdout
    assert "groundup trace bundle" in shown and "[default: 20]" in shown
