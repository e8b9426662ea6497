"""Bad input: one clear line, a non-zero exit code, no half-made artifact, nothing lost."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

STORIES = Path(__file__).parents[2] / "examples" / "stories.jsonl.gz"


def rows(count: int) -> bytes:
    """The first shipped stories as JSON lines."""
    with gzip.open(STORIES) as handle:
        return b"".join(line for _, line in zip(range(count), handle, strict=False))


def recipe(folder: Path, **changes: object) -> Path:
    """A recipe of a source, a corpus and a tokenizer over rows.jsonl in ``folder``."""
    source = {"path": "rows.jsonl", "licence": "CC0-1.0", "origin": "a test", **changes}
    artifacts = {
        "pages": {"stage": "source", "files": [source]},
        "corpus": {"stage": "curate", "pages": ["pages"], "filters": []},
        "words": {"stage": "tokenizer", "corpus": "corpus", "vocab_size": 300},
    }
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({"name": "r", "artifacts": artifacts}))
    return path


def groundup(*arguments: object, folder: Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-m", "groundup", *map(str, arguments), "-w", str(folder / "workspace")],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def refused(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("groundup: error: ")
    assert said in errors[0], errors[0]


def committed(folder: Path) -> list[str]:
    """The kinds of artifacts in the workspace, each of which must be whole."""
    from groundup.artifact.store import Store

    store = Store(folder / "workspace")
    return [store.open(artifact.record.digest).record.kind for artifact in store.all()]


@pytest.mark.parametrize(
    ("write", "name", "code", "said"),
    [
        (lambda p: p.write_bytes(gzip.compress(rows(50))[:-200]), "rows.jsonl.gz", 1, "cut off"),
        (lambda p: p.write_bytes(rows(3) + b'{"text": "caf\xe9"}\n'), "rows.jsonl", 1, "byte"),
        (lambda p: p.write_bytes(rows(3) + b"{nonsense\n"), "rows.jsonl", 1, "line 4"),
        (lambda p: p.write_bytes(b'{"words": "x"}\n'), "rows.jsonl", 1, "'text'"),
        (lambda p: p.write_bytes(b""), "rows.jsonl", 1, "no pages"),
        (lambda p: p.write_bytes(b'{"text": "short"}\n'), "rows.jsonl", 1, "no document is left"),
        (lambda p: None, "rows.jsonl", 2, "file 'rows.jsonl' does not exist"),
    ],
    ids=["truncated gzip", "not UTF-8", "not JSON", "no such field", "empty file", "nothing kept", "missing file"],
)
def test_bad_files(tmp_path: Path, write: Callable[[Path], object], name: str, code: int, said: str) -> None:
    write(tmp_path / name)
    path = recipe(tmp_path, path=name)
    data = yaml.safe_load(path.read_text())
    data["artifacts"]["corpus"].pop("filters")
    data["artifacts"]["pages"]["strict"] = True
    path.write_text(yaml.safe_dump(data))
    done = groundup("run", path, folder=tmp_path)
    refused(done, code, said)
    assert set(committed(tmp_path)) <= {"pages"}


def test_bad_rows_are_counted_and_told_and_the_others_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows(30) + b"{nonsense\n" + b'{"text": ["no text"]}\n')
    done = groundup("run", recipe(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "left out" in line]
    assert len(told) == 1 and "rows.jsonl" in told[0] and "2 left out" in told[0], done.stderr
    left_out = next((tmp_path / "workspace").glob("artifacts/*/left_out.jsonl")).read_text().splitlines()
    assert len(left_out) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("words.vocab_sise=400",), "did you mean 'vocab_size'?"),
        (("words.vocab_size=lots",), "field 'vocab_size'"),
        (("corpus.pages=[page]",), "did you mean 'pages'?"),
    ],
)
def test_bad_fields(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows(3))
    refused(groundup("run", recipe(tmp_path), *arguments, folder=tmp_path), 2, said)
    assert not (tmp_path / "workspace").exists()


def test_a_failure_keeps_what_was_finished_and_a_mended_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows(40))
    path = recipe(tmp_path)
    refused(groundup("run", path, "words.vocab_size=60000", folder=tmp_path), 1, "lower vocab_size")
    assert committed(tmp_path) == ["pages", "corpus"]
    done = groundup("run", path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "made: words" in done.stdout


def test_a_model_that_does_not_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = groundup("run", "quickstart", "base.depth=100", "base.hidden_size=16384", folder=tmp_path)
    refused(done, 2, "'base' needs about")
    assert committed(tmp_path) == []


def test_two_runs_at_once(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows(1816))
    path = recipe(tmp_path)
    command = [sys.executable, "-m", "groundup", "run", str(path), "-w", str(tmp_path / "workspace")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        lock = tmp_path / "workspace" / "lock"
        for _ in range(200):
            if lock.exists() and lock.read_text().strip():
                break
            time.sleep(0.02)
        refused(groundup("run", path, folder=tmp_path), 1, f"another run (process {first.pid})")
        assert first.wait(timeout=120) == 0
    assert committed(tmp_path) == ["pages", "corpus", "tokenizer"]


@pytest.mark.parametrize(
    ("kibibytes", "whole_way"), [(64, False), (2500, True), (8000, True)], ids=["source", "model", "checkpoint"]
)
def test_a_full_disk(tmp_path: Path, kibibytes: int, whole_way: bool) -> None:
    """A workspace on a small file system, mounted in a namespace of the test's own."""
    own = ("unshare", "--user", "--map-root-user", "--mount")
    small = tmp_path / "workspace"
    small.mkdir()
    mount = f"mount -t tmpfs -o size={kibibytes}k tmpfs {small}"
    probe = subprocess.run([*own, "sh", "-c", mount], capture_output=True) if shutil.which("unshare") else None
    if probe is None or probe.returncode != 0:
        pytest.skip("this system lets no user mount a small file system: the full disk was not tested")
    noise = random.Random(1)
    lines = [json.dumps({"text": noise.randbytes(400).hex()}) for _ in range(400)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    path = Path(__file__).with_name("small.yaml") if whole_way else recipe(tmp_path)
    script = f'{mount} && "$@"; code=$?; find {small} -path "*/payload/*" >&2; exit $code'
    refused(groundup("run", path, folder=tmp_path, prefix=(*own, "sh", "-c", script, "sh")), 1, "the disk is full")


def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    script = "import sys; sys.argv = ['groundup', 'list', '-w', sys.argv[1]]\n"
    script += "from groundup.cli import app\napp(standalone_mode=False)\n"
    script += (
        "heavy = {'torch', 'numpy', 'pyarrow', 'matplotlib', 'lm_eval'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    times = []
    for _ in range(5):
        start = time.monotonic()
        subprocess.run([sys.executable, "-m", "groundup", "--help"], capture_output=True, check=True)
        times.append(time.monotonic() - start)
    assert min(times) < 0.5
