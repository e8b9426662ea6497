"""What positions may see: packed documents, sliding windows, and the parts that are put in place from outside."""

from __future__ import annotations

import pytest
import torch
from model_peers import LENGTH, OURS, lively, random_ids
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint

from groundup.base.errors import RequestError
from groundup.model.attention import Context, Core, banded, document_numbers, flex_mask
from groundup.model.cache import KVCache
from groundup.model.transformer import Transformer

NAMES = ["llama", "qwen2, windows", "qwen3", "mixtral, window, tied", "gpt2", "falcon 40b"]
DOCUMENTS = torch.tensor([[7] * 10 + [8] * 1 + [2] * 15 + [7] * 4, [0] * 17 + [1] * 13])
"""Numbers in no order, one of them used twice in a row for two documents, one document of a single position."""


def restarted(documents: Tensor) -> Tensor:
    """Positions (B, T) that count from 0 in each document."""
    numbers = document_numbers(documents)
    return torch.stack(
        [torch.cat([torch.arange(n) for n in row.unique_consecutive(return_counts=True)[1]]) for row in numbers]
    )


def pieces(documents: Tensor) -> list[tuple[int, slice]]:
    """Row and place of every document."""
    found = []
    for row, numbers in enumerate(document_numbers(documents)):
        for number in numbers.unique().tolist():
            places = (numbers == number).nonzero().flatten()
            found.append((row, slice(int(places[0]), int(places[-1]) + 1)))
    return found


