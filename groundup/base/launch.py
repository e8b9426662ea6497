"""Start the processes of a run on this machine, under torch's elastic agent, and tell how they ended in one line.

The agent (torch.distributed.elastic, what torchrun runs) starts the processes, watches them, and stops the rest when
one ends badly. Machines find each other at one address; then each machine's agent joins the same static rendezvous.
Nothing is restarted by itself: the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import GroundupError, RequestError, ResourceError, missing_extra
from groundup.base.machine import cores
from groundup.base.meeting import JOIN_SECONDS
from groundup.base.team import LAUNCHER, RESUME

_DEFAULT_PORT: Final = 29_400


@dataclass(frozen=True)
class Launch:
    """How many processes, and where the machines meet. ``rdzv`` is ``host:port`` of one of them."""

    nproc: int = 1
    nnodes: int = 1
    rdzv: str | None = None
    node_rank: int | None = None
    join_seconds: float = JOIN_SECONDS

    def __post_init__(self) -> None:
        if self.nnodes > 1 and not self.rdzv:
            raise RequestError("--nnodes needs --rdzv HOST:PORT, the address of one of the machines")
        if self.node_rank is not None and not 0 <= self.node_rank < self.nnodes:
            raise RequestError(f"--node-rank {self.node_rank} does not fit --nnodes {self.nnodes}: count from 0")

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.nproc * self.nnodes

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the meeting; port 0 means any, on this machine."""
        if not self.rdzv:
            return "127.0.0.1", 0
        host, colon, port = self.rdzv.rpartition(":")
        if not colon:
            return self.rdzv, _DEFAULT_PORT
        if not port.isdigit() or not 0 < int(port) < 65536 or not host:
            raise RequestError(f"--rdzv {self.rdzv!r} must look like HOST:PORT, such as n01:29400")
        return host.strip("[]"), int(port)


class LaunchError(GroundupError):
    """A process ended badly; the message names it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def launch(launch: Launch, arguments: Sequence[str]) -> None:
    """Run ``python -m groundup`` with ``arguments`` as so many processes, and wait for them.

    LaunchError, of one line, if one of them fails; KeyboardInterrupt after Ctrl-C, when all have ended.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # a lost connection is told in one line, not in a page
    try:
        import torch.distributed.launcher.api as launcher
    except ModuleNotFoundError:
        raise missing_extra("torch", "train") from None
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)  # the agent logs what is told here in one line
    node_rank, port, store = _meet(launch)
    logs = Path(tempfile.mkdtemp(prefix="groundup-"))
    keep = False
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // launch.nproc)))
    try:
        config = _configuration(launch, node_rank, port, logs)
        launcher.elastic_launch(config, sys.executable)("-m", "groundup", *arguments)
    except ChildFailedError as error:
        told, keep = _told(error.failures, logs)
        raise told from None
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise LaunchError(f"stopped by {error.sigval.name}; the same command goes on from here", 1) from None
    finally:
        del store  # the meeting point stays up until every process of this machine has ended
        if not keep:
            shutil.rmtree(logs, ignore_errors=True)


def _configuration(launch: Launch, node_rank: int, port: int, logs: Path) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig

    quiet = {rank: Std.NONE if node_rank == rank == 0 else Std.ALL for rank in range(launch.nproc)}
    host, _ = launch.address
    return LaunchConfig(
        min_nodes=launch.nnodes,
        max_nodes=launch.nnodes,
        nproc_per_node=launch.nproc,
        run_id="groundup",
        rdzv_backend="static",
        rdzv_endpoint=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        rdzv_configs={"rank": node_rank, "timeout": int(launch.join_seconds)},
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=quiet),
    )


# -- machines ------------------------------------------------------------------------------------------------------


