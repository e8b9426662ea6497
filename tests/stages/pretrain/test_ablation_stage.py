"""The ablation stage at work: with a stand-in for training, with real small models, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ablation_stores import SEQ_LEN, Document, documents, store, task
from typer.testing import CliRunner

from groundup.artifact.charts import line_chart
from groundup.artifact.exhibit import Bars, Exhibits, Lines, Prose, Table
from groundup.artifact.stage import Outcome, Task
from groundup.base.errors import DataError, RequestError
from groundup.stages.pretrain.ablation import run as stage
from groundup.stages.pretrain.ablation.config import AblateConfig
from groundup.stages.pretrain.config import PretrainConfig


def ablation(*variants: str, **fields: Any) -> AblateConfig:
    small = {
        "tokens": "tokens", "tokenizer": "tokenizer", "depth": 1, "hidden_size": 32, "num_heads": 2,
        "batch_tokens": 8 * SEQ_LEN, "horizon": "6 steps",
        "loop": {"threads": 1, "dry_run": False, "precision": "fp32"},
    }  # fmt: skip
    return AblateConfig(variants={name: name for name in variants}, **{**small, **fields})


# -- with a stand-in for training ----------------------------------------------------------------------------------

EFFECTS = {"tokens": 0.0, "better": -0.05, "worse": 0.08, "same": 0.0}
WOBBLE = {"tokens": (0, 0, 0, 0), "better": (1, -2, 1, 0), "worse": (-1, 0, 2, -1), "same": (2, -2, -1, 1)}


class Trainer:
    """In the place of training: a loss that is known but for a wobble; can break off after some runs."""

    def __init__(self, breaks_after: int = 1000, loss: float = 2.0) -> None:
        self.trained: list[tuple[str, int, int | None]] = []
        self.breaks_after, self.loss = breaks_after, loss

    def __call__(self, config: PretrainConfig, task: Task, order_seed: int | None = None) -> Outcome:
        if len(self.trained) == self.breaks_after:
            raise KeyboardInterrupt
        name = task.inputs["tokens"][0].record.name
        self.trained.append((name, config.seed, order_seed))
        # What a seed does to all variants alike is ten times what it does to one of them.
        loss = self.loss + EFFECTS[name] + 0.05 * config.seed + 0.001 * WOBBLE[name][config.seed - 1]
        parts = {"bits_per_byte/a": loss - 0.1, "bits_per_byte/b": loss + 0.1}
        rows = [{"step": s, "tokens": 128 * s, "bits_per_byte": loss + 1 - s / 6, **parts} for s in (0, 3, 6)]
        lines = [{"step": 0, "tokens": 128, "loss": 3.0}, *rows, {"step": 5, "tokens": 9, "event": "loss_spike"}]
        (task.payload / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
        return Outcome({"validation_bits_per_byte": loss}, device_joules=2.0)


@pytest.fixture(name="four")
def _four(tmp_path: Path) -> Task:
    held_out = documents("h", "stories", 6)
    tokens = store(tmp_path / "tokens", documents("t", "stories", 60), held_out)
    others = [
        store(tmp_path / name, documents(f"{name}-", source, size), documents(f"h{name}", "x", 2), epochs=8)
        for name, source, size in (("better", "stories", 60), ("worse", "web", 60), ("same", "stories", 6))
    ]
    return task(tmp_path, tokens, others)


NAMES = ("better", "worse", "same")


def test_effects_come_out_with_their_signs_and_chance_as_chance(four: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer()
    monkeypatch.setattr(stage, "pretrain", trainer)
    outcome = stage.run(ablation(*NAMES, seeds=4), four)
    found = outcome.metrics["variants"]
    assert {name: one["verdict"] for name, one in found.items()} == {
        "better": "helps", "same": "no difference seen", "worse": "hurts",
    }  # fmt: skip
    for name, one in found.items():
        wobble = sum(WOBBLE[name]) / 4000
        assert one["difference"] == pytest.approx(EFFECTS[name] + wobble, abs=1e-5)
        assert one["low"] < one["difference"] < one["high"]
    assert found["better"]["smallest_visible"] < 0.05, "pairs take out what a seed does to all variants"
    assert outcome.device_joules == 32.0
    # The same seeds for all, each with an order of its own.
    assert sorted(trainer.trained) == sorted((name, seed, seed) for name in EFFECTS for seed in (1, 2, 3, 4))

    report = json.loads((four.payload / "report.json").read_text())
    rows = {row["name"]: row for row in report["variants"]}
    assert rows["better"]["comparison"]["by_source"]["a"]["value"] == pytest.approx(
        found["better"]["difference"], abs=1e-5
    )
    assert rows["same"]["reads"]["different"] == 6 * 24 and rows["same"]["reads"]["passes"] == pytest.approx(768 / 144)
    assert len(report["runs"]) == len(list((four.payload / "runs").glob("*.jsonl"))) == 16
    assert "seconds" not in report["runs"][0], "wall time would make the payload differ from run to run"


def test_what_the_report_shows_can_be_drawn_and_warns(four: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "pretrain", Trainer())
    stage.run(ablation(*NAMES, seeds=4), four)
    shown = Exhibits(exhibits=tuple(four.exhibits))
    assert Exhibits.model_validate_json(shown.model_dump_json()) == shown
    lines = [exhibit for exhibit in four.exhibits if isinstance(exhibit, Lines)]
    assert len(lines) == 2 and all(line_chart(exhibit, "p").svg is not None for exhibit in lines)
    assert lines[0].series[0].x == (384.0, 768.0), "before the first step there is nothing to compare"
    worse = next(series for series in lines[1].series if series.name == "worse")
    assert worse.low[-1] < worse.y[-1] < worse.high[-1] and worse.y[-1] == pytest.approx(0.08)
    (bars,) = (exhibit for exhibit in four.exhibits if isinstance(exhibit, Bars))
    assert [label.partition(":")[0] for label, *_ in bars.bars] == ["better", "same", "worse"]
    assert "By source of the held-out text" in [one.title for one in four.exhibits if isinstance(one, Table)]
    warned = {one.title: one.text for one in four.exhibits if isinstance(one, Prose)}
    assert "worse read the sources in other shares" in warned["Too small to rank mixtures"]
    assert "same 5.3 times" in warned["Some variants have too little text for this length"]


def test_text_to_predict_under_another_id_is_told_of(
    four: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = [("copy", source, ids) for _, source, ids in documents("h", "stories", 1)]
    leaky = store(tmp_path / "leaky", documents("l", "stories", 60) + copied, documents("hl", "x", 2), name="same")
    monkeypatch.setattr(stage, "pretrain", Trainer())
    within = replace(four, inputs={**four.inputs, "variants": (leaky,)})
    assert stage.run(ablation("same", seeds=2), within).metrics["warnings"] == 1
    assert any("same 1" in one.text for one in four.exhibits if isinstance(one, Prose))


def test_an_ablation_that_was_cut_off_goes_on_behind_its_last_run(four: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Trainer(breaks_after=5), Trainer()
    monkeypatch.setattr(stage, "pretrain", first)
    with pytest.raises(KeyboardInterrupt):
        stage.run(ablation(*NAMES, seeds=2), four)
    monkeypatch.setattr(stage, "pretrain", second)
    assert stage.run(ablation(*NAMES, seeds=2), four).metrics["runs"] == 8
    assert len(first.trained) == 5 and len(second.trained) == 3
    assert not set(first.trained) & set(second.trained)


def page(train: list[Document]) -> list[Document]:
    return [*train, *documents("h", "stories", 1)]


def short(train: list[Document]) -> list[Document]:
    return train[:2]


@pytest.mark.parametrize(
    ("change", "fields", "error", "words"),
    [
        (page, {}, RequestError, "variant 'same' trains on 1 of the 6 documents to predict"),
        (short, {}, RequestError, "variant 'same': training would read 768 tokens of 'same'; .*set its epochs to 16"),
        (None, {"horizon": "9 tokens"}, RequestError, "shorter than one step"),
        (None, {"validation": "empty"}, DataError, "'empty' has no held-out documents"),
    ],
)
def test_what_can_not_be_compared_is_refused_before_anything_is_trained(
    change: Callable[[list[Document]], list[Document]] | None,
    fields: dict[str, Any],
    error: type[Exception],
    words: str,
    four: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = Trainer()
    monkeypatch.setattr(stage, "pretrain", trainer)
    train = documents("n", "stories", 60)
    other = store(tmp_path / "new", change(train) if change else train, documents("hn", "x", 1), name="same")
    inputs = {**four.inputs, "variants": (other,)}
    if "validation" in fields:
        inputs["validation"] = (store(tmp_path / "empty", train, []),)
    with pytest.raises(error, match=words):
        stage.run(ablation("same", seeds=2, **fields), replace(four, inputs=inputs))
    assert not trainer.trained


def test_a_run_without_a_finite_loss_ends_the_comparison(four: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "pretrain", Trainer(loss=float("nan")))
    with pytest.raises(DataError, match="baseline-seed1 ended without a finite loss"):
        stage.run(ablation(*NAMES, seeds=2), four)


# -- with real small models ----------------------------------------------------------------------------------------


def counting(prefix: str, count: int, first: int = 0) -> list[Document]:
    """Documents that count upwards from somewhere: what comes next is easy to learn."""
    return [
        (f"{prefix}{first + n}", "numbers", [(37 * (first + n) + place) % 200 for place in range(30)])
        for n in range(count)
    ]


def spoilt(train: list[Document]) -> list[Document]:
    """The same documents with every second one's tokens out of order."""
    return [
        (one, source, sorted(ids, key=lambda token: (token * 7919) % 211) if at % 2 else ids)
        for at, (one, source, ids) in enumerate(train)
    ]


