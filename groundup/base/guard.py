"""A guard around parsers: a file that crashes, hangs or swallows memory costs itself, never the run.

The work is done in one child process. It may spend so many seconds of processor time on an item (an interval timer of
the kernel ends it, however deep in native code it is) and so much more memory than it had when it was ready (the
address space is limited, so that an allocation fails and the machine is not drawn down with it). What the processor
time can't see, a child that sleeps, ends at ten times the seconds by the clock.

Items travel in groups, so that good ones cost next to nothing. When a child dies over a group, its items are given to
a new child one by one. Whoever fails in a child that has done other work before is tried again in a fresh one, and
only that counts: so the same items fail however they were grouped, and no neighbour suffers.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from groundup.base.errors import GroundupError, ResourceError
from groundup.base.machine import keep_freed_memory

Item = TypeVar("Item")
Value = TypeVar("Value")

Rule = Literal["failed", "too_slow", "too_large"]

_GROUP_BYTES: Final = 1 << 20
_GROUP_ITEMS: Final = 64
_LARGE: Final = 1 << 20
"""Bytes of an item from which any error may be want of memory: parsers report it under names of their own."""
_START_SECONDS: Final = 300.0
"""A child may compile kernels before it is ready."""
_CLOCK_FACTOR: Final = 10.0
_MEMORY_SIGNS: Final = (b"memory allocation", b"bad_alloc", b"out of memory", b"MemoryError")
_CHILD: Final = "import sys; sys.path[:] = sys.argv[2:]; from groundup.base.guard import _serve; _serve()"


class Failure(NamedTuple):
    """Why an item has no value. ``detail`` names an exception or a signal, never anything of the item."""

    rule: Rule
    detail: str


class Guard(Generic[Item, Value]):
    """``function`` behind limits: ``guard.map(items)`` gives a value or a :class:`Failure` for each item, in order.

    ``function`` and ``prepare`` are importable by name (module level); ``prepare`` is called once a child, outside
    the limits, to load what is slow to load. ``seconds`` of processor time and ``memory_bytes`` are for one item. A
    :class:`GroundupError` in the child (a missing package) is no fault of an item, and is raised here. A guard can be
    pickled: its child does not travel, and the first ``map`` starts another.
    """

    def __init__(
        self,
        function: Callable[[Item], Value],
        seconds: float,
        memory_bytes: int,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.function, self.seconds, self.memory_bytes, self.prepare = function, seconds, memory_bytes, prepare
        self._child: _Child | None = None
        self._owner = 0

    def map(self, items: Sequence[Item]) -> list[Value | Failure]:
        """A value or a failure for each item."""
        found: list[Value | Failure] = []
        for group in _groups(items):
            if len(group) == 1:
                found.append(self._alone(group[0]))
                continue
            answers = self._ask(group)
            if isinstance(answers, list):
                found += [self._settled(item, answer) for item, answer in zip(group, answers, strict=True)]
            else:
                found += [self._alone(item) for item in group]
        return found

    def close(self) -> None:
        """End the child. The guard can be used again."""
        if self._child is not None and self._owner == os.getpid():
            self._child.end()
        self._child = None

    def __enter__(self) -> Guard[Item, Value]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_child": None}

    def _settled(self, item: Item, answer: Value | Failure) -> Value | Failure:
        """An answer as it is, unless it may be want of memory in a child that earlier items have filled."""
        return self._alone(item) if isinstance(answer, Failure) and _may_lack_memory(item, answer) else answer

    def _alone(self, item: Item) -> Value | Failure:
        """What becomes of an item by itself; a failure is that of a fresh child."""
        while True:
            fresh = self._child is None or not self._child.used
            answers = self._ask([item])
            answer = answers[0] if isinstance(answers, list) else answers
            if fresh or not isinstance(answer, Failure):
                return answer
            if isinstance(answers, list) and not _may_lack_memory(item, answer):
                return answer
            self.close()

    def _ask(self, group: Sequence[Item]) -> list[Value | Failure] | Failure:
        """The answers to a group, or how the child died over it."""
        if self._child is None or self._owner != os.getpid():
            self._child, self._owner = (
                _Child((self.function, self.prepare, self.seconds, self.memory_bytes)),
                os.getpid(),
            )
        answers = self._child.ask(group, self.seconds * _CLOCK_FACTOR)
        if isinstance(answers, Failure) or self._child.full:
            self.close()
        return answers


class _Child:
    """A process that answers groups of items."""

    def __init__(self, task: tuple[Any, ...]) -> None:
        self.used = self.full = False
        self._pipe, theirs = Pipe()
        self._complaints, complaints = os.pipe()
        os.set_blocking(complaints, False)  # whoever complains too much is not held up by it
        os.set_blocking(self._complaints, False)
        command = [sys.executable, "-c", _CHILD, str(theirs.fileno()), *sys.path]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        os.close(complaints)
        self._finalizer = weakref.finalize(self, _end, self._process, self._pipe, self._complaints)
        answer = self._exchange(task, _START_SECONDS)
        if answer != "ready":
            self.end()
            raise ResourceError(f"the process that parses did not start: {_reason(answer).detail}")

    def ask(self, group: Sequence[Any], clock_seconds: float) -> list[Any] | Failure:
        """The answers, or how the process died."""
        self.used = True
        answer = self._exchange(list(group), clock_seconds)
        if isinstance(answer, tuple) and not isinstance(answer, Failure):
            answers, self.full = answer
            return list(answers)
        return _reason(answer)

    def end(self) -> None:
        """End the process and wait for it."""
        self._finalizer()

    def _exchange(self, message: object, seconds: float) -> Any:
        try:
            self._pipe.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
            if not self._pipe.poll(seconds):
                return Failure("too_slow", f"no answer in {seconds:g} s")
            answer = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, ConnectionError):
            return self._death()
        if isinstance(answer, GroundupError):
            self.end()
            raise answer
        return answer

    def _death(self) -> Failure:
        code = self._process.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if code == -signal.SIGPROF:
            return Failure("too_slow", "out of processor time")
        said = b""
        if select.select([self._complaints], [], [], 0)[0]:
            said = os.read(self._complaints, 1 << 16)
        short_of_memory = code == -signal.SIGKILL or any(sign in said for sign in _MEMORY_SIGNS)
        return Failure("too_large" if short_of_memory else "failed", f"the parser ended by {name}")


def _end(process: subprocess.Popen[bytes], pipe: Connection, complaints: int) -> None:
    process.kill()
    process.wait()
    pipe.close()
    os.close(complaints)


def _reason(answer: object) -> Failure:
    return answer if isinstance(answer, Failure) else Failure("failed", "no answer")


def _groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items in groups of moderate size, so that an exchange is worth its cost."""
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += _size(item)
        if size >= _GROUP_BYTES or len(group) >= _GROUP_ITEMS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _may_lack_memory(item: object, failure: Failure) -> bool:
    return failure.rule == "too_large" or _size(item) >= _LARGE


