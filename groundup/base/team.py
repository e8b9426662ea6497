"""How the processes of a run keep together: rank 0 leads, the others follow its orders, and none outlives a failure.

Every follower holds one connection to rank 0. The kernel closes it when a process dies, however it dies, and its
keep-alive probes notice a machine that went down, so a death is known within half a minute without anything that a
busy process would have to do. The first failure is the one that is told; it ends all processes.

Orders and answers are lines of JSON. Collective operations of torch.distributed are not used here: a follower may
wait for hours while rank 0 prepares data.
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from groundup.base.dist import World
from groundup.base.errors import in_one_line

LAUNCHER: Final = "GROUNDUP_LAUNCHER"
"""Set by ``groundup run --nproc``: the process that started this one, and that tells its failure to the user."""

RESUME: Final = "the others were stopped, and the same command goes on from the last checkpoint"

_TICK = 0.5
PATIENCE = 20.0
_PROBE_AFTER, _PROBE_EVERY, _PROBES = 10, 5, 4

Message = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A process of the run."""

    rank: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"rank {self.rank} ({self.host}, process {self.pid})"


@dataclass(frozen=True)
class Failure:
    """Why a run ends. ``first_hand``: this process itself failed, it was not merely told to stop."""

    line: str
    code: int
    details: str = ""
    first_hand: bool = True


