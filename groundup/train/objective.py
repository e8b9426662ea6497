"""Objectives: small pure functions from a model and a micro-batch to a sum of losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.model.loss import linear_cross_entropy, target_log_probs
from groundup.model.transformer import Transformer
from groundup.train.stream import TokenBatch


def next_token(model: Transformer, batch: TokenBatch) -> tuple[Tensor, Mapping[str, float]]:
    """The sum of -log p(target) in nats over the targets that count (all of them, or those marked ``trained``)."""
    hidden_ND = model(batch.inputs).flatten(0, 1)
    targets_N = batch.targets.flatten()
    if batch.trained is not None:
        kept = batch.trained.flatten()
        hidden_ND, targets_N = hidden_ND[kept], targets_N[kept]
    return linear_cross_entropy(hidden_ND, model.output_weight, targets_N), {}


@dataclass(frozen=True)
class PairBatch:
    """Preference pairs: rows 2i chosen and 2i+1 rejected, ids (2P, T), ``trained`` marks the answers' targets.

    ``reference`` fp32 (2P,) holds the log-probability of each answer under the model that training started from.
    """

    tokens: TokenBatch
    reference: Tensor

    @property
    def weight(self) -> int:
        """Pairs."""
        return len(self.reference) // 2

    @property
    def num_tokens(self) -> int:
        """Positions computed, padding included."""
        return self.tokens.num_tokens

    def to(self, device: torch.device) -> PairBatch:
        """The same batch on a device."""
        return PairBatch(self.tokens.to(device), self.reference.to(device))


def answer_log_probs(model: Transformer, batch: TokenBatch) -> Tensor:
    """The summed log-probability of the trained targets of each row: fp32 (B,), differentiable."""
    assert batch.trained is not None
    hidden_BTD = model(batch.inputs)
    kept_BT = batch.trained
    log_probs_M = target_log_probs(hidden_BTD[kept_BT], model.output_weight, batch.targets[kept_BT])
    rows_M = torch.arange(len(kept_BT), device=kept_BT.device)[:, None].expand_as(kept_BT)[kept_BT]
    return torch.zeros(len(kept_BT), device=kept_BT.device).index_add(0, rows_M, log_probs_M)


@dataclass(frozen=True)
class DirectPreference:
    """DPO (Rafailov et al. 2023, equation 7): -log sigmoid(beta * (chosen gain - rejected gain)).

    A gain is the answer's log-probability under the model minus that under the reference.
    """

    beta: float

    def __call__(self, model: Transformer, batch: PairBatch) -> tuple[Tensor, Mapping[str, float]]:
        gains = answer_log_probs(model, batch.tokens) - batch.reference
        chosen, rejected = gains[0::2], gains[1::2]
        margin = self.beta * (chosen - rejected)
        values = {
            "accuracy": float((margin > 0).sum() + 0.5 * (margin == 0).sum()),
            "margin": float(margin.detach().sum()),
        }
        return -F.logsigmoid(margin).sum(), values
