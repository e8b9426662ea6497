"""Health: spikes stand out against robust statistics, calm runs raise no alarm, a restart changes nothing."""

from __future__ import annotations

import json
import math
import random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.train.health import Health, Verdict
from groundup.train.settings import HealthConfig


def judge_all(health: Health, losses: list[float], norms: list[float] | None = None) -> list[Verdict | None]:
    norms = norms or [1.0 + 0.1 * (step % 3) for step in range(len(losses))]
    return [health.judge(loss, norm, settled=True) for loss, norm in zip(losses, norms, strict=True)]


def noisy(count: int, seed: int = 1) -> list[float]:
    """A loss that falls like a training run's, with noise of a twentieth."""
    source = random.Random(seed)
    return [2.0 + 3.0 * math.exp(-step / 300) + source.gauss(0, 0.1) for step in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_a_calm_run_raises_no_alarm(seed: int) -> None:
    source = random.Random(seed)
    norms = [math.exp(source.gauss(0, 0.3)) for _ in range(2000)]
    assert judge_all(Health(HealthConfig()), noisy(2000, seed), norms) == [None] * 2000


def test_the_deviation_is_by_median_and_median_absolute_deviation() -> None:
    losses = noisy(100)
    health = Health(HealthConfig(window=64))
    judge_all(health, losses)
    verdict = health.judge(9.0, 1.1, settled=True)
    last = losses[-64:]
    middle = median(last)
    want = (9.0 - middle) / (1.4826 * median([abs(loss - middle) for loss in last]))
    assert verdict is not None
    assert verdict.cause == "loss_spike"
    assert verdict.deviation == pytest.approx(want)


def test_spikes_before_it_do_not_hide_a_spike() -> None:
    """Mean and deviation would be moved by the first spikes; the median is not."""
    losses = noisy(200)
    for step in range(100, 200, 10):
        losses[step] = 50.0
    verdicts = judge_all(Health(HealthConfig()), losses)
    assert [step for step, verdict in enumerate(verdicts) if verdict] == list(range(100, 200, 10))


def test_gradient_spikes_are_judged_by_factors() -> None:
    norms = [1.0 + 0.1 * (step % 5) for step in range(100)] + [1.7, 20.0]
    verdicts = judge_all(Health(HealthConfig()), [3.0 + 0.01 * (step % 7) for step in range(102)], norms)
    assert verdicts[:101] == [None] * 101
    assert verdicts[101] is not None
    assert verdicts[101].cause == "gradient_spike"


def test_nothing_spikes_in_the_warm_up_or_before_half_a_window() -> None:
    health = Health(HealthConfig())
    for step in range(63):
        assert health.judge(3.0 + 100.0 * (step == 62), 1.0, settled=True) is None
    health = Health(HealthConfig())
    assert [health.judge(3.0, 1.0, settled=False) for _ in range(200)] == [None] * 200
    assert health.judge(300.0, 1.0, settled=False) is None
    assert health.judge(math.nan, 1.0, settled=False) is not None  # but nonsense is nonsense from the start


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf), (-math.inf, 1.0)])
def test_what_is_not_finite_is_found_and_does_not_enter_the_window(bad: tuple[float, float]) -> None:
    health = Health(HealthConfig())
    judge_all(health, noisy(100))
    before = health.state()
    verdict = health.judge(*bad, settled=True)
    assert verdict == Verdict("non_finite", math.inf, "skip", 1)
    assert {**health.state(), "in_a_row": 0} == before


def test_patience_ends() -> None:
    """Nonsense that stays stops the run; a level that stays is taken as it is."""
    health = Health(HealthConfig(patience=3))
    judge_all(health, noisy(100))
    assert [v.action for v in judge_all(health, [math.nan] * 3) if v] == ["skip", "skip", "stop"]
    health = Health(HealthConfig(patience=3))
    judge_all(health, noisy(100))
    verdicts = judge_all(health, [9.0] * 200)
    assert [v.action if v else None for v in verdicts[:4]] == ["skip", "skip", "accept", None]
    assert verdicts[4:] == [None] * 196


def test_rewinds_that_lead_nowhere_end() -> None:
    config = HealthConfig(patience=3)
    health = Health(config)
    assert [health.may_rewind(0) for _ in range(2)] == [True, True]
    assert [health.may_rewind(100) for _ in range(2)] == [True, True]  # further on: counted anew
    again = Health(config)
    again.load_state(json.loads(json.dumps(health.state())))
    assert not again.may_rewind(100)


@pytest.mark.parametrize("action", ["skip", "rewind", "stop", "record"])
def test_each_cause_has_its_action(action: str) -> None:
    health = Health(HealthConfig.model_validate({"loss_spike": action}))
    judge_all(health, noisy(100))
    verdict = health.judge(99.0, 1.0, settled=True)
    assert verdict is not None
    assert verdict.action == action


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.5, 10) | st.just(math.nan) | st.just(1e6), min_size=40, max_size=90), st.integers(0, 39))
def test_a_restart_changes_no_verdict(losses: list[float], cut: int) -> None:
    config = HealthConfig(window=16, patience=2)
    whole = judge_all(Health(config), losses, [1.0] * len(losses))
    first = Health(config)
    before = judge_all(first, losses[:cut], [1.0] * cut)
    again = Health(config)
    again.load_state(json.loads(json.dumps(first.state())))
    assert before + judge_all(again, losses[cut:], [1.0] * (len(losses) - cut)) == whole
