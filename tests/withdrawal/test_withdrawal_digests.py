"""Digests and essences: nothing changes without withdrawals, and with them just what design says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.artifact.stage import Node
from groundup.base.files import sha256_json, sha256_path
from groundup.recipe import load, packaged
from groundup.rights.reach import NOTHING, Reach, withheld

RECIPE = load("quickstart")
PLAIN = {node.name: node for node in RECIPE.nodes}
MATERIAL = [node.name for node in RECIPE.nodes if node.config.brings_in]


def by_definition(node: Node) -> str:
    """The digest as it was before there were withdrawals."""
    identity = node.config.identity({path: sha256_path(place) for path, place in node.files.items()})
    fields = {key: value for key, value in identity.items() if key not in node.inputs}
    inputs = {field: [one.digest for one in nodes] for field, nodes in node.inputs.items() if field in identity}
    stage, version = node.config.stage, node.config.version
    return sha256_json({"format": 1, "stage": stage, "version": version, "config": fields, "inputs": inputs})


def resolved(reach: Reach) -> Mapping[str, Node]:
    return {node.name: node for node in load("quickstart", (), RECIPE.hashes, reach).nodes}


def test_without_withdrawals_digests_are_those_of_the_definition() -> None:
    for node in RECIPE.nodes:
        assert node.digest == node.essence == by_definition(node) and not node.withdrawn
        assert node.base == (node.digest if node.config.brings_in else "")


@pytest.mark.parametrize("name", sorted(packaged()))
def test_a_register_of_other_material_changes_no_digest(name: str) -> None:
    plain = load(name)
    other = load(name, (), plain.hashes, NOTHING.without({"0" * 64: ["a", "b"]}, ["a"]))
    assert [node.digest for node in other.nodes] == [node.digest for node in plain.nodes]


@given(st.sets(st.sampled_from(MATERIAL), min_size=1), st.booleans(), st.booleans())
def test_what_changes_is_what_is_made_of_it(names: set[str], kept: bool, also_dropped: bool) -> None:
    ids = ["k"] * kept + ["d"] * also_dropped
    reach = NOTHING.without({PLAIN[name].base: ids for name in names}, ["k"])
    after = resolved(reach)
    for name, node in after.items():
        below = {name, *(one.name for one in PLAIN[name].ancestors())} & names
        carries = node.config.kind in ("pages", "corpus") or node.config.brings_in
        changed = bool(below) and (bool(ids) if carries else kept)
        assert (node.digest != PLAIN[name].digest) == changed
        assert ((node.essence or node.digest) != PLAIN[name].digest) == (bool(below) and kept)
        if node.config.brings_in:
            assert node.withdrawn == (frozenset(ids) if name in names else frozenset())
            assert (node.base, node.digest) == (PLAIN[name].base, withheld(node.base, node.withdrawn))
        elif not carries:
            assert node.essence == node.digest


def test_order_and_other_ids_do_not_matter() -> None:
    (name, *_), base = MATERIAL, PLAIN[MATERIAL[0]].base
    one = resolved(NOTHING.without({base: ["b", "a"]}, []).without({base: ["c"]}, ["z"]))
    other = resolved(NOTHING.without({base: ["c", "b", "a"]}, []))
    assert one[name].digest == other[name].digest != resolved(NOTHING.without({base: ["c"]}, []))[name].digest
    assert {n: node.digest for n, node in one.items()} == {n: node.digest for n, node in other.items()}
