"""Quantities survive a round trip and mean what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.units import ByteSize, Duration, Span


@given(st.floats(0.001, 1e12), st.sampled_from(["tokens", "steps", "epochs"]))
def test_span_reads_what_it_writes(value: float, unit: str) -> None:
    text = str(Span(value, unit))  # type: ignore[arg-type]
    if "e" not in text.split()[0]:
        again = Span.parse(text)
        assert again.unit == unit
        assert again.value == pytest.approx(value, rel=1e-4)


def test_span_in_tokens() -> None:
    assert Span.parse("3 steps").tokens(step_tokens=128, epoch_tokens=1000) == 384
    assert Span.parse("2.5 epochs").tokens(128, 1000) == 2500
    assert Span.parse("1 token").tokens(128, 1000) == 1
    assert Span.parse("2_000k tokens").value == 2_000_000


@pytest.mark.parametrize(("text", "size"), [("1 B", 1), ("2 kB", 2000), ("1.5 MiB", 1572864), ("3GB", 3 * 10**9)])
def test_byte_sizes(text: str, size: int) -> None:
    assert ByteSize.parse(text) == size


@pytest.mark.parametrize("text", ["", "5", "MiB", "5 parsecs", None, -1])
def test_byte_sizes_refused(text: object) -> None:
    with pytest.raises(ValueError, match="unit"):
        ByteSize.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90 s", 90),
        ("1 second", 1),
        ("5 min", 300),
        ("2 hours", 7200),
        ("1.5h", 5400),
        ("30 days", 2592000),
        ("0 s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 m", "5 months", "-1 s", "1 e", None, 5])
def test_durations_refused(text: object) -> None:
    with pytest.raises(ValueError, match="unit"):
        Duration.parse(text)


@given(st.integers(0, 10**9).map(lambda count: count / 1000))
def test_duration_reads_what_it_writes(value: float) -> None:
    assert Duration.parse(str(Duration(value))) == value
