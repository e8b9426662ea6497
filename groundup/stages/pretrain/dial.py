"""One dial: what follows from the shape of a model and the length of its training, until it is set by hand.

The forms are published; the constants are fitted to short runs on books at widths of 128 and 256 (docs/LOG.md), and
losses near them are flat: twice or half of any rate costs about half a percent.

- Length: 20 tokens for each weight at work (Hoffmann et al. 2022, "Chinchilla", table 3).
- Batch: grows as tokens^0.383, as in nanochat (scripts/base_train.py, after the same paper as the decay).
- Rates: with Muon a move's largest effect on a direction should not depend on width, which with moves of AdamW's root
  mean square means 1/sqrt(width) (Yang, Simon & Bernstein 2023); with AdamW 1/width (Yang et al. 2022, table 8).
  Embeddings and output as 1/sqrt(width), as in nanochat. All as sqrt(batch) (Malladi et al. 2022) when the batch is
  another than the derived one; a longer training wants a lower rate about as much as its larger batch wants a higher.
- Weight decay: rate * decay * steps, how often a weight is forgotten in the course of training, grows as tokens a
  parameter to the power of 0.527 (Bergsma et al. 2025, "Power Lines"), so that short runs on few tokens hardly decay.
"""

from __future__ import annotations

import math
from typing import Final

from groundup.base.units import Span
from groundup.model.config import ModelConfig
from groundup.model.count import matmul_parameters
from groundup.train.settings import MethodName, Rates

TOKENS_PER_PARAMETER: Final = 20.0

_BATCH_TOKENS: Final = 2048
_AT_TOKENS: Final = 1e6
_BATCH_EXPONENT: Final = 0.383

_AT_WIDTH: Final = 128
_MUON: Final = 0.006
_ADAMW: Final = 0.006
_EMBEDDINGS: Final = 0.04
_TIED: Final = 0.03
_OUTPUT: Final = 0.01
_VECTORS: Final = 0.01

_FORGETTING: Final = 1 / 1.084
_FORGETTING_EXPONENT: Final = 0.527


def optimal_horizon(shape: ModelConfig) -> Span:
    """How long to train for the best loss that the arithmetic spent can buy."""
    return Span(TOKENS_PER_PARAMETER * matmul_parameters(shape), "tokens")


def batch_tokens(shape: ModelConfig, horizon: Span) -> float:
    """Tokens a step for a length of training in tokens or in steps; for the optimal one if it is in epochs."""
    if horizon.unit == "steps":
        # batch = c * (steps * batch)^e, solved for the batch
        one_token = _BATCH_TOKENS * (horizon.value / _AT_TOKENS) ** _BATCH_EXPONENT
        return float(one_token ** (1 / (1 - _BATCH_EXPONENT)))
    tokens = horizon.value if horizon.unit == "tokens" else optimal_horizon(shape).value
    return float(_BATCH_TOKENS * (tokens / _AT_TOKENS) ** _BATCH_EXPONENT)


def peak_rates(shape: ModelConfig, method: MethodName, batch_ratio: float) -> Rates:
    """Peak learning rates; ``batch_ratio`` is the batch as a multiple of the derived one."""
    narrow, many = math.sqrt(_AT_WIDTH / shape.hidden_size), math.sqrt(batch_ratio)
    matrices = _MUON * narrow if method == "muon" else _ADAMW * narrow**2
    return Rates(
        matrices=matrices * many,
        embeddings=(_TIED if shape.tie_embeddings else _EMBEDDINGS) * narrow * many,
        output=_OUTPUT * narrow * many,
        vectors=_VECTORS * many,
    )


def weight_decay(shape: ModelConfig, rate: float, step_tokens: int, tokens: float) -> float:
    """Decoupled decay of matrices that have a peak learning rate of ``rate``, for a training of ``tokens``."""
    per_parameter = tokens / matmul_parameters(shape)
    return float(_FORGETTING * per_parameter**_FORGETTING_EXPONENT * step_tokens / (rate * tokens))
