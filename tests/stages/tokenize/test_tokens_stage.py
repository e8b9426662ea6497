"""The tokens stage: the same store for any number of workers, resumed by jobs, held against the library."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from store_task import corpus, run_stage
from tiny import tiny_tokenizer

from groundup.base.errors import DataError
from groundup.stages.tokenize import encode, encode_job
from groundup.text.bpe.encoded import Encoded
from groundup.text.store.order import document_key
from groundup.text.store.store import TokenStore
from groundup.text.tokenizer import Tokenizer

WORDS = ["the", "dog", "ran", "to", "park", "and", "found", "red", "balls", "near", "sea", "stars", "ü", "猫", "😀"]


def text(number: int, least: int = 3, most: int = 60) -> str:
    rng = np.random.default_rng(number)
    return " ".join(rng.choice(WORDS, rng.integers(least, most)).tolist())


def rows_of(train: int, held_out: int = 5) -> list[dict[str, Any]]:
    rows = [{"id": f"{n:032x}", "text": text(n), "source": "abc"[n % 3], "split": "train"} for n in range(train)]
    rows += [
        {"id": f"{n:032x}", "text": text(n), "source": "a", "split": "held_out"} for n in range(1000, 1000 + held_out)
    ]
    return sorted(rows, key=lambda row: str(row["text"]))  # both splits mixed


ROWS = rows_of(80)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(autouse=True)
def _small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_UNIT_BYTES", 1)  # a job a row group
    monkeypatch.setattr("groundup.text.document.ROWS_PER_GROUP", 10)


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
def test_a_store_is_its_documents_in_order(packing: str, tmp_path: Path) -> None:
    payload, outcome = run_stage(tmp_path, corpus(tmp_path, ROWS), packing=packing, max_seq_len=32, epochs=2)
    tokenizer = tiny_tokenizer()
    table = pq.read_table(payload / "documents.parquet").to_pylist()
    assert [row["split"] for row in table] == ["train"] * 80 + ["held_out"] * 5
    for split in ("train", "held_out"):
        store = TokenStore.open(payload, split)
        given = [row for row in ROWS if row["split"] == split]
        made = [row for row in table if row["split"] == split]
        assert [row["id"] for row in made] == [row["id"] for row in given]
        for number, (row, about) in enumerate(zip(given, made, strict=True)):
            ids = [*tokenizer.encode(row["text"]), tokenizer.eos_id]
            assert store.document(number).tolist() == ids
            assert (about["end"] - about["start"], about["bytes"]) == (len(ids), len(row["text"].encode()))
            assert store.ids[about["start"] : about["end"]].tolist() == ids
            assert (about["licence"], about["url"], about["copy"]) == ("CC0", f"https://example.org/{row['id']}", 0)
    store = TokenStore.open(payload)
    order = store.need_order()
    metrics = outcome.metrics
    assert (metrics["rows"], metrics["train_tokens"]) == (order.rows_in_epoch, store.num_tokens)
    assert (order.seq_len, order.packing, order.num_epochs) == (32, packing, 2)
    assert metrics["train_documents"] == 80 and metrics["held_out_documents"] == 5
    assert sum(metrics["tokens_by_source"].values()) == store.num_tokens
    if packing == "concat":
        assert metrics["padding"] == 0 and 0 <= metrics["tokens_left_over"] == store.num_tokens % 32
    else:
        waste = 1 - store.num_tokens / (order.rows_in_epoch * 32)
        assert metrics["padding"] == pytest.approx(waste, abs=1e-6) and metrics["documents_cut"] == 0
    store.check_tokenizer(json.loads((payload / "store.json").read_text())["tokenizer"], 320, "tokens")


def test_workers_and_row_groups_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = corpus(tmp_path, ROWS)
    one = run_stage(tmp_path / "one", source, workers=1)[0]
    three = run_stage(tmp_path / "three", source, workers=3)[0]
    monkeypatch.setattr(encode, "_UNIT_BYTES", 1 << 30)
    whole = run_stage(tmp_path / "whole", source, workers=3)[0]
    want = files(one)
    assert files(three) == want
    found = files(whole)
    assert {name for name in want if want[name] != found[name]} <= {"documents.parquet"}  # in other row groups
    assert pq.read_table(whole / "documents.parquet").equals(pq.read_table(one / "documents.parquet"))


def test_a_run_that_was_cut_off_goes_on_behind_its_finished_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(tmp_path, ROWS)
    want = files(run_stage(tmp_path / "want", source, workers=1)[0])
    plain, calls = encode_job.Encode.__call__, []

    def counted(self: Any, payload: Any, folder: Path) -> Any:
        if len(calls) == 4:
            calls.append("killed")
            raise KeyboardInterrupt
        calls.append(payload.first)
        return plain(self, payload, folder)

    monkeypatch.setattr(encode_job.Encode, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path / "run", source, workers=1)
    payload = run_stage(tmp_path / "run", source, workers=1)[0]
    assert len(calls) == 9 + 1, "finished jobs were done again"
    assert files(payload) == want


SLOW = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../.."]
import groundup.text.document
from groundup.stages.tokenize import encode
from groundup.stages.tokenize.encode_job import Encode
import store_task, test_tokens_stage
class Slow(Encode):
    def __call__(self, payload, folder):
        time.sleep(float(sys.argv[3]))  # in the middle of a job, its folder begun
        return super().__call__(payload, folder)
encode.Encode, encode._UNIT_BYTES, groundup.text.document.ROWS_PER_GROUP = Slow, 1, 10
folder = Path(sys.argv[2])
source = store_task.corpus(folder / "source", test_tokens_stage.ROWS)
store_task.run_stage(folder / "run", source, workers=1)
"""


