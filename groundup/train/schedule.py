"""Learning-rate schedules: pure functions of the step, so that a resumed run can't drift."""

from __future__ import annotations

import math

from groundup.train.settings import OptimizerConfig, ScheduleName


def rate_factor(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """What to multiply every peak learning rate by at ``step`` (from 0) of ``num_steps``."""
    return learning_rate_factor(
        step,
        num_steps,
        schedule=config.schedule,
        warmup_steps=warmup_steps(num_steps, config),
        final_factor=config.final_factor,
        decay=config.decay,
    )


def warmup_steps(num_steps: int, config: OptimizerConfig) -> int:
    """Steps over which the rate rises: the configured number, or share rounded up; never more than there are."""
    warmup = config.warmup
    return min(num_steps, math.ceil(warmup * num_steps) if isinstance(warmup, float) else round(warmup.value))


def learning_rate_factor(
    step: int, num_steps: int, *, schedule: ScheduleName, warmup_steps: int, final_factor: float, decay: float = 0.2
) -> float:
    """What to multiply the peak learning rate by at ``step`` (from 0) of ``num_steps``.

    Linear warm-up to 1 over ``warmup_steps``; then by name down to ``final_factor``: ``cosine`` (Loshchilov &
    Hutter 2017), ``linear``, ``constant`` (no decay), or ``warmup_stable_decay`` (Hu et al. 2024: constant, then
    linear over the last ``decay`` of the steps, or what the warm-up leaves of them).

    >>> factor = lambda step: learning_rate_factor(step, 10, schedule="linear", warmup_steps=2, final_factor=0.0)
    >>> [factor(step) for step in (0, 1, 2, 6)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    first = float(warmup_steps)
    if schedule == "warmup_stable_decay":
        first = max(first, num_steps - decay * num_steps)
    progress = min(1.0, max(0.0, (step - first) / max(1.0, num_steps - first)))
    shape = 0.5 * (1.0 + math.cos(math.pi * progress)) if schedule == "cosine" else 1.0 - progress
    return final_factor + (1.0 - final_factor) * shape
