"""Held-out documents: reading them, the compressor, counts by document, and what the sentences claim."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from store_task import corpus, record, run_stage
from trained import SPECIAL_TOKENS

from groundup.artifact.record import InputLink
from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.stages.evaluate.heldout import HeldOut, encode, ngram_bits, read_held_out, xz_bits
from groundup.stages.evaluate.models import check_encoding
from groundup.stages.evaluate.ngram import NgramModel
from groundup.stages.evaluate.scores import (
    XZ,
    Baselines,
    Findings,
    Item,
    Measured,
    assemble,
    compare_bits,
    compare_items,
    rounded,
)
from groundup.stages.evaluate.verdict import against_chance, bits_words, can_and_cannot
from groundup.text import learned
from groundup.text.document import CORPUS, write_shards
from groundup.text.store.store import TokenStore

NGRAM = "kneser_ney_5gram"


def held_out(count: int) -> HeldOut:
    texts = tuple(
        f"Tale {number}: the fox ran to the sea — über den See. " * (1 + number % 4) for number in range(count)
    )
    return HeldOut(tuple("ab"[number % 2] for number in range(count)), texts, ("eng_Latn",) * count)


def test_documents_are_the_ids_that_the_models_were_trained_on(tmp_path: Path) -> None:
    """Language tokens too, which a store that was made with them has before each text."""
    rows = [
        {"id": f"{n:032x}", "text": f"Tale {n}: the fox ran to the sea.", "source": "s",
         "language": ("eng_Latn", "deu_Latn")[n % 2], "split": "held_out" if n % 3 == 0 else "train"}
        for n in range(30)
    ]  # fmt: skip
    source = corpus(tmp_path, rows)
    tokenizer = learned.train_bpe(held_out(20).texts, 300, (*SPECIAL_TOKENS, "<|deu_Latn|>"))
    for leads in (False, True):
        payload, _ = run_stage(tmp_path / str(leads), source, tokenizer, language_tokens=leads)
        link = InputLink(name="corpus", kind="corpus", digest=source.record.digest)
        made = record("tokens", inputs={"corpus": [link]}, config={"language_tokens": leads})
        tokens, store = Artifact(payload, made), TokenStore.open(payload, "held_out")
        documents = encode(read_held_out(source.path), tokenizer, language_tokens=leads)
        assert documents == [store.document(number).tolist() for number in range(10)]
        assert [ids[0] == tokenizer.special_tokens["<|deu_Latn|>"] for ids in documents] == [False, leads] * 5
        check_encoding(documents, source, tokens)
        with pytest.raises(DataError, match="other ids than the models' tokenizer"):
            check_encoding(encode(read_held_out(source.path), tokenizer, language_tokens=not leads), source, tokens)


def test_reads_only_the_held_out_split_in_order(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "text": f"text {n} é", "source": "s", "record": "", "url": None, "licence": "CC0",
         "language": "eng_Latn", "language_score": 1.0, "split": "held_out" if n % 3 == 0 else "train", "chars": 8}
        for n in range(10)
    ]  # fmt: skip
    write_shards(tmp_path / "two", "corpus", CORPUS, rows)
    found = read_held_out(tmp_path / "two")
    assert found.texts == ("text 0 é", "text 3 é", "text 6 é", "text 9 é")
    assert found.bytes.tolist() == [9.0] * 4
    write_shards(tmp_path / "one", "corpus", CORPUS, [row for row in rows if row["split"] == "train"])
    with pytest.raises(DataError, match="raise 'held_out' of its curate stage"):
        read_held_out(tmp_path / "one")


@pytest.mark.skipif(shutil.which("xz") is None, reason="the xz program is not installed")
def test_xz_equals_the_program(tmp_path: Path) -> None:
    documents = held_out(40)
    file = tmp_path / "all"
    file.write_bytes(b"\0".join(text.encode() for text in documents.texts))
    packed = subprocess.run(["xz", "-9e", "-c", "-T1", str(file)], capture_output=True, check=True).stdout
    assert xz_bits(documents) == 8 * len(packed)


def test_ngram_bits_belong_to_their_documents() -> None:
    documents = [[3, 4, 5, 0], [0], [6, 3, 4, 5, 6, 0]]
    model = NgramModel.fit(np.asarray([3, 4, 5, 6, 0, 3, 4, 6, 0] * 5), 8, 0)
    found = ngram_bits(model, documents)
    for bits, document in zip(found, documents, strict=True):
        assert bits == pytest.approx(-model.log_probs(np.asarray(document)).sum() / np.log(2))


# -- verdicts ---------------------------------------------------------------------------------------------------


def measured(name: str, stage: str, bits: np.ndarray, right: int) -> Measured:
    items = [Item(str(n), (0.0, -1.0), 0, 0, {"acc": n < right}, "") for n in range(200)]
    return Measured(name, stage, "0" * 64, 1_500_000, 2_000_000, [], bits, {"quiz": items})


def findings(base: float, chat: float, ngram: float, base_right: int = 100, chat_right: int = 100) -> Findings:
    documents = held_out(60)
    noise = 1 + 0.05 * np.random.default_rng(1).standard_normal(60)
    size = documents.bytes * noise
    models = [measured("base", "pretrain", size * base, base_right), measured("chat", "sft", size * chat, chat_right)]
    other = 1 + 0.01 * np.random.default_rng(2).standard_normal(60)
    baselines = Baselines(float(documents.bytes.sum()) * 2.5, size * ngram * other, NGRAM, 1_000_000)
    return assemble(models, documents, baselines, 0.95)


def test_paired_bits_see_what_intervals_that_overlap_hide() -> None:
    found = findings(base=1.40, chat=1.41, ngram=1.6)
    one, two = (found.score(name, "bits_per_byte").estimate for name in ("base", "chat"))
    assert one.high > two.low, "the intervals overlap"
    assert found.comparison("bits_per_byte", "base", "chat").verdict == "worse"
    assert found.comparison("bits_per_byte", NGRAM, "base").verdict == "better"
    assert found.comparison("bits_per_byte", XZ, "base").verdict == "better"
    assert found.comparison("bits_per_byte", "base", "chat").difference == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    ("base", "words", "prose"),
    [
        (1.4, "fewer than Kneser-Ney 5-gram (1.496)", "predicts better than Kneser-Ney 5-gram"),
        (1.8, "more than Kneser-Ney 5-gram (1.496)", "a model that only counts predicts better"),
        (2.7, "more than xz -9e (2.5", "a model that only counts predicts better"),
        (1.5, "no clear difference from Kneser-Ney 5-gram", "can't be told from a model that only counts"),
    ],
)
def test_words_say_which_is_better(base: float, words: str, prose: str) -> None:
    found = findings(base=base, chat=base, ngram=1.5)
    assert words in bits_words(found)
    assert prose in can_and_cannot(found, 4_000_000, 1_000_000)


def test_prose_is_computed_from_the_facts() -> None:
    text = can_and_cannot(findings(1.4, 1.45, 1.6, chat_right=140), 4 << 20, 1_000_000)
    assert "base has 1.5M parameters and learnt from 4.0 MiB of text (1M tokens), gone over 2.0 times." in text
    assert "chat is right on 70 %" in text and "better than guessing" in text
    assert "learning to answer cost some" in text and "take no statement" in text
    text = can_and_cannot(findings(1.4, 1.3, 1.6), 5 * 10**9, 1_000_000)
    assert "cost none of" in text and "take no statement" not in text and "not to be told from guessing" in text
    assert "changed nothing that can be told" in can_and_cannot(findings(1.4, 1.4, 1.6), 4 << 20, 1_000_000)


def test_chance_is_beaten_only_with_the_whole_interval() -> None:
    found = findings(1.4, 1.4, 1.6, base_right=113, chat_right=115)
    (quiz,) = found.benchmarks
    assert quiz.chance == 0.5
    assert "not to be told from guessing" in against_chance(found, found.models[0], quiz)
    assert against_chance(found, found.models[1], quiz).endswith("better than guessing")
    worse = findings(1.4, 1.4, 1.6, base_right=60)
    assert against_chance(worse, worse.models[0], quiz).endswith("worse than guessing")


def test_items_are_compared_in_pairs() -> None:
    def answers(right: list[bool]) -> list[Item]:
        return [Item(str(n), (0.0, -1.0), 0, 0, {"acc": one}, "") for n, one in enumerate(right)]

    shared = [True] * 50 + [False] * 50
    better = compare_items("a", "b", "quiz", answers(shared), answers([True] * 58 + [False] * 42), 0.95)
    assert (better.verdict, better.difference) == ("better", pytest.approx(0.08))
    mixed = compare_items("a", "b", "quiz", answers(shared), answers([False] * 8 + [True] * 50 + [False] * 42), 0.95)
    assert (mixed.verdict, mixed.p_value) == ("can't tell", 1.0)
    same = compare_items("a", "b", "quiz", answers(shared), answers(shared), 0.95)
    assert (same.verdict, same.p_value) == ("can't tell", 1.0)


def test_one_document_decides_nothing() -> None:
    documents = held_out(1)
    found = compare_bits("a", "b", np.asarray([9.0]), np.asarray([1.0]), documents, 0.95)
    assert found.verdict == "can't tell"
    assert rounded(found)["smallest_visible"] is None
