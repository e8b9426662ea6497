"""What the launchers' variables say, read without torch."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.dist import World, expand_counts, expand_hosts, from_slurm, master, world
from groundup.base.errors import RequestError

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "7",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4,3",
    "SLURM_STEP_NODELIST": "gpu[08-09]",
}


def test_one_process_without_variables() -> None:
    assert world({}) == World(0, 1, 0, 1)
    assert world({}).is_main


def test_slurm_step() -> None:
    assert world(SLURM) == World(rank=5, size=7, local_rank=1, local_size=3)
    assert master(SLURM)[0] == "gpu08"
    assert master({**SLURM, "MASTER_ADDR": "login", "MASTER_PORT": "123"}) == ("login", 123)


def test_two_steps_of_a_job_meet_at_two_ports() -> None:
    ports = {master({**SLURM, "SLURM_STEP_ID": str(step)})[1] for step in range(5)}
    assert len(ports) == 5
    assert all(1024 < port < 32768 for port in ports)


def test_a_batch_script_is_not_a_step_of_its_job() -> None:
    batch = {name: value for name, value in SLURM.items() if "STEP" not in name}
    assert not from_slurm(batch)
    assert world(batch) == World()


def test_torchrun_under_slurm_counts_as_torchrun() -> None:
    assert world({**SLURM, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}) == World(
        1, 2, 0, 1
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "4", "WORLD_SIZE": "4"}, "contradict"),
        ({"RANK": "x", "WORLD_SIZE": "4"}, "RANK is 'x'"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"}, "contradict"),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "four"}, "'four'"),
        ({name: value for name, value in SLURM.items() if name != "SLURM_NTASKS"}, "SLURM_NTASKS is missing"),
    ],
)
def test_variables_that_make_no_sense(variables: dict[str, str], said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        world(variables)


def test_reading_them_needs_no_torch() -> None:
    script = "import sys, groundup.base.dist as d; d.world(); d.threads(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


# -- node lists ------------------------------------------------------------------------------------------------------

word = st.text("abcxyz", min_size=1, max_size=4)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A bracket with numbers and ranges, padded with zeros to one width, and what it stands for."""
    width = draw(st.integers(1, 3))
    texts, numbers = [], []
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, 10**width - 1))
        last = draw(st.integers(first, min(first + 12, 10**width - 1)))
        texts.append(f"{first:0{width}d}" if first == last else f"{first:0{width}d}-{last:0{width}d}")
        numbers += [f"{number:0{width}d}" for number in range(first, last + 1)]
    return ",".join(texts), numbers


@st.composite
def host_groups(draw: st.DrawFn) -> tuple[str, list[str]]:
    """One item of a node list: a name, a name with a bracket, or with two."""
    prefix = draw(word)
    if draw(st.booleans()):
        return prefix, [prefix]
    first, ones = draw(ranges())
    if draw(st.booleans()):
        return f"{prefix}[{first}]", [prefix + one for one in ones]
    second, twos = draw(ranges())
    return f"{prefix}[{first}]-[{second}]z", [f"{prefix}{one}-{two}z" for one in ones for two in twos]


@given(st.lists(host_groups(), min_size=1, max_size=5))
def test_node_lists_expand_to_every_host_in_order(groups: list[tuple[str, list[str]]]) -> None:
    assert expand_hosts(",".join(text for text, _ in groups)) == [host for _, hosts in groups for host in hosts]


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 9)), min_size=1, max_size=6))
def test_task_counts_expand_to_one_a_node(runs: list[tuple[int, int]]) -> None:
    text = ",".join(f"{tasks}(x{nodes})" if nodes > 1 else str(tasks) for tasks, nodes in runs)
    assert expand_counts(text) == [tasks for tasks, nodes in runs for _ in range(nodes)]


def test_a_node_list_that_is_none() -> None:
    with pytest.raises(RequestError, match="'a-b'"):
        expand_hosts("n[a-b]")