def _meet(launch: Launch) -> tuple[int, int, Any]:
    """This machine's number, the port, and the store of the meeting, once all machines are there.

    The machine whose address it is (or number 0, where numbers are given) serves the store and is number 0; the
    others are numbered as they come. ResourceError, with how many joined of how many, after ``join_seconds``.
    """
    host, port = launch.address
    deadline = time.monotonic() + launch.join_seconds
    serves = launch.node_rank == 0 if launch.node_rank is not None else launch.nnodes == 1 or _is_here(host)
    store = _serve(host, port) if serves else None
    number = 0 if store is not None else launch.node_rank
    if store is None:
        store = _reach(host, port, deadline, launch)
    if number is None:
        number = 0 if launch.nnodes == 1 else int(store.add("groundup/numbered", 1))
    taken = int(store.add(f"groundup/node/{number}", 1))
    if taken > 1 or number >= launch.nnodes:
        raise RequestError(f"more machines joined {host}:{port} than --nnodes {launch.nnodes}, or two with one number")
    joined = int(store.add("groundup/joined", 1))
    while joined < launch.nnodes:
        if time.monotonic() > deadline:
            raise ResourceError(
                f"{joined} of {launch.nnodes} machines joined at {host}:{port} within {launch.join_seconds:.0f} s; "
                "start the same command on the others, or give --join-timeout"
            )
        time.sleep(0.2)
        joined = int(store.add("groundup/joined", 0))
    return number, store.port, store


def _serve(host: str, port: int) -> Any:
    """The store of the meeting, served here; None if another process of this machine serves it already."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        return TCPStore(host, port, is_master=True, wait_for_workers=False, multi_tenant=True)
    except RuntimeError as error:
        if os.strerror(errno.EADDRINUSE) in str(error) or "EADDRINUSE" in str(error):
            return None
        raise ResourceError(f"can't listen at {host}:{port}: {str(error).partition(chr(10))[0]}") from None


def _reach(host: str, port: int, deadline: float, launch: Launch) -> Any:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    while True:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
            return TCPStore(host, port, is_master=False, wait_for_workers=False)
        except (OSError, RuntimeError):
            if time.monotonic() > deadline:
                raise ResourceError(
                    f"the meeting point {host}:{port} was not to be reached within {launch.join_seconds:.0f} s; start "
                    "the same command on that machine, or give --join-timeout"
                ) from None
        time.sleep(0.2)


def _is_here(host: str) -> bool:
    """Whether an address belongs to this machine: only then can it be bound."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return host == socket.gethostname()
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.bind((address[0], 0, *address[2:]))
            except OSError:
                continue
            return True
    return False


# -- how it ended ----------------------------------------------------------------------------------------------------


def _told(failures: Mapping[int, Any], logs: Path) -> tuple[LaunchError, bool]:
    """The line for the failure that caused the others, and whether the logs hold more to be read."""
    rank, failure = min(failures.items(), key=lambda item: (_precedence(item[1]), item[0]))
    word = _word(failure)
    if word is not None:
        line, code = str(word["message"]["message"]), int(word["code"])
        if not word["details"]:
            return LaunchError(line, code), False
        (logs / "traceback.txt").write_text(str(word["details"]), encoding="utf-8")
        return LaunchError(f"{line}; traceback: {logs / 'traceback.txt'}", code), True
    name = f"rank {rank} ({socket.gethostname()}, process {failure.pid})"
    if failure.exitcode < 0:
        how = f"was killed by {_signal_name(-failure.exitcode)}"
    else:
        how = f"ended with exit code {failure.exitcode}"
    written = [path for path in sorted(logs.rglob(f"{failure.local_rank}/*.log")) if path.stat().st_size]
    more = f"; its output: {written[0]}" if written else ""
    return LaunchError(f"{name} {how}; {RESUME}{more}", 1), bool(written)


def _precedence(failure: Any) -> int:
    """Causes before echoes: what a process says of itself, a kill, another signal, an exit without a word, what it
    was told by another; last the agent's own SIGTERM to the rest."""
    word = _word(failure)
    if word is not None:
        return 0 if word["first_hand"] else 4
    if failure.exitcode >= 0:
        return 3
    return {signal.SIGKILL: 1, signal.SIGTERM: 5}.get(-failure.exitcode, 2)


def _word(failure: Any) -> dict[str, Any] | None:
    """What the process wrote of its end."""
    try:
        word = json.loads(Path(failure.error_file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return word if "first_hand" in word else None


def _signal_name(number: int) -> str:
    if number == signal.SIGKILL:
        return "SIGKILL (as the kernel does when memory runs out)"
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
