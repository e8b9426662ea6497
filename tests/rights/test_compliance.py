"""A recipe that violates its policy, or what a source was declared for, is refused before anything starts."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from store_task import record

from groundup.artifact.record import Record
from groundup.base.errors import RequestError
from groundup.recipe import entries, json_schema, load, resolve
from groundup.rights.compliance import CHECKS, purpose, require_fresh
from groundup.rights.policy import Policy


def recipe(folder: Path, licence: str = "CC-BY-4.0", use: str | None = None, **more: Any) -> Path:
    """Pages, a corpus, tokens and a small model; a second corpus that only an evaluation looks at."""
    for name in ("rows.jsonl", "other.jsonl"):
        (folder / name).write_text('{"text": "one"}\n')
    file = {"path": "rows.jsonl", "licence": licence, "origin": "a test", **({"use": use} if use else {})}
    other = {"path": "other.jsonl", "licence": more.pop("measured", "CC-BY-4.0"), "origin": "a test"}
    data = {
        "name": "small",
        **more,
        "artifacts": {
            "pages": {"stage": "source", "files": [file]},
            "corpus": {"stage": "curate", "pages": ["pages"]},
            "words": {"stage": "tokenizer", "corpus": "corpus", "vocab_size": 300},
            "tokens": {"stage": "tokens", "corpus": "corpus", "tokenizer": "words"},
            "base": {"stage": "pretrain", "tokens": "tokens", "tokenizer": "words", "depth": 2},
            "pages2": {"stage": "source", "files": [other]},
            "corpus2": {"stage": "curate", "pages": ["pages2"]},
            "tokens2": {"stage": "tokens", "corpus": "corpus2", "tokenizer": "words"},
            "scores": {"stage": "evaluate", "models": ["base"], "corpus": "corpus2", "tokens": "tokens2"},
        },
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def digests(path: Path, policy: str | None = None) -> dict[str, str]:
    return {node.name: node.digest for node in load(str(path), policy=policy).nodes}


def refused(path: Path, policy: str | None = None) -> str:
    with pytest.raises(RequestError, match=r"^[^\n]+$") as caught:
        load(str(path), policy=policy)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_path_of_a_violation_is_named(tmp_path: Path) -> None:
    said = refused(recipe(tmp_path, "CC-BY-ND-4.0", policy="research"))
    assert said == (
        "the recipe violates policy 'research': source 'rows.jsonl' (CC-BY-ND-4.0) may only be evaluated (rule 2, "
        "evaluate: no-derivatives (a model may be held to be derived from what it learned)), and pages → corpus → "
        "tokens → base learns from it"
    )


def test_what_may_only_be_evaluated_may_be_evaluated(tmp_path: Path) -> None:
    found = {
        node.name: node.config for node in load(str(recipe(tmp_path, measured="CC-BY-ND-4.0", policy="research"))).nodes
    }
    assert (found["corpus"].purpose, found["corpus2"].purpose) == ("train", "evaluate")
    assert refused(recipe(tmp_path, measured="CC-BY-NC-4.0", policy="open")).count("may not be used") == 1


def test_a_policy_that_allows_nothing_of_a_recipe_is_one_line(tmp_path: Path) -> None:
    said = refused(recipe(tmp_path, "CC-BY-NC-4.0", measured="GPL-3.0-only", policy="open"))
    assert said.startswith("policy 'open' excludes everything: source 'rows.jsonl' (CC-BY-NC-4.0) of 'pages'")
    assert said.endswith("and so on for all 2 sources")


@pytest.mark.parametrize(("use", "told"), [("never", "may not be used"), ("evaluate", "may only be evaluated")])
def test_declared_uses_hold_without_a_policy(tmp_path: Path, use: str, told: str) -> None:
    said = refused(recipe(tmp_path, use=use))
    assert told in said and f"'use: {use}'" in said


def test_the_stricter_of_declaration_and_policy_counts(tmp_path: Path) -> None:
    assert "'use: evaluate'" in refused(recipe(tmp_path, "MIT", use="evaluate", policy="open"))
    assert "default: never" in refused(recipe(tmp_path, "CC-BY-NC-4.0", use="evaluate"), "open")


def test_tokenizers_learn_too(tmp_path: Path) -> None:
    path = recipe(tmp_path, "CC-BY-ND-4.0", policy="research")
    data = yaml.safe_load(path.read_text())
    for name in ("tokens", "base", "scores", "tokens2"):
        del data["artifacts"][name]
    with pytest.raises(RequestError, match="pages → corpus → words learns from it"):
        resolve(data, path)


def test_validation_is_only_measured(tmp_path: Path) -> None:
    path = recipe(tmp_path, measured="CC-BY-ND-4.0", policy="research")
    data = yaml.safe_load(path.read_text())
    data["artifacts"]["base"]["validation"] = "tokens2"
    configs = {node.name: node.config for node in resolve(data, path).nodes}
    assert purpose(configs, "corpus2") == "evaluate"


def test_dialogues_and_files_of_ids_are_sources_too(tmp_path: Path) -> None:
    path = recipe(tmp_path, policy="open")
    (tmp_path / "chat.jsonl").write_text("{}\n")
    data = yaml.safe_load(path.read_text())
    file = {"path": "chat.jsonl", "licence": "CC-BY-NC-4.0", "origin": "a test"}
    data["artifacts"]["chats"] = {"stage": "conversations", "files": [file]}
    with pytest.raises(RequestError, match=r"'chat\.jsonl' \(CC-BY-NC-4\.0\) of 'chats' may not be used"):
        resolve(data, path)
    del data["artifacts"]["chats"]
    (tmp_path / "ids").mkdir()
    data["artifacts"]["tokens2"] |= {"corpus": None, "files": ["ids"], "licence": "GPL-3.0-only", "origin": "a test"}
    with pytest.raises(RequestError, match=r"'ids' \(GPL-3\.0-only\) of 'tokens2' may not be used"):
        resolve(data, path)


def test_without_a_policy_digests_are_as_ever(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    plain = digests(path)
    corpus = next(node for node in load(str(path)).nodes if node.name == "corpus")
    assert "policy" not in corpus.config.identity({}) and "purpose" not in corpus.config.identity({})
    ruled = digests(path, "open")
    assert ruled["pages"] == plain["pages"]
    assert {name for name in plain if plain[name] != ruled[name]} == set(plain) - {"pages", "pages2"}


def test_only_what_decides_on_documents_defines_a_corpus(tmp_path: Path) -> None:
    rules = {"default": "never", "rules": [{"use": "train", "licences": ["permissive"]}]}
    path = recipe(tmp_path, policy="house.yaml")
    found = []
    for more in ({}, {"description": "of our house", "signals": {"recheck_within": "1 days"}}, {"default": "evaluate"}):
        (tmp_path / "house.yaml").write_text(yaml.safe_dump({**rules, **more}))
        found.append(digests(path)["corpus"])
    assert found[0] == found[1] != found[2]


def test_a_resolved_recipe_says_its_policy_again(tmp_path: Path) -> None:
    path = recipe(tmp_path, policy="open")
    nodes = load(str(path)).nodes
    again = resolve({"name": "small", "artifacts": entries(nodes)}, path)
    assert [node.digest for node in again.nodes] == [node.digest for node in nodes]


def test_the_policy_of_the_command_line_takes_the_place_of_the_recipes(tmp_path: Path) -> None:
    path = recipe(tmp_path, "CC-BY-NC-4.0", policy="open")
    assert load(str(path), policy="research").policy.name == "research"  # type: ignore[union-attr]
    assert "no policy 'opne'" in refused(path, "opne")
    assert json_schema()["properties"]["policy"]["type"] == "string"


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("CC-BY-4", "unknown SPDX licence id 'CC-BY-4'; did you mean 'CC-BY-4.0'?"),
        ("public domain", "LicenseRef-NAME"),
        ("MIT AND", "is not an SPDX expression"),
        ("   ", "must say something"),
    ],
)
def test_licences_of_sources_are_spdx(tmp_path: Path, licence: str, told: str) -> None:
    said = refused(recipe(tmp_path, licence))
    assert told in said and "artifact 'pages'" in said


def test_licences_are_kept_in_their_normal_form_and_renamed_ones_are_noted(tmp_path: Path) -> None:
    found = load(str(recipe(tmp_path, "mit or gpl-2.0")))
    assert found.nodes[0].config.files[0].licence == "GPL-2.0-only OR MIT"  # type: ignore[attr-defined]
    assert found.notes == ("GPL-2.0 is called GPL-2.0-only now",)
    assert digests(recipe(tmp_path, "mit or gpl-2.0")) == digests(recipe(tmp_path, "GPL-2.0-only OR MIT"))


NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def crawled(finished: object) -> Record:
    return record("pages", name="site", digest="5" * 64, metrics={"crawl": {"finished": finished}})


@pytest.mark.parametrize(
    ("finished", "checked", "fine"),
    [
        ("2026-02-20T00:00:00+00:00", None, True),
        ("2026-01-31T00:00:00Z", None, True),
        ("2026-01-29T23:00:00+00:00", None, False),
        ("2025-01-01T00:00:00", "2026-02-27T00:00:00+00:00", True),
        ("2025-01-01T00:00:00", "2025-02-27T00:00:00+00:00", False),
        ("2025-01-01T00:00:00", "2027-02-27T00:00:00+00:00", False),  # the future is not to be trusted
        (None, None, False),
        ("yesterday", None, False),
    ],
)
def test_signals_must_be_fresh(tmp_path: Path, finished: object, checked: str | None, fine: bool) -> None:
    policy = Policy.parse({"name": "p", "default": "train", "signals": {"recheck_within": "30 days"}}, "policy")
    (tmp_path / CHECKS).parent.mkdir()
    rows = [{"pages": "6" * 64, "at": "2026-02-28T00:00:00+00:00"}, {"pages": "5" * 64, "at": checked}]
    lines = [json.dumps(row) for row in rows if row["at"]]
    (tmp_path / CHECKS).write_text("\n".join(["no json", "[]", "{}", *lines]) + "\n")
    pages = [record("pages", metrics={"pages": 3}), crawled(finished)]
    if fine:
        require_fresh(policy, pages, tmp_path, NOW)
        return
    with pytest.raises(
        RequestError, match=r"at most 30 days old, and those of 'site' were last looked at .*recheck 5555"
    ):
        require_fresh(policy, pages, tmp_path, NOW)


def test_without_a_word_on_signals_nothing_is_asked(tmp_path: Path) -> None:
    require_fresh(Policy.load("open"), [crawled(None)], tmp_path, NOW)
