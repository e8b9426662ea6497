"""The processes of a run: which one this is, how many there are, and the process group that stages train in.

Whoever starts the processes says so in variables: torchrun (and ``groundup run --nproc``) in RANK and WORLD_SIZE,
Slurm's srun in SLURM_PROCID and its kin. Reading them needs no torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from groundup.base.errors import RequestError, ResourceError, missing_extra
from groundup.base.machine import cores

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

_STORE_SECONDS: Final = 300
_FIRST_PORT: Final = 20_000
_NUM_PORTS: Final = 10_000


@dataclass(frozen=True)
class World:
    """This process among the ``size`` processes of a run; ``local_*`` count those on the same machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes, and speaks to people."""
        return self.rank == 0


def world(variables: Mapping[str, str] | None = None) -> World:
    """The world that torchrun's or Slurm's variables describe; one process if there are none.

    RequestError if the variables contradict each other.

    >>> world({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    World(rank=3, size=4, local_rank=1, local_size=2)
    """
    given = os.environ if variables is None else variables
    if "RANK" in given and "WORLD_SIZE" in given:
        rank, size = _number(given, "RANK"), _number(given, "WORLD_SIZE")
        alone_on_machine = "LOCAL_RANK" not in given
        local_rank = rank if alone_on_machine else _number(given, "LOCAL_RANK")
        local_size = _number(given, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in given else size
        found = World(rank, size, local_rank, local_size)
    elif from_slurm(given):
        total = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in given else "SLURM_NTASKS"
        found = World(
            _number(given, "SLURM_PROCID"), _number(given, total), _number(given, "SLURM_LOCALID"), _tasks_here(given)
        )
    else:
        return World()
    if not (0 <= found.rank < found.size and 0 <= found.local_rank < found.local_size <= found.size):
        raise RequestError(
            f"the variables of the launcher contradict each other: rank {found.rank} of {found.size}, "
            f"local rank {found.local_rank} of {found.local_size}; unset RANK and WORLD_SIZE, or start with torchrun"
        )
    return found


def from_slurm(given: Mapping[str, str]) -> bool:
    """Whether srun started this process. A batch script has a SLURM_PROCID too, but is no step of its job."""
    return "RANK" not in given and "SLURM_PROCID" in given and "SLURM_STEP_ID" in given


def master(given: Mapping[str, str]) -> tuple[str, int]:
    """Host and port at which rank 0 of a Slurm step is met: MASTER_ADDR and MASTER_PORT, or the step's first host
    and a port that follows from the number of the job and the step."""
    hosts = given.get("SLURM_STEP_NODELIST") or given.get("SLURM_JOB_NODELIST") or given.get("SLURM_NODELIST", "")
    host = given.get("MASTER_ADDR") or next(iter(expand_hosts(hosts)), "127.0.0.1")
    if "MASTER_PORT" in given:
        return host, _number(given, "MASTER_PORT")
    job, step = (int(given.get(name, "0") or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return host, _FIRST_PORT + (job * 31 + step) % _NUM_PORTS


def expand_hosts(text: str) -> list[str]:
    """The hosts of a Slurm node list.

    >>> expand_hosts("n[01-03,7],login,r[1-2]c[08-09]x")
    ['n01', 'n02', 'n03', 'n7', 'login', 'r1c08x', 'r1c09x', 'r2c08x', 'r2c09x']
    """
    hosts: list[str] = []
    for item in re.findall(r"(?:[^,\[\]]+|\[[^\]]*\])+", text):
        parts = re.split(r"\[([^\]]*)\]", item)
        choices = [list(_ranges(part)) if index % 2 else [part] for index, part in enumerate(parts)]
        hosts += ["".join(chosen) for chosen in product(*choices)]
    return hosts


def _ranges(text: str) -> Iterator[str]:
    for item in text.split(","):
        first, dash, last = item.partition("-")
        if not (first.isdigit() and (last.isdigit() or not dash)):
            raise RequestError(f"{item!r} in Slurm's list of nodes is not a number or a range of numbers")
        yield from (f"{number:0{len(first)}d}" for number in range(int(first), int(last or first) + 1))


def expand_counts(text: str) -> list[int]:
    """Slurm's tasks for each node.

    >>> expand_counts("4(x2),3")
    [4, 4, 3]
    """
    found = re.fullmatch(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*", text)
    if not found:
        raise RequestError(f"{text!r} is not how Slurm writes tasks for each node, such as 4(x2),3")
    pairs = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, nodes in pairs for _ in range(int(nodes or 1))]


def _tasks_here(given: Mapping[str, str]) -> int:
    for name in ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"):
        if name in given:
            counts = expand_counts(given[name])
            node = _number(given, "SLURM_NODEID") if "SLURM_NODEID" in given else 0
            return counts[min(node, len(counts) - 1)]
    return _number(given, "SLURM_LOCALID") + 1


def _number(given: Mapping[str, str], name: str) -> int:
    if name not in given:
        raise RequestError(f"the launcher's variable {name} is missing")
    if not given[name].isdigit():
        raise RequestError(f"the launcher's variable {name} is {given[name]!r}, not a number")
    return int(given[name])


def tell_libraries(found: World, host: str, port: int) -> None:
    """Set torchrun's variables where Slurm started the processes: some libraries read no others."""
    os.environ.update(
        RANK=str(found.rank),
        WORLD_SIZE=str(found.size),
        LOCAL_RANK=str(found.local_rank),
        LOCAL_WORLD_SIZE=str(found.local_size),
        MASTER_ADDR=host,
        MASTER_PORT=str(port),
    )


def threads() -> int:
    """CPU threads for this process: its share of the cores, or OMP_NUM_THREADS where many processes share them."""
    found = world()
    if found.local_size > 1 and os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return max(1, cores() // found.local_size)


# -- the process group --------------------------------------------------------------------------------------------


def host_store() -> TCPStore:
    """A store for the next process group, served by this process (rank 0) on a free port."""
    return _store("127.0.0.1", 0, serve=True)


def reach_store(host: str, port: int) -> TCPStore:
    """The store that rank 0 serves."""
    return _store(host, port, serve=False)


def _store(host: str, port: int, serve: bool) -> TCPStore:
    from datetime import timedelta

    try:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]
    except ModuleNotFoundError:
        raise missing_extra("torch", "train") from None
    return TCPStore(host, port, is_master=serve, wait_for_workers=False, timeout=timedelta(seconds=_STORE_SECONDS))


@contextmanager
def process_group(found: World, store: TCPStore) -> Iterator[None]:
    """The default process group of torch.distributed, while the body runs: gloo, with NCCL for tensors on CUDA.

    Entered by all processes. After a failure it is left as it is: the process is about to end, and taking the group
    down could wait for a process that is gone.
    """
    import torch
    import torch.distributed as torch_dist

    cuda = torch.cuda.is_available()
    if cuda:
        if found.local_rank >= torch.cuda.device_count():
            raise ResourceError(
                f"rank {found.rank} finds no GPU of its own: this machine has {torch.cuda.device_count()} for "
                f"{found.local_size} processes; start one process a GPU"
            )
        torch.cuda.set_device(found.local_rank)
    torch_dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=found.rank, world_size=found.size
    )
    yield
    torch_dist.barrier()
    torch_dist.destroy_process_group()
    if cuda:
        torch.cuda.empty_cache()
