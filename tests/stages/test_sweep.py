"""Scaling laws: the fit beside known constants and another optimizer; the sweep with a stand-in for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize
from tiny import tiny_tokenizer

from groundup.artifact.exhibit import Exhibits
from groundup.artifact.record import FORMAT, Cost, Record
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.terms import Terms
from groundup.base.errors import DataError, RequestError
from groundup.base.progress import Silent
from groundup.derive import sweep_of
from groundup.model.count import active_parameters, matmul_parameters
from groundup.recipe import load
from groundup.stages.pretrain.config import PretrainConfig
from groundup.stages.pretrain.sweep import law as law_module
from groundup.stages.pretrain.sweep.config import SweepConfig
from groundup.stages.pretrain.sweep.exhibits import exhibits
from groundup.stages.pretrain.sweep.law import Fit, Law, Point, fit
from groundup.stages.pretrain.sweep.report import RunRow, report
from groundup.train.plan.estimate import Estimate, assess_recipe
from groundup.train.plan.machine import find_machine

CHINCHILLA = Law(irreducible=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28)
"""Hoffmann et al. 2022, equation 10."""

SIZES, LENGTHS = (1e6, 2e6, 4e6, 8e6), (1e7, 3e7, 1e8)


def runs(truth: Law, noise: float = 0.0, seed: int = 0) -> list[Point]:
    generator = np.random.default_rng(seed)
    return [
        Point(size, length, truth.loss(size, length) * float(np.exp(noise * generator.standard_normal())))
        for size in SIZES
        for length in LENGTHS
    ]


# -- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [CHINCHILLA, Law(0.9, 20.0, 3e3, 0.25, 0.5), Law(0.5, 5.0, 900.0, 0.12, 0.45)])
def test_exact_runs_give_back_their_constants(truth: Law) -> None:
    found = fit(runs(truth), resamples=0).law
    for name in ("irreducible", "a", "b", "alpha", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-4), name


def test_the_minimum_is_not_above_that_of_another_optimizer() -> None:
    """L-BFGS from 32 starts on the same objective."""
    points = runs(CHINCHILLA, noise=0.005, seed=1)
    logs = np.log([[point.parameters, point.tokens, point.loss] for point in points])

    def cost(theta: Any) -> float:
        return float(law_module._cost(np.array(theta)[None], logs[None])[0]) * 1e4

    starts = [
        [a, b, e, p, q] for a in (5, 10) for b in (5, 10) for e in (-1, 0.5) for p in (0.2, 0.5) for q in (0.2, 0.5)
    ]
    bounds = [(None, None)] * 3 + [(0.01, 3.0)] * 2
    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-12}
    best = min(minimize(cost, s, method="L-BFGS-B", bounds=bounds, options=options).fun for s in starts)
    law = fit(points, resamples=0).law
    ours = cost([np.log(law.a), np.log(law.b), np.log(law.irreducible), law.alpha, law.beta])
    assert ours <= best * (1 + 1e-4)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 20 sweeps with runs that scatter by 0.5 %, a 90 % interval should miss about two; far more is a defect."""
    size, length = 1.6e7, 3e8
    truth = float(CHINCHILLA.loss(size, length))
    held = 0
    for seed in range(20):
        found = fit(runs(CHINCHILLA, noise=0.005, seed=seed), resamples=60)
        low, high = found.interval(lambda law: float(law.loss(size, length)))
        held += low <= truth <= high
        assert found.law.loss(size, length) == pytest.approx(truth, rel=0.06)
    assert 14 <= held <= 20


def test_one_bad_run_moves_the_law_little() -> None:
    points = runs(CHINCHILLA, noise=0.001, seed=2)
    spoilt = [Point(p.parameters, p.tokens, p.loss * (1.2 if at == 5 else 1.0)) for at, p in enumerate(points)]
    clean, robust = fit(points, resamples=0).law, fit(spoilt, resamples=0).law
    assert robust.loss(1.6e7, 3e8) == pytest.approx(clean.loss(1.6e7, 3e8), rel=0.02)


def test_the_best_split_is_the_best() -> None:
    size, length = CHINCHILLA.optimum(1e21)
    assert 6 * size * length == pytest.approx(1e21)
    least = CHINCHILLA.loss(size, length)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert CHINCHILLA.loss(size * factor, length / factor) > least


def test_runs_that_tell_little_have_a_report_all_the_same() -> None:
    """This family's refitted laws have parts as good as nothing; the sweep crashed once all of it was trained."""
    sizes = {
        26_624: ((18_432, 3.6473), (36_864, 3.4067)),
        43_008: ((26_624, 3.5284), (53_248, 3.3234)),
        180_224: ((100_352, 3.0756), (200_704, 2.8926)),
    }
    rows = [
        RunRow("run", 1, size, size, tokens, 6.0 * size * tokens, loss, 1.0)
        for size, reached in sizes.items()
        for tokens, loss in reached
    ]
    found = fit([Point(row.matmul_parameters, row.tokens, row.loss) for row in rows])
    whole = report(rows, found, RunRow("target", 4, 10**6, 10**6, 10**6, 6e12, 1.0, 0.0), trained=False)
    json.dumps(whole.as_json(), allow_nan=False)
    for split in whole.splits:
        assert min(split.parameters_interval) >= 1 and min(split.tokens_interval) >= 1
        assert split.parameters * split.tokens * 6 == pytest.approx(split.flops)
    assert Exhibits(exhibits=exhibits(whole, found)).exhibits


