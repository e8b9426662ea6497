"""Why a document is dropped."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """The rule that a document broke, and what was measured."""

    rule: str
    detail: str


def above(rule: str, value: float, limit: float) -> Refusal | None:
    """A refusal if ``value`` is above ``limit``."""
    return Refusal(rule, f"{value:.4g} is above {limit:g}") if value > limit else None


def below(rule: str, value: float, limit: float) -> Refusal | None:
    """A refusal if ``value`` is below ``limit``."""
    return Refusal(rule, f"{value:.4g} is below {limit:g}") if value < limit else None
