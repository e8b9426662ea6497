"""Training follows the stored curves. What is stored comes from tests/golden/make.py, which says how to renew it.

Bits depend on the processor's vector instructions: on one machine, four sets of them gave losses that lie within 2e-6
of each other (most within 2e-7). The tolerance is above that and, as shown here, far below what a change of the
mathematics does.
"""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
from golden.make import METHODS, curve, deviation, stored, text

from groundup.train.settings import MethodName

LOSS_WITHIN: Final = 3e-6

CHANGES: Final[list[tuple[MethodName, dict[str, object]]]] = [
    ("adamw", {"beta1": 0.901}),
    ("adamw", {"beta2": 0.951}),
    ("adamw", {"peak": 1.001}),
    ("adamw", {"weight_decay": 1.01}),
    ("muon", {"momentum": 0.951}),
    ("muon", {"beta2": 0.951}),
    ("muon", {"peak": 1.001}),
    ("muon", {"weight_decay": 1.01}),
    ("muon", {"final_factor": 0.101}),
]


@pytest.mark.parametrize("method", METHODS)
def test_the_curve_is_the_golden_one(method: MethodName) -> None:
    kept = stored(method)
    assert hashlib.sha256(text()).hexdigest() == kept["text_sha256"], "the corpus changed: renew tests/golden"
    loss, _ = deviation(curve(method), kept["curve"])
    assert loss < LOSS_WITHIN


@pytest.mark.parametrize(("method", "change"), CHANGES, ids=lambda value: str(value).strip("{}"))
def test_a_thousandth_more_would_be_seen(method: MethodName, change: dict[str, object]) -> None:
    loss, _ = deviation(curve(method, **change), stored(method)["curve"])
    assert loss > 3 * LOSS_WITHIN
