"""The loop: what it computes does not depend on how a step is split, nor on where it was cut off."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.base.errors import DataError
from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer, initialise
from groundup.text.shards import TokenStore, num_rows, shuffled_rows
from groundup.train.checkpoint import Checkpoints
from groundup.train.engines import native
from groundup.train.loop import History, train
from groundup.train.objective import next_token
from groundup.train.optim import adamw
from groundup.train.settings import LoopConfig, OptimizerConfig
from groundup.train.stream import WHOLE, PackedSteps, Part, TokenBatch

CONFIG = ModelConfig(
    vocab_size=64, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16,
    intermediate_size=48, max_seq_len=8,
)  # fmt: skip
FP32 = LoopConfig(precision="fp32", validate_every=4, checkpoint_every=1e-9, threads=1)  # a checkpoint at every step


def fresh(seed: int = 1) -> Transformer:
    model = Transformer(CONFIG)
    initialise(model, seed)
    return model


def steps_of(rows_per_batch: int = 4, num_steps: int = 12) -> PackedSteps:
    rng = np.random.default_rng(0)
    ids = np.cumsum(rng.integers(0, 3, 700)) % 64  # something to learn: ids that go up
    store = TokenStore(ids.astype(np.uint16), np.asarray([0, 700]), shuffled_rows(num_rows(700, 8), 2, seed=1))
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


@pytest.mark.parametrize("rows_per_batch", [1, 2, 4, 5])
def test_loss_gradient_and_weights_do_not_depend_on_the_split(rows_per_batch: int, tmp_path: Path) -> None:
    whole, split = fresh(), fresh()
    one = run(tmp_path / "whole", whole, steps_of(6), settings=FP32)
    other = run(tmp_path / "split", split, steps_of(rows_per_batch), settings=FP32)
    for row, same in zip(one.steps, other.steps, strict=True):
        assert row == pytest.approx(same, rel=1e-4)
    torch.testing.assert_close(weights(whole), weights(split), atol=1e-4, rtol=1e-3)
    assert one.steps[-1]["loss"] < one.steps[0]["loss"] - 0.5  # and it learns


def test_a_masked_step_weighs_every_target_alike(tmp_path: Path) -> None:
    """Micro-batches with different numbers of answers: the mean is over targets, not over batches."""

    @dataclass(frozen=True)
    class Uneven:
        num_steps: int
        parts: int

        def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
            batch = steps_of(6).batches(step)[0]
            trained = torch.zeros(6, 8, dtype=torch.bool)
            for row in range(6):
                trained[row, : row + 1] = True
            size = 6 // self.parts
            return [
                TokenBatch(batch.inputs[at : at + size], batch.targets[at : at + size], trained[at : at + size])
                for at in range(0, 6, size)
            ]

    models = []
    for parts in (1, 3):
        model = fresh()
        history = train(
            model, Uneven(3, parts), next_token, 1e-3, OptimizerConfig(), FP32, folder=tmp_path / str(parts),
            progress=Silent(),
        )  # fmt: skip
        models.append((weights(model), history.steps[0]["loss"]))
    torch.testing.assert_close(models[0][0], models[1][0], atol=1e-5, rtol=1e-4)
    batch = Uneven(1, 1).batches(0)[0]
    model = fresh()
    log_probs = F.log_softmax(model.logits(model(batch.inputs)), dim=-1).gather(2, batch.targets[..., None])[..., 0]
    assert batch.trained is not None
    want = -(log_probs * batch.trained).sum() / batch.trained.sum()
    assert models[0][1] == pytest.approx(want.item(), rel=1e-5)


class Cut(Exception):  # noqa: N818
    """Stands for a kill."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cuts", [[4], [8], [4, 8], [0, 4, 4, 12]])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(precision: str, cuts: list[int], tmp_path: Path) -> None:
    settings = FP32.model_copy(update={"precision": precision})
    whole = fresh()
    want = run(tmp_path / "whole", whole, steps_of(), settings=settings, validate=loss_of)
    left, place = list(cuts), [0]

    def validate(model: Transformer) -> dict[str, float]:
        if left and left[0] == place[0]:
            left.pop(0)
            raise Cut
        return loss_of(model)

    for attempt in range(len(cuts) + 1):
        model = fresh(seed=1)
        place[:] = [max((int(path.stem[5:]) for path in (tmp_path / "cut").glob("step-*.pt")), default=0)]
        steps = Watched(steps_of(), place)
        try:
            got = train(
                model, steps, next_token, 1e-2, OptimizerConfig(warmup=0.25), settings, folder=tmp_path / "cut",
                progress=Silent(), validate=validate,
            )  # fmt: skip
            break
        except Cut:
            assert attempt < len(cuts)
    assert left == []
    assert torch.equal(weights(model), weights(whole))
    assert got.steps == want.steps
    assert got.validations == want.validations
    assert [row["step"] for row in got.validations] == [0, 4, 8, 12]


