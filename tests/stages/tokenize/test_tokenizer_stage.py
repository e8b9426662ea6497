"""The tokenizer stage: the library's merges whatever the workers, the budget or the kills; weights; special tokens."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from corpora import corpus, document, made, task
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from groundup.base.errors import DataError, RequestError
from groundup.stages.tokenize import corpus_words as module
from groundup.stages.tokenize.choose import Limits
from groundup.stages.tokenize.config import TokenizerConfig
from groundup.stages.tokenize.corpus_words import CorpusWords, corpus_words
from groundup.stages.tokenize.count import CountWords
from groundup.text.adopt.splits import SPLITS
from groundup.text.bpe.learn import learn
from groundup.text.document import COPIES
from groundup.text.gguf_vocabulary import from_metadata, to_metadata
from groundup.text.special import STANDARD
from groundup.text.tokenizer import LLAMA3_SPLIT

ENGLISH = "the old house on the hill was empty, and 1234 winds went through its 17 rooms all night; nobody's there."
YORUBA = "ilé àtijọ́ tó wà lórí òkè náà ṣófo, afẹ́fẹ́ sì ń fẹ́ gba inú yàrá rẹ̀ kọjá ní gbogbo òru."
EVERYTHING = Limits(1 << 60, 1 << 60, 1, 1)


def texts(base: str, number: int, seed: int = 0) -> list[str]:
    draw = random.Random(f"{base}{seed}")
    names = base.split(" ") + ["".join(draw.choices("abcdefgh", k=4)) for _ in range(40)]
    return [" ".join(draw.choices(names, k=25)) + "\n  <|im_end|>" for _ in range(number)]


def rows(number: int = 60) -> list[dict[str, Any]]:
    found = [document(text, place) for place, text in enumerate(texts(ENGLISH, number))]
    return [*found, document(ENGLISH, 999, split="held_out")]


def by_library(
    training: list[str], vocab_size: int, special: tuple[str, ...], min_frequency: int = 0
) -> dict[str, Any]:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(training, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(special),
        initial_alphabet=alphabet, show_progress=False, min_frequency=min_frequency))  # fmt: skip
    described: dict[str, Any] = json.loads(backend.to_str())["model"]
    return described


def counted(folder: Path, source: Any, limits: Limits = EVERYTHING, **fields: Any) -> CorpusWords:
    config = TokenizerConfig.parse({"corpus": "corpus", **fields}, "t")
    return corpus_words(config, task(source, folder), SPLITS["llama3"].pre_tokenizer(), False, limits)


def test_learns_what_the_library_learns(tmp_path: Path) -> None:
    documents = rows()
    tokenizer, outcome = made(corpus(tmp_path / "c", documents), tmp_path / "t", vocab_size=440, min_frequency=2)
    reserved = [f"<|reserved_{n}|>" for n in range(3)]
    reference = by_library([row["text"] for row in documents if row["split"] == "train"], 437, STANDARD, 2)
    model = tokenizer.describe()["model"]
    assert (model["vocab"], model["merges"]) == (reference["vocab"], reference["merges"])
    special = [*STANDARD, *reserved]
    assert list(tokenizer.special_tokens.items()) == list(zip(special, [*range(10), 437, 438, 439], strict=True))
    assert outcome.metrics["words"]["covered"] == 1.0 and outcome.metrics["vocab_size"] == 440
    hostile = tokenizer.encode(" ".join(special))
    assert not set(hostile) & set(tokenizer.special_tokens.values())
    theirs = AutoTokenizer.from_pretrained(tmp_path / "t" / "payload")
    assert len(theirs) == 440 and theirs.convert_tokens_to_ids(special) == list(tokenizer.special_tokens.values())
    assert theirs(ENGLISH, add_special_tokens=False)["input_ids"] == tokenizer.encode(ENGLISH)
    again = from_metadata(to_metadata(tokenizer))
    assert again.special_tokens == tokenizer.special_tokens and again.encode(ENGLISH) == tokenizer.encode(ENGLISH)


def test_same_counts_whatever_the_workers_the_budget_and_the_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several units (a row group has 1,024 rows), two processes, a run a batch, eight partitions."""
    source = corpus(tmp_path / "c", rows(2500))
    whole = counted(tmp_path / "one", source)
    monkeypatch.setattr(module, "WORTH_A_POOL", 0)
    monkeypatch.setattr(module, "PARTITION_BYTES", 100_000)
    monkeypatch.setattr(module, "corpus_units", lambda artifact: real_units(artifact, 1))
    other = counted(tmp_path / "two", source, workers=2)
    tight: Any = CountWords
    monkeypatch.setattr(module, "CountWords", lambda *given: tight(*given, budget=1))
    spilled = counted(tmp_path / "three", source, workers=1)
    for found in (other, spilled):
        assert found.words.equals(whole.words)
        assert (found.bytes, found.found, found.covered) == (whole.bytes, whole.found, 1.0)
    assert len(list((tmp_path / "two" / "scratch" / "jobs").glob("*/run-0.arrow"))) == 3


