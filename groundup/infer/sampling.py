"""From logits to a token: temperature, top-k and top-p, with a generator for each request."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from groundup.base.config import Config


class SamplingParams(Config):
    """How a request is sampled. The same seed and prompt give the same text."""

    max_new_tokens: int = Field(200, gt=0, description="tokens, at most")
    temperature: float = Field(0.8, ge=0, description="0 takes the likeliest token; 1 samples the model's own odds")
    top_k: int = Field(0, ge=0, description="keep only the k likeliest tokens; 0 keeps all")
    top_p: float = Field(0.95, gt=0, le=1, description="keep the likeliest tokens that together have this probability")
    seed: int = Field(1, ge=0, description="of the request's own generator")


def filtered_probabilities(logits_V: Tensor, params: SamplingParams) -> Tensor:
    """The distribution (V,), fp32, that a request samples from; ``temperature`` must be above zero.

    Order as in transformers: temperature, then top-k, then top-p (nucleus, Holtzman et al. 2020). At least one
    token is always kept; the token that crosses ``top_p`` is kept.
    """
    probabilities = torch.softmax(logits_V.float() / params.temperature, dim=-1)
    ranked, order = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(ranked, dtype=torch.bool)
    if params.top_k:
        keep[params.top_k :] = False
        ranked = ranked * keep / (ranked * keep).sum()
    keep &= ranked.cumsum(-1) - ranked < params.top_p
    keep[0] = True
    kept = torch.where(keep, ranked, 0.0)
    return torch.zeros_like(probabilities).scatter(0, order, kept / kept.sum())


def sample(logits_V: Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    """One token id."""
    if params.temperature == 0:
        return int(logits_V.argmax())
    return int(torch.multinomial(filtered_probabilities(logits_V, params), 1, generator=generator))
