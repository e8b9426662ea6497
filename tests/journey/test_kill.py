"""``kill -9`` at any moment, then the same command: the same artifacts, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Evaluation is left out for time: it holds no state of its own, and the journey runs it.
SKIPPED = ("scores", "bundle")

# Dies by SIGKILL at the Nth rename of the process, just before or just after it: renames are where a checkpoint,
# a record or a whole artifact comes into being.
DRIVER = """
import os, signal, sys
from pathlib import Path
count, when, fatal = 0, sys.argv[1], int(sys.argv[2])
def deadly(real):
    def rename(self, target):
        global count
        count += 1
        if count == fatal and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        out = real(self, target)
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return out
    return rename
Path.replace, Path.rename = deadly(Path.replace), deadly(Path.rename)
sys.argv = ["groundup", *sys.argv[3:]]
from groundup.cli import main
main()
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small recipe without evaluation."""
    import yaml

    data = yaml.safe_load((HERE / "small.yaml").read_text())
    data["artifacts"] = {name: entry for name, entry in data["artifacts"].items() if name not in SKIPPED}
    data["artifacts"]["corpus"]["decontaminate"] = ["story_endings"]
    path = tmp_path_factory.mktemp("kill") / "small.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def payloads(workspace: Path) -> dict[str, tuple[str, str]]:
    """Digest and payload hash of every artifact, by name, each verified against its record."""
    listed = subprocess.run(
        [sys.executable, "-m", "groundup", "list", "--json", "-w", str(workspace)], capture_output=True, check=True
    )
    found = {}
    for row in json.loads(listed.stdout):
        shown = subprocess.run(
            [sys.executable, "-m", "groundup", "show", row["digest"], "--json", "-w", str(workspace)],
            capture_output=True,
            check=True,
        )
        record = json.loads(shown.stdout)
        found[record["name"]] = (record["digest"], record["payload"])
    return found


def finish(recipe: Path, workspace: Path) -> dict[str, tuple[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "groundup", "run", str(recipe), "-w", str(workspace)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list((workspace / "partial").iterdir()) == []
    return payloads(workspace)


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """An uninterrupted run."""
    return finish(recipe, tmp_path_factory.mktemp("whole") / "workspace")


def test_killed_at_random_moments(recipe: Path, whole: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    moments = random.Random(7)
    kills = 0
    for _ in range(9):
        with subprocess.Popen(
            [sys.executable, "-m", "groundup", "run", str(recipe), "-w", str(workspace)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            time.sleep(moments.uniform(1.0, 7.0))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
    assert kills >= 3
    assert finish(recipe, workspace) == whole


def test_killed_around_renames(recipe: Path, whole: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    codes = []
    for attempt in range(12):
        when = "before" if attempt % 2 else "after"
        fatal = 3 + attempt
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, when, str(fatal), "run", str(recipe), "-w", str(workspace)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        codes.append(done.returncode)
    assert codes.count(-signal.SIGKILL) >= 8
    assert finish(recipe, workspace) == whole
