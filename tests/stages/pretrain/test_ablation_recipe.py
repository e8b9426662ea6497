"""``groundup ablate`` before anything runs: variants from overrides, the recipe that it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from groundup.artifact.stage import Node
from groundup.base.errors import RequestError
from groundup.derive import ablate_of
from groundup.recipe import load
from groundup.stages.pretrain.ablation.config import AblateConfig
from groundup.stages.pretrain.ablation.variants import read_variants
from groundup.stages.pretrain.config import PretrainConfig
from groundup.train.plan.estimate import Estimate, assess_recipe
from groundup.train.plan.machine import find_machine

RECIPE = """
name: tiny
artifacts:
  pages: {stage: source, files: [{path: pages.txt, licence: CC0-1.0, origin: made here}]}
  more: {stage: source, files: [{path: more.txt, licence: CC0-1.0, origin: made here}]}
  corpus: {stage: curate, pages: [pages]}
  extra: {stage: curate, pages: [more]}
  tokenizer: {stage: tokenizer, corpus: corpus, vocab_size: 512}
  other_words: {stage: tokenizer, corpus: extra, vocab_size: 512}
  tokens: {stage: tokens, corpus: corpus, tokenizer: tokenizer, max_seq_len: 64}
  extra_tokens: {stage: tokens, corpus: extra, tokenizer: tokenizer, max_seq_len: 64}
  base: {stage: pretrain, tokens: tokens, tokenizer: tokenizer, depth: 8, hidden_size: 256, horizon: 9M tokens, seed: 5}
  bundle: {stage: bundle, model: base}
"""


@pytest.fixture(name="recipe")
def _recipe(tmp_path: Path) -> Path:
    (tmp_path / "pages.txt").write_text("Once upon a time.")
    (tmp_path / "more.txt").write_text("And then they slept.")
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def written(recipe: Path, variants: dict[str, list[str]], *overrides: str, **settings: Any) -> dict[str, Node]:
    path = ablate_of(str(recipe), overrides, "base", recipe.parent / "runs", variants, **settings)
    assert yaml.safe_load(path.read_text())["name"] == path.parent.name == "tiny-base-ablation"
    return {node.name: node for node in load(str(path)).nodes}


def test_a_variant_has_its_own_copies_of_what_it_changes(recipe: Path) -> None:
    before = {node.name: node.digest for node in load(str(recipe)).nodes}
    nodes = written(
        recipe,
        {
            "plain": ["corpus.filters=[]"],
            "order": ["tokens.seed=2"],
            "both": ["base.tokens=[tokens, extra_tokens]", "base.weights=[3, 1]", "tokens.seed=3"],
        },
    )
    assert set(nodes) == {
        "pages", "more", "corpus", "extra", "tokenizer", "tokens", "extra_tokens", "base-ablation",
        "corpus-plain", "tokens-plain", "tokens-order", "tokens-both",
    }  # fmt: skip
    for name in set(nodes) & set(before):
        assert nodes[name].digest == before[name], f"{name} is another one than the recipe's"
    config = nodes["base-ablation"].config
    assert isinstance(config, AblateConfig)
    assert config.variants == {
        "plain": ("tokens-plain",), "order": ("tokens-order",), "both": ("tokens-both", "extra_tokens"),
    }  # fmt: skip
    assert config.variant_weights == {"both": (3.0, 1.0)}
    assert nodes["tokens-plain"].input("corpus") is nodes["corpus-plain"]
    # The tokenizer would have been trained on the changed corpus; it stays the baseline's.
    assert nodes["tokens-plain"].input("tokenizer") is nodes["tokenizer"]
    assert nodes["tokens-order"].input("corpus") is nodes["corpus"]


MIXED = """
  mix: {stage: mix, corpora: [corpus, extra], by: corpus, shares: {corpus: 0.5}, caps: {extra: 2}}
  tokens: {stage: tokens, corpus: mix, tokenizer: tokenizer, max_seq_len: 64}
