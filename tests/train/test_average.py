"""The mean of the weights: by its formula, apart from training, in the checkpoint, handed out at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.train.average import Averaged
from groundup.train.checkpoint import copied
from groundup.train.engines.native import NativeEngine
from groundup.train.objective import next_token
from groundup.train.settings import LoopConfig, OptimizerConfig
from groundup.train.stream import TokenBatch

CONFIG = ModelConfig(
    vocab_size=64, num_layers=1, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16,
    intermediate_size=48, max_seq_len=8,
)  # fmt: skip


def engine() -> NativeEngine[TokenBatch]:
    model = Transformer(CONFIG)
    initialise(model, 1)
    return NativeEngine(model, next_token, 1e-2, OptimizerConfig(), "fp32")


def step(trained: Averaged | NativeEngine[TokenBatch], seed: int) -> None:
    ids = torch.randint(64, (4, 9), generator=torch.Generator().manual_seed(seed))
    batch = TokenBatch(ids[:, :-1], ids[:, 1:])
    trained.forward_backward([batch], batch.weight)
    trained.update(1.0)


def flat(model: Transformer) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_mean_is_the_formula_and_training_does_not_feel_it(decay: float) -> None:
    plain, inner = engine(), engine()
    averaged = Averaged(inner, decay)
    mean = flat(plain.model).double()
    for number in range(1, 6):
        step(plain, number)
        step(averaged, number)
        weight = min(decay, (1 + number) / (10 + number))
        mean = weight * mean + (1 - weight) * flat(plain.model).double()
        assert torch.equal(flat(inner.model), flat(plain.model))
    seen = averaged.validate(lambda model: {"sum": flat(model).double().abs().sum().item()})
    assert seen["sum"] == pytest.approx(mean.abs().sum().item(), rel=1e-5)
    assert torch.equal(flat(inner.model), flat(plain.model))  # put back after validation
    whole = averaged.whole_model()
    assert whole is not None
    torch.testing.assert_close(flat(whole).double(), mean, atol=1e-6, rtol=1e-5)


def test_a_validation_that_fails_gives_the_weights_back() -> None:
    averaged = Averaged(inner := engine(), 0.5)
    step(averaged, 1)
    before = flat(inner.model)

    def fail(model: Transformer) -> dict[str, float]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        averaged.validate(fail)
    assert torch.equal(flat(inner.model), before)


def test_the_mean_travels_in_the_state() -> None:
    first, second = Averaged(engine(), 0.9), Averaged(engine(), 0.9)
    for number in range(3):
        step(first, number)
    second.load_state(copied(first.state()))
    for number in range(3, 5):
        step(first, number)
        step(second, number)
    one, two = first.whole_model(), second.whole_model()
    assert one is not None
    assert two is not None
    assert torch.equal(flat(one), flat(two))


def test_a_run_hands_out_the_mean(tmp_path: Path) -> None:
    from groundup.train.loop import train

    class Few:
        num_steps, fingerprint = 4, "few"

        def batches(self, step: int, part: object = None) -> list[TokenBatch]:
            ids = torch.randint(64, (4, 9), generator=torch.Generator().manual_seed(step))
            return [TokenBatch(ids[:, :-1], ids[:, 1:])]

        def heaviest(self, part: object = None) -> int:
            return 0

    results = []
    for average in (None, 0.5):
        model = Transformer(CONFIG)
        initialise(model, 1)
        history = train(
            model, Few(), next_token, 1e-2, OptimizerConfig(), LoopConfig(precision="fp32", average=average, threads=1),
            folder=tmp_path / str(average), progress=Silent(),
        )  # fmt: skip
        assert history.model is not None
        results.append((flat(history.model), [row["loss"] for row in history.steps]))
    assert results[0][1] == results[1][1]
    assert not torch.equal(results[0][0], results[1][0])
