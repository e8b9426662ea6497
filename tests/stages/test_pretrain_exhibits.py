"""What pretraining's report says by itself."""

from __future__ import annotations

from groundup.stages.pretrain.exhibits import overfit_exhibits


def checks(*bits: float) -> list[dict[str, float]]:
    return [{"tokens": 1e6 * (step + 1), "bits_per_byte": value} for step, value in enumerate(bits)]


def test_a_held_out_curve_that_turned_up_is_named_with_its_best_point() -> None:
    (advice,) = overfit_exhibits(checks(2.0, 1.5, 1.6), 500_000)
    for wanted in ("2M tokens", "1.500", "3M", "1.600", "6.7%", "500k"):
        assert wanted in advice.text


def test_falling_and_wavering_curves_get_no_advice() -> None:
    assert not overfit_exhibits(checks(2.0, 1.5, 1.4), 500_000)
    assert not overfit_exhibits(checks(2.0, 1.5, 1.51), 500_000)
    assert not overfit_exhibits(checks(2.0), 500_000)
