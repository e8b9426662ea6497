"""Stages adopt and extend: a tokenizer of others in a recipe, and a model that gets a larger vocabulary."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from corpora import corpus, document
from trained import train_bpe

from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import DataError, GroundupError, RequestError
from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.exchange import huggingface
from groundup.model.transformer import Transformer
from groundup.stages.tokenize import adopt as adopt_stage
from groundup.stages.tokenize import extend as extend_stage
from groundup.stages.tokenize.adopt_config import AdoptConfig
from groundup.stages.tokenize.extend import extend_model, window_losses
from groundup.stages.tokenize.extend_config import ExtendConfig
from groundup.stages.tokenize.new_rows import extended
from groundup.text.adopt.adopt import Adopted, Choices, read, with_tokens
from groundup.text.adopt.description import added_token
from groundup.text.adopt.extension import NewEntry, new_entries
from groundup.text.tokenizer import Tokenizer

TEXT = "the old house on the hill was empty and the winds went through its rooms all night"
YORUBA = "ilé àtijọ́ tó wà lórí òkè náà ṣófo àtijọ́ lórí òkè"
TERMS = {"licence": "MIT", "origin": "trained in this test"}


def task(folder: Path, inputs: dict[str, Artifact], files: dict[str, Path] | None = None) -> Task:
    for name in ("payload", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    found = {name: (artifact,) for name, artifact in inputs.items()}
    return Task("t", "d" * 64, found, files or {}, folder / "payload", folder / "scratch", Silent())


def artifact(folder: Path, kind: str) -> Artifact:
    make: Any = Record.model_construct
    return Artifact(folder, make(name=kind, kind=kind, digest="e" * 64, metrics={}, files={}))


def adopted(folder: Path, files: dict[str, Path], inputs: dict[str, Artifact] | None = None, **fields: Any) -> Outcome:
    terms = TERMS if files else {}
    config = AdoptConfig.parse({"files": list(files), **terms, **fields}, "artifact 't'")
    return config.run(task(folder, inputs or {}, files))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe([TEXT] * 3, 300)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A tiny model of random weights, with rows behind its tokenizer's entries as rounding up leaves them."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    model = Transformer(ModelConfig.from_depth(1, 320, 64))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    start, pad = tokenizer.eos_id, tokenizer.pad_id
    huggingface.save(model, folder, bos_id=start, pad_id=pad, stop_ids=tokenizer.stop_ids)
    tokenizer.save(folder, 64)
    return folder


# -- adopt ---------------------------------------------------------------------------------------------------------


def test_adopts_a_file_with_its_terms_and_a_check(tmp_path: Path) -> None:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT] * 5), model_writer=out, vocab_size=330, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    path = tmp_path / "small.model"
    path.write_bytes(out.getvalue())
    outcome = adopted(tmp_path / "t", {"small.model": path}, add_tokens=["<|im_start|>", "<|im_end|>"])
    made = Tokenizer.load(tmp_path / "t" / "payload")
    processor = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    assert made.encode(TEXT + YORUBA) == processor.encode(TEXT + YORUBA)
    size = processor.get_piece_size()
    assert outcome.metrics["vocab_size"] == made.vocab_size == size + 2
    assert outcome.metrics["entries_before"] == size and outcome.metrics["self_check"]["equal"] >= 16
    (source,) = outcome.terms.sources
    assert (source.licence, source.origin) == ("MIT", "trained in this test")
    assert outcome.metrics["originals"] == {"small.model": source.sha256}
    assert (made.special_tokens["<|im_end|>"], made.roles.turn_end) == (size + 1, "<|im_end|>")


def test_a_difference_from_the_original_stops_it(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.save(tmp_path)

    def wrong(paths: list[Path], choices: Choices) -> Adopted:
        return replace(read(paths, choices), original=lambda text: [1])

    monkeypatch.setattr(adopt_stage, "read", wrong)
    with pytest.raises(DataError, match="other ids for the test string 0"):
        adopted(tmp_path / "t", {"f": tmp_path / "tokenizer.json"})


def test_tokens_that_text_makes_are_told_and_can_be_hidden(tmp_path: Path, tokenizer: Tokenizer) -> None:
    described = tokenizer.describe()
    for number, name in enumerate(["<think>", "<user>"]):
        described["added_tokens"].append(added_token(tokenizer.vocab_size + number, name, special=False))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(described))
    template = tmp_path / "chat_template.jinja"
    template.write_text("{% for m in messages %}<user>{{ m.content }}{% endfor %}")
    source = corpus(tmp_path / "c", [document(TEXT, 1), document(TEXT, 2, split="held_out")])
    outcome = adopted(tmp_path / "t", {"f": path}, {"corpus": source}, corpus="c")
    assert outcome.metrics["open_tokens"] == ["<think>", "<user>"]
    assert outcome.metrics["open_tokens_in_template"] == ["<user>"]
    hostile = [{"role": "user", "content": "<user>"}]
    faked = Tokenizer.load(tmp_path / "t" / "payload").encode_chat(hostile, add_generation_prompt=True)
    assert faked.ids == [tokenizer.vocab_size + 1] * 2
    # With a corpus and nothing to learn, it is measured.
    assert outcome.metrics["bytes_per_token"] > 1 and "compared" not in outcome.metrics
    hidden = adopted(tmp_path / "h", {"f": path}, special_tokens=["<user>"])
    assert hidden.metrics["open_tokens"] == ["<think>"] and hidden.metrics["open_tokens_in_template"] == []
    assert "bytes_per_token" not in hidden.metrics
    honest = Tokenizer.load(tmp_path / "h" / "payload").encode_chat(hostile, add_generation_prompt=True)
    assert honest.ids.count(tokenizer.vocab_size + 1) == 1 and len(honest.ids) > 2


def test_learns_pieces_from_a_corpus_behind_the_old_ones(tmp_path: Path, base: Path, tokenizer: Tokenizer) -> None:
    source = corpus(
        tmp_path / "c", [document(YORUBA, n) for n in range(4)] + [document(YORUBA + TEXT, 9, split="held_out")]
    )
    inputs = {"tokenizer": artifact(base, "model"), "corpus": source}
    outcome = adopted(
        tmp_path / "t", {}, inputs, tokenizer="base", corpus="c", extra_pieces=20, add_tokens=["<|tool|>"]
    )
    made = Tokenizer.load(tmp_path / "t" / "payload")
    assert made.vocab_size == tokenizer.vocab_size + 21 and outcome.metrics["entries_before"] == tokenizer.vocab_size
    assert made.encode(TEXT) == tokenizer.encode(TEXT)
    assert len(made.encode(YORUBA)) < len(tokenizer.encode(YORUBA))
    assert made.decode(made.encode(YORUBA)) == YORUBA
    assert "<|tool|>" in made.special_tokens and len(new_entries(tokenizer, made)) == 21
    # The report measures it on held-out text, beside what it was.
    assert outcome.metrics["bytes_per_token"] > outcome.metrics["compared"]["before the new pieces"]
    counted = list((tmp_path / "t" / "scratch").rglob("words.parquet"))
    assert counted, "words are counted on disk"
    again = tmp_path / "again"
    adopted(again, {}, inputs, tokenizer="base", corpus="c", extra_pieces=20, add_tokens=["<|tool|>"])
    name = "payload/tokenizer.json"
    assert (again / name).read_bytes() == (tmp_path / "t" / name).read_bytes()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "name what to start from"),
        ({"files": ["a"], "tokenizer": "b"}, "name what to start from"),
        ({"files": ["a"]}, "'licence' and 'origin'"),
        ({"files": ["a"], "licence": " ", "origin": "x"}, "'licence' and 'origin'"),
        ({"tokenizer": "b"}, "nothing to add"),
        ({"tokenizer": "b", "split": "gpt2", "add_tokens": ["<x>"]}, "'split' goes with 'files'"),
        ({"tokenizer": "b", "extra_pieces": 5}, "learned from a 'corpus'"),
        ({"tokenizer": "b", "corpus": "c"}, "nothing to add"),
        ({"tokenizer": "b", "add_tokens": ["<x>"], "workers": 0}, "workers"),
    ],
)
def test_recipes_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        AdoptConfig.parse(fields, "artifact 't'")


def test_an_existing_token_is_not_new(tmp_path: Path, base: Path) -> None:
    with pytest.raises(RequestError, match="exists already") as caught:
        adopted(tmp_path, {}, {"tokenizer": artifact(base, "model")}, tokenizer="base", add_tokens=["<|endoftext|>"])
    assert "\n" not in str(caught.value)


# -- extend --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bigger(tmp_path_factory: pytest.TempPathFactory, base: Path, tokenizer: Tokenizer) -> tuple[Path, Outcome]:
    """The model with 30 more pieces and two special tokens, more than its spare rows hold."""
    folder = tmp_path_factory.mktemp("bigger")
    source = corpus(folder / "c", [document(YORUBA, n) for n in range(4)] + [document(TEXT, 9, split="held_out")])
    inputs = {"tokenizer": artifact(base, "model"), "corpus": source}
    adopted(folder / "t", {}, inputs, tokenizer="b", corpus="c", extra_pieces=30, add_tokens=["<|tool|>", "<|more|>"])
    config = ExtendConfig.parse({"model": "base", "tokenizer": "t", "corpus": "c"}, "artifact 'bigger'")
    inputs = {"model": artifact(base, "model"), "tokenizer": artifact(folder / "t" / "payload", "tokenizer")}
    outcome = config.run(task(folder / "m", {**inputs, "corpus": source}))
    return folder / "m" / "payload", outcome


def logits(model: Transformer, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model.logits(model(torch.tensor([ids])))[0]


def test_scores_of_old_ids_are_what_they_were(base: Path, bigger: tuple[Path, Outcome], tokenizer: Tokenizer) -> None:
    before, after = huggingface.load(base), huggingface.load(bigger[0])
    old, ids = tokenizer.vocab_size, tokenizer.encode(TEXT)
    assert after.config.vocab_size == old + 32 > before.config.vocab_size
    assert torch.equal(after.embed_tokens.weight[:old], before.embed_tokens.weight[:old])
    # The product with a larger matrix may be summed in another order.
    torch.testing.assert_close(logits(after, ids)[:, :old], logits(before, ids)[:, :old], rtol=1e-6, atol=1e-6)


def test_new_rows_are_means_of_their_pieces(base: Path, bigger: tuple[Path, Outcome], tokenizer: Tokenizer) -> None:
    new = Tokenizer.load(bigger[0])
    before, after = huggingface.load(base), huggingface.load(bigger[0])
    known = before.embed_tokens.weight[: tokenizer.vocab_size].double()
    pieces = [entry for entry in new_entries(tokenizer, new) if not entry.special]
    special = [entry for entry in new_entries(tokenizer, new) if entry.special]
    assert (len(pieces), len(special)) == (30, 2)
    for entry in pieces:
        assert len(entry.pieces) > 1
        expected = torch.stack([known[piece] for piece in entry.pieces]).mean(0).float()
        assert torch.equal(after.embed_tokens.weight[entry.id], expected)
    rows = after.embed_tokens.weight[[entry.id for entry in special]].double()
    assert not torch.equal(rows[0], rows[1])
    assert ((rows - known.mean(0)).abs() < 0.06 * known.std(0)).all()


def test_perplexity_is_measured_and_explained(bigger: tuple[Path, Outcome]) -> None:
    metrics = bigger[1].metrics
    before, after = metrics["perplexity_before"], metrics["perplexity_after"]
    assert metrics["perplexity_after_within_old"] == pytest.approx(before, rel=1e-5)
    assert before < after < before * 1.5
    assert (metrics["new_pieces"], metrics["new_special_tokens"]) == (30, 2)


def test_transformers_loads_the_larger_model(bigger: tuple[Path, Outcome]) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(bigger[0])
    reader = transformers.AutoTokenizer.from_pretrained(bigger[0])
    new = Tokenizer.load(bigger[0])
    ids = new.encode(YORUBA + TEXT)[:60]
    assert reader(YORUBA + TEXT)["input_ids"][:60] == ids and max(ids) >= new.vocab_size - 30
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(logits(huggingface.load(bigger[0]), ids), expected.float(), rtol=1e-4, atol=1e-4)


def test_a_folder_from_outside_brings_its_terms(tmp_path: Path, base: Path, tokenizer: Tokenizer) -> None:
    with_tokens(tokenizer, ["<|tool|>"]).save(tmp_path / "new")
    config = ExtendConfig.parse({"folder": "b", "tokenizer": "t", **TERMS}, "artifact 'bigger'")
    inputs = {"tokenizer": artifact(tmp_path / "new", "tokenizer")}
    outcome = config.run(task(tmp_path / "m", inputs, {"b": base}))
    assert outcome.terms.sources[0].licence == "MIT" and len(outcome.terms.sources[0].sha256) == 64
    # The new entry takes one of the rows that were there.
    assert huggingface.load(tmp_path / "m" / "payload").config.vocab_size == 320


def test_a_folder_that_others_wrote_has_its_tokenizer_adopted(tmp_path: Path, base: Path, tokenizer: Tokenizer) -> None:
    shutil.copytree(base, tmp_path / "theirs")
    (tmp_path / "theirs" / "chat_template.jinja").unlink()  # base models have none
    adopted(tmp_path / "t", {"theirs": tmp_path / "theirs"}, add_tokens=["<|tool|>"])
    config = ExtendConfig.parse({"folder": "theirs", "tokenizer": "t", **TERMS}, "artifact 'bigger'")
    inputs = {"tokenizer": artifact(tmp_path / "t" / "payload", "tokenizer")}
    outcome = config.run(task(tmp_path / "m", inputs, {"theirs": tmp_path / "theirs"}))
    assert outcome.metrics["new_special_tokens"] == 1 and outcome.metrics["entries_before"] == tokenizer.vocab_size


def refused(folder: Path, base: Path, new: Tokenizer, message: str) -> None:
    new.save(folder / "new")
    config = ExtendConfig.parse({"model": "b", "tokenizer": "t"}, "artifact 'bigger'")
    inputs = {"model": artifact(base, "model"), "tokenizer": artifact(folder / "new", "tokenizer")}
    with pytest.raises(GroundupError, match=message) as caught:
        config.run(task(folder / "m", inputs))
    assert "\n" not in str(caught.value)
    assert not list((folder / "m" / "payload").iterdir())


def test_what_is_no_extension_is_refused(tmp_path: Path, base: Path, tokenizer: Tokenizer) -> None:
    described = with_tokens(tokenizer, ["<|tool|>"]).describe()

    def changed(**parts: Any) -> Tokenizer:
        return Tokenizer.parse({**described, **parts}, tokenizer.template.source, tokenizer.roles)

    refused(tmp_path / "same", base, tokenizer, "adds no entries")
    refused(tmp_path / "other", base, train_bpe([YORUBA] * 9, 300), r"no extension: id \d+ was")
    refused(tmp_path / "nfc", base, changed(normalizer={"type": "NFC"}), "their normalizer differs")
    vocab = dict(described["model"]["vocab"])
    names = {index: name for name, index in vocab.items()}
    last = len(vocab) - 1
    vocab[names[last]], vocab[names[last - 1]] = last - 1, last
    refused(tmp_path / "swap", base, changed(model={**described["model"], "vocab": vocab}), f"id {last - 1} was")
    merges = described["model"]["merges"]
    reordered = changed(model={**described["model"], "merges": [*merges[1:], merges[0]]})
    refused(tmp_path / "merges", base, reordered, "merges")


def test_untied_output_rows_and_rows_that_belong_to_nobody() -> None:
    table = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    entries = [NewEntry(10, "ab", False, (3, 3, 5)), NewEntry(11, "<x>", True, ())]
    made = extended(table, 10, 14, entries, 0.0, 1)
    mean = table[:10].double().mean(0).float()
    assert torch.equal(made[:10], table[:10])
    torch.testing.assert_close(made[10], (2 * table[3] + table[5]) / 3)
    assert all(torch.equal(made[row], mean) for row in (11, 12, 13))
    assert torch.equal(extended(table, 10, 14, entries, 0.1, 1), extended(table, 10, 14, entries, 0.1, 1))
    assert not torch.equal(extended(table, 10, 14, entries, 0.1, 1), extended(table, 10, 14, entries, 0.1, 2))


def test_losses_of_long_texts_are_those_of_the_whole(base: Path, bigger: tuple[Path, Outcome]) -> None:
    """Scores are made for a part of the tokens at a time."""
    before, after = huggingface.load(base).eval(), huggingface.load(bigger[0]).eval()
    old = Tokenizer.load(base).vocab_size
    ids = torch.arange(60) % old
    whole = window_losses(before, after, old, ids)
    assert whole.shape == (3, 59)
    for at_once in (1, 7, 58):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(extend_stage, "_AT_ONCE", at_once)
            torch.testing.assert_close(window_losses(before, after, old, ids), whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_both_tables_grow(tied: bool) -> None:
    shape = ModelConfig.from_depth(1, 64, 32).model_copy(update={"tie_embeddings": tied})
    torch.manual_seed(0)
    model = Transformer(shape)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    after = extend_model(model, 60, 80, [NewEntry(60 + n, str(n), False, (n, n + 1)) for n in range(20)], 0.01, 1)
    assert (after.lm_head is None) == tied
    losses = window_losses(model, after, 60, torch.arange(30))
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-5, atol=1e-5)
    assert (losses[1] > losses[2]).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokenizer": "t"}, "name what to start from"),
        ({"tokenizer": "t", "model": "m", "folder": "f"}, "name what to start from"),
        ({"tokenizer": "t", "folder": "f"}, "'licence' and 'origin'"),
        ({"tokenizer": "t", "model": "m", "licence": "MIT"}, "go with 'folder'"),
        ({"tokenizer": "t", "model": "m", "noise": -1}, "noise"),
    ],
)
def test_extensions_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ExtendConfig.parse(fields, "artifact 't'")
