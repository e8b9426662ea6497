"""Learning-rate schedules: pure functions of the step, so that a resumed run can't drift."""

from __future__ import annotations

import math

from groundup.train.settings import ScheduleName


def learning_rate_factor(
    step: int, num_steps: int, *, schedule: ScheduleName, warmup_steps: int, final_factor: float
) -> float:
    """What to multiply the peak learning rate by at ``step`` (from 0) of ``num_steps``.

    Linear warm-up to 1 over ``warmup_steps``; then by name down to ``final_factor``: ``cosine`` (Loshchilov &
    Hutter 2017), ``linear``, ``constant`` (no decay), or ``warmup_stable_decay`` (Hu et al. 2024: constant, then
    linear over the last fifth).

    >>> factor = lambda step: learning_rate_factor(step, 10, schedule="linear", warmup_steps=2, final_factor=0.0)
    >>> [factor(step) for step in (0, 1, 2, 6)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    if schedule == "constant":
        return 1.0
    if schedule == "warmup_stable_decay":
        progress = max(0.0, (step - 0.8 * num_steps) / max(1.0, 0.2 * num_steps))
        return 1.0 - (1.0 - final_factor) * progress
    shape = 0.5 * (1.0 + math.cos(math.pi * progress)) if schedule == "cosine" else 1.0 - progress
    return final_factor + (1.0 - final_factor) * shape