def test_a_kill_loses_only_the_job_under_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(Path(__file__).parent), str(tmp_path)]
    first = subprocess.Popen([*command, "0.4"], start_new_session=True)
    jobs, deadline = tmp_path / "run" / "scratch" / "jobs", time.monotonic() + 60
    while len(done := list(jobs.glob("*/manifest.json"))) < 3 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in done}
    assert 3 <= len(finished) < 9
    subprocess.run([*command, "0"], check=True)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "finished jobs were done again"
    assert len(list(jobs.glob("*/manifest.json"))) == 9
    whole = run_stage(tmp_path / "whole", corpus(tmp_path / "again", ROWS), workers=1)[0]
    assert files(tmp_path / "run" / "payload") == files(whole)


def test_ray_makes_the_same_store(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    source = corpus(tmp_path, ROWS)
    want = files(run_stage(tmp_path / "local", source, workers=1)[0])
    try:
        assert files(run_stage(tmp_path / "ray", source, workers=2, executor="ray")[0]) == want
    finally:
        ray.shutdown()


def test_copies_stand_far_apart_and_go_their_own_ways(tmp_path: Path) -> None:
    copies = [1, 3, 2, 1] * 5
    rows = [{**row, "copies": n} for row, n in zip(rows_of(20, 0), copies, strict=True)]
    rows += [{**row, "copies": 1} for row in rows_of(0, 2)]
    payload, _ = run_stage(tmp_path, corpus(tmp_path, rows), max_seq_len=16)
    table = pq.read_table(payload / "documents.parquet", filters=[("split", "==", "train")]).to_pylist()
    want = [(row["id"], n) for n in range(3) for row in rows if row["split"] == "train" and row["copies"] > n]
    assert [(row["id"], row["copy"]) for row in table] == want
    store = TokenStore.open(payload)
    by_id = {row["id"]: row["text"] for row in rows}
    tokenizer = tiny_tokenizer()
    for number, (name, _) in enumerate(want):
        assert store.document(number).tolist() == [*tokenizer.encode(by_id[name]), tokenizer.eos_id]
    keys = {document_key(name, copy) for name, copy in want}
    assert len(keys) == len(want)


def with_languages() -> Tokenizer:
    described = tiny_tokenizer().describe()
    for token in described["added_tokens"]:
        if token["content"] == "<|reserved_0|>":
            token["content"] = "<|eng_Latn|>"
    described["model"]["vocab"]["<|eng_Latn|>"] = described["model"]["vocab"].pop("<|reserved_0|>")
    return Tokenizer.parse(described, tiny_tokenizer().template.source, tiny_tokenizer().roles)


def test_language_tokens_lead_where_there_are_any(tmp_path: Path) -> None:
    tokenizer = with_languages()
    rows = [{**row, "language": ("eng_Latn", "jpn_Jpan")[n % 2]} for n, row in enumerate(rows_of(30))]
    payload, _ = run_stage(tmp_path, corpus(tmp_path, rows), tokenizer=tokenizer, language_tokens=True)
    store = TokenStore.open(payload)
    for number, row in enumerate(row for row in rows if row["split"] == "train"):
        lead = [tokenizer.special_tokens["<|eng_Latn|>"]] if row["language"] == "eng_Latn" else []
        assert store.document(number).tolist() == [*lead, *tokenizer.encode(row["text"]), tokenizer.eos_id]


def test_ids_that_are_not_the_library_s_end_the_run_with_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(tmp_path, ROWS)
    plain, told = Tokenizer.encode_column, set()
    for broken in (0, 3):
        monkeypatch.setattr(encode_job, "_SAMPLE", 1.0 if broken else encode_job._SAMPLE)

        def wrong(self: Tokenizer, texts: Any, broken: int = broken) -> Encoded:
            found = plain(self, texts)
            ids = found.ids.copy()
            if broken < len(found.bounds) - 1:
                ids[found.bounds[broken]] ^= 1
            return Encoded(ids, found.bounds)

        monkeypatch.setattr(Tokenizer, "encode_column", wrong)
        with pytest.raises(DataError, match=r"document [0-9a-f]{32} has other ids than the library") as error:
            run_stage(tmp_path / str(broken), source, workers=1)
        told.add(re.findall("[0-9a-f]{32}", str(error.value))[0])
        assert not any(word in str(error.value).split() for word in ("park", "stars"))
    assert len(told) == 2 and told <= {row["id"] for row in ROWS}


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (rows_of(0), {}, "'corpus' has no documents in the split 'train'"),
        (rows_of(5, 0), {}, "no documents in the split 'held_out'"),
        (rows_of(1), {"max_seq_len": 4096}, "training tokens don't fill one row of 4096; add documents"),
    ],
)
def test_too_little_is_told(rows: list[dict[str, Any]], fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        run_stage(tmp_path, corpus(tmp_path, rows), **fields)


def test_pieces_may_be_shorter_than_rows(tmp_path: Path) -> None:
    payload, _ = run_stage(tmp_path, corpus(tmp_path, ROWS), max_seq_len=64, chunk=16, packing="best-fit")
    order = TokenStore.open(payload).need_order()
    assert order.lengths.max() == 16
