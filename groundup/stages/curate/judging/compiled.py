"""The kernels' way to numba. Importing it takes half a second: modules with kernels are imported at the first batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from groundup.base.errors import missing_extra

try:
    import numba  # type: ignore[import-untyped,unused-ignore]
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """The function compiled for this processor; it runs without the interpreter's lock."""
    return cast("F", numba.njit(cache=True, nogil=True)(function))


def inlined(function: F) -> F:
    """A function that kernels are built of: compiled into each of them, so that it costs no call."""
    options: Any = {"inline": "always"}
    return cast("F", numba.njit(cache=True, nogil=True, **options)(function))