def test_what_is_known_to_hurt_hurts_and_the_same_text_does_not(tmp_path: Path) -> None:
    train = counting("t", 60)
    tokens = store(tmp_path / "tokens", train, counting("h", 12, first=500))
    hurt = store(tmp_path / "spoilt", spoilt(train), counting("hs", 1, first=600))
    good = store(tmp_path / "good", train[::-1], counting("hg", 1, first=700))  # the same text in other rows
    within = task(tmp_path, tokens, [hurt, good])
    found = stage.run(ablation("spoilt", "good", horizon="50 steps", seeds=3), within).metrics["variants"]
    assert (found["spoilt"]["verdict"], found["good"]["verdict"]) == ("hurts", "no difference seen")
    assert found["spoilt"]["difference"] > found["good"]["high"]

    def before_the_first_step(name: str) -> float:
        lines = (within.payload / "runs" / f"{name}.jsonl").read_text().splitlines()
        return float(next(row["bits_per_byte"] for row in map(json.loads, lines) if "loss" not in row))

    weights = [
        before_the_first_step(f"{name}-seed{seed}") for seed in (1, 2, 3) for name in ("baseline", "spoilt", "good")
    ]
    assert len(set(weights)) == 3 and weights == sorted(weights, key=weights.index), "a seed has one model for all"
    assert weights[0] == weights[1] == weights[2]


