"""Recipes resolve to the same digests wherever they run, and say in one line what is wrong with them."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
import yaml

from groundup.base.errors import RequestError
from groundup.recipe import STAGES, json_schema, load, packaged, stage_class


def small(folder: Path) -> Path:
    """A recipe of three artifacts over a file of its own."""
    with gzip.open(folder / "rows.jsonl.gz", "wt") as handle:
        handle.write(json.dumps({"text": "one"}) + "\n")
    recipe = {
        "name": "small",
        "artifacts": {
            "corpus": {"stage": "curate", "pages": ["pages"]},
            "pages": {
                "stage": "source",
                "files": [{"path": "rows.jsonl.gz", "licence": "CC0-1.0", "origin": "a test"}],
            },
            "words": {"stage": "tokenizer", "corpus": "corpus", "vocab_size": 300},
        },
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def digests(path: Path, *overrides: str) -> dict[str, str]:
    return {node.name: node.digest for node in load(str(path), overrides).nodes}


def test_inputs_come_first_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    assert [node.name for node in load(str(small(tmp_path))).nodes] == ["pages", "corpus", "words"]


def test_digest_follows_content_and_not_place(tmp_path: Path) -> None:
    first = digests(small(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("small.yaml", "rows.jsonl.gz"):
        shutil.copy(tmp_path / name, elsewhere / name)
    assert digests(elsewhere / "small.yaml") == first
    (elsewhere / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"text": "two"}\n'))
    assert set(first.values()).isdisjoint(digests(elsewhere / "small.yaml").values())


def test_a_change_reaches_exactly_what_depends_on_it(tmp_path: Path) -> None:
    path = small(tmp_path)
    before, after = digests(path), digests(path, "corpus.held_out=0.1")
    assert {name for name in before if before[name] != after[name]} == {"corpus", "words"}
    assert digests(path, "corpus.workers=3") == before


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("words.vocab_sise=9", "unknown field 'vocab_sise'; did you mean 'vocab_size'?"),
        ("words.vocab_size=many", "artifact 'words': field 'vocab_size'"),
        ("words.vocab_size=3", "greater than or equal to 300"),
        ("word.vocab_size=9", "no artifact 'word'; did you mean 'words'?"),
        ("words.corpus=corpse", "no artifact 'corpse'; did you mean 'corpus'?"),
        ("words.corpus=pages", "'pages' is a pages, expected corpus"),
        ("words.stage=tokeniser", "unknown stage 'tokeniser'; did you mean 'tokenizer'?"),
        ("corpus.pages=[corpus]", "expected pages"),
        ("vocab_size=9", "must look like artifact.field=value"),
        ("words.corpus=[", "not a valid value"),
        ("words.vocab_size.x=1", "has no fields"),
        ("pages.files=[{path: gone.txt, licence: MIT, origin: here}]", "file 'gone.txt' does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        load(str(small(tmp_path)), [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "must be a mapping"),
        ("a: [", "not valid YAML at line"),
        ("artifacts:\n  a: {stage: mix}\n  b: {stage: mix}\n  a: {stage: mix}", "line 4: 'a' is named twice"),
        ("name: x", "must name at least one artifact"),
        ("name: x\nartefacts: {}", "unknown field 'artefacts'; did you mean 'artifacts'?"),
        ("artifacts: {a: 3}", "expected a mapping with 'stage'"),
        ("artifacts: {a: {}}", "field 'stage' is required"),
    ],
)
def test_broken_recipe_files(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RequestError) as caught:
        load(str(path))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"), [("artifacts: {a: 3}", "'a' has no fields"), ("artifacts: [a]", "no artifact")]
)
def test_overrides_of_broken_recipe_files(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=said):
        load(str(path), ["a.b=1"])


def test_unknown_recipes(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="did you mean 'quickstart'"):
        load("quikstart")
    with pytest.raises(RequestError, match="does not exist"):
        load(str(tmp_path / "gone.yaml"))
    (tmp_path / "latin.yaml").write_bytes("name: caf\xe9".encode("latin-1"))
    with pytest.raises(RequestError, match="not UTF-8"):
        load(str(tmp_path / "latin.yaml"))


def test_a_circle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    circle = {"a": {"stage": "sft", "model": "b", "conversations": ["c"]}}
    circle["b"] = {"stage": "sft", "model": "a", "conversations": ["c"]}
    source = {"path": "rows", "licence": "MIT", "origin": "here"}
    (tmp_path / "rows").write_text("")
    circle["c"] = {"stage": "conversations", "files": [source]}  # type: ignore[dict-item]
    path.write_text(yaml.safe_dump({"artifacts": circle}))
    with pytest.raises(RequestError, match="a → b → a"):
        load(str(path))


@pytest.mark.parametrize("name", sorted(packaged()))
def test_packaged_recipes_resolve(name: str) -> None:
    assert load(name).nodes


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_documents_itself(stage: str) -> None:
    cls = stage_class(stage, "test")
    assert cls.stage == stage
    assert cls.__doc__ and len(cls.__doc__) > 200
    undocumented = [name for name, field in cls.model_fields.items() if not field.description]
    assert undocumented == []


def test_schema_accepts_the_fields_and_names_every_stage() -> None:
    schema = json_schema()
    stages = {
        entry["properties"]["stage"]["const"]
        for entry in schema["properties"]["artifacts"]["additionalProperties"]["oneOf"]
    }
    assert stages == set(STAGES)
