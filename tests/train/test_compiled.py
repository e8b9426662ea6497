"""Blocks that torch compiles: same loss and gradients, same names, also when computed anew in backward."""

from __future__ import annotations

import pytest
import torch

from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer
from groundup.train.compiled import compile_blocks
from groundup.train.parallel.recompute import apply_recompute
from groundup.train.settings import Checkpointing

CPU = torch.device("cpu")


def model() -> Transformer:
    config = ModelConfig(
        vocab_size=61, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=48,
        max_seq_len=32, qk_norm=True,
    )  # fmt: skip
    made = Transformer(config)
    initialise(made, 0)
    return made


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's tracer looks there
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_a_compiled_model_computes_the_same(recompute: Checkpointing) -> None:
    ids = torch.randint(61, (2, 33), generator=torch.Generator().manual_seed(0))
    plain, compiled = model(), model()
    assert compile_blocks(compiled, "on", CPU, backend="aot_eager")
    assert all(block._compiled_call_impl is not None for block in compiled.layers)
    apply_recompute(compiled, recompute)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for each in (plain, compiled):
        linear_cross_entropy(each(ids[:, :-1]).flatten(0, 1), each.output_weight, ids[:, 1:].flatten()).backward()
    for left, right in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, atol=1e-5, rtol=1e-4)
    torch._dynamo.reset()


def test_a_cpu_is_left_alone_unless_asked() -> None:
    for when in ("auto", "off"):
        untouched = model()
        assert not compile_blocks(untouched, when, CPU)
        assert all(block._compiled_call_impl is None for block in untouched.layers)
