"""The whole stage on tiny real models: what it writes, what it says, that it repeats, and what it refuses."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_store import write_order
from trained import train_bpe

from groundup.artifact.record import Cost, InputLink, Record
from groundup.artifact.stage import Artifact, Node, Outcome, Task
from groundup.artifact.store import scan
from groundup.artifact.terms import Terms
from groundup.base.errors import ArtifactError, DataError, RequestError
from groundup.base.progress import Silent
from groundup.infer.engine import Engine
from groundup.model.config import ModelConfig
from groundup.model.exchange import huggingface
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.stages.evaluate.config import EvaluateConfig
from groundup.text.document import CORPUS, write_shards
from groundup.text.store.megatron import token_dtype, write_store
from groundup.text.store.store import ABOUT, About
from groundup.text.tokenizer import Tokenizer

SEQ_LEN = 64
WHO = ("fox", "girl", "king", "bear", "boy", "cat", "queen", "dog", "bird", "old man")
WHERE = ("forest", "market", "river", "castle", "garden", "hill", "sea", "barn")
WHAT = ("a red ball", "some bread", "a small key", "an apple", "a blue hat", "a golden ring", "a letter")


def story(number: int) -> tuple[str, str]:
    """A beginning and an ending that belong together."""
    draw = random.Random(number)
    who, where, what, friend = draw.choice(WHO), draw.choice(WHERE), draw.choice(WHAT), draw.choice(WHO)
    beginning = (
        f"Once the {who} went to the {where} and found {what}. The {friend} came along and wanted to see {what}."
    )
    return beginning, f"So the {who} gave {what} to the {friend} and they went home from the {where}."


def record(name: str, kind: str, stage: str, folder: Path, metrics: dict[str, Any], **inputs: Artifact) -> Artifact:
    links = {
        field: [InputLink(name=one.record.name, kind=one.record.kind, digest=one.record.digest)]
        for field, one in inputs.items()
    }
    cost = Cost(seconds=0, cpu_seconds=0, peak_memory_bytes=0, energy_joules=0, watts_per_core=6, attempts=1)
    made = Record(
        format=1,
        name=name,
        kind=kind,
        digest=(name.encode().hex() * 64)[:64],
        stage=stage,
        stage_version=1,
        config={},
        inputs=links,
        code_version="0",
        environment={},
        created="2026-01-01T00:00:00+00:00",
        cost=cost,
        metrics=metrics,
        terms=Terms(),
        files=scan(folder),
        payload="",
    )
    return Artifact(folder, made)


def make_corpus(folder: Path, held_out: int) -> Artifact:
    rows = []
    for number in range(160):
        text = " ".join(" ".join(story(seed)) for seed in range(number * 3, number * 3 + 1 + number % 3))
        split = "held_out" if number < held_out else "train"
        source = "tales" if number % 2 else "fables"
        rows.append(
            {"id": f"{number:032x}", "text": text, "source": source, "record": str(number), "url": None,
             "licence": "CC0", "language": "eng_Latn", "language_score": 1.0, "split": split, "chars": len(text)}
        )  # fmt: skip
    folder.mkdir()
    write_shards(folder, "corpus", CORPUS, rows)
    made = record("corpus", "corpus", "curate", folder, {"documents": len(rows)})
    (folder / "rows.json").write_text(json.dumps(rows))
    return made


def make_tokens(folder: Path, corpus: Artifact, tokenizer: Tokenizer) -> Artifact:
    rows = json.loads((corpus.path / "rows.json").read_text())
    folder.mkdir()
    sizes = {}
    for split in ("train", "held_out"):
        encoded = [[*tokenizer.encode(row["text"]), tokenizer.eos_id] for row in rows if row["split"] == split]
        write_store(folder / split, encoded, token_dtype(tokenizer.vocab_size))
        sizes[split] = [len(ids) for ids in encoded]
    write_order(folder, sizes["train"], SEQ_LEN, 2)
    train_bytes = sum(len(row["text"].encode()) for row in rows if row["split"] == "train")
    metrics = {"vocab_size": tokenizer.vocab_size, "train_bytes": train_bytes, "max_seq_len": SEQ_LEN}
    return record("tokens", "tokens", "tokens", folder, metrics, corpus=corpus)


def make_model(folder: Path, name: str, stage: str, seed: int, tokenizer: Tokenizer) -> Artifact:
    shape = ModelConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_size=32, num_heads=2, num_kv_heads=2, head_dim=16,
        intermediate_size=64, max_seq_len=SEQ_LEN,
    )  # fmt: skip
    model = Transformer(shape)
    initialise(model, seed)
    huggingface.save(model, folder, bos_id=0, pad_id=1, stop_ids=tokenizer.stop_ids)
    tokenizer.save(folder, shape.max_seq_len)
    metrics = {"unique_tokens": 3000, "train_tokens": 6000} if stage == "pretrain" else {}
    return record(name, "model", stage, folder, metrics)


def make_rows(path: Path, count: int) -> Path:
    rows = []
    for number in range(count):
        others = [story(seed)[1] for seed in (9000 + number, 9100 + number, 9200 + number)]
        context, right = story(8000 + number)
        endings = [*others[: number % 4], right, *others[number % 4 :]]
        rows.append({"id": f"item-{number}", "context": context, "endings": endings, "label": number % 4})
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))
    return path


class World:
    """Small artifacts of every kind that the stage reads."""

    def __init__(self, folder: Path, held_out: int = 30) -> None:
        self.folder = folder
        self.corpus = make_corpus(folder / "corpus", held_out)
        self.tokenizer = train_bpe((" ".join(story(seed)) for seed in range(300)), 340)
        self.tokens = make_tokens(folder / "tokens", self.corpus, self.tokenizer)
        self.base = make_model(folder / "base", "base", "pretrain", 1, self.tokenizer)
        self.chat = make_model(folder / "chat", "chat", "sft", 2, self.tokenizer)
        self.rows = make_rows(folder / "rows.jsonl.gz", 24)

    def config(self, **fields: Any) -> EvaluateConfig:
        data = {"models": ["base", "chat"], "corpus": "corpus", "tokens": "tokens", **fields}
        data.setdefault("tasks", ["bits_per_byte", {"name": "story_endings", "rows": str(self.rows)}])
        data.setdefault("samples", {"max_new_tokens": 8})
        return EvaluateConfig.parse(data, "scores")

    def task(self, name: str, *models: Artifact) -> Task:
        payload, scratch = self.folder / name / "payload", self.folder / name / "scratch"
        payload.mkdir(parents=True)
        scratch.mkdir()
        inputs = {"models": models or (self.base, self.chat), "corpus": (self.corpus,), "tokens": (self.tokens,)}
        return Task(name, "0" * 64, inputs, {str(self.rows): self.rows}, payload, scratch, Silent())

    def run(self, name: str, **fields: Any) -> tuple[Outcome, Task]:
        task = self.task(name)
        return self.config(**fields).run(task), task


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # models of this size lose more to waiting for threads than they gain
    yield World(tmp_path_factory.mktemp("evaluate"))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def done(world: World) -> tuple[Outcome, Task]:
    return world.run("first")


def test_bits_per_byte_is_the_log_probability_of_the_documents(world: World, done: tuple[Outcome, Task]) -> None:
    """Recomputed one token at a time, from the model's own logits, with the context that the windows promise."""
    model, tokenizer = Engine.load(world.base.path).model, world.tokenizer
    rows = [row for row in json.loads((world.corpus.path / "rows.json").read_text()) if row["split"] == "held_out"]
    bits = size = 0.0
    with torch.inference_mode():
        for row in rows:
            ids = [tokenizer.eos_id, *tokenizer.encode(row["text"]), tokenizer.eos_id]
            size += len(row["text"].encode())
            end = 1
            while end < len(ids):
                upto = min(len(ids), end + (64 if end == 1 else 32))
                start = max(0, upto - 65)
                hidden = model(torch.tensor([ids[start : upto - 1]]))
                log_probs = torch.log_softmax(model.logits(hidden)[0], dim=-1)
                for place in range(end, upto):
                    bits -= float(log_probs[place - start - 1, ids[place]]) / np.log(2)
                end = upto
    assert done[0].metrics["base"]["bits_per_byte"] == pytest.approx(bits / size, rel=1e-5)


