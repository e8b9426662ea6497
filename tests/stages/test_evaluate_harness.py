"""Our tasks and adapter against lm-eval's own, without a network, and with rows that are not what they should be."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows
from trained import train_bpe

from groundup.base.errors import DataError
from groundup.infer.engine import Engine
from groundup.model.config import ModelConfig
from groundup.model.exchange import huggingface
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.stages.evaluate.adapter import EngineLM
from groundup.stages.evaluate.config import TASKS
from groundup.stages.evaluate.harness import Harness, check_rows, quiet_offline
from groundup.text.benchmark import BENCHMARKS

BENCH = Path(__file__).parents[3] / "shared" / "data" / "bench"
STOCK = Path(lm_eval.__file__).parent / "tasks"
FILES = {
    "arc_easy": ("arc/arc-easy_val.jsonl.gz", "arc/arc_easy.yaml"),
    "arc_challenge": ("arc/arc-challenge_val.jsonl.gz", "arc/arc_challenge.yaml"),
    "hellaswag": ("hellaswag/val_first_half.jsonl.gz", "hellaswag/hellaswag.yaml"),
    "piqa": ("piqa/val.jsonl.gz", "piqa/piqa.yaml"),
    "winogrande": ("winogrande/val.jsonl.gz", "winogrande/default.yaml"),
}
TEXT = (
    "Question: which animal lives in the sea?\nAnswer: the whale. The boy's dog went to the market and found a ball. "
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A tiny untrained model whose folder lm-eval's own Hugging Face model can load as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_bpe([TEXT], 310)
    shape = ModelConfig(
        vocab_size=tokenizer.vocab_size, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16,
        intermediate_size=64, max_seq_len=128,
    )  # fmt: skip
    model = Transformer(shape)
    initialise(model, 5)
    huggingface.save(model, folder, bos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id, stop_ids=[tokenizer.eos_id])
    tokenizer.save(folder, shape.max_seq_len)
    loaded = Engine.load(folder)
    loaded.folder = folder  # type: ignore[attr-defined]
    yield loaded
    torch.set_num_threads(before)


def story_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"s{number}",
            "context": f"The boy found {number} balls in the sea.",
            "endings": ["He went home.", "The dog found them all in the market.", "Whale!", f"He had {number}."],
            "label": number % 4,
        }
        for number in range(count)
    ]


def loglikelihoods(model: Any, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    found: list[tuple[float, bool]] = model.loglikelihood(requests)
    return found


PAIRS = [
    ("The boy", " went to the market"),
    ("The boy ", "went to the market"),  # the space moves over
    ("The boy \n ", "found a whale"),
    ("", "The dog"),
    ("   ", "The dog"),  # nothing but spaces: the end-of-text token is the context
    ("Question: which animal lives in the sea?\nAnswer:", " the whale"),
    ("The boy", " went to the sea"),
    ("The dog found a ball. " * 40, " Whale."),  # longer than the model reads
]


# -- the adapter ------------------------------------------------------------------------------------------------


def test_encodes_pairs_as_lm_eval(engine: Engine) -> None:
    stock = SimpleNamespace(backend="causal", tok_encode=engine.tokenizer.encode)
    pairs = [pair for pair in PAIRS if pair[0].strip()]
    expected = [TemplateLM._encode_pair(stock, *pair) for pair in pairs]
    assert EngineLM(engine)._encode_pairs(pairs) == expected


class Outside(TemplateLM):  # type: ignore[misc]
    """lm-eval's own request handling over transformers' own model and tokenizer, one request at a time."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.hf_tokenizer = AutoTokenizer.from_pretrained(folder)
        self.max_length = self.hf.config.max_position_embeddings

    @property
    def eot_token_id(self) -> int:
        return int(self.hf.config.bos_token_id)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        ids: list[int] = self.hf_tokenizer.encode(string, add_special_tokens=False)
        return ids

    @torch.inference_mode()
    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        found = []
        for _, context, rest in requests:
            whole = torch.tensor([(context + rest)[-(self.max_length + 1) :]])
            log_probs = torch.log_softmax(self.hf(whole[:, :-1]).logits[0, -len(rest) :], dim=-1)
            targets = whole[0, -len(rest) :]
            greedy = bool((log_probs.argmax(-1) == targets).all())
            found.append((float(log_probs.gather(1, targets[:, None]).sum()), greedy))
        return found

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError


def test_scores_as_lm_eval_over_transformers(engine: Engine) -> None:
    pairs = [pair for pair in PAIRS if not pair[0].isspace()]
    with quiet_offline(io.StringIO()):
        theirs = loglikelihoods(Outside(engine.folder), pairs)  # type: ignore[attr-defined]
    for (value, greedy), (other, other_greedy) in zip(loglikelihoods(EngineLM(engine), pairs), theirs, strict=True):
        assert value == pytest.approx(other, abs=1e-4)
        assert greedy == other_greedy


def test_a_context_of_spaces_alone_is_the_end_of_text_token(engine: Engine) -> None:
    (encoded,) = EngineLM(engine)._encode_pairs([("   ", "The dog")])
    assert encoded == ([engine.tokenizer.eos_id], engine.tokenizer.encode("   The dog"))


def test_scores_are_the_models_log_softmax(engine: Engine) -> None:
    tokenizer = engine.tokenizer
    context, rest = tokenizer.encode("The boy"), tokenizer.encode(" went to the market")
    assert tokenizer.encode("The boy went to the market") == context + rest
    with torch.inference_mode():
        log_probs = torch.log_softmax(engine.model.logits(engine.model(torch.tensor([context + rest])))[0], -1)
    expected = sum(float(log_probs[len(context) - 1 + place, token]) for place, token in enumerate(rest))
    ((value, _),) = loglikelihoods(EngineLM(engine), [("The boy", " went to the market")])
    assert value == pytest.approx(expected, abs=1e-4)


def test_rolling_scores_whole_texts(engine: Engine) -> None:
    texts = ["The dog went home.", TEXT * 6]
    requests = [Instance("loglikelihood_rolling", {}, (text,), index) for index, text in enumerate(texts)]
    found = EngineLM(engine).loglikelihood_rolling(requests)
    for text, value in zip(texts, found, strict=True):
        ids = engine.tokenizer.encode(text)
        expected = 0.0
        for inputs, targets in get_rolling_token_windows(ids, engine.tokenizer.eos_id, engine.max_seq_len, 1):
            with torch.inference_mode():
                log_probs = torch.log_softmax(engine.model.logits(engine.model(torch.tensor([inputs])))[0], -1)
            last = log_probs[-len(targets) :]
            expected += float(last.gather(1, torch.tensor(targets)[:, None]).sum())
        assert value == pytest.approx(expected, rel=1e-5)


def test_generates_until(engine: Engine) -> None:
    def ask(context: str, **wanted: Any) -> str:
        (text,) = EngineLM(engine).generate_until([Instance("generate_until", {}, (context, wanted), 0)])
        return text

    whole = ask("The boy", until=[], max_gen_toks=12)
    ids = engine.tokenizer.encode("The boy")
    greedy: list[int] = []
    with torch.inference_mode():
        while len(greedy) < 12:
            inputs = torch.tensor([[engine.tokenizer.eos_id, *ids, *greedy]])
            greedy.append(int(engine.model.logits(engine.model(inputs))[0, -1].argmax()))
    assert whole == engine.tokenizer.decode(greedy)
    stop = whole[len(whole) // 2 :][:1]
    assert ask("The boy", until=[stop, "never"], max_gen_toks=12) == whole[: whole.find(stop)]
    assert ask("The boy went. " * 60, until=["\n\n"], max_gen_toks=12) is not None


def test_an_answer_longer_than_the_model_reads_is_refused(engine: Engine) -> None:
    with pytest.raises(DataError, match="the model reads 128"):
        loglikelihoods(EngineLM(engine), [("The boy", " found a ball" * 100)])
    with pytest.raises(DataError, match="nothing is left to score"):
        loglikelihoods(EngineLM(engine), [("The boy", "")])


# -- the tasks --------------------------------------------------------------------------------------------------


def test_every_known_benchmark_has_a_task_and_the_other_way_round() -> None:
    assert {path.stem for path in TASKS.glob("*.yaml")} == set(BENCHMARKS)


def stock_tasks(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """lm-eval's own definitions, with nothing replaced but where the rows come from."""
    (folder / "stock").mkdir(parents=True)
    for name, own in rows.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in own), encoding="utf-8")
        local = {
            "include": str(STOCK / FILES[name][1]),
            "task": name,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"validation": str(data)}, "cache_dir": str(folder / "cache")},
            "training_split": None,
            "test_split": None,
        }
        (folder / "stock" / f"{name}.yaml").write_text(json.dumps(local), encoding="utf-8")
    manager = TaskManager(include_path=str(folder / "stock"), include_defaults=False)
    tasks: dict[str, Any] = manager.load(list(rows))["tasks"]
    return tasks


