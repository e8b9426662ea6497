"""The steps of tuning: the one that is tried first holds the largest micro-batch of all."""

from __future__ import annotations

import random

import pytest
import torch

from groundup.base.units import Span
from groundup.stages.posttrain.pairs import Pair, PairSteps
from groundup.stages.posttrain.rows import Row, Shuffled
from groundup.stages.posttrain.sft import ConversationSteps
from groundup.text.tokenizer import ChatTokens
from groundup.train.stream import WHOLE, Part

PARTS = (WHOLE, Part(0, 2), Part(2, 3))


def rows(count: int, seed: int) -> list[Row]:
    """Rows of most uneven lengths, as conversations have."""
    chance = random.Random(seed)
    lengths = [min(300, 2 + int(chance.expovariate(1 / 40))) for _ in range(count)]
    return [Row(f"{seed}-{number}", ChatTokens([1] * length, [True] * length)) for number, length in enumerate(lengths)]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("batch", [3, 8])
@pytest.mark.parametrize("seed", range(5))
def test_the_heaviest_step_of_conversations(seed: int, batch: int, part: Part) -> None:
    talks = rows(60, seed)
    order = Shuffled.over([row.id for row in talks], batch, Span(2, "epochs"), seed)
    check(ConversationSteps(talks, order, 256, 0), part)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("batch", [3, 8])
@pytest.mark.parametrize("seed", range(5))
def test_the_heaviest_step_of_pairs(seed: int, batch: int, part: Part) -> None:
    both = zip(rows(60, seed), rows(60, seed + 100), strict=True)
    pairs = [Pair(chosen.id, chosen, rejected) for chosen, rejected in both]
    order = Shuffled.over([pair.id for pair in pairs], batch, Span(2, "epochs"), seed)
    check(PairSteps(pairs, torch.zeros(60, 2), order, 256, 0), part)


def check(steps: ConversationSteps | PairSteps, part: Part) -> None:
    sizes = [max(batch.num_tokens for batch in steps.batches(step, part)) for step in range(steps.num_steps)]
    assert sizes[steps.heaviest(part)] == max(sizes)
    assert min(sizes) < max(sizes)
