"""Objectives: small pure functions from a model and a micro-batch to a sum of losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.model.transformer import Transformer
from groundup.train.parallel.vocabulary import penalised_cross_entropy, target_log_probs
from groundup.train.stream import PairBatch, TokenBatch

__all__ = [
    "BYTES",
    "PENALTY",
    "DirectPreference",
    "NextToken",
    "PairBatch",
    "answer_log_probs",
    "bits_per_byte",
    "next_token",
]

BYTES = "bytes"
"""The value under which an objective reports the bytes of text that its targets stand for."""

PENALTY = "penalty"
"""The value under which an objective reports how much of its sum is no loss of prediction: z-loss, balance loss."""


@dataclass(frozen=True)
class NextToken:
    """The sum of -log p(target) in nats over the targets that count (all of them, or those marked ``trained``).

    ``z_loss`` adds that much of the squared log of the softmax's normaliser for each target, which keeps the logits
    from drifting (PaLM, Chowdhery et al. 2022, section 5). ``balance_loss`` adds that much of the layers' balance loss
    for each target, if the model has experts (Fedus et al. 2021); being a product of means over a micro-batch, it is
    the one term that does depend on how a step is split. ``bytes_of`` int64 (V,), the bytes of each token, makes the
    objective report how many the targets stand for.
    """

    z_loss: float = 0.0
    balance_loss: float = 0.0
    bytes_of: Tensor | None = None

    def __call__(self, model: Transformer, batch: TokenBatch) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        routed: list[Tensor] = []
        more = {"aux": routed} if self.balance_loss and model.config.num_experts else {}
        if batch.documents is None:
            hidden_BTD = model(batch.inputs, **more)
        else:
            hidden_BTD = model(batch.inputs, documents_BT=batch.documents, **more)
        hidden_ND, targets_N = hidden_BTD.flatten(0, 1), batch.targets.flatten()
        if batch.trained is not None:
            kept = batch.trained.flatten()
            hidden_ND, targets_N = hidden_ND[kept], targets_N[kept]
        total, penalty = penalised_cross_entropy(hidden_ND, model.output_weight, targets_N, self.z_loss)
        values: dict[str, float | Tensor] = {}
        if routed:
            balance = torch.stack(routed).sum() * batch.weight
            total = total + self.balance_loss * balance
            values["balance_loss"] = balance.detach()
            penalty = penalty + self.balance_loss * balance.detach()
        if routed or self.z_loss:
            values[PENALTY] = penalty
        if self.bytes_of is not None:
            values[BYTES] = self.bytes_of[targets_N].sum()
        return total, values


next_token = NextToken()
"""The plain objective."""


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """A sum of losses in nats over so many bytes of text, or both a token."""
    return nats / (math.log(2) * num_bytes)


def answer_log_probs(model: Transformer, batch: TokenBatch) -> Tensor:
    """The summed log-probability of the trained targets of each row: fp64 (B,), differentiable.

    Sums of hundreds of nats, of which DPO takes differences of hundredths: in fp32 their rounding would be seen.
    """
    assert batch.trained is not None
    hidden_BTD = model(batch.inputs)
    kept_BT = batch.trained
    log_probs_M = target_log_probs(hidden_BTD[kept_BT], model.output_weight, batch.targets[kept_BT])
    rows_M = torch.arange(len(kept_BT), device=kept_BT.device)[:, None].expand_as(kept_BT)[kept_BT]
    sums_B = torch.zeros(len(kept_BT), dtype=torch.float64, device=kept_BT.device)
    return sums_B.index_add(0, rows_M, log_probs_M.double())


@dataclass(frozen=True)
class DirectPreference:
    """DPO (Rafailov et al. 2023, equation 7): -log sigmoid(beta * (chosen gain - rejected gain)).

    A gain is the answer's log-probability under the model minus that under the reference.
    """

    beta: float

    def __call__(self, model: Transformer, batch: PairBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        gains = answer_log_probs(model, batch.tokens) - batch.reference
        chosen, rejected = gains[0::2], gains[1::2]
        margin = (self.beta * (chosen - rejected)).float()
        values = {
            "accuracy": (margin > 0).sum() + 0.5 * (margin == 0).sum(),
            "margin": margin.detach().sum(),
        }
        return -F.logsigmoid(margin).sum(), values
