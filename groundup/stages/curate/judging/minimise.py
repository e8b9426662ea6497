"""The minimum of a smooth convex function by L-BFGS (Liu and Nocedal 1989; Nocedal and Wright 2006, algorithm 7.5).

No random numbers and no learning rate: equal inputs give equal weights, bit for bit on one processor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]
"""From a point to the value there and the gradient."""

_MEMORY: Final = 10
_ENOUGH: Final = 1e-4
"""Armijo's condition: the share of the promised decrease that a step must reach."""
_HALVINGS: Final = 40


def minimise(
    objective: Objective, start: Vector, tolerance: float, steps: int, progress: Callable[[int], None] | None = None
) -> Vector:
    """The point where the gradient's norm is ``tolerance`` of that at ``start``, or the best after ``steps``.

    >>> minimise(lambda x: (float(((x - 3) ** 2).sum()), 2 * (x - 3)), np.zeros(2), 1e-6, 50).round(4).tolist()
    [3.0, 3.0]
    """
    point = start.copy()
    value, gradient = objective(point)
    goal = tolerance * float(np.linalg.norm(gradient))
    history: deque[tuple[Vector, Vector]] = deque(maxlen=_MEMORY)
    for step in range(steps):
        if float(np.linalg.norm(gradient)) <= goal:
            break
        direction = _direction(gradient, history)
        slope = float(gradient @ direction)
        size = 1.0 if history else min(1.0, 1.0 / float(np.abs(gradient).sum()))
        for _ in range(_HALVINGS):
            after = point + size * direction
            new_value, new_gradient = objective(after)
            if new_value <= value + _ENOUGH * size * slope:
                break
            size /= 2
        else:
            break  # no step is an improvement in double precision: this is the minimum
        moved, turned = after - point, new_gradient - gradient
        if float(moved @ turned) > 0:
            history.append((moved, turned))
        point, value, gradient = after, new_value, new_gradient
        if progress is not None:
            progress(step + 1)
    return point


def _direction(gradient: Vector, history: deque[tuple[Vector, Vector]]) -> Vector:
    """Minus the gradient, multiplied by what the last steps say of the inverse Hessian (the two-loop recursion)."""
    direction = -gradient
    shares: list[float] = []
    for moved, turned in reversed(history):
        share = float(moved @ direction) / float(moved @ turned)
        direction = direction - share * turned
        shares.append(share)
    if history:
        moved, turned = history[-1]
        direction = direction * (float(moved @ turned) / float(turned @ turned))
    for (moved, turned), share in zip(history, reversed(shares), strict=True):
        direction = direction + (share - float(turned @ direction) / float(moved @ turned)) * moved
    return direction
