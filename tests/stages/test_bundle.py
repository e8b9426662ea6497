"""The bundle: transformers loads it with equal logits, its papers are there, and it is the same every time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from trained import train_bpe

from groundup.artifact.lineage import grow
from groundup.artifact.record import FORMAT, Cost, FileEntry, InputLink, Record, payload_digest
from groundup.artifact.stage import Artifact, Node, StageConfig, Task
from groundup.artifact.store import scan
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import ArtifactError, RequestError
from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.exchange import huggingface
from groundup.model.transformer import Transformer
from groundup.stages.bundle.config import BundleConfig

WORDS = [
    "the",
    "small",
    "dragon",
    "and",
    "the",
    "old",
    "king",
    "went",
    "up",
    "the",
    "hill",
    "to",
    "see",
    "the",
    "moon",
    "over",
    "the",
    "sea",
    "once",
    "upon",
    "a",
    "time",
]
SOURCE = SourceTerms(source="tales.jsonl", licence="CC0-1.0", origin="handwritten", sha256="7" * 64, documents=12)


def _record(
    name: str, kind: str, stage: str, folder: Path, inputs: dict[str, list[Record]], **changes: object
) -> Record:
    files = scan(folder)
    fields = {
        "format": FORMAT,
        "name": name,
        "kind": kind,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "stage": stage,
        "stage_version": 1,
        "config": {},
        "inputs": {
            field: [InputLink(name=one.name, kind=one.kind, digest=one.digest) for one in records]
            for field, records in inputs.items()
        },
        "code_version": "0.1.0",
        "environment": {"cpu": "some processor"},
        "created": "2025-01-01T00:00:00+00:00",
        "cost": Cost(
            seconds=10.0,
            cpu_seconds=20.0,
            peak_memory_bytes=2**28,
            energy_joules=120.0,
            watts_per_core=6.0,
            attempts=1,
        ),
        "metrics": {},
        "terms": Terms(sources=(SOURCE,)),
        "files": files,
        "payload": payload_digest(files),
    }
    return Record.model_validate({**fields, **changes})


class Workshop:
    """A source, a tiny random model trained on it (so the records say), and its scores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pages", "talks", "base", "scores"):
            (folder / name / "log").mkdir(parents=True)
        torch.manual_seed(0)
        self.tokenizer = train_bpe([" ".join(WORDS)] * 3, 290)
        shape = ModelConfig.from_depth(1, -(-self.tokenizer.vocab_size // 64) * 64, 64)
        self.model = Transformer(shape)
        for parameter in self.model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        base = folder / "base"
        ids = {"bos_id": self.tokenizer.eos_id, "pad_id": self.tokenizer.pad_id}
        huggingface.save(self.model, base, **ids, stop_ids=self.tokenizer.stop_ids)
        self.tokenizer.save(base, 64)
        (base / "log" / "loss.jsonl").write_text("{}\n")
        (base / "metrics.jsonl").write_text("{}\n")
        (folder / "pages" / "pages.txt").write_text("pages")
        self.pages = _record("pages", "pages", "source", folder / "pages", {})
        self.talks = _record("talks", "conversations", "conversations", folder / "talks", {})
        made_from = {"tokens": [self.pages], "conversations": [self.talks]}
        self.base = _record("base", "model", "sft", base, made_from, metrics={"parameters": 12_345})
        measured = {"base": {"bits_per_byte": 1.5, "bits_per_byte_low": 1.4, "bits_per_byte_high": 1.6}}
        self.scores = _record(
            "scores", "scores", "evaluate", folder / "scores", {"models": [self.base]}, metrics=measured
        )

    def task(self, name: str, *, scores: bool = True) -> Task:
        payload, scratch = self.folder / name / "payload", self.folder / name / "scratch"
        payload.mkdir(parents=True)
        scratch.mkdir()
        records = {record.digest: record for record in (self.pages, self.talks, self.base, self.scores)}
        inputs = {
            "model": (Artifact(self.folder / "base", self.base),),
            "scores": (Artifact(self.folder / "scores", self.scores),) if scores else (),
        }
        return Task(name, "d" * 64, inputs, {}, payload, scratch, Silent(), records=records)


CONFIG = BundleConfig(model="base", scores="scores")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def bundle(shop: Workshop) -> Path:
    task = shop.task("bundle")
    CONFIG.run(task)
    return task.payload


def test_transformers_loads_it_with_equal_logits(shop: Workshop, bundle: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(bundle)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundle)
    text = "the old king went up the hill"
    ids = shop.tokenizer.encode(text)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    batch = torch.tensor([ids])
    with torch.no_grad():
        ours = shop.model.logits(shop.model(batch))
        torch.testing.assert_close(theirs(batch).logits, ours, rtol=1e-4, atol=1e-5)


def test_the_snippet_of_the_card_runs(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    code = (bundle / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert 'folder = "."' in code
    assert "max_new_tokens=100" in code
    code = code.replace('folder = "."', f"folder = {str(bundle)!r}").replace("max_new_tokens=100", "max_new_tokens=3")
    exec(compile(code, "README.md", "exec"), {})
    assert "Tell me a story" in capsys.readouterr().out


def test_it_holds_the_model_and_its_papers_and_nothing_else(shop: Workshop, bundle: Path) -> None:
    model = set(shop.base.files) - {"log/loss.jsonl", "metrics.jsonl"}
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} < model
    assert set(scan(bundle)) == model | {"README.md", "LICENSES.md", "lineage.json", "log/cost.md"}
    for name in model:
        assert (bundle / name).read_bytes() == (shop.folder / "base" / name).read_bytes()
        assert (bundle / name).stat().st_ino != (shop.folder / "base" / name).stat().st_ino


def test_the_papers_tell_what_the_records_hold(shop: Workshop, bundle: Path) -> None:
    card = (bundle / "README.md").read_text()
    assert "12,345" in card
    assert "| `base` (this model) | 1.5 | 1.4 | 1.6 |" in card
    assert "license: cc0-1.0" in card
    for text in (SOURCE.source, SOURCE.licence, SOURCE.origin, SOURCE.sha256):
        assert text in (bundle / "LICENSES.md").read_text()
    tree = json.loads((bundle / "lineage.json").read_text())
    assert tree == grow(shop.base, {r.digest: r for r in (shop.pages, shop.talks)}.__getitem__).as_json()
    assert [source["licence"] for child in tree["inputs"] for source in child["sources"]] == ["CC0-1.0"] * 2
    assert "0.10 Wh" in (bundle / "log" / "cost.md").read_text()


def test_made_again_it_is_the_same_but_for_the_log(shop: Workshop, bundle: Path) -> None:
    task = shop.task("again")
    slower = {
        digest: record.model_copy(update={"cost": record.cost.model_copy(update={"seconds": 77.0}), "created": "later"})
        for digest, record in task.records.items()
    }
    model = Artifact(shop.folder / "base", slower[shop.base.digest])
    again = replace(task, records=slower, inputs={**task.inputs, "model": (model,)})
    CONFIG.run(again)
    assert payload_digest(scan(again.payload)) == payload_digest(scan(bundle))
    assert (again.payload / "log/cost.md").read_text() != (bundle / "log/cost.md").read_text()


def test_metrics_count_the_payload(shop: Workshop) -> None:
    task = shop.task("counted")
    outcome = CONFIG.run(task)
    kept = {name: entry for name, entry in scan(task.payload).items() if not name.startswith("log/")}
    assert outcome.metrics == {"files": len(kept), "bytes": sum(entry.bytes for entry in kept.values())}
    assert {exhibit.type for exhibit in task.exhibits} == {"facts", "table", "prose"}


def test_without_scores_the_card_leaves_them_blank(shop: Workshop) -> None:
    task = shop.task("blank", scores=False)
    BundleConfig(model="base").run(task)
    scores = (task.payload / "README.md").read_text().split("## Scores")[1]
    assert scores.lstrip().startswith("*not recorded*")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_model_that_lacks_a_file_is_refused(shop: Workshop, missing: str) -> None:
    task = shop.task(f"lacks-{missing}")
    files: dict[str, FileEntry] = {name: entry for name, entry in shop.base.files.items() if name != missing}
    broken = Artifact(shop.folder / "base", shop.base.model_copy(update={"files": files}))
    with pytest.raises(ArtifactError, match=r"has no file|holds no weights"):
        CONFIG.run(replace(task, inputs={**task.inputs, "model": (broken,)}))


def _node(name: str, config: StageConfig, **inputs: tuple[Node, ...]) -> Node:
    return Node(name, config, MappingProxyType(inputs), {}, hashlib.sha256(name.encode()).hexdigest())


def test_scores_of_another_model_are_refused_before_anything_starts() -> None:
    base, other = _node("base", CONFIG), _node("other", CONFIG)
    scores = _node("scores", CONFIG, models=(other,), corpus=(_node("corpus", CONFIG),))
    with pytest.raises(RequestError, match="'scores' does not measure 'base'"):
        CONFIG.check(_node("bundle", CONFIG, model=(base,), scores=(scores,)))
    CONFIG.check(_node("bundle", CONFIG, model=(other,), scores=(scores,)))
    CONFIG.check(_node("bundle", CONFIG, model=(base,), scores=()))


def test_its_inputs_are_declared() -> None:
    assert {name: ref.kinds for name, ref in BundleConfig.input_fields().items()} == {
        "model": ("model",),
        "scores": ("scores",),
    }
    assert BundleConfig(model="m").input_names("scores") == ()