def test_fits_are_repeatable_and_need_enough_runs() -> None:
    points = runs(CHINCHILLA, noise=0.003)
    assert fit(points, resamples=20, seed=4) == fit(points, resamples=20, seed=4)
    with pytest.raises(DataError, match="at least 6 runs"):
        fit(points[:5])
    with pytest.raises(DataError, match="of 2 sizes"):
        fit(points[:6])
    with pytest.raises(DataError, match="not a positive number"):
        fit([*points, Point(1e6, 1e7, float("nan"))])


# -- the stage -----------------------------------------------------------------------------------------------------


def sweep(**fields: Any) -> SweepConfig:
    return SweepConfig(tokens="tokens", tokenizer="tokenizer", **fields)


def test_the_family_lies_below_the_model() -> None:
    assert sweep(depth=8).family_depths() == (2, 3, 4, 6)
    assert sweep(depth=4, depths=(3, 1, 2)).family_depths() == (1, 2, 3)
    config = sweep(depth=4, hidden_size=192, seed=7)
    small, same = config.member(2, 1000.4), config.member(4, None)
    assert (small.depth, small.hidden_size, str(small.horizon), small.seed) == (2, 96, "1000 tokens", 7)
    assert same == PretrainConfig(tokens="tokens", tokenizer="tokenizer", depth=4, hidden_size=192, seed=7)
    for depth in range(1, 9):
        shape = sweep(depth=9, hidden_size=416).member(depth, None).model_config_for(512, 64)
        assert shape.num_heads * shape.head_dim == shape.hidden_size


RECIPE = """
name: tiny
artifacts:
  pages: {stage: source, files: [{path: pages.txt, licence: CC0-1.0, origin: made here}]}
  corpus: {stage: curate, pages: [pages]}
  tokenizer: {stage: tokenizer, corpus: corpus, vocab_size: 512}
  tokens: {stage: tokens, corpus: corpus, tokenizer: tokenizer, max_seq_len: 64}
  base: {stage: pretrain, tokens: tokens, tokenizer: tokenizer, depth: 8, horizon: 1M tokens, seed: 5}
  bundle: {stage: bundle, model: base}
"""


@pytest.fixture(name="recipe")
def _recipe(tmp_path: Path) -> Path:
    (tmp_path / "pages.txt").write_text("Once upon a time.")
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def test_the_command_writes_a_recipe_that_any_run_takes(recipe: Path, tmp_path: Path) -> None:
    whole = load(str(recipe))
    written = sweep_of(whole, "base", tmp_path / "elsewhere" / "runs", depths="2,3,5", ratios="1,2.5", verify=False)
    again = {node.name: node for node in load(str(written)).nodes}
    assert list(again) == ["pages", "corpus", "tokenizer", "tokens", "base-law"]
    for node in whole.nodes:
        if node.name in again:
            assert again[node.name].digest == node.digest
    config = again["base-law"].config
    assert isinstance(config, SweepConfig)
    assert (config.depth, config.seed, config.depths, config.tokens_per_parameter) == (8, 5, (2, 3, 5), (1.0, 2.5))
    assert not config.verify
    assert yaml.safe_load(written.read_text())["name"] == "tiny-base-sweep"


def test_a_plan_tells_what_the_whole_family_costs(recipe: Path, tmp_path: Path) -> None:
    for verify, count in ((True, 7), (False, 6)):
        written = sweep_of(load(str(recipe)), "base", tmp_path / "runs", depths="1,2,3", ratios="1,2", verify=verify)
        (found,) = assess_recipe(load(str(written)).nodes, {}, find_machine("h100")).values()
        assert isinstance(found, Estimate) and found.family is not None and found.family.whole is not None
        seconds = {name: run.seconds or 0.0 for name, run in found.family.runs.items()}
        assert len(seconds) == count and ("depth008-target" in seconds) == verify
        assert found.family.whole["seconds"] == pytest.approx(sum(seconds.values()))
        assert found.workload.model.num_layers == (8 if verify else 3)
        assert found.as_json()["family"]["whole"]["dollars"] > 0
        assert any(line.startswith(f"family      {count} runs") for line in found.lines())


def test_lengths_of_a_family_of_experts_count_what_a_token_meets() -> None:
    config = sweep(depth=8, num_experts=8)
    one = config.runs(512, 64)["depth002-x10"]
    shape = one.model_config_for(512, 64)
    assert one.horizon is not None and one.horizon.value == pytest.approx(10 * active_parameters(shape))