def test_document_numbers_count_changes() -> None:
    assert document_numbers(torch.tensor([[5, 5, 3, 5], [1, 1, 1, 1]])).tolist() == [[0, 0, 1, 2], [0, 0, 0, 0]]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_packed_documents_equal_unpacked_ones(name: str) -> None:
    model = lively(OURS[name][1])
    ids = random_ids(model.config.vocab_size, *DOCUMENTS.shape)
    packed = model(ids, documents_BT=DOCUMENTS, positions_BT=restarted(DOCUMENTS))
    for row, place in pieces(DOCUMENTS):
        alone = model(ids[row : row + 1, place])
        torch.testing.assert_close(packed[row, place], alone[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(packed, model(ids), atol=1e-2)  # packing does make a difference


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaks_from_one_document_to_another(name: str, restart: bool, arithmetic: str) -> None:
    """States and gradients of a document stay bit for bit what they are when any other document changes."""
    model = lively(OURS[name][1])
    vocabulary = model.config.vocab_size
    positions = restarted(DOCUMENTS) if restart else None
    ids = random_ids(vocabulary, *DOCUMENTS.shape)

    def state_and_gradients(ids: Tensor, row: int, place: slice) -> list[Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=arithmetic == "bf16"):
            hidden = model(ids, documents_BT=DOCUMENTS, positions_BT=positions)[row, place]
        model.logits(hidden).logsumexp(-1).sum().backward()
        inner = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        return [hidden.detach(), *inner]

    for row, place in pieces(DOCUMENTS):
        before = state_and_gradients(ids, row, place)
        changed = random_ids(vocabulary, *DOCUMENTS.shape, seed=1)
        changed[row, place] = ids[row, place]
        after = state_and_gradients(changed, row, place)
        assert torch.equal(before[0], after[0])
        for left, right in zip(before[1:], after[1:], strict=True):
            # Summed over other rows of zeros in another order, so equal but for rounding.
            torch.testing.assert_close(left, right, atol=1e-6 * float(left.abs().max() + 1), rtol=0)


@pytest.mark.parametrize("window", [None, 1, 4])
def test_documents_and_windows_are_what_a_dense_mask_says(window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    B, T = DOCUMENTS.shape
    q = torch.randn(B, 4, T, 8, generator=generator, requires_grad=True)
    k, v = (torch.randn(B, 2, T, 8, generator=generator, requires_grad=True) for _ in range(2))
    numbers = document_numbers(DOCUMENTS)
    distance = torch.arange(T)[:, None] - torch.arange(T)
    seen = (distance >= 0) & (distance < (window or T))
    same = numbers[:, :, None] == numbers[:, None]
    runs = tuple(place.stop - place.start for _, place in pieces(DOCUMENTS))
    for context, mask in (
        (Context(runs=runs), (seen & same)[:, None]),
        (Context(window_mask=banded(T, window, q.device)), seen),
    ):
        ours = Core(window)(q, k, v, context)
        scores = torch.einsum("bhte,bhse->bhts", q, k.repeat_interleave(2, 1)) / 8**0.5
        plain = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v.repeat_interleave(2, 1)
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
        weights = torch.randn(ours.shape, generator=generator)
        for left, right in zip(
            torch.autograd.grad((ours * weights).sum(), (q, k, v)),
            torch.autograd.grad((plain * weights).sum(), (q, k, v)),
            strict=True,
        ):
            torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 4])
@torch.no_grad()
def test_the_block_mask_of_a_gpu_says_the_same(window: int | None) -> None:
    """FlexAttention's rule, carried out here without its kernels, which a CPU has only for inference."""
    generator = torch.Generator().manual_seed(0)
    B, T = DOCUMENTS.shape
    q = torch.randn(B, 4, T, 16, generator=generator)
    k, v = (torch.randn(B, 2, T, 16, generator=generator) for _ in range(2))
    mask = flex_mask(document_numbers(DOCUMENTS), T, window, q.device)
    assert isinstance(mask, BlockMask)
    runs = tuple(place.stop - place.start for _, place in pieces(DOCUMENTS))
    core = Core(window)
    want = core(q, k, v, Context(runs=runs))
    torch.testing.assert_close(core(q, k, v, Context(mask=mask, window_mask=mask)), want, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_window_cuts_what_is_too_far_back() -> None:
    """One layer with a window of 5: the last position sees exactly itself and the four before it."""
    config = OURS["mistral"][1].model_copy(update={"num_layers": 1})
    model = lively(config)
    ids = random_ids(config.vocab_size, 1, 20)
    last = model(ids)[0, -1]
    for place in range(20):
        changed = ids.clone()
        changed[0, place] = (ids[0, place] + 1) % config.vocab_size
        assert torch.equal(model(changed)[0, -1], last) == (place < 15)


def test_too_many_positions_and_documents_with_a_cache_are_refused() -> None:
    config = OURS["llama"][1]
    model = lively(config)
    with pytest.raises(RequestError, match=f"{LENGTH + 1} positions exceed the model's {LENGTH}"):
        model(torch.zeros(1, LENGTH + 1, dtype=torch.long))
    cache = KVCache(config, 1, LENGTH, torch.float32, torch.device("cpu"))
    with pytest.raises(RequestError, match="one a row"):
        model(torch.zeros(1, 4, dtype=torch.long), cache, documents_BT=torch.zeros(1, 4, dtype=torch.long))


# -- what is done to a model from outside --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "mixtral", "falcon 7b", "gpt2"])
def test_the_parts_of_a_call_can_be_run_one_by_one(name: str) -> None:
    """As a pipeline does: the stages share nothing but the residual stream."""
    model = lively(OURS[name][1])
    ids = random_ids(model.config.vocab_size, 2, 12)
    x = model.embed(ids)
    for block in model.layers:
        x = block(x, model.context(x.detach()))
    assert torch.equal(model.norm(x), model(ids))


@pytest.mark.parametrize("name", NAMES)
def test_a_block_can_be_recomputed_in_the_backward_pass(name: str) -> None:
    model = lively(OURS[name][1])
    ids = random_ids(model.config.vocab_size, *DOCUMENTS.shape)
    gradients = []
    for recomputed in (False, True):
        model.zero_grad()
        x = model.embed(ids)
        aux: list[Tensor] = []
        context = model.context(x, documents_BT=DOCUMENTS, aux=aux)
        for block in model.layers:
            x = checkpoint(block, x, context, use_reentrant=False) if recomputed else block(x, context)
        (model.norm(x).square().sum() + sum(aux)).backward()
        gradients.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    for left, right in zip(*gradients, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("name", "dtype"), [("llama", torch.float32), ("gpt2", torch.float32), ("mixtral", torch.bfloat16)]
)
def test_a_block_compiles_as_one_graph(name: str, dtype: torch.dtype) -> None:
    model = lively(OURS[name][1]).to(dtype)
    x = torch.randn(2, 16, model.config.hidden_size, dtype=dtype, generator=torch.Generator().manual_seed(0))
    context = model.context(x)
    block = model.layers[0]
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    with torch.no_grad():  # where bf16 takes the plain operators, as the compiler does
        plain = block(x, context)
    torch.testing.assert_close(compiled(x, context), plain)
    torch._dynamo.reset()


@torch.no_grad()
def test_heads_are_counted_from_the_weights() -> None:
    """Half of the heads in each of two copies, summed, are the whole: what tensor parallelism does."""
    model = lively(OURS["llama, grouped, untied, own head_dim"][1])
    attention = model.layers[0].self_attn
    x = torch.randn(2, 9, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    context = model.context(x)
    whole = attention(x, context)
    parts = [getattr(attention, f"{part}_proj") for part in "qkvo"]
    weights = [part.weight.clone() for part in parts]
    total = torch.zeros_like(whole)
    for half in range(2):
        for part, weight in zip(parts, weights, strict=True):
            part.weight = nn.Parameter(weight.chunk(2, dim=1 if part is attention.o_proj else 0)[half])
        total += attention(x, context)
    torch.testing.assert_close(total, whole, atol=1e-5, rtol=1e-5)


def test_attention_itself_can_be_replaced() -> None:
    class Blind(nn.Module):
        """Each position sees itself alone."""

        def forward(self, q: Tensor, k: Tensor, v: Tensor, context: Context) -> Tensor:
            return v.repeat_interleave(q.size(1) // v.size(1), 1)

    model = lively(OURS["qwen3"][1])
    for block in model.layers:
        block.self_attn.core = Blind()
    ids = random_ids(model.config.vocab_size, 1, 8)
    positions = torch.zeros(1, 8, dtype=torch.long)
    torch.testing.assert_close(model(ids, positions_BT=positions)[:, 5], model(ids[:, 5:6])[:, 0])


def test_tables_come_back_after_weights_were_put_in_place() -> None:
    config = OURS["llama 3.1"][1]
    model = lively(config)
    with torch.device("meta"):
        empty = Transformer(config)
    assert empty.cos is not None
    assert empty.cos.is_meta
    empty.load_state_dict(model.state_dict(), assign=True)
    empty.fill_tables()
    ids = random_ids(config.vocab_size, 1, LENGTH)
    assert torch.equal(empty(ids), model(ids))
