"""Pretraining as a stage: from one store or a mixture of several, with what it leaves behind."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundup.artifact.store import Store
from groundup.base.errors import RequestError
from groundup.base.progress import Silent
from groundup.flow import run
from groundup.recipe import load

STORIES = {"path": "examples/stories.jsonl.gz", "licence": "CDLA-Sharing-1.0", "origin": "TinyStories sample"}
MANUAL = {"path": "examples/sqlite-doc.tar.xz", "licence": "LicenseRef-public-domain", "origin": "sqlite3-doc"}
RECIPE: dict[str, Any] = {
    "name": "mixed",
    "artifacts": {
        "stories": {"stage": "source", "files": [{**STORIES, "limit": 120}]},
        "manual": {"stage": "source", "files": [{**MANUAL, "limit": 12}]},
        "story_corpus": {"stage": "curate", "pages": ["stories"], "decontaminate": []},
        "manual_corpus": {"stage": "curate", "pages": ["manual"], "decontaminate": []},
        "words": {"stage": "tokenizer", "corpus": "story_corpus", "vocab_size": 512},
        "story_tokens": {"stage": "tokens", "corpus": "story_corpus", "tokenizer": "words", "max_seq_len": 64},
        "manual_tokens": {"stage": "tokens", "corpus": "manual_corpus", "tokenizer": "words", "max_seq_len": 64},
        "base": {
            "stage": "pretrain",
            "tokens": ["story_tokens", "manual_tokens"],
            "weights": [0.75, 0.25],
            "mask_documents": True,
            "tokenizer": "words",
            "depth": 1,
            "hidden_size": 64,
            "batch_tokens": 512,
            "horizon": "12 steps",
            "loop": {"validate_every": 6, "threads": 1, "checkpoint_permanent_every": 6},
        },
    },
}


def written(folder: Path, **changes: Any) -> str:
    recipe = copy.deepcopy(RECIPE)
    recipe["artifacts"]["base"] |= changes
    path = folder / "mixed.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return str(path)


def test_experts_are_trained_and_saved_as_mixtral(tmp_path: Path) -> None:
    store = Store(tmp_path / "workspace")
    path = written(
        tmp_path, num_experts=4, sliding_window=16, qk_norm=False, mask_documents=False, horizon="4 steps",
        parallel={"expert": 2},
    )  # fmt: skip
    node = load(path).nodes[-1]
    node.config.check_processes(node, 2)
    with pytest.raises(RequestError, match="expert 2 does not divide replicate 1"):
        node.config.check_processes(node, 1)
    run(path, ["base.parallel.expert=1"], store, Silent())
    base = store.find("base")
    saved = json.loads((base.path / "config.json").read_text())
    assert (saved["model_type"], saved["num_local_experts"], saved["sliding_window"]) == ("mixtral", 4, 16)
    rows = [json.loads(line) for line in (base.path / "metrics.jsonl").read_text().splitlines()]
    assert all(row["balance_loss"] > 0 for row in rows if "loss" in row)
    assert base.record.metrics["active_parameters"] < base.record.metrics["parameters"]


def test_a_mixture_is_trained_on_in_its_shares(tmp_path: Path) -> None:
    store = Store(tmp_path / "workspace")
    done = run(written(tmp_path), [], store, Silent())
    base = store.find("base")
    assert base.record.metrics["steps"] == 12
    assert base.record.metrics["health"] == {"non_finite": 0, "loss_spike": 0, "gradient_spike": 0}
    rows = [json.loads(line) for line in (base.path / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in rows if "loss" not in row] == [0, 6, 12]
    assert steps[-1]["bits_per_byte"] < steps[0]["bits_per_byte"]
    assert "update_norm" in steps[0]
    report = done.report.read_text()
    assert "The mixture" in report
    for name, share in (("story_tokens", "75.0%"), ("manual_tokens", "25.0%")):
        assert name in report
        assert share in report
    log = base.path / "log"
    assert sorted(path.name for path in (log / "checkpoints").iterdir()) == ["step-000000006", "step-000000012"]
    assert (log / "checkpoints" / "step-000000006" / "checkpoint.json").is_file()
    speed = [json.loads(line) for line in (log / "speed.jsonl").read_text().splitlines()]
    assert speed[-1]["step"] == 11
    assert {"tokens_per_second", "mfu", "memory_bytes", "energy_joules"} <= speed[-1].keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": [1.0]}, "field 'weights' needs 2 numbers above zero"),
        ({"weights": [1.0, 0.0]}, "field 'weights' needs 2 numbers above zero"),
        ({"tokens": ["story_tokens", "story_tokens"]}, "named twice"),
        ({"tokens": [], "weights": None}, "tokens"),
        ({"tokens": ["story_tokens", "words"]}, "'words' is a tokenizer, expected tokens"),
        ({"loop": {"trackers": ["wandb"]}}, "wandb is not installed"),
        ({"loop": {"health": {"loss_spikes": "skip"}}}, "did you mean 'loss_spike'?"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_starts(
    changes: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "wandb" else real(name, *rest))
    with pytest.raises(RequestError) as raised:
        load(written(tmp_path, **changes))
    assert said in str(raised.value)


def test_rows_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="rows of 'manual_tokens' are not as long as those of 'story_tokens'"):
        load(written(tmp_path), ["manual_tokens.max_seq_len=32"])


def test_how_it_is_carried_out_is_no_part_of_the_digest(tmp_path: Path) -> None:
    def digest(**loop: Any) -> str:
        return load(written(tmp_path, loop=loop)).nodes[-1].digest

    plain = digest()
    same = {"checkpoint_every": 3.0, "checkpoint_every_steps": 5, "checkpoint_keep": 4, "dry_run": False, "threads": 2}
    assert digest(**same, checkpoint_in_background=False) == plain
    assert digest(average=0.99) != plain
    assert digest(health={"loss_spike": "stop"}) != plain
