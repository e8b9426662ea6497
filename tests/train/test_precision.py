"""Loss scaling leaves the mathematics alone; arithmetic that a device lacks is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.train import precision
from groundup.train.engines.native import NativeEngine
from groundup.train.objective import next_token
from groundup.train.settings import OptimizerConfig
from groundup.train.stream import TokenBatch

CONFIG = ModelConfig(
    vocab_size=64, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16,
    intermediate_size=48, max_seq_len=16, qk_norm=True,
)  # fmt: skip
OPTIMIZER = OptimizerConfig(method="adamw", weight_decay=0.1)


class Spoiled:
    """The usual objective; the loss of one call is infinite."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.calls = at, 0

    def __call__(self, model: Transformer, batch: TokenBatch) -> tuple[Tensor, Mapping[str, float]]:
        total, values = next_token(model, batch)
        self.calls += 1
        return total * (math.inf if self.calls - 1 == self.at else 1.0), values


def engine_of(arithmetic: str, monkeypatch: pytest.MonkeyPatch, spoiled: int = -1) -> NativeEngine[TokenBatch]:
    model = Transformer(CONFIG)
    initialise(model, 1)
    with monkeypatch.context() as patch:
        patch.setattr(precision, "resolve", lambda *_: arithmetic)  # as on a GPU
        return NativeEngine(model, Spoiled(spoiled), 1e-2, OPTIMIZER, "auto")


def losses(engine: NativeEngine[TokenBatch], steps: int) -> list[float]:
    found = []
    for step in range(steps):
        ids = torch.cumsum(torch.randint(3, (4, 17), generator=torch.Generator().manual_seed(step)), 1) % 64
        batches = [TokenBatch(part[:, :-1], part[:, 1:]) for part in ids.split(2)]
        sums = engine.forward_backward(batches, engine.weigh(batches))
        if math.isfinite(engine.clip(1.0)):
            engine.update(1.0)
        else:
            engine.discard()
        found.append(sums.loss)
    return found


def test_scaled_training_follows_fp32_and_survives_an_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = losses(engine_of("fp32", monkeypatch), 12)
    scaled = engine_of("fp16", monkeypatch)
    assert losses(scaled, 12) == pytest.approx(plain, rel=1e-2)
    assert scaled.state()["scaling"]["scale"].item() == 2.0**16

    bumpy = engine_of("fp16", monkeypatch, spoiled=6)
    found = losses(bumpy, 12)
    assert not math.isfinite(found[3])
    assert found[11] < found[0] - 0.5
    assert bumpy.state()["scaling"]["scale"].item() == 2.0**15

    other = engine_of("fp16", monkeypatch)
    other.load_state({kind: {k: v.clone() for k, v in part.items()} for kind, part in bumpy.state().items()})
    assert other.state()["scaling"]["scale"].item() == 2.0**15
    assert losses(other, 3) == losses(bumpy, 3)


def test_a_cpu_is_refused_what_it_does_not_multiply() -> None:
    for name in ("fp16", "fp8"):
        with pytest.raises(RequestError, match="bf16"):
            precision.resolve(name, torch.device("cpu"))  # type: ignore[arg-type]
