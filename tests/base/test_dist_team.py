"""Processes that keep together: orders, answers, and one line when one of them is gone. As srun starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
from groundup.base.dist import world
from groundup.base.errors import DataError, GroundupError
from groundup.base.meeting import join
from groundup.base.team import Follower

def trouble(how):
    if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit": os._exit(7)
    if how == "data": raise DataError("row 7 is broken")
    if how == "bug": raise ValueError("a\\nbug")
    if how == "echo": raise RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer")

me, (seconds, who, how) = world(), sys.argv[1:]
def main():
    with join(me, float(seconds)) as team:
        print(f"joined {os.getpid()}\\n", end="", flush=True)  # in one piece, whatever the others write
        if isinstance(team, Follower):
            while (order := team.hear()) is not None:
                if str(me.rank) == who:
                    trouble(how)
                team.done({"rank": me.rank, "square": order["number"] ** 2})
        else:
            for number in range(3):
                team.tell({"number": number})
                if who == "0" and number == 1:
                    trouble(how)
                print([(r["rank"], r["square"]) for r in team.gather()], flush=True)

try:
    main()
except GroundupError as error:
    sys.exit(f"groundup: error: {error}")
assert "torch" not in sys.modules
"""

Started = list["subprocess.Popen[str]"]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def children() -> Iterator[Started]:
    """Whatever a test starts ends with it."""
    started: Started = []
    yield started
    for child in started:
        child.kill()
        child.communicate()


def start(children: Started, ranks: list[int], size: int, port: int, *arguments: object) -> None:
    """The ranks of a step, with every process saying what it has to say on its own."""
    for rank in ranks:
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank),
            "SLURM_NTASKS": str(size), "SLURM_TASKS_PER_NODE": str(size), "SLURM_NODELIST": "localhost",
            "MASTER_PORT": str(port), "MASTER_ADDR": "127.0.0.1",
        }  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
        children.append(
            subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )


def ends(children: Started) -> tuple[list[int], list[str], list[str]]:
    """Exit codes, all lines of stdout but the first of each, and all lines of stderr."""
    out, err = [], []
    for child in children:
        stdout, stderr = child.communicate(timeout=60)
        out += stdout.splitlines()[1:]
        err += stderr.splitlines()
    return [child.returncode for child in children], out, err


def test_orders_go_out_and_answers_come_back_in_the_order_of_ranks(children: Started, port: int) -> None:
    start(children, [2, 0, 3, 1], 4, port, 30, "-", "-")
    codes, out, err = ends(children)
    assert codes == [0, 0, 0, 0], err
    assert out == [str([(1, n * n), (2, n * n), (3, n * n)]) for n in range(3)]
    assert err == []


@pytest.mark.parametrize(
    ("who", "how", "said"),
    [
        (2, "kill", "is gone: it was killed"),
        (2, "exit", "is gone: it was killed"),
        (0, "kill", "is gone: it was killed"),
        (1, "data", "row 7 is broken"),
        (1, "bug", "ValueError: a bug"),
    ],
)
def test_a_failure_ends_all_with_one_line_that_names_the_rank(
    children: Started, port: int, who: int, how: str, said: str
) -> None:
    start(children, [0, 1, 2], 3, port, 30, who, how)
    begun = time.monotonic()
    codes, _, err = ends(children)
    assert time.monotonic() - begun < 15
    expected = {"kill": -signal.SIGKILL, "exit": 7}.get(how, 1)
    assert codes == [expected if rank == who else 1 for rank in range(3)]
    told = [line for line in err if line.startswith("groundup: error: ")]
    assert len(told) == 1, err
    assert f"rank {who} ({socket.gethostname()}, process {children[who].pid})" in told[0]
    assert said in told[0]
    assert (len(err) > 1) == (how == "bug"), err  # only a bug of ours shows its traceback


def test_an_error_of_the_main_process_is_told_as_it_is_when_alone(children: Started, port: int) -> None:
    start(children, [0, 1], 2, port, 30, 0, "data")
    codes, _, err = ends(children)
    assert codes == [1, 1]
    assert err == ["groundup: error: row 7 is broken"]


def test_an_echo_of_another_ones_end_does_not_speak_first(children: Started, port: int) -> None:
    """Rank 1 sees a connection break, as in a collective, before rank 2 is known to be gone."""
    start(children, [0, 1, 2], 3, port, 30, 1, "echo")
    assert children[2].stdout is not None
    assert children[2].stdout.readline().startswith("joined")
    time.sleep(1.0)
    children[2].kill()
    _, _, err = ends(children)
    assert len(err) == 1
    assert f"rank 2 ({socket.gethostname()}, process {children[2].pid}) is gone" in err[0]


def test_missing_ranks_are_named(children: Started, port: int) -> None:
    start(children, [0, 2], 4, port, 3, "-", "-")
    codes, _, err = ends(children)
    assert codes == [1, 1]
    assert len(err) == 1
    assert "2 of 4 processes joined within 3 s; missing: rank 1, 3" in err[0]


def test_a_rank_0_that_never_comes_is_named(children: Started, port: int) -> None:
    start(children, [1, 2], 3, port, 2, "-", "-")
    codes, _, err = ends(children)
    assert codes == [1, 1]
    assert len(err) == 1
    assert f"rank 0 was not to be reached at 127.0.0.1:{port} within 2 s" in err[0]


def test_strangers_are_turned_away(children: Started, port: int) -> None:
    start(children, [0], 2, port, 30, "-", "-")
    for hello in (b"GET / HTTP/1.0\r\n\r\n", b'{"key": "wrong", "rank": 1}\n', b"[]\n", b'{"key": "77", "rank": 9}\n'):
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
                    stranger.sendall(hello)
                    assert stranger.recv(100) == b""
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
            except ConnectionResetError:
                break
        else:
            pytest.fail("rank 0 never listened")
    start(children, [1], 2, port, 30, "-", "-")
    codes, out, err = ends(children)
    assert codes == [0, 0], err
    assert len(out) == 3


def test_a_process_whose_launcher_is_killed_ends(port: int, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT.replace("range(3)", "iter(lambda: (time.sleep(0.1), 1)[1], 0)"))
    starter = (
        "import os, subprocess, sys, time\n"
        "for rank in range(2):\n"
        "    env = {**os.environ, 'SLURM_STEP_ID': '0', 'SLURM_PROCID': str(rank), 'SLURM_LOCALID': str(rank),\n"
        f"        'SLURM_NTASKS': '2', 'MASTER_PORT': '{port}', 'MASTER_ADDR': '127.0.0.1',\n"
        "        'SLURM_TASKS_PER_NODE': '2'}\n"
        "    subprocess.Popen([sys.executable, sys.argv[1], '30', '-', '-'], env=env)\n"
        "time.sleep(60)\n"
    )
    complaints = tmp_path / "stderr"
    with (
        complaints.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", starter, str(script)], stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as launcher,
    ):
        assert launcher.stdout is not None
        said = [launcher.stdout.readline() for _ in range(2)]
        assert all(line.startswith("joined") for line in said), complaints.read_text()
        pids = [int(line.split()[1]) for line in said]
        launcher.kill()
    for _ in range(100):
        if not any(alive(pid) for pid in pids):
            return
        time.sleep(0.1)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    pytest.fail("processes without a launcher were still there after 10 s")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie that nobody has waited for does not)."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
