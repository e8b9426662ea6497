"""What guarded children do in tests; apart, so that a child does not import pytest."""

from __future__ import annotations

import ctypes
import os
import time

from groundup.base.errors import RequestError


def work(item: str) -> str:
    """What the child does: the item says how to misbehave."""
    if item == "segfault":
        ctypes.string_at(0)
    elif item == "abort":
        os.abort()
    elif item == "exit":
        os._exit(3)
    elif item == "sleep":
        time.sleep(60)
    elif item == "spin":
        while True:
            pass
    elif item == "swallow":
        held = []
        while True:
            held.append(bytearray(16 << 20))
    elif item == "native swallow":
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        while libc.malloc(ctypes.c_size_t(16 << 20)):
            pass
        os.write(2, b"memory allocation of 16777216 bytes failed\n")  # as Rust says before it aborts
        os.abort()
    elif item == "raise":
        raise KeyError("secret words of a page")
    elif item == "chatter":
        os.write(2, b"x" * 4096 * 40)
    elif item == "unpicklable":
        return lambda: None  # type: ignore[return-value]
    return item.upper()


def refuse_to_start() -> None:
    raise RequestError("a package is not installed")


def end_at_start() -> None:
    os._exit(1)