@dataclass(frozen=True)
class Watched:
    """Steps that write down which one comes next."""

    inner: PackedSteps
    place: list[int]

    @property
    def num_steps(self) -> int:
        return self.inner.num_steps

    def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        self.place[:] = [step + 1]
        return self.inner.batches(step, part)


def test_a_checkpoint_that_is_damaged_is_passed_over(tmp_path: Path) -> None:
    whole = fresh()
    want = run(tmp_path / "whole", whole, steps_of(), validate=loss_of)
    for number, damage in enumerate(
        (
            lambda data: b"",
            lambda data: data[: len(data) // 2],
            lambda data: bytes(len(data)),
            lambda data: b"nonsense" * 10,
            lambda data: data[:1000] + bytes(50) + data[1050:],
        )
    ):
        folder = tmp_path / str(number)
        run(folder, fresh(), steps_of(), validate=loss_of)
        newest = sorted(folder.glob("step-*.pt"))[-1]
        newest.write_bytes(damage(newest.read_bytes()))
        model = fresh()
        got = run(folder, model, steps_of(), validate=loss_of)
        assert torch.equal(weights(model), weights(whole))
        assert got.steps == want.steps
        assert got.validations == want.validations


def test_two_checkpoints_are_kept_and_no_half_written_one(tmp_path: Path) -> None:
    run(tmp_path, fresh(), steps_of())
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "metrics.jsonl", "step-000000011.pt", "step-000000012.pt",
    ]  # fmt: skip
    (tmp_path / ".step-000000013.pt.77.tmp").write_bytes(b"half")
    model = fresh()
    optimizer = adamw(model, learning_rate=1.0, weight_decay=0.0, betas=(0.9, 0.99))
    state = Checkpoints(tmp_path).restore(lambda state: optimizer.load_state_dict(state["optimizer"]))
    assert state is not None
    assert state["step"] == 12


def test_the_log_has_a_row_a_step_and_the_schedule_in_it(tmp_path: Path) -> None:
    history = run(tmp_path, fresh(), steps_of(), validate=loss_of)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row for row in rows if "loss" in row] == history.steps
    assert [row["step"] for row in history.steps] == list(range(12))
    assert [row["tokens"] for row in history.steps] == [48 * (step + 1) for step in range(12)]
    assert [row["learning_rate"] for row in history.steps][:3] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2])


def test_one_bad_step_is_skipped_and_many_are_an_error(tmp_path: Path) -> None:
    bad = {3}

    @dataclass
    class Spoiled:
        step: int = -1

        def __call__(self, model: Transformer, batch: TokenBatch) -> tuple[Tensor, Mapping[str, float]]:
            total, values = next_token(model, batch)
            self.step += 1
            return (total * math.nan if self.step in bad else total), values

    model = fresh()
    history = train(
        model, steps_of(6), Spoiled(), 1e-2, OptimizerConfig(), FP32, folder=tmp_path / "one", progress=Silent()
    )
    assert math.isnan(history.steps[3]["loss"])
    assert torch.isfinite(weights(model)).all()
    assert history.steps[-1]["loss"] < history.steps[0]["loss"]
    bad |= set(range(2, 12))
    with pytest.raises(DataError, match="lower learning_rate"):
        train(
            fresh(), steps_of(6), Spoiled(), 1e-2, OptimizerConfig(), FP32, folder=tmp_path / "many", progress=Silent()
        )


def test_gradients_are_clipped_to_their_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    real = native.adamw

    def spied(*args: object, **more: object) -> torch.optim.AdamW:
        made = real(*args, **more)  # type: ignore[arg-type]
        made.register_step_pre_hook(
            lambda opt, *_: norms.append(
                torch.cat([p.grad.flatten() for g in opt.param_groups for p in g["params"]]).norm().item()
            )
        )
        return made

    monkeypatch.setattr(native, "adamw", spied)
    history = train(
        fresh(), steps_of(6), next_token, 1e-2, OptimizerConfig(gradient_clip=0.25), FP32, folder=tmp_path,
        progress=Silent(),
    )  # fmt: skip
    assert max(norms) <= 0.25 * 1.001
    assert history.steps[0]["gradient_norm"] > 0.25


def test_decay_is_for_matrices_inside_blocks() -> None:
    model = Transformer(CONFIG.model_copy(update={"tie_embeddings": False}))
    optimizer = adamw(model, learning_rate=0.1, weight_decay=0.5, betas=(0.9, 0.99))
    names = {id(weight): name for name, weight in model.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay.keys() == set(names.values())
    for name, value in decay.items():
        assert value == (0.5 if "proj" in name else 0.0), name
