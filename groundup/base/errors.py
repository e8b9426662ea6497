"""Every error that groundup raises on purpose, in one tree.

    GroundupError            exit code 1: the work failed
    ├── RequestError         exit code 2: what was asked for can't be done; nothing was started
    ├── DataError            an input holds something that can't be used
    ├── ArtifactError        a stored artifact is missing, altered or of the wrong kind
    └── ResourceError        the machine lacks memory, disk or a lock

A message is one line and says what to do. The command line prints it without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GroundupError(Exception):
    """The base of all errors meant for the user."""

    exit_code = 1


class RequestError(GroundupError):
    """The request was wrong: an unknown field, a missing file, a model that does not fit."""

    exit_code = 2


class DataError(GroundupError):
    """An input file or document can't be used."""


class ArtifactError(GroundupError):
    """A stored artifact is missing, altered, or not what its record says."""


class ResourceError(GroundupError):
    """Memory, disk or a lock is not to be had."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name, ready to append to a message.

    >>> nearest("dept", ["depth", "width"])
    "; did you mean 'depth'?"
    >>> nearest("zzz", ["depth", "width"])
    '; known: depth, width'
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def missing_extra(package: str, extra: str) -> RequestError:
    """The error for an optional package that is not installed."""
    return RequestError(f"{package} is not installed; run: pip install 'groundup[{extra}]'")


def in_one_line(error: BaseException) -> tuple[str, int] | None:
    """What to tell the user of an error, and the exit code; None for an error of our own making.

    >>> in_one_line(RequestError("no recipe 'x'"))
    ("no recipe 'x'", 2)
    """
    if isinstance(error, GroundupError):
        return " ".join(str(error).split()), error.exit_code
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("groundup"):
        return f"{error.name} is not installed; run: pip install 'groundup[all]'", 2
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}", 1
    return None
