"""How the processes of a run meet, and end together.

Rank 0 listens; the others learn where from the store that torchrun's agent serves, or, started by Slurm, from its
variables. Whoever calls must know the word that came with the address.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from groundup.base.dist import World, from_slurm, master, tell_libraries
from groundup.base.errors import GroundupError, ResourceError, missing_extra
from groundup.base.team import LAUNCHER, PATIENCE, Failure, Follower, Leader, Line, Member, leave_word

JOIN_SECONDS: Final = 300.0

_PEER_LOST = re.compile(r"\bgloo\b|\bnccl\b|connection (was )?(closed|reset)|broken pipe", re.IGNORECASE)


def _peer_lost(error: BaseException) -> bool:
    """Whether an error looks like the echo of another process's end in a collective operation."""
    if not isinstance(error, RuntimeError):
        return False
    return type(error).__module__.startswith("torch.distributed") or bool(_PEER_LOST.search(str(error)))


@contextmanager
def join(world: World, seconds: float = JOIN_SECONDS) -> Iterator[Leader | Follower]:
    """Meet the other processes, and end together: a failure of one, in the body, ends all with one line.

    ResourceError if not all come within ``seconds``.
    """
    if world.size == 1:
        yield Leader.alone()
        return
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        os._exit(1)  # the launcher was killed before this process got here
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started the processes tells of Ctrl-C, once
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # a lost connection is told in one line, not in a page
    try:
        team = _meet(world, seconds)
    except GroundupError as error:
        failure = Failure(str(error), error.exit_code)
        leave_word(failure)
        if LAUNCHER in os.environ or world.rank > 1:
            sys.exit(failure.code)  # one voice is enough
        raise
    try:
        yield team
    except Exception as error:
        if _peer_lost(error):
            time.sleep(PATIENCE)  # the watcher hears who it was, and ends this process
        team.fail(team.report(error))
    if isinstance(team, Leader):
        team.finish()


def _meet(world: World, seconds: float) -> Leader | Follower:
    deadline = time.monotonic() + seconds
    if from_slurm(os.environ):
        host, port = master(os.environ)
        tell_libraries(world, host, port)
        key = os.environ.get("SLURM_JOB_ID", "")
        if world.is_main:
            return _lead(world, _listen(world, port), key, deadline, seconds)
        return _follow(world, host, port, key, deadline, seconds)
    store = _launcher_store(world, seconds)
    host = "127.0.0.1" if world.local_size == world.size else os.environ["MASTER_ADDR"]
    if world.is_main:
        listener, key = _listen(world, 0), secrets.token_hex(16)
        store.set("groundup/team", json.dumps([listener.getsockname()[1], key]))
        return _lead(world, listener, key, deadline, seconds)
    port, key = json.loads(store.get("groundup/team"))
    return _follow(world, host, port, key, deadline, seconds)


def _launcher_store(world: World, seconds: float) -> Any:
    try:
        from torch.distributed import DistError, rendezvous  # type: ignore[attr-defined]
    except ModuleNotFoundError:
        raise missing_extra("torch", "train") from None
    try:
        store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=timedelta(seconds=seconds)))
    except (DistError, TimeoutError, ValueError) as error:
        raise ResourceError(f"the processes did not meet within {seconds:.0f} s: {_first_line(error)}") from None
    return store


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _listen(world: World, port: int) -> socket.socket:
    try:
        if world.local_size == world.size:
            return socket.create_server(("127.0.0.1", port))
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
        return socket.create_server(("", port), backlog=4096)
    except OSError as error:
        raise ResourceError(
            f"rank 0 can't listen on port {port} ({error.strerror}); set MASTER_PORT to a free one"
        ) from None


def _lead(world: World, listener: socket.socket, key: str, deadline: float, seconds: float) -> Leader:
    """Wait for every follower. Strangers, and those that say nothing, are turned away."""
    me = Member(0, socket.gethostname(), os.getpid())
    lines: dict[int, Line] = {}
    members: dict[int, Member] = {}
    with listener:
        while len(lines) < world.size - 1:
            left = deadline - time.monotonic()
            if left <= 0:
                told = _missing(sorted(set(range(1, world.size)) - set(lines)), world, seconds)
                for line in lines.values():
                    line.send({"stop": told, "code": 1})
                raise ResourceError(told)
            listener.settimeout(left)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            line = Line(connection)
            member = _introduced(line, key, world)
            if member is None:
                connection.close()
                continue
            line.send({"rank": me.rank, "host": me.host, "pid": me.pid})
            lines[member.rank], members[member.rank] = line, member
    return Leader(world, lines, members)


def _introduced(line: Line, key: str, world: World) -> Member | None:
    line.connection.settimeout(5.0)
    try:
        messages = line.receive()
        hello = messages[0] if messages else {}
        given, rank = str(hello.get("key", "")), int(hello.get("rank", 0))
        member = Member(rank, str(hello.get("host")), int(hello.get("pid", 0)))
    except (ValueError, TypeError, AttributeError):
        return None
    line.connection.settimeout(None)
    return member if hmac.compare_digest(given.encode(), key.encode()) and 0 < rank < world.size else None


def _missing(ranks: Sequence[int], world: World, seconds: float) -> str:
    shown = ", ".join(str(rank) for rank in ranks[:8]) + (", …" if len(ranks) > 8 else "")
    return (
        f"{world.size - len(ranks)} of {world.size} processes joined within {seconds:.0f} s; missing: rank {shown}; "
        "see that every node starts the same command, or give --join-timeout"
    )


def _follow(world: World, host: str, port: int, key: str, deadline: float, seconds: float) -> Follower:
    me = Member(world.rank, socket.gethostname(), os.getpid())
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ResourceError(f"{me}: rank 0 was not to be reached at {host}:{port} within {seconds:.0f} s")
        try:
            connection = socket.create_connection((host, port), timeout=left)
            if connection.getsockname() == connection.getpeername():
                # TCP lets a port that nobody listens on connect to itself, and then nobody else can listen there.
                connection.close()
                continue
            line = Line(connection)
            line.send({"key": key, "rank": me.rank, "host": me.host, "pid": me.pid})
            answer = line.receive()
        except OSError:
            answer = None
        if answer:
            line.connection.settimeout(None)
            leader = Member(int(answer[0]["rank"]), str(answer[0]["host"]), int(answer[0]["pid"]))
            return Follower(world, line, leader, host, answer[1:])
        time.sleep(min(0.2, max(left, 0.0)))
