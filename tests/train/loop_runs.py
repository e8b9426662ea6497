"""Small runs of the loop, whole and cut off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from memory_store import stream_store
from torch import Tensor

from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.text.store.order import row_order
from groundup.train.loop import History, train
from groundup.train.objective import next_token
from groundup.train.settings import LoopConfig, OptimizerConfig
from groundup.train.stream import PackedSteps

CONFIG = ModelConfig(
    vocab_size=64, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16,
    intermediate_size=48, max_seq_len=8,
)  # fmt: skip
FP32 = LoopConfig(precision="fp32", validate_every=4, checkpoint_every_steps=3, update_norm_every=5, threads=1)


def fresh(seed: int = 1) -> Transformer:
    model = Transformer(CONFIG)
    initialise(model, seed)
    return model


def steps_of(rows_per_batch: int = 4, num_steps: int = 12) -> PackedSteps:
    rng = np.random.default_rng(0)
    ids = np.cumsum(rng.integers(0, 3, 700)) % 64  # something to learn: ids that go up
    store = stream_store(ids.astype(np.uint16), 8, [row_order(87, 1, epoch).tolist() for epoch in range(4)])
    return PackedSteps(store, 8, 6, rows_per_batch, num_steps)


def run(
    folder: Path, model: Transformer, steps: PackedSteps, *, settings: LoopConfig = FP32, validate: object = None
) -> History:
    optimizer = OptimizerConfig(warmup=0.25)
    return train(
        model, steps, next_token, 1e-2, optimizer, settings, folder=folder, progress=Silent(),
        validate=validate,  # type: ignore[arg-type]
    )  # fmt: skip


def weights(model: Transformer) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def loss_of(model: Transformer) -> dict[str, float]:
    batch = steps_of(6).batches(0)[0]
    total, _ = next_token(model, batch)
    return {"held_out": total.item() / batch.weight}


class Cut(Exception):  # noqa: N818
    """Stands for a kill."""


@dataclass
class CutAt:
    """Validation that dies at its next turn when that is due; ``turns`` are counted over all attempts."""

    turns: list[int]
    turn: int = 0

    def __call__(self, model: Transformer) -> dict[str, float]:
        self.turn += 1
        if self.turn in self.turns:
            raise Cut
        return loss_of(model)