class Line:
    """Messages over a socket: one JSON object a line."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""
        self._sending = threading.Lock()
        _probe(connection)

    def send(self, message: Message) -> None:
        """OSError if the other side is gone."""
        with self._sending:
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[Message] | None:
        """What has arrived, after waiting for something; None if the other side is gone."""
        try:
            data = self.connection.recv(1 << 16)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


def _probe(connection: socket.socket) -> None:
    """Let the kernel find out, by itself, that the other machine has gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    settings = {
        "TCP_KEEPIDLE": _PROBE_AFTER,
        "TCP_KEEPALIVE": _PROBE_AFTER,  # macOS's name for it
        "TCP_KEEPINTVL": _PROBE_EVERY,
        "TCP_KEEPCNT": _PROBES,
        "TCP_USER_TIMEOUT": (_PROBE_AFTER + _PROBE_EVERY * _PROBES) * 1000,
    }
    for name, value in settings.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Team:
    """What leader and followers share: ending together."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.me = Member(world.rank, socket.gethostname(), os.getpid())
        self._ended = threading.Event()
        self._parent = os.getppid()
        self._dying = threading.Lock()

    def _start(self) -> None:
        threading.Thread(target=self._watch, daemon=True, name="team").start()

    def _watch(self) -> None:
        raise NotImplementedError

    def _check_parent(self) -> None:
        """A killed launcher can't stop its processes: each sees to it itself."""
        if os.getppid() != self._parent:
            os._exit(1)

    def report(self, error: BaseException) -> Failure:
        """An error of this process as a failure to be told."""
        told = in_one_line(error)
        name = f"{self.me}: "
        if told is None:
            line = f"{name}{type(error).__name__}: {' '.join(str(error).split())[:500]}; {RESUME}"
            return Failure(line, 1, "".join(traceback.format_exception(error)))
        line, code = told
        return Failure(line if self.world.is_main else name + line, code)

    def _end(self, failure: Failure, speak: bool) -> NoReturn:
        """The end of this process. Nothing is unwound: other threads may be waiting for processes that are gone."""
        self._dying.acquire()  # the first to come ends the process; it is never released
        leave_word(failure)
        if speak and LAUNCHER not in os.environ:
            print(f"{failure.details}groundup: error: {failure.line}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        self._last_words(failure)
        os._exit(failure.code)

    def _last_words(self, failure: Failure) -> None:
        """What others must be told at the end."""


class Leader(_Team):
    """Rank 0: gives orders, and hears who is done and who has failed. Alone if there are no followers."""

    def __init__(self, world: World, lines: Mapping[int, Line], members: Mapping[int, Member]) -> None:
        super().__init__(world)
        self._lines, self._members = dict(lines), dict(members)
        self._reports: dict[int, Message] = {}
        self._changed = threading.Condition()
        if lines:
            self._start()

    @classmethod
    def alone(cls) -> Leader:
        """The only process."""
        return cls(World(), {}, {})

    @property
    def hosts(self) -> int:
        """The number of machines."""
        return len({self.me.host, *(member.host for member in self._members.values())})

    def tell(self, order: Message) -> None:
        """Send an order to every follower."""
        self._broadcast({"order": order})

    def gather(self) -> list[Message]:
        """Wait until every follower is done with the last order; what they report, in the order of ranks."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._reports) == len(self._lines))
            reports = [self._reports[rank] for rank in sorted(self._reports)]
            self._reports.clear()
        return reports

    def finish(self) -> None:
        """Let the followers go."""
        self._ended.set()
        self._broadcast({"end": True})
        for line in self._lines.values():
            line.connection.close()

    def fail(self, failure: Failure) -> NoReturn:
        """End all processes, this one included."""
        self._end(failure, speak=True)

    def _last_words(self, failure: Failure) -> None:
        self._broadcast({"stop": failure.line, "code": failure.code})

    def _broadcast(self, message: Message) -> None:
        for line in self._lines.values():
            try:
                line.send(message)
            except OSError:  # the watcher sees the same and tells it
                continue

    def _watch(self) -> None:
        selector = selectors.DefaultSelector()
        for rank, line in self._lines.items():
            selector.register(line.connection, selectors.EVENT_READ, rank)
        while not self._ended.is_set():
            for key, _ in selector.select(_TICK):
                messages = self._lines[key.data].receive()
                if self._ended.is_set():
                    return
                if messages is None:
                    self.fail(Failure(_gone(self._members[key.data]), 1, first_hand=False))
                for message in messages or ():
                    self._hear(key.data, message)
            self._check_parent()

    def _hear(self, rank: int, message: Message) -> None:
        if "failed" in message:
            self.fail(Failure(message["failed"], int(message["code"]), message["details"], first_hand=False))
        with self._changed:
            self._reports[rank] = message["done"]
            self._changed.notify_all()


class Follower(_Team):
    """Any other rank: does what it is told, and ends when rank 0 does."""

    def __init__(self, world: World, line: Line, leader: Member, host: str, early: Sequence[Message]) -> None:
        super().__init__(world)
        self.host = host
        self._line, self._leader = line, leader
        self._orders: queue.Queue[Message | None] = queue.Queue()
        for message in early:
            self._take(message)
        self._start()

    def hear(self) -> Message | None:
        """The next order, however long it takes; None when there are no more."""
        return self._orders.get()

    def done(self, report: Message) -> None:
        """Tell rank 0 that the last order is carried out."""
        self._line.send({"done": report})

    def fail(self, failure: Failure) -> NoReturn:
        """Tell rank 0, which ends all processes; then end this one."""
        leave_word(failure)
        try:
            self._line.send({"failed": failure.line, "code": failure.code, "details": failure.details})
            time.sleep(PATIENCE)  # the word to stop ends this process
        except OSError:
            time.sleep(_TICK)  # rank 0 was gone before: the watcher tells that
        self._end(failure, speak=True)

    def _watch(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._line.connection, selectors.EVENT_READ)
        while not self._ended.is_set():
            if selector.select(_TICK):
                messages = self._line.receive()
                if messages is None:
                    failure = Failure(_gone(self._leader), 1, first_hand=False)
                    self._end(failure, speak=self.world.rank == 1)
                for message in messages or ():
                    self._take(message)
            self._check_parent()

    def _take(self, message: Message) -> None:
        if "stop" in message:
            self._end(Failure(message["stop"], int(message["code"]), first_hand=False), speak=False)
        elif "end" in message:
            self._ended.set()
            self._orders.put(None)
        else:
            self._orders.put(message["order"])


def _gone(member: Member) -> str:
    return f"{member} is gone: it was killed, or its machine went down; {RESUME}"


def leave_word(failure: Failure) -> None:
    """Write the failure where torchrun, and our launcher, look for it (torch.distributed.elastic's error file)."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path or (not failure.first_hand and Path(path).exists()):
        return
    extra = {"py_callstack": failure.details or failure.line, "timestamp": str(int(time.time()))}
    word = {
        "message": {"message": failure.line, "errorCode": failure.code, "extraInfo": extra},
        "code": failure.code,
        "details": failure.details,
        "first_hand": failure.first_hand,
    }
    with suppress(OSError):  # whoever would read it has gone, and cleared away
        Path(path).write_text(json.dumps(word), encoding="utf-8")