def test_metrics_hold_the_headlines(world: World, done: tuple[Outcome, Task]) -> None:
    metrics = done[0].metrics
    assert set(metrics) == {"base", "chat", "baselines", "benchmarks"}
    assert set(metrics["baselines"]) == {"xz_9e", "kneser_ney_5gram"}
    assert metrics["benchmarks"] == {"story_endings": {"metric": "acc_norm", "chance": 0.25, "items": 24}}
    for name in ("base", "chat"):
        own = metrics[name]
        assert own["bits_per_byte_low"] < own["bits_per_byte"] < own["bits_per_byte_high"]
        assert own["story_endings_low"] <= own["story_endings"] <= own["story_endings_high"]
    # Templates that counting sees through, models that never learnt: the baselines must win here.
    assert metrics["baselines"]["kneser_ney_5gram"] < metrics["base"]["bits_per_byte"]
    assert metrics["base"]["parameters"] == 340 * 32 + 32 * 32 * 4 + 3 * 32 * 64 + 3 * 32


def test_files_are_consistent(world: World, done: tuple[Outcome, Task]) -> None:
    payload = done[1].payload
    names = {str(path.relative_to(payload)) for path in payload.rglob("*") if path.is_file()}
    assert names == {"report.json", "items.jsonl", "results_base.json", "results_chat.json", "log/lm_eval.log"}
    report = json.loads((payload / "report.json").read_text())
    items = [json.loads(line) for line in (payload / "items.jsonl").read_text().splitlines()]
    for model in ("base", "chat"):
        own = [item for item in items if item["model"] == model]
        assert [item["item"] for item in own] == [f"item-{number}" for number in range(24)]
        assert [item["label"] for item in own] == [number % 4 for number in range(24)]
        results = json.loads((payload / f"results_{model}.json").read_text())
        for metric in ("acc", "acc_norm"):
            theirs = results["results"]["story_endings"]
            (score,) = [s for s in report["scores"] if s["model"] == model and s["metric"] == metric]
            assert score["value"] == pytest.approx(sum(item["correct"][metric] for item in own) / 24, abs=1e-6)
            assert score["value"] == pytest.approx(theirs[f"{metric},none"], abs=1e-6)
            assert score["standard_error"] == pytest.approx(theirs[f"{metric}_stderr,none"], abs=1e-6)
        assert [item["predicted"] == item["label"] for item in own] == [item["correct"]["acc"] for item in own]
    parts = {(s["part"], s["n"]) for s in report["scores"] if s["model"] == "base" and s["task"] == "bits_per_byte"}
    assert parts == {("all", 30), ("fables", 15), ("tales", 15)}
    pairs = [(c["task"], c["first"], c["second"]) for c in report["comparisons"]]
    assert ("bits_per_byte", "base", "chat") in pairs and ("story_endings", "base", "chat") in pairs
    assert ("bits_per_byte", "kneser_ney_5gram", "base") in pairs and ("bits_per_byte", "xz_9e", "base") in pairs


