"""Token stores made of what another program has encoded: the same documents, ids that fit, terms that are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from store_task import record
from tiny import tiny_tokenizer
from typer.testing import CliRunner

from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, DataError, RequestError
from groundup.base.progress import Silent
from groundup.cli import app
from groundup.stages.tokenize.encode import run
from groundup.stages.tokenize.tokens_config import TokensConfig
from groundup.text.store import litdata, mds
from groundup.text.store.megatron import token_dtype, write_store
from groundup.text.store.store import TokenStore

TEXTS = [f"the dog ran {'to the park ' * (n % 7)}and found {n} red balls 😀" for n in range(60)]
FIELDS = {"tokenizer": "tokenizer", "licence": "CC0-1.0", "origin": "a test", "held_out": 0.2, "max_seq_len": 32}
KINDS = pytest.mark.parametrize("kind", ["mds", "litdata", "megatron"])


def documents() -> list[tuple[str, Any]]:
    """Every other one closed with the end-of-text id, as some programs do; of a wider type than the store's."""
    tokenizer = tiny_tokenizer()
    ids = [[*tokenizer.encode(text), *([tokenizer.eos_id] if n % 2 else [])] for n, text in enumerate(TEXTS)]
    return [(f"doc-{number}", np.array(each)) for number, each in enumerate(ids)]


def written(folder: Path, kind: str, found: list[tuple[str, Any]]) -> Path:
    if kind == "megatron":
        folder.mkdir()
        write_store(folder / "text_document", [ids.tolist() for _, ids in found], token_dtype(70_000))
    else:
        (mds if kind == "mds" else litdata).write(folder, found, token_dtype(70_000), 2000)
    return folder


def taken(home: Path, *folders: Path, **fields: Any) -> tuple[Path, Outcome]:
    tokenizer = tiny_tokenizer()
    tokenizer.save(home / "tokenizer")
    files = {str(folder): folder for folder in folders}
    config = TokensConfig.parse({**FIELDS, "files": list(files), **fields}, "tokens")
    for name in ("payload", "scratch"):
        shutil.rmtree(home / name, ignore_errors=True)
        (home / name).mkdir()
    inputs = {"tokenizer": (Artifact(home / "tokenizer", record("tokenizer")),)}
    task = Task("tokens", "0" * 64, inputs, files, home / "payload", home / "scratch", Silent())
    return home / "payload", run(config, task)


@KINDS
def test_the_documents_are_those_of_the_files(kind: str, tmp_path: Path) -> None:
    payload, outcome = taken(tmp_path, written(tmp_path / "theirs", kind, documents()))
    eos, want = tiny_tokenizer().eos_id, {}
    for number, (name, ids) in enumerate(documents()):
        key = name if kind == "mds" else f"theirs-{number:09d}"
        want[key] = ids.tolist() if ids[-1] == eos else [*ids.tolist(), eos]
    found: dict[str, list[int]] = {}
    rows = pq.read_table(payload / "documents.parquet").to_pylist()
    for split in ("train", "held_out"):
        store = TokenStore.open(payload, split)
        mine = [row for row in rows if row["split"] == split]
        assert len(mine) == store.num_documents == outcome.metrics[f"{split}_documents"] > 5
        found |= {row["id"]: store.document(number).tolist() for number, row in enumerate(mine)}
    assert found == want
    assert {(row["source"], row["licence"], row["url"]) for row in rows} == {("theirs", "CC0-1.0", None)}
    assert sum(row["bytes"] for row in rows) == sum(len(text.encode()) for text in TEXTS)
    assert TokenStore.open(payload).need_order().num_epochs == 4
    (source,) = outcome.terms.sources
    assert (source.source, source.licence, source.origin) == ("theirs", "CC0-1.0", "a test")
    assert outcome.metrics["tokens_by_source"] == {"theirs": outcome.metrics["train_tokens"]}


