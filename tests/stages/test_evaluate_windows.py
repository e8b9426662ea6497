"""Windows over long documents: each token once, enough context, and as lm-eval cuts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from groundup.stages.evaluate.windows import windows

sizes = st.integers(1, 24).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@given(length=st.integers(0, 120), size=sizes)
def test_equals_lm_eval(length: int, size: tuple[int, int]) -> None:
    max_seq_len, stride = size
    tokens = list(range(1, length + 1))
    context_len = max_seq_len - stride + 1
    theirs = get_rolling_token_windows(tokens, 0, max_seq_len, context_len)
    assert [tuple(w) for w in windows(tokens, 0, max_seq_len, stride)] == [make_disjoint_window(w) for w in theirs]


@given(length=st.integers(1, 120), size=sizes)
def test_each_token_once_after_what_precedes_it(length: int, size: tuple[int, int]) -> None:
    max_seq_len, stride = size
    tokens = list(range(1, length + 1))
    cut = list(windows(tokens, 0, max_seq_len, stride))
    assert [token for window in cut for token in window.continuation] == tokens
    for window in cut:
        whole = [*window.context, *window.continuation]
        assert whole == list(range(whole[0], whole[0] + len(whole)))
        assert window.context and len(whole) - 1 <= max_seq_len
        assert len(window.context) >= min(window.continuation[0], max_seq_len + 1 - stride)