@pytest.mark.parametrize(
    ("artifact", "depths", "words"),
    [
        ("bass", None, "did you mean 'base'"),
        ("corpus", None, "made by curate"),
        ("base", "2;3", "numbers with commas"),
        ("base", "2,3", "at least 3 depths"),
        ("base", "2,3,8", "depth 8 is the model to predict"),
        ("base", "0,2,3", "above zero"),
    ],
)
def test_a_sweep_that_can_not_be_is_refused(
    recipe: Path, tmp_path: Path, artifact: str, depths: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        sweep_of(load(str(recipe)), artifact, tmp_path / "runs", depths=depths, ratios=None, verify=True)


def test_fields_that_mean_nothing_for_a_family_are_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="num_heads can't be set"):
        sweep_of(load(str(recipe), ["base.num_heads=4"]), "base", tmp_path, depths=None, ratios=None, verify=True)


TRUTH = Law(irreducible=1.0, a=30.0, b=60.0, alpha=0.3, beta=0.35)


@pytest.fixture(name="task")
def _task(tmp_path: Path) -> Task:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    tiny_tokenizer().save(folder, 64)
    (tmp_path / "payload").mkdir()
    (tmp_path / "scratch").mkdir()
    inputs = {
        "tokenizer": (Artifact(folder, record("tokenizer", {})),),
        "tokens": (Artifact(tmp_path, record("tokens", {"max_seq_len": 64, "rows": 100_000})),),
    }
    return Task("law", "0" * 64, inputs, {}, tmp_path / "payload", tmp_path / "scratch", Silent())


def record(kind: str, metrics: dict[str, Any]) -> Record:
    cost = Cost(seconds=0, cpu_seconds=0, peak_memory_bytes=0, energy_joules=0, watts_per_core=6, attempts=1)
    return Record(
        format=FORMAT, name=kind, kind=kind, digest="0" * 64, stage=kind, stage_version=1, config={}, inputs={},
        code_version="0", environment={}, created="", cost=cost, metrics=metrics, terms=Terms(), files={}, payload="",
    )  # fmt: skip


class Trainer:
    """In the place of training: losses of a known law; can break off after some runs."""

    def __init__(self, breaks_after: int = 1000) -> None:
        self.trained: list[tuple[int, float]] = []
        self.breaks_after = breaks_after

    def run(self, config: PretrainConfig, task: Task) -> Outcome:
        if len(self.trained) == self.breaks_after:
            raise KeyboardInterrupt
        shape = config.model_config_for(tiny_tokenizer().vocab_size, 64)
        tokens = config.horizon_for(shape).tokens(64, 0)
        self.trained.append((config.depth, tokens))
        (task.payload / "metrics.jsonl").write_text("{}\n")
        loss = float(TRUTH.loss(matmul_parameters(shape), tokens))
        return Outcome({"train_tokens": tokens, "flops": 1.0, "validation_bits_per_byte": loss})


def test_a_sweep_predicts_what_it_then_measures(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer()
    monkeypatch.setattr(PretrainConfig, "run", _bound(trainer))
    outcome = sweep_run(sweep(depth=8, tokens_per_parameter=(5.0, 10.0, 20.0)), task)
    assert len(trainer.trained) == 13 and trainer.trained[-1][0] == 8
    assert outcome.metrics["alpha"] == pytest.approx(TRUTH.alpha, rel=0.01)
    assert outcome.metrics["prediction_error"] == pytest.approx(0.0, abs=1e-4)
    report = json.loads((task.payload / "report.json").read_text())
    assert len(report["runs"]) == 12 and report["prediction"]["depth"] == 8
    assert "seconds" not in report["runs"][0], "wall time would make the payload differ from run to run"
    assert len(list((task.payload / "runs").glob("*.jsonl"))) == 13
    shown = Exhibits(exhibits=tuple(task.exhibits))
    assert Exhibits.model_validate_json(shown.model_dump_json()) == shown
    from groundup.artifact.charts import line_chart
    from groundup.artifact.exhibit import Lines

    for exhibit in task.exhibits:
        if isinstance(exhibit, Lines):
            assert line_chart(exhibit, "p").svg is not None


def test_a_sweep_that_was_cut_off_goes_on_behind_its_last_run(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    config = sweep(depth=8, tokens_per_parameter=(5.0, 20.0), verify=False)
    first = Trainer(breaks_after=3)
    monkeypatch.setattr(PretrainConfig, "run", _bound(first))
    with pytest.raises(KeyboardInterrupt):
        sweep_run(config, task)
    second = Trainer()
    monkeypatch.setattr(PretrainConfig, "run", _bound(second))
    outcome = sweep_run(config, task)
    assert len(first.trained) == 3 and len(second.trained) == 5
    assert not set(first.trained) & set(second.trained)
    assert outcome.metrics["measured"] is None and outcome.metrics["predicted"] > TRUTH.irreducible


def _bound(trainer: Trainer) -> Any:
    return lambda config, task: trainer.run(config, task)


def sweep_run(config: SweepConfig, task: Task) -> Outcome:
    from groundup.stages.pretrain.sweep.run import run

    return run(config, task)


def test_a_fit_says_when_it_can_not_be_relied_on() -> None:
    flat = [Point(size, length, 2.0) for size in SIZES for length in LENGTHS]
    found = fit(flat, resamples=10)
    assert isinstance(found, Fit) and np.isfinite(found.law.loss(1e7, 1e8))