def test_a_run_that_was_cut_off_ends_the_same_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off inside the third run, behind a checkpoint."""
    tokens = store(tmp_path / "tokens", counting("t", 40), counting("h", 4, first=500))
    other = store(tmp_path / "other", counting("o", 40, first=100), counting("ho", 1, first=600))
    config = ablation("other", horizon="12 steps", seeds=2, loop={"threads": 1, "checkpoint_every_steps": 2})
    payloads = []
    for name, breaks in (("whole", False), ("broken", True)):
        (tmp_path / name).mkdir()
        within = task(tmp_path / name, tokens, [other])
        if breaks:
            real, calls = stage.pretrain, []

            def half(
                config: PretrainConfig, task: Task, order_seed: int | None = None, real: Any = real, calls: Any = calls
            ) -> Outcome:
                calls.append(order_seed)
                if len(calls) == 3:
                    with monkeypatch.context() as patch:
                        patch.setattr("groundup.train.loop._Run._validate", _stop_at(7))
                        return real(config, task, order_seed)  # type: ignore[no-any-return]
                return real(config, task, order_seed)  # type: ignore[no-any-return]

            monkeypatch.setattr(stage, "pretrain", half)
            with pytest.raises(KeyboardInterrupt):
                stage.run(config, within)
            assert list((within.scratch / "runs").glob("*/scratch/step-*")), "it left a checkpoint"
        stage.run(config, within)
        payloads.append(
            {path.relative_to(within.payload): path.read_bytes() for path in sorted(within.payload.rglob("*.json*"))}
        )
    assert payloads[0] == payloads[1] and len(payloads[0]) == 5


def _stop_at(step: int) -> Any:
    def validate(self: Any, at: int) -> None:
        if at >= step:
            raise KeyboardInterrupt
        row = self.engine.validate(self.validate)
        self.journal.validation({"step": at, "tokens": self.tokens, **row})

    return validate


def test_the_command_makes_an_ablation_from_pages(tmp_path: Path) -> None:
    from groundup.cli import app

    stories = {"path": "examples/stories.jsonl.gz", "licence": "CDLA-Sharing-1.0", "origin": "TinyStories sample"}
    recipe = {
        "name": "small",
        "artifacts": {
            "pages": {"stage": "source", "files": [{**stories, "limit": 60}]},
            "corpus": {"stage": "curate", "pages": ["pages"], "decontaminate": [], "workers": 1},
            "tokenizer": {"stage": "tokenizer", "corpus": "corpus", "vocab_size": 400},
            "tokens": {"stage": "tokens", "corpus": "corpus", "tokenizer": "tokenizer", "max_seq_len": 64},
            "base": {
                "stage": "pretrain", "tokens": "tokens", "tokenizer": "tokenizer", "depth": 1, "hidden_size": 32,
                "batch_tokens": 512, "loop": {"threads": 1},
            },
        },
    }  # fmt: skip
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    command = ["ablate", str(path), "base", "-w", str(tmp_path / "ws"), "--seeds", "2", "--horizon", "2048 tokens"]
    command += ["--variant", "order: tokens.seed=2"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "bits a byte" in done.output and "recipe:" in done.output
    report = (tmp_path / "ws" / "runs" / "small-base-ablation" / "report.html").read_text()
    assert "Difference to the baseline" in report
    again = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(again.stdout)["design"]["seeds"] == 2