"""


def test_a_mixture_that_names_its_corpora_follows_their_copies(recipe: Path) -> None:
    old = "  tokens: {stage: tokens, corpus: corpus, tokenizer: tokenizer, max_seq_len: 64}\n"
    recipe.write_text(RECIPE.replace(old, MIXED[1:]))
    nodes = written(recipe, {"plain": ["corpus.filters=[]"], "flat": ["mix.temperature=1.0e+6"]})
    mixed, flat = nodes["mix-plain"].config, nodes["mix-flat"].config
    assert (mixed.corpora, mixed.shares, mixed.caps) == (("corpus-plain", "extra"), {"corpus-plain": 0.5}, {"extra": 2})  # type: ignore[attr-defined]
    assert flat.shares == {"corpus": 0.5}  # type: ignore[attr-defined]
    assert nodes["tokens-plain"].input("corpus") is nodes["mix-plain"]


def test_the_small_model_follows_from_the_large_one(recipe: Path) -> None:
    variants = {"plain": ["corpus.filters=[]"]}
    small = written(recipe, variants)["base-ablation"].config
    assert isinstance(small, AblateConfig)
    assert (small.depth, small.hidden_size, str(small.horizon), small.seed, small.seeds) == (2, 64, "1M tokens", 5, 3)
    own = written(recipe, variants, depth=8, horizon="300 steps", seeds=2, confidence=0.9)["base-ablation"].config
    assert isinstance(own, AblateConfig)
    assert (own.depth, own.hidden_size, str(own.horizon), own.seeds, own.confidence) == (8, 256, "300 steps", 2, 0.9)
    tiny = written(recipe, variants, "base.depth=1", "base.horizon=5k tokens")["base-ablation"].config
    assert isinstance(tiny, AblateConfig) and (tiny.depth, str(tiny.horizon)) == (1, "5000 tokens")
    member = own.member("plain", 1)
    assert (member.tokens, member.validation, member.seed, member.stage) == (("tokens-plain",), "tokens", 6, "pretrain")


def test_every_run_of_a_seed_has_the_same_model_and_the_same_seed(recipe: Path) -> None:
    config = written(recipe, {"a": ["corpus.filters=[]"], "b": ["tokens.seed=2"]}, seeds=2)["base-ablation"].config
    assert isinstance(config, AblateConfig)
    assert list(config.runs().values()) == [("baseline", 0), ("a", 0), ("b", 0), ("baseline", 1), ("a", 1), ("b", 1)]
    for number in range(2):
        members = [config.member(name, number).model_copy(update={"tokens": ""}) for name in config.names()]
        assert members[0] == members[1] == members[2]
    assert config.member("a", 0).seed != config.member("a", 1).seed


def test_names_and_sizes_of_variants_are_part_of_what_an_ablation_is(recipe: Path) -> None:
    both = written(recipe, {"a": ["corpus.filters=[]"], "b": ["tokens.seed=2"]})["base-ablation"]
    named = written(recipe, {"c": ["corpus.filters=[]"], "b": ["tokens.seed=2"]})["base-ablation"]
    joined = written(recipe, {"a": ["base.tokens=[tokens, extra_tokens]"]})["base-ablation"]
    swapped = written(recipe, {"b": ["corpus.filters=[]"], "a": ["tokens.seed=2"]})["base-ablation"]
    assert len({both.digest, named.digest, joined.digest, swapped.digest}) == 4


def test_a_request_that_is_refused_leaves_the_recipe_of_the_last_one(recipe: Path) -> None:
    written(recipe, PLAIN)
    path = recipe.parent / "runs" / "tiny-base-ablation" / "recipe.yaml"
    before = path.read_bytes()
    with pytest.raises(RequestError, match="the very same data"):
        written(recipe, {"x": ["corpus.workers=3"]})
    assert path.read_bytes() == before


def test_fields_that_came_later_leave_old_digests_as_they_were() -> None:
    config = PretrainConfig(tokens="tokens", tokenizer="tokenizer")
    assert "validation" not in config.identity({})
    assert config.model_copy(update={"validation": "tokens"}).identity({})["validation"] == "tokens"


def test_stores_to_validate_on_count(recipe: Path) -> None:
    def digest(*overrides: str) -> str:
        return {node.name: node.digest for node in load(str(recipe), overrides).nodes}["base"]

    assert len({digest(), digest("base.validation=tokens"), digest("base.validation=[extra_tokens]")}) == 3


def test_a_plan_tells_what_all_runs_cost(recipe: Path) -> None:
    nodes = written(recipe, {"a": ["corpus.filters=[]"], "b": ["tokens.seed=2"]}, seeds=2)
    (found,) = assess_recipe(list(nodes.values()), {}, find_machine("h100")).values()
    assert isinstance(found, Estimate) and found.family is not None and found.family.whole is not None
    assert set(found.family.runs) == {f"{name}-seed{seed}" for name in ("baseline", "a", "b") for seed in (1, 2)}
    assert found.seconds is not None and found.family.whole["seconds"] == pytest.approx(6 * found.seconds)


PLAIN = {"plain": ["corpus.filters=[]"]}


@pytest.mark.parametrize(
    ("variants", "overrides", "settings", "words"),
    [
        ({"x": ["corpse.filters=[]"]}, [], {}, "variant 'x': .*no artifact 'corpse'; did you mean 'corpus'"),
        ({"x": ["corpus.filterz=[]"]}, [], {}, "variant 'x': artifact 'corpus': unknown field 'filterz'"),
        ({"x": ["base.tokens=[tokenz]"]}, [], {}, "no artifact 'tokenz'"),
        ({"x": ["corpus.workers=3"]}, [], {}, "'x' learns from the very same data as 'baseline'"),
        ({"x": ["extra.filters=[]"]}, [], {}, "'x' learns from the very same data as 'baseline'"),
        ({"x": ["corpus.filters=[]"], "y": ["corpus.filters=[]"]}, [], {}, "the very same data as 'x'"),
        ({"x": ["base.weights=[2]"]}, [], {}, "the very same data as 'baseline'"),
        ({"x": ["base.depth=3"]}, [], {}, "changes base.depth: a variant changes what the model reads"),
        ({"x": ["tokenizer.vocab_size=400"]}, [], {}, "changes 'tokenizer': all variants share"),
        ({"x": ["tokens.tokenizer=other_words"]}, [], {}, "made with another tokenizer than 'tokenizer'"),
        ({"x": ["tokens.max_seq_len=32"]}, [], {}, "the rows of 'tokens-x' are not as long as those of 'tokens'"),
        ({"baseline": ["tokens.seed=2"]}, [], {}, "call the variant otherwise"),
        ({"a b": ["tokens.seed=2"]}, [], {}, "needs a name of letters"),
        ({"A": ["tokens.seed=2"], "a": ["tokens.seed=3"]}, [], {}, "hard to tell apart"),
        ({"x": ["base.tokens=[tokens, extra_tokens]", "base.weights=[1]"]}, [], {}, "needs 2 numbers above zero"),
        (PLAIN, [], {"seeds": 1}, "field 'seeds'"),
        (PLAIN, [], {"horizon": "2 epochs"}, "an epoch is another length for each variant"),
        (PLAIN, [], {"horizon": "2 days"}, "needs a number and a unit"),
        (PLAIN, ["base.num_heads=4"], {}, "base.num_heads is set and has no meaning at depth 2.*--depth 8"),
        (PLAIN, ["corpus.held_out=0"], {}, "the corpus of 'tokens' holds no documents out"),
        (PLAIN, ["base.validation=[]"], {}, "names no token store"),
        (PLAIN, ["base.validation=corpus"], {}, "'corpus' is a corpus, expected tokens"),
    ],
)
def test_an_ablation_that_can_not_be_is_refused(
    recipe: Path, variants: dict[str, list[str]], overrides: list[str], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        written(recipe, variants, *overrides, **settings)
    assert "\n" not in str(raised.value)


def test_only_a_pretrained_model_has_variants_and_copies_need_free_names(recipe: Path) -> None:
    for artifact, words in (("corpus", "made by curate; an ablation compares"), ("bass", "did you mean 'base'")):
        with pytest.raises(RequestError, match=words):
            ablate_of(str(recipe), [], artifact, recipe.parent, PLAIN)
    taken = "  tokens-plain: {stage: tokens, corpus: extra, tokenizer: tokenizer, max_seq_len: 64}\n"
    recipe.write_text(RECIPE + taken)
    with pytest.raises(RequestError, match="would make 'tokens-plain', which the recipe has already"):
        written(recipe, PLAIN)
    recipe.write_text(RECIPE.replace("extra_tokens", "tokens-web"))
    both = {"web-2": ["tokens.seed=2"], "2": ["base.tokens=[tokens-web]", "tokens-web.seed=2"]}
    with pytest.raises(RequestError, match="variant '2' would make 'tokens-web-2', which"):
        written(recipe, both)


def test_a_recipe_may_state_an_ablation_by_hand(recipe: Path) -> None:
    text = RECIPE + "  ask: {stage: ablate, tokens: tokens, tokenizer: tokenizer, variants: {extra: extra_tokens}}\n"
    recipe.write_text(text)
    node = {one.name: one for one in load(str(recipe)).nodes}["ask"]
    assert [one.name for one in node.inputs["variants"]] == ["extra_tokens"]
    for more, words in (
        ("variants: {}", "field 'variants'"),
        ("variants: {extra: []}", "names no token store"),
        ("variants: {extra: extra_tokens}, variant_weights: {axtra: [1]}", "axtra, which is no variant"),
        ("variants: {extra: tokens}", "the very same data as 'baseline'"),
        ("variants: {extra: nothing}", "no artifact 'nothing'"),
    ):
        recipe.write_text(text.replace("variants: {extra: extra_tokens}", more))
        with pytest.raises(RequestError, match=words):
            load(str(recipe))


# -- what is typed -------------------------------------------------------------------------------------------------


def test_variants_are_read_from_options_and_files(tmp_path: Path) -> None:
    file = tmp_path / "ideas.yaml"
    file.write_text("one: tokens.seed=2\ntwo:\n  - corpus.filters=[]\n  - mix.size=1 GB\n")
    assert read_variants(["three: a.b=[c, d]  e.f.g=x y z"], file) == {
        "three": ("a.b=[c, d]", "e.f.g=x y z"),
        "one": ("tokens.seed=2",),
        "two": ("corpus.filters=[]", "mix.size=1 GB"),
    }


@pytest.mark.parametrize(
    ("options", "text", "words"),
    [
        ([], None, "an ablation needs a variant"),
        (["corpus.filters=[]"], None, "must look like"),
        (["corpus.files=[{path: x}]"], None, "must look like"),
        (["x:"], None, "changes nothing"),
        (["baseline: a.b=1"], None, "what all variants are compared with"),
        (["x: a.b=1", "x: a.b=2"], None, "'x' is named twice"),
        (["x: a.b=1"], "x: a.b=2", "'x' is named twice"),
        ([], "- a", "must map names to overrides"),
        ([], "x: 3", "'x' must be overrides"),
        ([], "x: [{a: b}]", "'x' must be overrides"),
        ([], "x: [", "not valid YAML"),
        ([], "x: a.b=1\ny: a.b=2\nx: a.b=3", "line 3: 'x' is named twice"),
    ],
)
def test_variants_that_can_not_be_read_are_refused(
    options: list[str], text: str | None, words: str, tmp_path: Path
) -> None:
    file = None
    if text is not None:
        file = tmp_path / "ideas.yaml"
        file.write_text(text)
    with pytest.raises(RequestError, match=words):
        read_variants(options, file)
    with pytest.raises(RequestError, match="does not exist"):
        read_variants([], tmp_path / "missing.yaml")
    with pytest.raises(RequestError, match="can't be read: Is a directory"):
        read_variants([], tmp_path)


def test_the_command_explains_itself() -> None:
    from groundup.cli import app

    done = CliRunner().invoke(app, ["ablate", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0
    for word in (
        "--variant",
        "--variants",
        "--seeds",
        "--depth",
        "--horizon",
        "--confidence",
        "corpus.filters=[]",
        "corpus.filters=[gopher]",
    ):
        assert word in done.output
    assert CliRunner().invoke(app, ["ablate", "quickstart", "base", "--seeds", "1"]).exit_code == 2
