"""The one door to numba: modules that hold compiled kernels import it, and are themselves imported at the first batch.

Importing numba takes about half a second and compiling a kernel a few, once: the machine code is cached on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numpy.typing import NDArray

from groundup.base.errors import missing_extra

try:
    import numba  # type: ignore[import-untyped,unused-ignore]
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """The function compiled for this processor; it runs without the interpreter's lock."""
    return cast("F", numba.njit(cache=True, nogil=True)(function))


def read_only(*arrays: NDArray[Any]) -> Any:
    """The arrays as they are for kernels that only read: to numba a writable array is another type, compiled anew."""
    views = tuple(array.view() for array in arrays)
    for view in views:
        view.flags.writeable = False
    return views
