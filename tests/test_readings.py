"""What a step read and when a document was read, against the batches of a run, read token by token."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from committed import commit, link
from store_task import corpus, run_stage
from tiny import tiny_tokenizer
from typer.testing import CliRunner

from groundup.artifact.record import Record
from groundup.artifact.stage import Task
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, RequestError
from groundup.base.progress import Silent
from groundup.cli import app
from groundup.readings import Trained, keep_reads
from groundup.stages.pretrain.config import PretrainConfig
from groundup.stages.pretrain.run import run
from groundup.train.reads import all_reads, reads
from groundup.train.stream import WHOLE, PackedSteps, Part, TokenBatch

SEQ_LEN = 32
WORDS = ["the", "dog", "ran", "to", "park", "and", "found", "red", "balls", "near", "sea", "stars", "ü", "猫", "😀"]


def rows(prefix: str, count: int) -> list[dict[str, Any]]:
    found = []
    for number in range(count):
        rng = np.random.default_rng([number, *prefix.encode()])
        words = rng.choice(WORDS, rng.integers(2, 60)).tolist()
        split = "held_out" if number % 10 == 9 else "train"
        found.append(
            {"id": f"{prefix}{number:031x}", "text": " ".join(words), "source": prefix, "split": split,
             "copies": 1 + (number % 7 == 0)}
        )  # fmt: skip
    return found


class Ran(NamedTuple):
    """A workspace with a model, its documents' ids by store and id, and the targets of the rows of every step."""

    workspace: Path
    documents: dict[tuple[str, str], list[int]]
    replayed: dict[int, list[list[int]]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two stores, one of each packing, read as a mixture for two epochs by the pretrain stage."""
    home = tmp_path_factory.mktemp("trace")
    store, tokenizer = Store(home / "workspace"), tiny_tokenizer()
    made = commit(store, "tokenizer", "a", tokenizer.save, kind="tokenizer")
    stores, documents = [], {}
    for name, digit, packing in (("web", "b", "concat"), ("books", "c", "best-fit")):
        texts = rows(name[0], 40)
        payload, outcome = run_stage(
            home / name, corpus(home / name, texts), max_seq_len=SEQ_LEN, epochs=5, packing=packing
        )
        fill = lambda folder, payload=payload: shutil.copytree(payload, folder, dirs_exist_ok=True)  # noqa: E731
        stores.append(commit(store, name, digit, fill, kind="tokens", metrics=outcome.metrics))
        for row in texts:
            documents[name, row["id"]] = [*tokenizer.encode(row["text"]), tokenizer.eos_id]
    config = PretrainConfig.parse(
        {"tokens": ["web", "books"], "weights": [0.6, 0.4], "tokenizer": "tokenizer", "depth": 1, "hidden_size": 32,
         "num_heads": 1, "horizon": "2 epochs", "batch_tokens": 6 * SEQ_LEN, "micro_batch_tokens": 4 * SEQ_LEN,
         "loop": {"precision": "fp32", "dry_run": False, "threads": 1}},
        "test",
    )  # fmt: skip
    inputs = {"tokens": tuple(stores), "tokenizer": (made,)}
    replayed: dict[int, list[list[int]]] = {}
    metrics: dict[str, Any] = {}
    plain = PackedSteps.batches

    def watched(self: PackedSteps, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        batches = plain(self, step, part)
        replayed[step] = [row for batch in batches for row in batch.targets.tolist()]
        return batches

    def train(payload: Path) -> None:
        (home / "scratch").mkdir()
        task = Task("base", "d" * 64, inputs, {}, payload, home / "scratch", Silent())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PackedSteps, "batches", watched)
            metrics.update(run(config, task).metrics)

    links = {"tokens": [link(one) for one in stores], "tokenizer": [link(made)]}
    said = config.model_dump(mode="json")
    base = commit(store, "base", "d", train, kind="model", stage="pretrain", config=said, inputs=links, metrics=metrics)
    tuned = {"model": [link(base)], "conversations": []}
    chat = commit(store, "chat", "e", lambda _: None, kind="model", stage="sft", inputs=tuned)
    commit(store, "bundle", "f", lambda _: None, kind="bundle", stage="bundle", inputs={"model": [link(chat)]})
    commit(store, "foreign", "9", lambda _: None, kind="model", stage="imported")
    assert metrics["epochs"] >= 1.9 and len(replayed) == metrics["steps"] > 10
    return Ran(store.workspace, documents, replayed)


def traced(ran: Ran, name: str = "base") -> Trained:
    store = Store(ran.workspace)
    return Trained.find(store, store.find(name))


def test_steps_are_the_documents_that_were_read(ran: Ran) -> None:
    trained = traced(ran)
    for step, want in ran.replayed.items():
        found = trained.step(step)
        got = np.full((6, SEQ_LEN), -1)
        for read in found.documents:
            assert read.tokens == sum(end - start for _, _, start, end in read.ranges)
            assert (read.source, read.licence, read.url) == (read.id[0], "CC0", f"https://example.org/{read.id}")
            for row, position, start, end in read.ranges:
                place = got[row, position : position + end - start]
                assert (place == -1).all(), "two documents at one place"
                place[:] = ran.documents[read.store, read.id][start:end]
        assert np.where(got < 0, want, got).tolist() == want
        assert (got >= 0).sum() >= 5 * SEQ_LEN
        assert found.tokens == int((got >= 0).sum()) <= found.positions == 6 * SEQ_LEN
    total = sum(trained.step(step).tokens for step in ran.replayed)
    assert trained.record.metrics["train_tokens"] == total < len(ran.replayed) * 6 * SEQ_LEN  # padding is no token


def test_documents_are_read_at_the_steps_that_read_them(ran: Ran) -> None:
    trained = traced(ran)
    want: dict[str, dict[int, int]] = defaultdict(dict)
    for step in ran.replayed:  # which steps read a document is turned round by hand
        for read in trained.step(step).documents:
            want[read.id][step] = want[read.id].get(step, 0) + read.tokens
    trained_on = sorted({name for _, name in ran.documents} & set(want))
    assert len(trained_on) == 72  # all but the held-out ones
    for name in trained_on:
        found = trained.document(name)
        assert dict(found.steps) == want[name]
        assert list(found.steps) == sorted(found.steps)
    # A document of which a mixture has two copies is read twice as often.
    web = {name: sum(want[name].values()) / len(ran.documents["web", name]) for name in want if name[0] == "w"}
    twice = [times for name, times in web.items() if int(name[1:], 16) % 7 == 0]
    once = [times for name, times in web.items() if int(name[1:], 16) % 7]
    assert np.mean(twice) == pytest.approx(2 * np.mean(once), rel=0.15)


@pytest.mark.parametrize("name", ["chat", "bundle"])
def test_a_model_made_from_another_is_followed(ran: Ran, name: str) -> None:
    assert traced(ran, name).record.name == "base"
    assert traced(ran, name).step(3) == traced(ran).step(3)


def test_what_cannot_be_told_is_one_line(ran: Ran) -> None:
    steps = len(ran.replayed)
    for number in (-1, steps, 10**9):
        with pytest.raises(
            RequestError, match=f"has no step {number}: it was trained for {steps}, from 0 to {steps - 1}"
        ):
            traced(ran).step(number)
    held_out = next(row["id"] for row in rows("w", 40) if row["split"] == "held_out")
    for name in ("nobody", "", held_out):
        with pytest.raises(RequestError, match=f"no document '{name}' among those that 'base' was trained on"):
            traced(ran).document(name)
    with pytest.raises(RequestError, match="'foreign' was not pretrained in this workspace"):
        traced(ran, "foreign")
    with pytest.raises(RequestError, match="'web' is a tokens, not a model"):
        traced(ran, "web")


@pytest.mark.parametrize("field", ["steps", "data"])
def test_a_run_on_another_order_is_not_guessed_at(ran: Ran, field: str) -> None:
    trained = traced(ran)
    metrics = {**trained.record.metrics, field: 7 if field == "steps" else "0" * 64}
    other: Record = trained.record.model_copy(update={"metrics": metrics})
    with pytest.raises(ArtifactError, match="another order: its steps can't be told"):
        Trained(other, trained.stores).step(0)


@pytest.mark.parametrize("at_once", [1, 37, 1 << 20])
def test_the_reads_of_all_steps_are_those_of_each(ran: Ran, at_once: int) -> None:
    trained = traced(ran)
    steps, got, before = trained.steps, defaultdict[tuple[int, str, str], int](int), 0
    ids = [pq.read_table(one.file("documents.parquet"), columns=["id"])["id"].to_pylist() for one in trained.stores]
    for done, found in all_reads(steps, at_once):
        keys = list(zip(*(column.tolist() for column in found[:4]), strict=True))
        assert keys == sorted(set(keys)) and {key[0] for key in keys} == set(range(before, done))
        for (step, source, document, epoch), tokens in zip(keys, found.tokens.tolist(), strict=True):
            assert tokens > 0 and 0 <= epoch < 5
            got[step, trained.stores[source].record.name, ids[source][document]] += tokens
        before = done
    assert before == steps.num_steps
    want = defaultdict[tuple[int, str, str], int](int)
    for step in range(steps.num_steps):
        for read in trained.step(step).documents:
            want[step, read.store, read.id] += read.tokens
    assert got == want


def test_the_epoch_of_a_read_is_that_of_its_row(ran: Ran) -> None:
    steps = traced(ran).steps
    want: dict[tuple[int, int, int, int], int] = defaultdict(int)
    for step in range(steps.num_steps):
        for source, row in steps.rows_of(step):
            order = steps.sources[source].order
            epoch = next(number for number in range(order.num_epochs) if row < order.epochs[number + 1])
            for segment in range(order.rows[row], order.rows[row + 1]):
                document = int(steps.sources[source].store.documents_at(order.starts[segment : segment + 1])[0])
                want[step, source, document, epoch] += int(order.lengths[segment])
    found = reads(steps, 0, steps.num_steps)
    assert {tuple(key): int(n) for *key, n in np.stack(found, axis=1).tolist()} == want
    assert len({epoch for _, _, _, epoch in want}) > 1


def test_reads_are_kept_and_found_again(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, store = traced(ran), Store(ran.workspace)
    folder = keep_reads(store, trained, Silent())
    (path,) = folder.iterdir()
    table = pq.read_table(path)
    total = sum(found.tokens.sum() for _, found in all_reads(trained.steps))
    assert table.column("tokens").to_numpy().sum() == total == trained.record.metrics["train_tokens"]
    assert (np.diff(table.column("step").to_numpy()) >= 0).all()
    assert {path.name for path in folder.parent.iterdir()} == {"reads"}
    monkeypatch.setattr("groundup.readings.all_reads", None)  # not made a second time
    assert keep_reads(store, trained, Silent()) == folder
    shutil.rmtree(folder)


def test_reads_that_could_not_be_finished_leave_nothing(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, store = traced(ran), Store(ran.workspace)

    def broken(steps: PackedSteps) -> Any:
        yield from [next(iter(all_reads(steps, 1)))]
        raise KeyboardInterrupt

    monkeypatch.setattr("groundup.readings.all_reads", broken)
    with pytest.raises(KeyboardInterrupt):
        keep_reads(store, trained, Silent())
    assert not list((ran.workspace / "indexes" / trained.record.digest[:16]).iterdir())


def test_the_command_line(ran: Ran, tmp_path: Path) -> None:
    def ask(*words: str) -> Any:
        return CliRunner().invoke(app, ["lineage", *words, "-w", str(ran.workspace)], catch_exceptions=True)

    found = json.loads(ask("--step", "2", "chat", "--json").stdout)
    want = traced(ran).step(2)
    assert found == json.loads(json.dumps(want.as_json())) and found["tokens"] == want.tokens
    name = want.documents[0].id
    readings = json.loads(ask("--document", name, "base", "--json").stdout)
    assert {one["step"]: one["tokens"] for one in readings["steps"]} == dict(traced(ran).document(name).steps)
    shown = ask("--step", "2", "base").stdout.splitlines()
    assert len(shown) == 1 + len(want.documents) and name in shown[1]
    assert ask("--document", name, "base").stdout.splitlines()[1].startswith("step ")
    assert "web" in ask("base").stdout  # the tree, as before
    for words, message in (
        (("--step", "1", "--document", "x", "base"), "give one of --uses, --step and --document"),
        (("--step", "1", "--uses", "base"), "give one of --uses, --step and --document"),
        (("--step", "1", str(tmp_path)), "a model of another program"),
        (("--step", "999", "base"), "no step 999"),
        (("--document", "x", "base"), "no document 'x'"),
    ):
        error = ask(*words).exception
        assert isinstance(error, RequestError) and message in str(error)