@pytest.mark.skipif(not BENCH.is_dir(), reason=f"the benchmark rows are not at {BENCH}")
def test_requests_and_metrics_equal_lm_evals_own(tmp_path: Path) -> None:
    rows = {name: check_rows(name, BENCH / file)[:60] for name, (file, _) in FILES.items()}
    with quiet_offline(io.StringIO()) as _:
        ours = Harness(rows, tmp_path / "ours", io.StringIO()).tasks()
        theirs = stock_tasks(tmp_path / "theirs", rows)
        for name in rows:
            pair = (ours[name], theirs[name])
            for task in pair:
                task.build_all_requests()
            one, two = ([(i.doc_id, i.idx, i.request_type, i.arguments) for i in task.instances] for task in pair)
            assert one == two and len(one) >= 120, name
            answers = [(-1.0 * (place % 5), False) for place in range(len(one))]
            results = []
            for task in pair:
                scored = []
                for doc_id, doc in task.doc_iterator(rank=0, limit=None, world_size=1):
                    own = [answers[i] for i, request in enumerate(task.instances) if request.doc_id == doc_id]
                    scored.append(task.process_results(doc, own))
                results.append(scored)
            assert results[0] == results[1], name
            assert set(ours[name].aggregation()) == set(theirs[name].aggregation()), name


@pytest.mark.skipif(not BENCH.is_dir(), reason=f"the benchmark rows are not at {BENCH}")
def test_items_carry_the_right_label(tmp_path: Path, engine: Engine) -> None:
    rows = {name: check_rows(name, BENCH / file)[:8] for name, (file, _) in FILES.items()}
    short = {name: own for name, own in rows.items() if name in ("winogrande", "arc_easy")}
    _, items = Harness(short, tmp_path / "run", io.StringIO()).run(engine, None)
    assert [item.label for item in items["winogrande"]] == [int(row["answer"]) - 1 for row in rows["winogrande"]]
    for item, row in zip(items["arc_easy"], rows["arc_easy"], strict=True):
        assert item.item == row["id"]
        assert row["choices"]["label"][item.label] == row["answerKey"]
        assert item.choices == len(row["choices"]["text"])


def test_needs_no_network_and_leaves_no_trace(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    # scikit-learn, which lm-eval imports, sets this one for good when it is first imported.
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "True")
    before = dict(os.environ)
    log = io.StringIO()
    results, items = Harness({"story_endings": story_rows(12)}, tmp_path / "run", log).run(engine, 8)
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")
    assert log.getvalue() and len(items["story_endings"]) == 8
    assert results["n-samples"]["story_endings"] == {"original": 12, "effective": 8}
    assert str(tmp_path) not in json.dumps(results) and " at 0x" not in json.dumps(results)
    assert {"results", "configs", "versions", "n-shot", "higher_is_better", "group_subtasks"} <= set(results)


def test_acc_norm_divides_by_characters(tmp_path: Path, engine: Engine) -> None:
    rows = story_rows(8)
    _, items = Harness({"story_endings": rows}, tmp_path / "run", io.StringIO()).run(engine, None)
    for item, row in zip(items["story_endings"], rows, strict=True):
        by_length = [value / len(end) for value, end in zip(item.log_likelihoods, row["endings"], strict=True)]
        assert item.correct["acc_norm"] == (by_length.index(max(by_length)) == row["label"])
        assert item.correct["acc"] == (item.predicted == row["label"])


# -- bad rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("story_endings", {"id": "x", "context": "A", "label": 0}, r"rows.jsonl row 2: .*'endings'"),
        ("story_endings", {"id": "x", "context": "A", "endings": ["a", "b"], "label": 2}, "rows.jsonl row 2"),
        ("hellaswag", {"ctx": "A", "endings": ["a", "b"], "label": "0"}, "row 2: hellaswag needs .*'activity_label'"),
    ],
)
def test_a_row_that_lacks_something_is_named(tmp_path: Path, name: str, row: dict[str, Any], message: str) -> None:
    good = {**story_rows(1)[0], "ctx": "A", "activity_label": "B", "ctx_a": "A", "ctx_b": ""}
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        check_rows(name, path)
