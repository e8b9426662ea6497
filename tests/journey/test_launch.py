"""``groundup run --nproc``: all processes on one stage, and one line whatever becomes of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# A stage in which every process takes part: it adds up ones over the processes, step after step, and comes to a bad
# end where it is told to. It is put into each process by way of Python's sitecustomize.
INJECT = """
import groundup.recipe
groundup.recipe.STAGES["together"] = "together_stage:TogetherConfig"
"""
STAGE = """
import os, signal, time
from typing import Annotated, ClassVar
from groundup.artifact.stage import InputRef, Outcome, StageConfig
from groundup.base.config import execution
from groundup.base.errors import DataError, RequestError

class TogetherConfig(StageConfig):
    stage: ClassVar[str] = "together"
    kind: ClassVar[str] = "scores"
    runner: ClassVar[str] = "together_stage:run"
    distributed: ClassVar[bool] = True
    pages: Annotated[str, InputRef("pages")]
    steps: int = 10
    trouble: str = execution("", description="rank:step:how")

def run(config, task):
    import torch
    import torch.distributed as dist
    (task.scratch / f"pid-{task.world.rank}").write_text(str(os.getpid()))
    rank, step, how = (config.trouble or "-1:-1:").split(":")
    total = 0.0
    for number in range(config.steps):
        if (task.world.rank, number) == (int(rank), int(step)):
            trouble(how)
        one = torch.ones(1)
        if task.world.size > 1:
            dist.all_reduce(one)
        total += float(one) / task.world.size
        time.sleep(0.01)
    print("from every process")
    if task.world.is_main:
        (task.payload / "total.txt").write_text(str(total))
    return Outcome(metrics={"total": total})

def trouble(how):
    if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if how == "bug": raise ValueError("not\\nlike this")
    if how == "request": raise RequestError("heads don't divide")
"""
RECIPE = """
name: r
artifacts:
  pages: {stage: source, files: [{path: rows.jsonl, licence: CC0-1.0, origin: a test}]}
  sum: {stage: together, pages: pages}