def test_words_follow_the_numbers(done: tuple[Outcome, Task]) -> None:
    shown = {exhibit.title: exhibit for exhibit in done[1].exhibits}
    assert "more than Kneser-Ney 5-gram" in shown["Bits per byte on held-out documents"].caption
    assert shown["Benchmark: story_endings"].rules == (("chance", 25.0),)  # type: ignore[union-attr]
    prose = shown["What a model of this size can and can't do"].text  # type: ignore[union-attr]
    assert "a model that only counts predicts better" in prose and "not measured" in prose
    answer = shown["Sample: What do you need to bake bread?"].samples  # type: ignore[union-attr]
    assert [one.label for one in answer] == ["base", "chat, through its chat template"]
    assert [part[1] for part in answer[1].parts] == ["user", "assistant"]


def test_runs_again_to_the_same_bytes_and_says_nothing(
    world: World, done: tuple[Outcome, Task], capfd: pytest.CaptureFixture[str]
) -> None:
    _, again = world.run("second")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    for path in done[1].payload.glob("*.json*"):
        assert (again.payload / path.name).read_bytes() == path.read_bytes(), path.name
        assert str(world.folder) not in path.read_text()


def test_benchmarks_alone_and_bits_alone(world: World) -> None:
    tasks = [{"name": "story_endings", "rows": str(world.rows)}]
    outcome, task = world.run("benchmarks", tasks=tasks, limit=10)
    assert "bits_per_byte" not in outcome.metrics["base"] and "baselines" not in outcome.metrics
    assert outcome.metrics["benchmarks"]["story_endings"]["items"] == 10
    outcome, task = world.run("bits", tasks=["bits_per_byte"], samples={"prompts": [], "questions": []})
    assert outcome.metrics["benchmarks"] == {} and not list(task.payload.glob("results_*"))


