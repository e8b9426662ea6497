"""The Kneser-Ney model against a plain one, against probability theory, and on text."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import DataError
from groundup.stages.evaluate.ngram import FALLBACK_DISCOUNTS, NgramModel, estimate_discounts

BOUNDARY = 0


def _reference() -> ModuleType:
    path = Path(__file__).parent.parent / "reference" / "ngram_reference.py"
    spec = importlib.util.spec_from_file_location("ngram_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ngram_reference"] = module
    spec.loader.exec_module(module)
    return module


REFERENCE = _reference()


def _zipf_tokens(seed: int, size: int, vocab_size: int) -> np.ndarray:
    """Tokens with structure: a skewed Markov chain, so that the counts of counts look like a language's."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocab_size + 1)
    table = generator.permuted(np.tile(weights, (vocab_size, 1)), axis=1)
    table /= table.sum(axis=1, keepdims=True)
    tokens = [1]
    for _ in range(size - 1):
        tokens.append(int(generator.choice(vocab_size, p=table[tokens[-1]])))
    return np.asarray(tokens)


streams = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(train=streams, held_out=streams, order=st.integers(1, 5))
def test_equals_the_plain_reference_on_random_small_corpora(train: list[int], held_out: list[int], order: int) -> None:
    ours = NgramModel.fit(np.asarray(train, dtype=np.uint16), 8, BOUNDARY, order)
    plain = REFERENCE.ReferenceNgram(train, 8, BOUNDARY, order)
    found = ours.log_probs(np.asarray(held_out, dtype=np.uint16))
    np.testing.assert_allclose(found, plain.log_probs(held_out, BOUNDARY), rtol=1e-10)


def test_equals_the_plain_reference_where_discounts_are_estimated() -> None:
    train, held_out = _zipf_tokens(1, 6000, 40), _zipf_tokens(2, 300, 40)
    plain = REFERENCE.ReferenceNgram(train.tolist(), 40, BOUNDARY, 5)
    estimated = sum(discounts != (0.0, *FALLBACK_DISCOUNTS) for discounts in plain.discounts[1:])
    assert estimated >= 3, "the corpus should exercise the estimated discounts"
    found = NgramModel.fit(train, 40, BOUNDARY).log_probs(held_out)
    np.testing.assert_allclose(found, plain.log_probs(held_out.tolist(), BOUNDARY), rtol=1e-10)


@pytest.mark.parametrize("context", [[], [3], [3, 4, 5], [7, 7, 7, 7, 7], [39, 38, 37, 36], [1, 2, 1, 2, 1, 2]])
def test_probabilities_over_the_vocabulary_sum_to_one(context: list[int]) -> None:
    vocab_size = 45  # five ids are never seen in training
    model = NgramModel.fit(_zipf_tokens(3, 4000, 40), vocab_size, BOUNDARY)
    rows = [[*context, token, BOUNDARY] for token in range(vocab_size)]
    rows[BOUNDARY] = [*context, BOUNDARY]
    found = model.log_probs(np.concatenate([np.asarray(row) for row in rows]))
    last = np.cumsum([len(row) for row in rows]) - 2
    last[BOUNDARY] += 1
    assert np.exp(found[last]).sum() == pytest.approx(1, abs=1e-12)


def test_documents_are_scored_as_if_alone() -> None:
    model = NgramModel.fit(_zipf_tokens(4, 3000, 30), 30, BOUNDARY)
    first, second = np.asarray([4, 5, 6, BOUNDARY]), np.asarray([7, 8, 9, 10, BOUNDARY])
    together = model.log_probs(np.concatenate([first, second]))
    assert together.tolist() == [*model.log_probs(first), *model.log_probs(second)]


TEXT = (
    "the king went to the forest and the queen went to the sea. the sea was cold and the forest was dark. "
    "the king saw a fox in the forest. the queen saw a fish in the sea. a fox is not a fish and a fish is not a fox. "
) * 12


def test_a_higher_order_predicts_text_better() -> None:
    ids = np.frombuffer(TEXT.encode(), dtype=np.uint8)
    train, held_out = ids[:1500], ids[1500:]
    losses = [-NgramModel.fit(train, 256, BOUNDARY, order).log_probs(held_out).mean() for order in (1, 2, 3, 5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < np.log(256)


@given(st.lists(st.integers(0, 12), max_size=200))
def test_discounts_stay_between_zero_and_the_count(counts: list[int]) -> None:
    for count, discount in enumerate(estimate_discounts(np.asarray(counts, dtype=np.int64)), 1):
        assert 0 < discount <= count


def test_refuses_nothing_and_strange_ids() -> None:
    with pytest.raises(DataError, match="at least one"):
        NgramModel.fit(np.asarray([], dtype=np.uint16), 8, BOUNDARY)
    with pytest.raises(DataError, match="id 9"):
        NgramModel.fit(np.asarray([1, 9]), 8, BOUNDARY)
