"""The engine against the plain model: cached and not, alone and in company, scored, greedy and sampled."""

from __future__ import annotations

import random

import pytest
import torch
from tiny import tiny_engine, tiny_tokenizer
from torch.nn import functional as F

from groundup.base.errors import RequestError
from groundup.infer import engine as engine_module
from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.model.cache import KVCache
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer

TOLERANCE = 1e-4


def make(qk_norm: bool = False, tied: bool = True) -> Engine:
    """An engine whose choices are far from even, with a table longer than its tokenizer."""
    config = ModelConfig(
        vocab_size=352, num_layers=2, hidden_size=48, num_heads=4, num_kv_heads=2, head_dim=12,
        intermediate_size=64, max_seq_len=64, qk_norm=qk_norm, tie_embeddings=tied,
    )  # fmt: skip
    model = Transformer(config)
    initialise(model, 1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(6)
    return Engine(model, tiny_tokenizer())


def ids(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(320) for _ in range(length)]


@torch.inference_mode()
def plain_logits(engine: Engine, row: list[int]) -> torch.Tensor:
    """Logits (T, V) of one row, without a cache, a batch or padding."""
    return engine.model.logits(engine.model(torch.tensor([row])))[0]


@pytest.mark.parametrize("qk_norm", [False, True])
@torch.inference_mode()
def test_cached_logits_are_the_uncached_ones_for_rows_of_different_lengths(qk_norm: bool) -> None:
    engine, rng = make(qk_norm, tied=not qk_norm), random.Random(1)
    model = engine.model
    rows = [ids(rng, length) for length in (1, 7, 20, 33)]
    cache = KVCache(model.config, len(rows), 64, torch.float32, torch.device("cpu"))
    longest = max(map(len, rows))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    hidden = model(padded, cache)
    cache.advance(lengths)
    for row, states in zip(rows, hidden, strict=True):
        torch.testing.assert_close(
            model.logits(states[: len(row)]), plain_logits(engine, row), atol=TOLERANCE, rtol=TOLERANCE
        )
    for width in (1, 1, 3, 1, 5, 1, 1, 2, 1, 1, 4, 1, 7):  # one new position a step, and several
        new = [ids(rng, width) for _ in rows]
        hidden = model(torch.tensor(new), cache)
        cache.advance(width)
        rows = [row + more for row, more in zip(rows, new, strict=True)]
        for row, states in zip(rows, hidden, strict=True):
            want = plain_logits(engine, row)[-width:]
            torch.testing.assert_close(model.logits(states), want, atol=TOLERANCE, rtol=TOLERANCE)
    # Rows may be picked, repeated and go their own ways.
    picked = [3, 0, 3]
    cache, rows = cache.repeat(torch.tensor(picked)), [rows[index] for index in picked]
    new = [ids(rng, 1) for _ in rows]
    states = model(torch.tensor(new), cache)[:, -1]
    for row, more, state in zip(rows, new, states, strict=True):
        torch.testing.assert_close(
            model.logits(state), plain_logits(engine, row + more)[-1], atol=TOLERANCE, rtol=TOLERANCE
        )


@pytest.mark.parametrize("tokens_at_once", [8192, 100, 1])
def test_scores_are_log_softmax_whether_contexts_are_shared_or_not(
    tokens_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_SCORE_TOKENS", tokens_at_once)
    engine, rng = make(), random.Random(2)
    shared = [ids(rng, length) for length in (5, 12)]
    requests = [(ids(rng, rng.randint(1, 30)), ids(rng, rng.randint(1, 20))) for _ in range(12)]
    requests += [(context, ids(rng, length)) for context in shared for length in (1, 1, 4, 9)]
    requests += [(requests[0][0], requests[0][1])]  # the very same twice
    requests += [(ids(rng, 40), ids(rng, 25)), (ids(rng, 1), ids(rng, 64)), (ids(rng, 64), ids(rng, 1))]
    greedy = ids(rng, 6)
    likeliest = int(plain_logits(engine, greedy)[-1].argmax())
    requests += [(greedy, [likeliest]), (greedy, [likeliest, (likeliest + 1) % 320])]
    rng.shuffle(requests)
    seen: list[tuple[int, int]] = []
    scores = engine.score(requests, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(requests), len(requests))
    hits = 0
    for (context, continuation), score in zip(requests, scores, strict=True):
        logits = plain_logits(engine, [*context, *continuation][:-1])[len(context) - 1 :]
        want = F.log_softmax(logits, dim=-1)[torch.arange(len(continuation)), torch.tensor(continuation)]
        torch.testing.assert_close(torch.tensor(score.token_log_probs), want, atol=TOLERANCE, rtol=TOLERANCE)
        assert score.log_prob == pytest.approx(want.sum().item(), abs=1e-3)
        assert score.greedy == (logits.argmax(-1).tolist() == list(continuation))
        hits += score.greedy
    assert hits >= 1
    assert engine.score([]) == []


def by_hand(engine: Engine, prompt: list[int], count: int) -> list[int]:
    """Greedy decoding written out: the whole row again for every token."""
    row = list(prompt)
    while len(row) - len(prompt) < count and len(row) < engine.max_seq_len:
        token = int(plain_logits(engine, row)[-1, : engine.tokenizer.vocab_size].argmax())
        if token in engine.tokenizer.stop_ids:
            break
        row.append(token)
    return row[len(prompt) :]


def test_greedy_is_step_by_step_argmax_alone_and_in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, rng = make(), random.Random(3)
    params = SamplingParams(max_new_tokens=25, temperature=0)
    prompts = [ids(rng, length) for length in (1, 3, 10, 11, 30, 50, 63)]
    want = [by_hand(engine, prompt, 25) for prompt in prompts]
    assert engine.generate(prompts, params) == want
    assert [engine.generate([prompt], params)[0] for prompt in prompts] == want
    assert [list(engine.stream(prompt, params)) for prompt in prompts] == want
    monkeypatch.setattr(engine_module, "_GENERATE_ROWS", 3)
    assert engine.generate(prompts, params) == want
    assert [len(prompt) + len(out) for prompt, out in zip(prompts, want, strict=True)][-1] == 64  # the context is full


def test_a_sampled_row_depends_on_its_own_prompt_and_seed_only() -> None:
    engine, rng = make(), random.Random(4)
    prompts = [ids(rng, length) for length in (2, 9, 17)]
    params = SamplingParams(max_new_tokens=15, temperature=1.0, top_p=1.0, seed=7)
    together = engine.generate(prompts, params)
    for row, prompt in enumerate(prompts):
        alone = params.model_copy(update={"seed": 7 + row})
        assert engine.generate([prompt], alone) == [together[row]]
        assert list(engine.stream(prompt, alone)) == together[row]
    assert engine.generate(prompts, params.model_copy(update={"seed": 100})) != together


def test_stop_ids_end_an_answer_and_are_left_out() -> None:
    engine, rng = make(), random.Random(5)
    params = SamplingParams(max_new_tokens=30, temperature=1.0, top_p=1.0)
    prompts = [ids(rng, 4) for _ in range(6)]
    free = tiny_engine(never_stops=True).tokenizer
    engine.tokenizer = free
    unstopped = engine.generate(prompts, params)
    assert all(len(row) == 30 for row in unstopped)
    free.stop_ids = frozenset({unstopped[0][5], unstopped[1][0]})
    for row, before in zip(engine.generate(prompts, params), unstopped, strict=True):
        cut = next((place for place, token in enumerate(before) if token in free.stop_ids), 30)
        assert row == before[:cut]


def test_no_token_beyond_the_tokenizers_table_is_ever_drawn() -> None:
    engine = make(tied=False)
    assert engine.model.lm_head is not None
    with torch.no_grad():  # make the padding rows of the table the likeliest by far
        engine.model.lm_head.weight[320:] = engine.model.lm_head.weight[:32] * 50
    out = engine.generate([[5], [6], [7]], SamplingParams(max_new_tokens=20, temperature=2.0, top_p=1.0))
    assert max(token for row in out for token in row) < 320


@pytest.mark.parametrize(
    "requests",
    [[([], [1])], [([1], [])], [([1], [1]), ([1] * 60, [1] * 6)], [([1] * 65, [1])]],
)
def test_requests_that_can_not_be_scored_are_refused(requests: list[tuple[list[int], list[int]]]) -> None:
    with pytest.raises(RequestError, match="request"):
        make().score(requests)


@pytest.mark.parametrize("prompt", [[], [1] * 64, [1] * 200])
def test_prompts_that_leave_no_room_are_refused(prompt: list[int]) -> None:
    with pytest.raises(RequestError, match="prompt 1"):
        make().generate([[1], prompt], SamplingParams())


def test_a_tokenizer_larger_than_the_table_is_refused() -> None:
    config = ModelConfig(
        vocab_size=319, num_layers=1, hidden_size=8, num_heads=1, num_kv_heads=1, head_dim=8,
        intermediate_size=8, max_seq_len=8,
    )  # fmt: skip
    with pytest.raises(RequestError, match="320"):
        Engine(Transformer(config), tiny_tokenizer())
