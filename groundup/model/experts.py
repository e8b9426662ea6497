"""A mixture of experts: each token is sent to the few feed-forwards that the router likes best.

Shapes: N tokens, D hidden_size, F intermediate_size, X num_experts, A num_experts_per_token, M = N*A places.
Sources: Shazeer et al. 2017; Mixtral (Jiang et al. 2024, section 2.1): softmax over all experts, the A largest kept
and scaled to sum to one; the balance loss is that of Switch (Fedus et al. 2021, equations 4 to 6), times A.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.model.config import ModelConfig
from groundup.model.layers import ACTIVATIONS

_WHOLE: Final = 64
"""On a CPU an expert's rows are filled up to a multiple of this. oneDNN compiles a kernel for every number of rows that
it meets and keeps the last thousand of them: hundreds of MiB, and a third of the time of a small model's steps."""


class Experts(nn.Module):
    """The weights of all experts, stacked: ``gate_proj`` and ``up_proj`` (X, F, D), ``down_proj`` (X, D, F)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        X, D, F_ = config.num_experts, config.hidden_size, config.intermediate_size
        self.activation = ACTIVATIONS[config.activation]
        self.gate_proj = nn.Parameter(torch.zeros(X, F_, D))
        self.up_proj = nn.Parameter(torch.zeros(X, F_, D))
        self.down_proj = nn.Parameter(torch.zeros(X, D, F_))

    def forward(self, x_MD: Tensor, counts_X: Tensor) -> Tensor:
        """Rows sorted by expert, ``counts_X`` (int64) of them for each, through theirs: (M, D)."""
        if x_MD.device.type != "cpu" or x_MD.dtype != torch.bfloat16:
            return self._answers(x_MD, counts_X)
        places_M, filled_X = _fill_up(counts_X.tolist())
        spread_PD = x_MD.new_zeros(sum(filled_X), x_MD.size(1)).index_copy(0, places_M, x_MD)
        return self._answers(spread_PD, torch.tensor(filled_X))[places_M]

    def _answers(self, x_MD: Tensor, counts_X: Tensor) -> Tensor:
        hidden_MF = self.activation(_each(x_MD, self.gate_proj, counts_X)) * _each(x_MD, self.up_proj, counts_X)
        return _each(hidden_MF, self.down_proj, counts_X)


def _fill_up(counts: list[int]) -> tuple[Tensor, list[int]]:
    """Where each row sorted by expert goes (int64) once every expert has whole blocks, and how many it has then."""
    filled = [-(-count // _WHOLE) * _WHOLE for count in counts]
    begins = accumulate(filled, initial=0)
    places = [torch.arange(begin, begin + count) for begin, count in zip(begins, counts, strict=False)]
    return torch.cat(places), filled


def _each(rows_MI: Tensor, weight_XOI: Tensor, counts_X: Tensor) -> Tensor:
    """Each expert's rows times its matrix, (M, O).

    bf16 has a fused call, which does not wait for the counts; it takes rows of whole 16 bytes.
    """
    if rows_MI.dtype == torch.bfloat16 and weight_XOI.size(1) % 8 == 0 and weight_XOI.size(2) % 8 == 0:
        ends_X = counts_X.cumsum(0, dtype=torch.int32)
        return F.grouped_mm(rows_MI, weight_XOI.to(rows_MI.dtype).transpose(1, 2), offs=ends_X)
    pieces = torch.split(rows_MI, counts_X.tolist())
    return torch.cat([F.linear(rows, weight) for rows, weight in zip(pieces, weight_XOI, strict=True)])


class Dispatch(nn.Module):
    """Bring each token to its experts and the answers back. Expert parallelism puts an exchange in this place."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, x_ND: Tensor, chosen_NA: Tensor, weights_NA: Tensor, experts: nn.Module) -> Tensor:
        """The weighted sum (N, D) of each token's chosen experts; chosen_NA int64 holds their numbers."""
        per_token = chosen_NA.size(1)
        places_M = chosen_NA.flatten()
        order_M = places_M.argsort(stable=True)
        counts_X = places_M.new_zeros(self.num_experts).scatter_add_(0, places_M, torch.ones_like(places_M))
        out_MD = experts(x_ND[order_M // per_token], counts_X)[order_M.argsort()]
        out_NAD = out_MD.view(len(x_ND), per_token, -1) * weights_NA[:, :, None].to(out_MD.dtype)
        answers_ND: Tensor = out_NAD.sum(dim=1)
        return answers_ND


class MoE(nn.Module):
    """The feed-forward of a block, made of experts."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.per_token = config.num_experts_per_token
        self.router = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = Experts(config)
        self.dispatch = Dispatch(config.num_experts)
        self.balance = Balance()

    def forward(self, x_BTD: Tensor, aux: list[Tensor] | None = None) -> Tensor:
        """The experts' answers, shaped like x; the layer's balance loss is appended to ``aux`` if there is one."""
        x_ND = x_BTD.flatten(0, 1)
        odds_NX = torch.softmax(self.router(x_ND).float(), dim=-1)
        weights_NA, chosen_NA = odds_NX.topk(self.per_token, dim=-1)
        weights_NA = weights_NA / weights_NA.sum(dim=-1, keepdim=True)
        if aux is not None:
            aux.append(self.balance(odds_NX, chosen_NA))
        out: Tensor = self.dispatch(x_ND, chosen_NA, weights_NA, self.experts).view_as(x_BTD)
        return out


class Balance(nn.Module):
    """The balance loss of a call. Parallelism that splits a call's tokens puts one over all of them in this place."""

    def forward(self, odds_NX: Tensor, chosen_NA: Tensor) -> Tensor:
        """A scalar, fp32."""
        return balance_loss(odds_NX, chosen_NA)


def balance_loss(odds_NX: Tensor, chosen_NA: Tensor) -> Tensor:
    """X times the sum over experts of (mean places a token gives it) * (mean odds it gets): a scalar, fp32.

    It is A when all experts are used alike and grows to X at worst. It is a product of means over the tokens of
    one call, so unlike a cross-entropy it depends on how a step is split into micro-batches.
    """
    places_X, odds_X = expert_shares(odds_NX, chosen_NA)
    return odds_NX.size(1) * (places_X * odds_X).sum()


def expert_shares(odds_NX: Tensor, chosen_NA: Tensor) -> tuple[Tensor, Tensor]:
    """What a token gives each expert in the mean: places (X,), and odds (X,)."""
    num_tokens, num_experts = odds_NX.shape
    places_X = torch.zeros(num_experts, device=odds_NX.device).index_add_(
        0, chosen_NA.flatten(), odds_NX.new_ones(chosen_NA.numel())
    )
    return places_X / num_tokens, odds_NX.mean(dim=0)
