"""Handing over to Megatron-LM: what is written fits together, and what is refused leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import tiny_engine

from groundup.base.errors import RequestError
from groundup.handover import hand_over
from groundup.model.config import ModelConfig
from groundup.stages.pretrain.config import PretrainConfig
from groundup.text.store.megatron import token_dtype, write_store


def pretrained(folder: Path, stores: int, **changes: Any) -> tuple[Any, Any]:
    """The record of a pretrained model of 4 rows a step, and a store with its tokens."""
    names = [f"tokens{number}" for number in range(stores)]
    for number, name in enumerate(names):
        (folder / name).mkdir()
        write_store(folder / name / "train", [[1] * 100 * (number + 1)], token_dtype(320))
    config = PretrainConfig.parse(
        {"tokens": names, "tokenizer": "words", "depth": 2, "horizon": "9 steps", **changes}, "base"
    )
    record = SimpleNamespace(
        name="base",
        stage="pretrain",
        config=config.model_dump(mode="json"),
        inputs={"tokens": [SimpleNamespace(digest=name) for name in names]},
        metrics={"steps": 9, "step_tokens": 4 * 128},
    )
    opened = SimpleNamespace(open=lambda digest, verify: SimpleNamespace(path=folder / digest))
    return SimpleNamespace(record=record), opened


def launch(out: Path) -> str:
    return (out / "launch.sh").read_text()


def test_the_launch_divides_the_rows_of_a_step(tmp_path: Path) -> None:
    artifact, store = pretrained(tmp_path, 1)
    hand_over(tiny_engine(), tmp_path / "out", "megatron", "F32", artifact, store)
    said = launch(tmp_path / "out")
    assert '"${GPUS:-4}"' in said
    assert "--micro-batch-size 1 " in said
    assert "--global-batch-size 4 " in said
    assert f"--train-data-path {tmp_path / 'tokens0' / 'train'} " in said
    assert "inter-document-masking" not in said


def test_the_weights_have_the_names_of_the_build_that_is_launched(tmp_path: Path) -> None:
    artifact, store = pretrained(tmp_path, 1, mask_documents=True)
    hand_over(tiny_engine(), tmp_path / "out", "megatron", "F32", artifact, store)
    assert "--transformer-impl transformer_engine " in launch(tmp_path / "out")
    assert "--dataloader-inter-document-masking " in launch(tmp_path / "out")
    state = torch.load(tmp_path / "out" / "gptmodel.pt")
    assert "decoder.layers.0.self_attention.linear_qkv.layer_norm_weight" in state


@pytest.mark.parametrize(("weights", "want"), [((0.25, 0.75), "0.25 {0} 0.75 {1}"), (None, "100 {0} 200 {1}")])
def test_a_model_of_several_stores_is_handed_over_with_its_mixture(
    weights: tuple[float, ...] | None, want: str, tmp_path: Path
) -> None:
    artifact, store = pretrained(tmp_path, 2, weights=weights)
    hand_over(tiny_engine(), tmp_path / "out", "megatron", "F32", artifact, store)
    prefixes = [tmp_path / name / "train" for name in ("tokens0", "tokens1")]
    assert f"--train-data-path {want.format(*prefixes)} " in launch(tmp_path / "out")


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    artifact, store = pretrained(tmp_path, 1)
    engine = tiny_engine()
    shape = {**engine.model.config.model_dump(), "rope_theta": 10_000.5}
    engine.model.config = ModelConfig.model_validate(shape)
    for _ in range(2):
        with pytest.raises(RequestError, match="whole numbers as base"):
            hand_over(engine, tmp_path / "out", "megatron", "F32", artifact, store)
    assert not (tmp_path / "out").exists()
