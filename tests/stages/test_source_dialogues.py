"""The conversations and preferences stages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from groundup.artifact.stage import Outcome, StageConfig, Task
from groundup.base.errors import DataError
from groundup.base.progress import Silent
from groundup.stages.source.config import ConversationsConfig, PreferencesConfig
from groundup.text.benchmark import Benchmark
from groundup.text.conversation import read_conversations, read_preferences

TERMS = {"licence": "CC0-1.0", "origin": "made here"}
ITEM = "a brave little otter swam across the wide cold river to find her lost red kite"


def _run(config: StageConfig, folder: Path) -> Outcome:
    payload = folder / "payload"
    payload.mkdir(exist_ok=True)
    files = {path: folder / path for path in config.file_paths()}
    return config.run(Task("t", "d", {}, files, payload, folder, Silent()))


def _write(path: Path, rows: list[Any]) -> None:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode(), mtime=0))


def _config(kind: type[StageConfig], folder: Path, rows: list[Any], **fields: Any) -> Any:
    _write(folder / "r.jsonl.gz", rows)
    return kind.parse({"files": [{"path": "r.jsonl.gz", **TERMS, **fields.pop("file", {})}], **fields}, "t")


def _rejects(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "payload" / "rejects.jsonl").read_text().splitlines()]


def test_conversations_are_normalised_counted_and_split(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": f"Say {number}.", "response": str(number)} for number in range(200)]
    rows += [rows[0], {"prompt": "Hi", "response": ""}, {"x": 1}]
    rows += [{"instruction": "Tell.", "input": "", "output": f"{ITEM}. The end."}]
    _write(tmp_path / "b.jsonl.gz", [{"id": "i7", "context": ITEM, "endings": ["x"] * 4, "label": 0}])
    config = _config(
        ConversationsConfig, tmp_path, rows, held_out=0.2,
        decontaminate=[{"name": "story_endings", "rows": "b.jsonl.gz"}],
    )  # fmt: skip
    outcome = _run(config, tmp_path)
    kept = read_conversations(tmp_path / "payload" / "conversations.jsonl")
    assert len(kept) == outcome.metrics["conversations"] == 200
    assert len({one.id for one in kept}) == 200
    assert outcome.metrics["rows"] == 204
    assert outcome.metrics["rejected"] == dict.fromkeys(
        ("decontaminate:story_endings", "exact_dedup:duplicate", "parse:empty_answer", "parse:unknown_format"), 1
    )
    assert outcome.metrics["contamination"] == {"story_endings": 1}
    rejects = {reject["reason"]: reject for reject in _rejects(tmp_path)}
    assert rejects["empty_answer"]["record"] == "line 202"
    assert rejects["duplicate"]["detail"] == kept[0].id
    assert "item i7" in rejects["story_endings"]["detail"]
    held = [one for one in kept if one.split == "held_out"]
    assert len(held) == outcome.metrics["held_out"]
    assert 20 < len(held) < 60  # 40 expected of 200
    assert outcome.terms.licences == ("CC0-1.0",)


def test_preferences(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": f"Say {number}.", "chosen": "a", "rejected": "b"} for number in range(5)]
    rows += [rows[0], {"prompt": "Hi", "chosen": "a", "rejected": "a"}]
    outcome = _run(_config(PreferencesConfig, tmp_path, rows), tmp_path)
    kept = read_preferences(tmp_path / "payload" / "preferences.jsonl")
    assert len(kept) == outcome.metrics["preferences"] == 5
    assert outcome.metrics["rejected"] == {"parse:chosen_equals_rejected": 1, "exact_dedup:duplicate": 1}
    assert sum(one.split == "held_out" for one in kept) >= 1


def test_the_same_bytes_again(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {number}.", "response": str(number)} for number in range(50)]
    config = _config(ConversationsConfig, tmp_path, rows, file={"limit": 30})
    outcomes = []
    for _ in range(2):
        metrics = _run(config, tmp_path).metrics
        payload = {path.name: path.read_bytes() for path in (tmp_path / "payload").iterdir()}
        outcomes.append((metrics, payload))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0]["conversations"] == 30


def test_nothing_left_says_why(tmp_path: Path) -> None:
    config = _config(ConversationsConfig, tmp_path, [{"prompt": "Hi", "response": ""}] * 3)
    with pytest.raises(DataError, match="no conversations are left; most were dropped as empty_answer"):
        _run(config, tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no rows"),
        (gzip.compress(b'{"prompt": "a", "response": "b"}\n' * 50)[:-9], "cut off"),
        (gzip.compress(b'{"prompt": "a"'), r"r\.jsonl\.gz line 1 is not valid JSON"),
        (gzip.compress(b'{"prompt": "\xff"'), r"line 1 is not UTF-8: byte 0xff at offset 12"),
    ],
)
def test_damaged_files(tmp_path: Path, data: bytes, message: str) -> None:
    config = _config(ConversationsConfig, tmp_path, [])
    (tmp_path / "r.jsonl.gz").write_bytes(data)
    with pytest.raises(DataError, match=message):
        _run(config, tmp_path)


def test_benchmarks_are_taken_from_the_recipe(tmp_path: Path) -> None:
    class Scores(StageConfig):
        def benchmarks(self) -> tuple[Benchmark, ...]:
            return (Benchmark.parse({"name": "story_endings"}, "t"),)

    config = _config(ConversationsConfig, tmp_path, [])
    filled = config.fill({"scores": Scores(), "chats": config})
    assert [one.name for one in filled.decontaminate] == ["story_endings"]
    assert "examples/benchmarks/story_endings.jsonl.gz" in list(filled.file_paths())
    named = config.model_copy(update={"decontaminate": ()})
    assert named.fill({"scores": Scores()}).decontaminate == ()


@pytest.mark.parametrize(
    "name", ["dolly_hhrlhf_1000", "chat_v1_sft_demo", "glaive_toolcall_demo", "self_instruct_seed175"]
)
def test_real_files(tmp_path: Path, name: str) -> None:
    path = Path(__file__).parents[3] / "shared/data/instruct" / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside this checkout")
    (tmp_path / "r.jsonl.gz").symlink_to(path)
    config = ConversationsConfig.parse({"files": [{"path": "r.jsonl.gz", **TERMS}]}, "t")
    metrics = _run(config, tmp_path).metrics
    assert metrics["conversations"] + sum(metrics["rejected"].values()) == metrics["rows"]
    kept = read_conversations(tmp_path / "payload" / "conversations.jsonl")
    assert not any("### Instruction" in one.messages[0].content for one in kept)
    expected = {
        "dolly_hhrlhf_1000": 990,
        "chat_v1_sft_demo": 440,
        "glaive_toolcall_demo": 20,
        "self_instruct_seed175": 170,
    }
    assert metrics["conversations"] >= expected[name], metrics["rejected"]