def test_workers_and_places_change_nothing(tmp_path: Path) -> None:
    found = documents()
    for home in ("here", "there"):
        (tmp_path / home / "in").mkdir(parents=True)
        folders = [
            written(tmp_path / home / "in" / "a", "mds", found[:30]),
            written(tmp_path / home / "in" / "b", "litdata", found[30:]),
        ]
        taken(tmp_path / home, *folders, workers=1 if home == "here" else 2)
    for path in (tmp_path / "here" / "payload").rglob("*"):
        if path.is_file():
            assert (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes() == path.read_bytes()


@KINDS
def test_ids_of_another_tokenizer_and_clipped_files_are_one_line(kind: str, tmp_path: Path) -> None:
    theirs = written(tmp_path / "theirs", kind, [*documents(), ("wide", np.array([5, 65_000]))])
    with pytest.raises(DataError, match=r"document \S+ of \S+theirs has ids from 5 to 65000, the tokenizer 320 entr"):
        taken(tmp_path, theirs)
    clipped = next(path for path in sorted(theirs.iterdir()) if path.suffix in (".idx", ".mds", ".bin"))
    clipped.write_bytes(clipped.read_bytes()[:-1])
    with pytest.raises((DataError, ArtifactError)) as error:
        taken(tmp_path, theirs)
    assert "\n" not in str(error.value) and "theirs" in str(error.value)


def test_what_holds_no_ids_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has neither \.idx files .* nor an index.json"):
        taken(tmp_path, tmp_path / "empty")
    few = written(tmp_path / "few", "mds", documents()[:2])
    with pytest.raises(DataError, match=r"the files .*few have no documents in the split 'held_out'"):
        taken(tmp_path, few, held_out=0.0)


def test_a_recipe_goes_from_another_program_s_ids_to_a_model(tmp_path: Path) -> None:
    """With a tokenizer whose size nobody knows before it is made: a plan tells of a usual one, the run of the real."""
    tiny_tokenizer().save(tmp_path / "tok")
    written(tmp_path / "theirs", "mds", documents())
    common = {"licence": "CC0-1.0", "origin": "a test"}
    artifacts: dict[str, dict[str, Any]] = {
        "tok": {"stage": "adopt", "files": ["tok/tokenizer.json"], **common},
        "tokens": {"stage": "tokens", "files": ["theirs"], **common, "tokenizer": "tok", "max_seq_len": 32,
                   "held_out": 0.2},
        "base": {"stage": "pretrain", "tokens": "tokens", "tokenizer": "tok", "depth": 1, "hidden_size": 32,
                 "num_heads": 1, "horizon": "2 steps", "batch_tokens": 128, "loop": {"precision": "fp32"}},
    }  # fmt: skip
    (tmp_path / "r.yaml").write_text(json.dumps({"name": "r", "artifacts": artifacts}))
    command = ["run", str(tmp_path / "r.yaml"), "-w", str(tmp_path / "w")]
    assert CliRunner().invoke(app, ["plan", *command[1:]], catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    shown = CliRunner().invoke(app, ["plan", *command[1:], "--json"], catch_exceptions=False)
    base = json.loads(shown.stdout)["artifacts"][2]
    record = Store(tmp_path / "w").find("base").record
    assert base["made"] and base["training"]["parameters"]["total"] == record.metrics["parameters"]
    assert {source.licence for source in record.terms.sources} == {"CC0-1.0"}
    asked = ["lineage", "--step", "1", "base", "-w", str(tmp_path / "w")]
    assert "theirs" in CliRunner().invoke(app, asked, catch_exceptions=False).stdout


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "'corpus', or 'files', and not both"),
        ({"files": ["x"], "corpus": "corpus", "licence": "CC0-1.0", "origin": "o"}, "and not both"),
        ({"files": ["a/x", "b/x"], "licence": "CC0-1.0", "origin": "o"}, "have the same name"),
        ({"files": ["x"], "licence": "CC0-1.0"}, "'licence' and 'origin' must say something"),
        ({"files": ["x"], "licence": "CC0-1.0", "origin": "o", "language_tokens": True}, "goes with 'corpus'"),
        ({"corpus": "corpus", "licence": "CC0-1.0"}, "go with 'files'"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        TokensConfig.parse({"tokenizer": "tokenizer", **fields}, "tokens")
