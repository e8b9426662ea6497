"""From overrides to variants: what a person changes, and which artifacts have to be made anew for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from groundup.artifact.stage import Node, need
from groundup.base.yaml_file import read_yaml
from groundup.stages.pretrain.ablation.config import BASELINE
from groundup.stages.pretrain.config import PretrainConfig

_NEXT: Final = re.compile(r"\s+(?=[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+=)")
_EXAMPLE: Final = "'no-filters: corpus.filters=[]'"
_READ: Final = ("tokens", "weights")
"""Fields of pretraining that say what is read."""


def read_variants(options: Sequence[str], file: Path | None) -> dict[str, tuple[str, ...]]:
    """Overrides by variant, from ``NAME: OVERRIDES`` and from a YAML file that maps names to them or lists of them.

    RequestError if one can't be read, is named twice, or there is none.

    >>> read_variants(["plain: corpus.filters=[c4, gopher] mix.size=2 GB"], None)
    {'plain': ('corpus.filters=[c4, gopher]', 'mix.size=2 GB')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, overrides in [*_from_options(options), *(_from_file(file) if file else ())]:
        need(name != BASELINE, f"variant {name!r}: that is the name of what all variants are compared with")
        need(name not in found, f"variant {name!r} is named twice")
        need(bool(overrides), f"variant {name!r} changes nothing: give overrides, such as {_EXAMPLE}")
        found[name] = overrides
    need(bool(found), f"an ablation needs a variant: --variant {_EXAMPLE}, or --variants FILE")
    return found


def _from_options(options: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for option in options:
        name, colon, text = option.partition(":")
        need(bool(colon) and "=" not in name, f"--variant {option!r} must look like {_EXAMPLE}")
        yield name.strip(), _split(text)


def _from_file(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    data = read_yaml(file)
    need(isinstance(data, dict), f"{file} must map names to overrides")
    for name, overrides in data.items():
        several = isinstance(overrides, list) and all(isinstance(one, str) for one in overrides)
        need(
            several or isinstance(overrides, str),
            f"{file}: {name!r} must be overrides such as corpus.filters=[], or a list of them",
        )
        yield str(name), tuple(overrides) if several else _split(overrides)


def _split(text: str) -> tuple[str, ...]:
    """Overrides with spaces between them; a value may hold spaces too."""
    return tuple(part for part in _NEXT.split(text.strip()) if part)


def check_changes(variant: str, target: Node, other: Node) -> None:
    """RequestError if a variant changes more than what the model reads: the model itself, or its tokenizer."""
    for field in PretrainConfig.model_fields:
        need(
            field in _READ or getattr(target.config, field) == getattr(other.config, field),
            f"variant {variant!r} changes {target.name}.{field}: a variant changes what the model reads; for other "
            "models make it an override of all",
        )
    tokenizer, own = target.input("tokenizer"), other.input("tokenizer")
    need(
        (tokenizer.name, tokenizer.config) == (own.name, own.config),
        f"variant {variant!r} changes {own.name!r}: all variants share the baseline's tokenizer",
    )


def changed(target: Node, other: Node, known: Mapping[str, Node]) -> tuple[list[Node], list[Node]]:
    """The artifacts between pages and model that a variant has to itself, and those that it shares with the recipe.

    ``other`` is the model in the variant's recipe, ``known`` has the baseline's recipe. The tokenizer stays what it
    was, even if it would have been trained on a changed corpus.
    """
    tokenizer = target.input("tokenizer").name
    own: dict[str, Node] = {}
    shared: dict[str, Node] = {}

    def differs(node: Node) -> bool:
        if node.name == tokenizer or node.name in shared:
            return False
        if node.name in own:
            return True
        below = [differs(one) for nodes in node.inputs.values() for one in nodes]
        new = any(below) or node.config != known[node.name].config
        (own if new else shared)[node.name] = node if new else known[node.name]
        return new

    for store in other.inputs["tokens"]:
        differs(store)
    return list(own.values()), list(shared.values())
