"""How the kernels of this room are compiled.

They read and write arrays that their callers own, and allocate none. So they are compiled without reference counts,
which would cost a small function as much as its work; and the small ones are put where they are called, for an array is
passed as seven numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from groundup.base.errors import missing_extra

try:
    import numba
except ImportError:
    raise missing_extra("numba", "tokenize") from None

F = TypeVar("F", bound=Callable[..., Any])


def _uncounted() -> dict[str, Any]:
    """The option is numba's own and not in its documentation: where it isn't known, the kernels are only slower."""
    try:
        from numba.core.options import DefaultOptions
    except ImportError:
        return {}
    return {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}


_UNCOUNTED: Final = _uncounted()
_njit: Final[Any] = numba.njit


def kernel(function: F) -> F:
    """Compile a function that allocates nothing."""
    return cast(F, _njit(cache=True, nogil=True, **_UNCOUNTED)(function))


def inlined(function: F) -> F:
    """The same, and put it where it is called."""
    return cast(F, _njit(cache=True, nogil=True, inline="always", **_UNCOUNTED)(function))
