"""All families, the most common first, and which of them a model belongs to."""

from __future__ import annotations

import json
from typing import Any, Final

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.model.exchange.families.falcon import Falcon
from groundup.model.exchange.families.family import Family
from groundup.model.exchange.families.gpt2 import GPT2
from groundup.model.exchange.families.llama import Llama, Mistral, Mixtral, Qwen2, Qwen3, Qwen3Moe

FAMILIES: Final[tuple[Family, ...]] = (
    Llama(),
    Qwen3(),
    Qwen2(),
    Mistral(),
    Mixtral(),
    Qwen3Moe(),
    GPT2(),
    Falcon(),
)


def family_named(model_type: object) -> Family:
    """The family of a ``model_type``; ValueError if there is none."""
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    known = ", ".join(family.model_type for family in FAMILIES)
    raise ValueError(f"model_type {model_type!r} is not one of {known}")


def family_of(config: ModelConfig) -> tuple[Family, dict[str, Any]]:
    """The most common family that computes exactly this, and its fields of ``config.json``.

    A family is right when what it writes reads back as the very same configuration, so a switch that it doesn't
    have can't be lost. RequestError, naming what stands in the way, if no family is right.
    """
    closest: tuple[list[str], str] | None = None
    for family in FAMILIES:
        try:
            fields = family.write(config)
            again = family.read(json.loads(json.dumps(fields)))
        except (ValueError, RequestError):
            continue
        lost = [name for name in ModelConfig.model_fields if getattr(again, name) != getattr(config, name)]
        if not lost:
            return family, fields
        if closest is None or len(lost) < len(closest[0]):
            closest = lost, family.model_type
    reason = f"the nearest, {closest[1]}, has no such {', '.join(closest[0])}" if closest else "none is near"
    raise RequestError(f"no model type of Hugging Face computes this shape; {reason}")