"""
ENDLESS = "sum.steps=1000000"


class Place:
    """A folder with the recipe, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workspace = folder, folder / "workspace"
        self.variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder / "inject"), str(Path(__file__).parents[2])]),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder / "tmp"),
        }
        (folder / "inject").mkdir()
        (folder / "tmp").mkdir()
        (folder / "inject" / "sitecustomize.py").write_text(INJECT)
        (folder / "inject" / "together_stage.py").write_text(STAGE)
        (folder / "rows.jsonl").write_text('{"text": "Once upon a time."}\n' * 3)
        (folder / "r.yaml").write_text(RECIPE)

    def command(self, *arguments: object, module: tuple[str, ...] = ("-m", "groundup")) -> list[str]:
        recipe = str(self.folder / "r.yaml")
        return [sys.executable, *module, "run", recipe, "-w", str(self.workspace), *map(str, arguments)]

    def run(self, *arguments: object, **more: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, **more), env=self.variables, capture_output=True, text=True, timeout=120
        )

    def pids(self, size: int) -> list[int]:
        """The processes at work on the stage, once all are."""
        for _ in range(1200):
            files = list(self.workspace.glob("partial/*/scratch/pid-*"))
            if len(files) == size and all(file.read_text() for file in files):
                return [int(file.read_text()) for file in sorted(files)]
            time.sleep(0.05)
        raise AssertionError("the stage did not start")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was said on stderr that is not progress."""
    return [line for line in done.stderr.splitlines() if not line.startswith("[") and " processes on " not in line]


def gone(pids: list[int]) -> bool:
    """Whether all have ended within ten seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() and ") Z" not in status(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ") Z"


def test_any_number_of_processes_makes_the_same_artifact(place: Place) -> None:
    one = place.run()
    assert one.returncode == 0, one.stderr
    folder = next(file.parent for file in place.workspace.glob("artifacts/*/total.txt"))
    before = (folder / "total.txt").read_text(), (folder / "record.json").read_text()
    for file in folder.iterdir():
        file.unlink() if file.is_file() else None
    folder.rename(place.folder / "first")
    three = place.run("--nproc", 3)
    assert three.returncode == 0, three.stderr
    assert errors(three) == []
    assert three.stdout.count("from every process") == 1
    assert "made: sum" in three.stdout
    assert "3 processes on 1 machine" in three.stderr
    assert (folder / "total.txt").read_text() == before[0]
    record = (folder / "record.json").read_text()
    assert '"processes": "3"' in record
    assert '"processes"' not in before[1]
    assert list((place.folder / "tmp").glob("groundup-*")) == []


@pytest.mark.parametrize(
    ("rank", "how", "code", "said"),
    [
        (0, "kill", 1, "was killed by SIGKILL"),
        (1, "bug", 1, "ValueError: not like this"),
        (1, "request", 2, "heads don't divide"),
    ],
)
def test_the_rank_that_failed_is_named_in_one_line(place: Place, rank: int, how: str, code: int, said: str) -> None:
    begun = time.monotonic()
    done = place.run("--nproc", 2, f"sum.trouble={rank}:5:{how}")
    assert time.monotonic() - begun < 60
    assert done.returncode == code, done.stderr
    assert len(errors(done)) == 1, done.stderr
    (line,) = errors(done)
    assert line.startswith("groundup: error: ")
    assert re.search(rf"rank {rank} \(\S+, process \d+\)", line), line
    assert said in line
    if code == 1:
        assert "the same command goes on from the last checkpoint" in line
    if how == "bug":
        file = re.search(r"traceback: (\S+)", line)
        assert file
        assert "in trouble" in Path(file[1]).read_text()
    assert gone(place.pids(2))


def test_a_wrong_request_is_told_once(place: Place) -> None:
    done = place.run("--nproc", 2, "sum.stepz=3")
    assert done.returncode == 2
    assert len(errors(done)) == 1, done.stderr
    assert "did you mean 'steps'?" in errors(done)[0]
    assert not place.workspace.exists()


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (lambda pid: os.kill(pid, signal.SIGINT), 1, ["", "groundup: interrupted; the same command goes on from here"]),
        (
            lambda pid: os.kill(pid, signal.SIGTERM),
            1,
            ["groundup: error: stopped by SIGTERM; the same command goes on from here"],
        ),
        (lambda pid: os.killpg(pid, signal.SIGKILL), -9, []),
    ],
    ids=["ctrl-c", "terminated", "killed"],
)
def test_nobody_outlives_the_command(place: Place, end: Callable[[int], None], code: int, said: list[str]) -> None:
    process = subprocess.Popen(
        place.command("--nproc", 2, ENDLESS),
        env=place.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = place.pids(2)
    end(process.pid)
    out, err = process.communicate(timeout=60)
    assert gone(pids)
    assert process.returncode == code, err
    assert errors(subprocess.CompletedProcess([], code, out, err)) == said


def test_ctrl_c_alone_is_told_in_one_line_too(place: Place) -> None:
    process = subprocess.Popen(place.command(ENDLESS), env=place.variables, stderr=subprocess.PIPE, text=True)
    place.pids(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "groundup: interrupted; the same command goes on from here"


def test_started_by_torchrun(place: Place) -> None:
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "groundup")
    done = place.run(module=torchrun)
    assert done.returncode == 0, done.stderr
    assert "made: pages, sum" in done.stdout
    assert done.stdout.count("made:") == 1
    place.variables |= {"RANK": "0", "WORLD_SIZE": "2"}
    again = place.run("--nproc", 2)
    assert again.returncode == 2
    assert "2 processes were started already: leave out --nproc and --nnodes" in again.stderr


def test_two_machines_meet(place: Place) -> None:
    """Both on this one: they number themselves."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = place.command("--nproc", 1, "--nnodes", 2, "--rdzv", address)
    both = [
        subprocess.Popen(command, env=place.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert sum("made: pages, sum" in out for out, _ in ends) == 1
    assert sum(out == "" for out, _ in ends) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--nnodes", 3, "--rdzv", "127.0.0.1:0"), 2, "must look like HOST:PORT"),
        (("--nnodes", 3), 2, "--nnodes needs --rdzv"),
        (("--nnodes", 3, "--rdzv", "127.0.0.1", "--node-rank", 3), 2, "does not fit --nnodes 3"),
        (("--nnodes", 3, "--rdzv", "127.0.0.1:29511", "--join-timeout", 1), 1, "1 of 3 machines joined"),
        (
            ("--nnodes", 2, "--rdzv", "127.0.0.1:29512", "--node-rank", 1, "--join-timeout", 1),
            1,
            "was not to be reached within 1 s",
        ),
    ],
)
def test_machines_that_do_not_meet(place: Place, arguments: tuple[object, ...], code: int, said: str) -> None:
    done = place.run(*arguments)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