real_units = module.corpus_units


def test_ray_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    source = corpus(tmp_path / "c", rows(2500))
    alone = made(source, tmp_path / "one", vocab_size=440, workers=1)
    monkeypatch.setattr(module, "WORTH_A_POOL", 0)
    monkeypatch.setattr(module, "corpus_units", lambda artifact: real_units(artifact, 1))
    try:
        spread = made(source, tmp_path / "two", vocab_size=440, workers=2, executor="ray")
    finally:
        ray.shutdown()
    assert spread[0].describe() == alone[0].describe() and spread[1].metrics == alone[1].metrics
    assert len(list((tmp_path / "two" / "scratch" / "jobs").glob("*/run-0.arrow"))) == 3


def test_copies_count_as_often_as_they_are_read(tmp_path: Path) -> None:
    several = [document(text, place, **{COPIES: 1 + place % 3}) for place, text in enumerate(texts(ENGLISH, 30))]
    written_out = [
        document(row["text"], 100 * copy + place) for place, row in enumerate(several) for copy in range(row[COPIES])
    ]
    found = counted(tmp_path / "a", corpus(tmp_path / "m", several))
    reference = counted(tmp_path / "b", corpus(tmp_path / "w", written_out))
    assert found.words.equals(reference.words) and found.bytes == reference.bytes


def test_balance_gives_a_small_language_pieces(tmp_path: Path) -> None:
    documents = [document(text, place) for place, text in enumerate(texts(ENGLISH, 200))]
    documents += [document(text, place, language="yor_Latn") for place, text in enumerate(texts(YORUBA, 6))]
    documents.append(document(YORUBA, 999, language="yor_Latn", split="held_out"))
    source = corpus(tmp_path / "c", documents)
    plain, _ = made(source, tmp_path / "plain", vocab_size=420)
    balanced, outcome = made(source, tmp_path / "balanced", vocab_size=420, balance={"by": "language", "alpha": 0.0})
    assert len(balanced.encode(YORUBA)) < 0.7 * len(plain.encode(YORUBA))
    assert outcome.metrics["counted_for"]["yor_Latn"]["counted_for"] == pytest.approx(0.5, abs=0.01)
    assert outcome.metrics["counted_for"]["yor_Latn"]["share"] < 0.1
    heavier, _ = made(source, tmp_path / "heavier", vocab_size=420, weights={"yor_Latn": 40.0}, min_frequency=2)
    assert len(heavier.encode(YORUBA)) < 0.7 * len(plain.encode(YORUBA))


def test_equal_weights_change_nothing(tmp_path: Path) -> None:
    source = corpus(tmp_path / "c", rows())
    plain, _ = made(source, tmp_path / "a", vocab_size=400, min_frequency=3)
    weighed, _ = made(source, tmp_path / "b", vocab_size=400, min_frequency=3, balance={"alpha": 1.0})
    assert plain.describe() == weighed.describe()


def test_the_most_frequent_words_are_kept(tmp_path: Path) -> None:
    source = corpus(tmp_path / "c", rows())
    whole, part = counted(tmp_path / "a", source), counted(tmp_path / "b", source, Limits(40, 1 << 60, 1, 1))
    assert part.words.num_rows == 40 and part.found == whole.words.num_rows > 40
    assert part.words.column("count").to_pylist() == whole.words.column("count").to_pylist()[:40]
    assert 0.5 < part.covered < 1
    tokenizer, outcome = made(source, tmp_path / "t", vocab_size=300, max_words=40)
    assert outcome.metrics["words"]["learned_from"] == 40
    of_part, of_all = (learn(one.words, 298, special_tokens=STANDARD).model()["merges"] for one in (part, whole))
    assert tokenizer.describe()["model"]["merges"] == of_part != of_all
    with pytest.raises(DataError, match=r"supports only \d+ vocabulary entries of 300; lower vocab_size"):
        made(source, tmp_path / "few", vocab_size=300, max_words=3)


