"""From raw pages to chat, as a user runs it, at a size for tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RECIPE = Path(__file__).with_name("small.yaml")
ORDER = [
    "pages", "corpus", "tokenizer", "tokens", "base", "chats", "chat", "pairs", "aligned", "scores", "bundle",
]  # fmt: skip


AFTER_CHAT = {"aligned", "scores", "bundle"}


def groundup(*arguments: object, workspace: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command; the exit code must be ``code``."""
    done = subprocess.run(
        [sys.executable, "-m", "groundup", *map(str, arguments), "-w", str(workspace)],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def as_json(*arguments: object, workspace: Path) -> Any:
    return json.loads(groundup(*arguments, "--json", workspace=workspace).stdout)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small recipe, made once."""
    folder = tmp_path_factory.mktemp("journey") / "workspace"
    done = groundup("run", RECIPE, workspace=folder)
    assert "warning" not in done.stderr.lower()
    assert re.search(r"left", done.stderr)
    assert re.search(r"chat small/bundle", done.stdout)
    return folder


def test_every_artifact_is_listed_with_its_record(workspace: Path) -> None:
    listed = as_json("list", workspace=workspace)
    assert [row["names"][0].removeprefix("small/") for row in listed] == ORDER
    metrics = as_json("show", "corpus", workspace=workspace)["metrics"]
    assert metrics["documents"] + sum(metrics["rejected"].values()) == metrics["documents_in"]
    assert metrics["contamination"]["story_endings"]["documents"] > 0
    kept = as_json("show", "chat", workspace=workspace)["metrics"]
    assert kept["held_out_loss_after"] < kept["held_out_loss_before"]


def test_lineage_goes_down_to_files_and_licences(workspace: Path) -> None:
    text = groundup("lineage", "bundle", workspace=workspace).stdout
    for word in ("stories.jsonl.gz", "CDLA-Sharing-1.0", "preferences.jsonl.gz", "Apache-2.0", "sqlite-doc.tar.xz"):
        assert word in text
    tree = as_json("lineage", "base", workspace=workspace)
    assert "Apache-2.0" not in tree["licences"]
    assert tree["licences"] == ["CDLA-Sharing-1.0", "LicenseRef-public-domain"]


def test_lineage_goes_up_to_what_was_made(workspace: Path) -> None:
    def below(use: dict[str, Any]) -> set[str]:
        return {use["name"]}.union(*map(below, use["uses"]))

    assert below(as_json("lineage", "--uses", "chats", workspace=workspace)) == {"chats", "chat", *AFTER_CHAT}
    assert below(as_json("lineage", "--uses", "bundle", workspace=workspace)) == {"bundle"}
    base = as_json("lineage", "--uses", "base", workspace=workspace)
    assert below(base) == {"base", "chat", *AFTER_CHAT}
    told = [one["name"] for one in base["uses"] if not one["again"]]
    assert len(told) == len(set(told))


def test_again_makes_nothing_and_is_quick(workspace: Path) -> None:
    start = time.monotonic()
    done = groundup("run", RECIPE, workspace=workspace)
    assert "nothing to make" in done.stdout
    assert time.monotonic() - start < 3


def test_a_change_remakes_only_what_depends_on_it(workspace: Path, tmp_path: Path) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    rows = as_json("plan", RECIPE, "aligned.beta=0.2", workspace=copy)["artifacts"]
    assert [row["name"] for row in rows if not row["made"]] == ["aligned", "scores", "bundle"]
    done = groundup("run", RECIPE, "aligned.beta=0.2", workspace=copy)
    assert "made: aligned, scores, bundle" in done.stdout


def test_report_shows_all_and_loads_nothing(workspace: Path) -> None:
    page = (workspace / "runs" / "small" / "report.html").read_text()
    for name in ORDER:
        assert f">{name}<" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)\s*=\s*[\"']?(https?:)?//", page)


def test_the_baselines_are_there(workspace: Path) -> None:
    metrics = as_json("show", "scores", workspace=workspace)["metrics"]
    assert metrics["baselines"]["xz_9e"] > 1
    assert metrics["baselines"]["kneser_ney_5gram"] > 1
    assert metrics["base"]["bits_per_byte"] > 1


def test_transformers_loads_the_bundle_with_equal_logits(workspace: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from groundup.infer.engine import Engine

    folder = next(
        workspace / "artifacts" / row["digest"][:16]
        for row in as_json("list", workspace=workspace)
        if row["kind"] == "bundle"
    )
    engine = Engine.load(folder)
    theirs, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    talk = [{"role": "user", "content": "Tell me a story."}]
    ids = words.apply_chat_template(talk, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == engine.tokenizer.encode_chat(talk, add_generation_prompt=True).ids
    with torch.no_grad():
        ours = engine.model.logits(engine.model(torch.tensor([ids])))
        torch.testing.assert_close(ours, theirs(torch.tensor([ids])).logits, atol=1e-4, rtol=1e-4)
    card = (folder / "README.md").read_text()
    assert "CDLA-Sharing-1.0" in card


def test_a_model_leaves_in_other_formats_and_says_the_same(workspace: Path, tmp_path: Path) -> None:
    import torch

    from groundup.infer.engine import Engine
    from groundup.model.exchange.megatron import from_megatron

    ids = torch.arange(5, 60)[None]
    folder, file = tmp_path / "folder", tmp_path / "model.gguf"
    groundup("export", "small/bundle", file, workspace=workspace)
    groundup("export", file, folder, "--to", "huggingface", workspace=workspace)
    groundup("export", "small/base", tmp_path / "megatron", "--to", "megatron", workspace=workspace)
    bundle = Engine.load(workspace / "artifacts" / as_json("show", "bundle", workspace=workspace)["digest"][:16])
    base = Engine.load(workspace / "artifacts" / as_json("show", "base", workspace=workspace)["digest"][:16])
    state = torch.load(tmp_path / "megatron" / "gptmodel.pt")
    with torch.no_grad():
        want = bundle.model(ids)
        assert torch.equal(Engine.load(file).model(ids), want)
        assert torch.equal(Engine.load(folder).model(ids), want)
        assert torch.equal(from_megatron(state, base.model.config)(ids), base.model(ids))
    assert Engine.load(folder).tokenizer.encode("one, two") == bundle.tokenizer.encode("one, two")
    launch = (tmp_path / "megatron" / "launch.sh").read_text()
    steps = as_json("show", "base", workspace=workspace)["metrics"]["steps"]
    assert f"--train-iters {steps} " in launch
    assert "already" in groundup("export", "small/bundle", file, workspace=workspace, code=2).stderr
    assert "Q4_0" in groundup("export", file, tmp_path / "x", "--encoding", "Q4", workspace=workspace, code=2).stderr


def test_the_model_answers(workspace: Path) -> None:
    arguments = ("chat", "small/bundle", "--say", "Tell me a story.", "--max-new-tokens", 20)
    first, second = (groundup(*arguments, workspace=workspace).stdout for _ in range(2))
    assert first.strip()
    assert first == second


def test_an_altered_payload_is_refused(workspace: Path, tmp_path: Path) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    row = next(row for row in as_json("list", workspace=copy) if row["kind"] == "tokenizer")
    file = copy / "artifacts" / row["digest"][:16] / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b"the", b"teh", 1))
    done = groundup("run", RECIPE, workspace=copy, code=1)
    assert "'tokenizer.json' was altered" in done.stderr
    assert done.stderr.count("\n") == 1