def test_an_empty_held_out_split_is_refused(tmp_path: Path) -> None:
    empty = World(tmp_path, held_out=0)
    with pytest.raises(DataError, match="no held-out documents"):
        empty.run("run")


def test_another_tokenizer_is_refused(world: World, tmp_path: Path) -> None:
    other = train_bpe((" ".join(story(seed)) for seed in range(600, 640)), 340)
    stranger = make_model(tmp_path / "stranger", "stranger", "sft", 3, other)
    with pytest.raises(DataError, match="'stranger' has another tokenizer than 'base'"):
        world.config().run(world.task("strange", world.base, stranger))
    with pytest.raises(DataError, match="other ids than the models' tokenizer"):
        world.config(models=["stranger"]).run(world.task("stranger alone", stranger))
    smaller = train_bpe((" ".join(story(seed)) for seed in range(300)), 320)
    small = make_model(tmp_path / "small", "small", "sft", 3, smaller)
    with pytest.raises(DataError, match="vocabulary of 340, the tokenizer of model 'small' 320"):
        world.config(models=["small"]).run(world.task("small alone", small))
    shutil.copytree(world.tokens.path, tmp_path / "tokens")
    about = About(tokenizer="a" * 64, vocab_size=340, eos_id=0)
    (tmp_path / "tokens" / ABOUT).write_text(about.model_dump_json())
    task = world.task("another store")
    inputs = {**task.inputs, "tokens": (replace(world.tokens, path=tmp_path / "tokens"),)}
    with pytest.raises(ArtifactError, match="'tokens' was made with tokenizer aaaaaaaaaaaa of 340 entries, not with"):
        world.config().run(replace(task, inputs=inputs))


def test_the_counting_baseline_sees_only_what_the_base_model_saw(world: World, done: tuple[Outcome, Task]) -> None:
    report = json.loads((done[1].payload / "report.json").read_text())
    assert report["baselines"] == {"names": ["xz_9e", "kneser_ney_5gram"], "tokens_counted": 3000}
    everything = world.task("everything", world.chat)
    more = world.config(models=["chat"]).run(everything).metrics
    assert more["baselines"]["kneser_ney_5gram"] < done[0].metrics["baselines"]["kneser_ney_5gram"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": ["bits_per_bite"]}, "unknown task 'bits_per_bite'; did you mean 'bits_per_byte'"),
        ({"tasks": ["story_ending"]}, "did you mean 'story_endings'"),
        ({"tasks": [{"name": "story_endings", "row": "x"}]}, "did you mean 'rows'"),
        ({"tasks": ["piqa"]}, "does not come with groundup"),
        ({"tasks": []}, "tasks"),
        ({"models": []}, "models"),
        ({"samples": {"tempreature": 1}}, "did you mean 'temperature'"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_bad_configurations_get_one_line(world: World, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        world.config(**fields)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"models": ["base", "base"]}, "names base more than once"),
        ({"tasks": ["bits_per_byte", "bits_per_byte"]}, "names bits_per_byte more than once"),
        ({"models": ["baselines"]}, "rename the model baselines"),
    ],
)
def test_what_is_known_to_fail_is_refused_before_the_start(world: World, fields: dict[str, Any], message: str) -> None:
    config = world.config(**fields)
    with pytest.raises(RequestError, match=message):
        config.check(Node("scores", config, {}, {}, "0" * 64))


def test_the_recipe_sees_the_benchmarks_and_their_files(world: World) -> None:
    config = world.config(tasks=["bits_per_byte", "story_endings"])
    (benchmark,) = config.benchmarks()
    assert benchmark.name == "story_endings"
    assert list(config.file_paths()) == [benchmark.rows]
    assert config.identity({benchmark.rows: "f" * 64})["tasks"][1]["rows"]["sha256"] == "f" * 64