@pytest.mark.parametrize("algorithm", ["sentencepiece-bpe", "unigram"])
def test_sentencepiece(algorithm: str, tmp_path: Path) -> None:
    tokenizer, _ = made(corpus(tmp_path / "c", rows()), tmp_path / "t", vocab_size=350, algorithm=algorithm)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "t" / "payload" / "tokenizer.model"))
    text = ENGLISH + " <|im_end|>\n\t  naïve 猫 "
    assert tokenizer.encode(text) == model.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert all(model.is_control(tokenizer.special_tokens[token]) for token in STANDARD)
    assert len(model) == tokenizer.vocab_size == 350
    assert model.id_to_piece([348, 349]) == ["<|reserved_0|>", "<|reserved_1|>"]
    assert [tokenizer.special_tokens[name] for name in ("<|reserved_0|>", "<|reserved_1|>")] == [348, 349]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "t" / "payload")
    text = ENGLISH + "  \u2581 naïve\n"
    assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
    assert theirs.decode(tokenizer.encode(text)) == tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("fields", "error", "why"),
    [
        ({"special_tokens": ["<|image|>"]}, RequestError, r"<\|image\|> exists already"),
        ({"special_tokens": ["<|eng_Latn|>"], "language_tokens": True}, RequestError, "given twice"),
        ({"special_tokens": ["house"]}, RequestError, r"'house' could be a word of the text; call it <\|house\|>"),
        (
            {"vocab_size": 300, "reserved": 60},
            RequestError,
            "vocab_size is 300, but special tokens and 256 bytes need more than 326",
        ),
        ({"vocab_size": 9000}, DataError, r"supports only \d+ vocabulary entries of 9000; lower vocab_size"),
        ({"weights": {"deu_Latn": 2.0}}, RequestError, "weights name 'deu_Latn'"),
        ({"algorithm": "unigram", "split": "gpt2"}, RequestError, "split is for byte-level BPE"),
        ({"algorithm": "unigram", "min_frequency": 2}, RequestError, "min_frequency is for byte-level BPE"),
        ({"split": "gpt5"}, RequestError, "field 'split'"),
        ({"balance": {"alpha": 1.5}}, RequestError, r"balance.alpha"),
        ({"weights": {"eng_Latn": -1.0}}, RequestError, r"weights.eng_Latn"),
        ({"weights": {"eng_Latn": float("inf")}}, RequestError, r"weights.eng_Latn"),
        ({"vocab_size": 10**12}, DataError, r"supports only \d+ vocabulary entries of 1000000000000"),
        (
            {"algorithm": "sentencepiece-bpe", "vocab_size": 10**12},
            DataError,
            r"supports only \d+ vocabulary entries of 1000000000000",
        ),
        (
            {"algorithm": "unigram", "vocab_size": 10**12},
            DataError,
            r"supports only \d+ vocabulary entries of 1000000000000",
        ),
    ],
)
def test_requests_that_cannot_be_met(fields: dict[str, Any], error: type[Exception], why: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=why) as caught:
        made(corpus(tmp_path / "c", rows()), tmp_path / "t", **{"vocab_size": 400, **fields})
    assert "\n" not in str(caught.value)


def test_no_training_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training text to learn words from"):
        made(corpus(tmp_path / "c", [document(ENGLISH, 1, split="held_out")]), tmp_path / "t", vocab_size=300)


@pytest.mark.parametrize("split", ["gpt2", "cl100k", "o200k", "qwen2"])
def test_other_splits(split: str, tmp_path: Path) -> None:
    tokenizer, _ = made(corpus(tmp_path / "c", rows()), tmp_path / "t", vocab_size=400, split=split)
    described = tokenizer.describe()
    assert described["pre_tokenizer"] == SPLITS[split].pre_tokenizer()
    numbers = {"gpt2": 2, "cl100k": 2, "o200k": 2, "qwen2": 4}  # " 1234" and "1234", by threes, one by one
    cut = [tokenizer.decode([token]) for token in tokenizer.encode("1234")]
    assert len(cut) >= numbers[split] or split == "gpt2"
    assert tokenizer.decode(tokenizer.encode(ENGLISH)) == ENGLISH


def test_language_tokens(tmp_path: Path) -> None:
    documents = [*rows(), *(document(YORUBA, place, language="yor_Latn") for place in range(3))]
    tokenizer, _ = made(
        corpus(tmp_path / "c", documents), tmp_path / "t", vocab_size=400, language_tokens=True, reserved=0
    )
    assert list(tokenizer.special_tokens)[-2:] == ["<|eng_Latn|>", "<|yor_Latn|>"]


SLOW = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from groundup.artifact.stage import Artifact
from groundup.stages.tokenize import corpus_words as module
from groundup.stages.tokenize.count import CountWords
from test_tokenizer_stage import counted, corpus, real_units, rows
import time
class Slow(CountWords):
    def __call__(self, payload, folder):
        found = super().__call__(payload, folder)
        time.sleep(float(sys.argv[3]))
        return found
module.CountWords = Slow
module.corpus_units = lambda artifact: real_units(artifact, 1)
folder = Path(sys.argv[2])
words = counted(folder / "killed", corpus(folder / "c", rows(4000)))
import pyarrow.parquet as pq
pq.write_table(words.words, folder / "words.parquet")
"""


def test_a_kill_loses_only_what_is_under_way(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    command = [sys.executable, "-c", SLOW, str(Path(__file__).parent), str(tmp_path)]
    first = subprocess.Popen([*command, "0.5"], start_new_session=True)
    jobs = tmp_path / "killed" / "scratch" / "jobs"
    deadline = time.monotonic() + 60
    while len(done := list(jobs.glob("*/manifest.json"))) < 2 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in done}
    assert 2 <= len(finished) < 4
    subprocess.run([*command, "0"], check=True)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    whole = counted(tmp_path / "whole", corpus(tmp_path / "again", rows(4000)))
    assert pq.read_table(tmp_path / "words.parquet").equals(whole.words)
