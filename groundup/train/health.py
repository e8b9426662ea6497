"""Is this step sane? Losses and gradient norms against robust statistics of the steps before.

A step is non-finite, or it spikes: its loss, or the logarithm of its gradient norm (a norm grows by factors), lies more
than ``sigma`` robust standard deviations above the median of a rolling window. OLMo-core's SkipStep optimizer judges
likewise with mean and deviation; median and median absolute deviation aren't moved by the spikes themselves.

Everything here follows from the numbers handed in, which cover the whole step over all processes, so that all
processes, and a resumed run, decide alike.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal

from groundup.train.settings import HealthAction, HealthConfig

Cause = Literal["non_finite", "loss_spike", "gradient_spike"]
CAUSES: Final[tuple[Cause, ...]] = ("non_finite", "loss_spike", "gradient_spike")

_TO_SIGMA: Final = 1.4826
"""The deviation of a normal distribution over its median absolute deviation."""
_LEAST_LOSS: Final = 0.01
"""No loss deviates by less than this share of the median: a calm run would make a spike of every ripple."""
_LEAST_LOG_NORM: Final = 0.1
"""No gradient norm deviates by less than a tenth of itself."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a step, by how many robust deviations (infinite if not finite), and what to do about it."""

    cause: Cause
    deviation: float
    action: HealthAction | Literal["accept"]
    in_a_row: int


class Health:
    """Judges steps one after the other; ``state`` and ``load_state`` carry it over a restart."""

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self._losses: deque[float] = deque(maxlen=config.window)
        self._norms: deque[float] = deque(maxlen=config.window)
        self._in_a_row = 0
        self._rewound_to, self._rewinds = 0, 0

    def judge(self, loss: float, gradient_norm: float, *, settled: bool) -> Verdict | None:
        """None for a sane step. Spikes are looked for once the rate is ``settled``, its warm-up over.

        After ``patience`` spikes in a row the new level is taken as it is: the window starts anew and the verdict
        says ``accept``. Steps that stay non-finite past ``patience`` say ``stop``.
        """
        cause, deviation = self._cause(loss, gradient_norm, settled)
        if cause != "non_finite":
            self._losses.append(loss)
            self._norms.append(math.log(max(gradient_norm, 1e-30)))
        if cause is None:
            self._in_a_row = 0
            return None
        self._in_a_row += 1
        in_a_row = self._in_a_row
        action: HealthAction | Literal["accept"] = getattr(self._config, cause)
        if in_a_row >= self._config.patience and action not in ("stop", "record"):
            action = "stop" if cause == "non_finite" else "accept"
            self._losses.clear()
            self._norms.clear()
            self._in_a_row = 0
        return Verdict(cause, deviation, action, in_a_row)

    def may_rewind(self, target: int) -> bool:
        """Count a rewind to step ``target``: False at the ``patience``-th in turn to the same one, a dead end.

        A sane step or two after each rewind would hide it from ``judge``.
        """
        self._rewinds = self._rewinds + 1 if target == self._rewound_to else 1
        self._rewound_to = target
        return self._rewinds < self._config.patience

    def _cause(self, loss: float, gradient_norm: float, settled: bool) -> tuple[Cause | None, float]:
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            return "non_finite", math.inf
        if not settled or len(self._losses) < self._config.window // 2:
            return None, 0.0
        deviation = _deviation(loss, self._losses, _LEAST_LOSS * abs(median(self._losses)))
        if deviation > self._config.sigma:
            return "loss_spike", deviation
        deviation = _deviation(math.log(max(gradient_norm, 1e-30)), self._norms, _LEAST_LOG_NORM)
        if deviation > self._config.sigma:
            return "gradient_spike", deviation
        return None, 0.0

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "in_a_row": self._in_a_row,
            "rewinds": [self._rewound_to, self._rewinds],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self._losses = deque(state["losses"], maxlen=self._config.window)
        self._norms = deque(state["norms"], maxlen=self._config.window)
        self._in_a_row = int(state["in_a_row"])
        self._rewound_to, self._rewinds = state.get("rewinds", (0, 0))  # older checkpoints don't count them


def _deviation(value: float, window: deque[float], least: float) -> float:
    """How many robust deviations ``value`` lies above the window's median."""
    middle = median(window)
    spread = _TO_SIGMA * median([abs(one - middle) for one in window])
    return (value - middle) / max(spread, least, 1e-30)
