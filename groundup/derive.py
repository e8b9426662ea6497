"""Recipes made from a recipe: what a model's data, and the model itself, are to be studied by.

They are written down beside the report of the study, so that ``groundup run`` and ``groundup plan`` take them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from groundup.artifact.stage import Node
from groundup.base.errors import RequestError, nearest
from groundup.base.files import write_text
from groundup.recipe import Recipe, entries, entry, load, resolve
from groundup.stages.pretrain.ablation.config import AblateConfig
from groundup.stages.pretrain.ablation.variants import changed, check_changes
from groundup.stages.pretrain.config import PretrainConfig


def sweep_of(
    recipe: Recipe, artifact: str, folder: Path, *, depths: str | None, ratios: str | None, verify: bool
) -> Path:
    """Write the recipe that predicts a pretrained model of another one by a sweep, below ``folder``; its path.

    RequestError if the artifact is no pretrained model, or a list can't be read.
    """
    node = _pretrained(recipe, artifact, "a sweep predicts what pretrain makes")
    needed = _ancestors(recipe, node)
    data = entries(needed.values())
    target = entries([node])[artifact]
    chosen = {"depths": _numbers(depths, "--depths", int), "tokens_per_parameter": _numbers(ratios, "--ratios", float)}
    given = {name: value for name, value in chosen.items() if value}
    data[f"{artifact}-law"] = {**target, "stage": "sweep", **given, **({} if verify else {"verify": False})}
    written = folder / f"{recipe.name}-{artifact}-sweep" / "recipe.yaml"
    return _write(written, f"A scaling law that predicts {artifact}.", data, needed)


def ablate_of(
    reference: str,
    overrides: Sequence[str],
    artifact: str,
    folder: Path,
    variants: Mapping[str, Sequence[str]],
    **settings: Any,
) -> Path:
    """Write the recipe that compares what a pretrained model reads with variants of it, below ``folder``; its path.

    ``variants`` are overrides by name. What they change, and everything from there to the token stores, each variant
    has to itself, under a name that ends with the variant's. ``settings`` are fields of the ablation. RequestError if
    the artifact is no pretrained model, or a variant changes the wrong thing or nothing.
    """
    recipe = load(reference, overrides)
    node = _pretrained(recipe, artifact, "an ablation compares what pretrain reads")
    known, needed = {one.name: one for one in recipe.nodes}, _ancestors(recipe, node)
    data, hashes = entries(needed.values()), recipe.hashes
    stores: dict[str, tuple[str, ...]] = {}
    weights: dict[str, tuple[float, ...]] = {}
    for name, changes in variants.items():
        try:
            varied = load(reference, [*overrides, *changes], hashes)
        except RequestError as error:
            raise RequestError(f"variant {name!r}: {error}") from None
        hashes = varied.hashes
        other = next(one for one in varied.nodes if one.name == artifact)
        check_changes(name, node, other)
        own, shared = changed(node, other, known)
        copies = {one.name: f"{one.name}-{name}" for one in own}
        for one in own:
            if copies[one.name] in {*known, *data}:
                raise RequestError(f"variant {name!r} would make {copies[one.name]!r}, which the recipe has already")
            data[copies[one.name]] = entry(one.config.rename_inputs(copies), one.files)
        needed |= {one.name: one for one in shared}
        data |= entries(shared)
        read = other.config.input_names("tokens")
        stores[name] = tuple(copies.get(store, store) for store in read)
        if (shares := getattr(other.config, "weights", None)) is not None:
            weights[name] = shares
    assert isinstance(node.config, PretrainConfig)
    config = AblateConfig.like(node.config, artifact, variants=stores, variant_weights=weights, **settings)
    data[f"{artifact}-ablation"] = entry(config, {})
    written = folder / f"{recipe.name}-{artifact}-ablation" / "recipe.yaml"
    return _write(written, f"What helps {artifact}: variants of its data, compared.", data, needed)


def _pretrained(recipe: Recipe, artifact: str, what: str) -> Node:
    nodes = {node.name: node for node in recipe.nodes}
    if artifact not in nodes:
        raise RequestError(f"recipe {recipe.name!r} has no artifact {artifact!r}{nearest(artifact, nodes)}")
    if nodes[artifact].config.stage != "pretrain":
        raise RequestError(f"{artifact!r} is made by {nodes[artifact].config.stage}; {what}")
    return nodes[artifact]


def _ancestors(recipe: Recipe, node: Node) -> dict[str, Node]:
    """What a node is made from, by name, in the recipe's order."""
    names = {one.name for one in node.ancestors()}
    return {one.name: one for one in recipe.nodes if one.name in names}


def _write(path: Path, description: str, data: Mapping[str, Any], kept: Mapping[str, Node]) -> Path:
    """Write a recipe that resolves, and whose artifacts ``kept`` are to be those that they were."""
    whole = {"name": path.parent.name, "description": description, "artifacts": dict(data)}
    text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    again = {one.name: one.digest for one in resolve(yaml.safe_load(text), path).nodes}
    assert all(again[name] == node.digest for name, node in kept.items()), "a recipe changed by being written down"
    write_text(path, text)
    return path


def _numbers(text: str | None, option: str, kind: type[int] | type[float]) -> list[int | float]:
    try:
        return [kind(part) for part in (text or "").split(",") if part.strip()]
    except ValueError:
        raise RequestError(f"{option} {text!r} must be numbers with commas between them, such as 2,3,4") from None