def _size(item: object) -> int:
    if isinstance(item, bytes | str):
        return len(item)
    return sum(map(_size, item)) if isinstance(item, tuple) else 64


def _serve() -> None:
    """The child's life: get ready, then answer until the pipe closes, as it does when the parent dies."""
    pipe = Connection(int(sys.argv[1]))
    keep_freed_memory()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        function, prepare, seconds, memory_bytes = pickle.loads(pipe.recv_bytes())
        try:
            if prepare is not None:
                prepare()
        except GroundupError as error:
            pipe.send_bytes(pickle.dumps(error))
            return
        half = _limit_memory(memory_bytes)
        pipe.send_bytes(pickle.dumps("ready"))
        while True:
            group = pickle.loads(pipe.recv_bytes())
            answers = [_answer(function, item, seconds) for item in group]
            unfit = next((answer for answer in answers if isinstance(answer, GroundupError)), None)
            pipe.send_bytes(_packed(unfit or (answers, _address_space() > half)))
    except (EOFError, ConnectionError):
        return


def _answer(function: Callable[[Any], Any], item: object, seconds: float) -> object:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return function(item)
    except MemoryError:
        return Failure("too_large", "out of memory")
    except GroundupError as error:
        return error
    except Exception as error:
        return Failure("failed", type(error).__name__)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _packed(answer: Any) -> bytes:
    """An answer as bytes; values that can't travel become failures one by one."""
    try:
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception:
        answers, full = answer
        return pickle.dumps(([_portable(value) for value in answers], full), pickle.HIGHEST_PROTOCOL)


def _portable(value: object) -> object:
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return Failure("too_large", "out of memory")
    except Exception as error:
        return Failure("failed", type(error).__name__)
    return value


def _limit_memory(more_bytes: int) -> int:
    """Let the address space grow by so much from here, and no further; returns its size with half of that used.

    Without /proc (macOS) there is no limit.
    """
    now = _address_space()
    if now:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = now + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    return now + more_bytes // 2


def _address_space() -> int:
    """Bytes of this process's address space; 0 where that can't be known."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  (once a group: pathlib costs more than the read)
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
