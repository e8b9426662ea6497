"""The register of withdrawals: what creators and operators have taken back, in a file that only grows.

``<workspace>/register/withdrawals.jsonl`` has one line for each request. A line is added under a lock and forced to
the disk; what a kill left of one at the end of the file is passed over, and cut off by the next addition. The file
names what was asked for, and for an excerpt of text only hashes of its words: no text of people is kept here.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from groundup.base.errors import ArtifactError, RequestError, nearest
from groundup.base.files import sha256_json, sync_folder

Kind = Literal["url", "domain", "document", "author", "text", "signal"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_HASHES: Final = frozenset({"grams", "spans"})
_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


@dataclass(frozen=True)
class Withdrawal:
    """One request.

    ``what`` is the address, host, id, name or, for a text, the hash of its words; ``signal`` is an address whose owner
    now refuses. ``grams`` are hashes of an excerpt's runs of 5 words, by which it is looked for, and ``spans`` of its
    runs of 8, which are not to be repeated (:mod:`groundup.rights.fingerprint`, in hexadecimal); both are empty for all
    other kinds. ``at`` is when it was added, in ISO 8601.
    """

    id: str
    at: str
    kind: Kind
    what: str
    reason: str = ""
    grams: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()

    def line(self) -> str:
        """For people."""
        return f"{self.id}  {self.at[:10]}  {self.kind}  {self.what}{f'  ({self.reason})' if self.reason else ''}"


class Register:
    """The requests of a workspace. Creating a Register touches nothing."""

    def __init__(self, workspace: Path) -> None:
        self.folder = workspace / "register"
        self.path = self.folder / "withdrawals.jsonl"

    def entries(self) -> list[Withdrawal]:
        """All requests, oldest first; ArtifactError if a line other than a torn last one can't be read."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]
        return [_parse(line, number, self.path) for number, line in enumerate(whole.split(b"\n"), 1) if line.strip()]

    def find(self, name: str) -> Withdrawal:
        """The request with this id, or the only one that begins with it; RequestError otherwise."""
        known = {entry.id: entry for entry in self.entries()}
        found = [entry for entry in known.values() if name and entry.id.startswith(name)]
        if len(found) != 1:
            raise RequestError(f"no withdrawal {name!r} in {self.path}{nearest(name, known)}")
        return found[0]

    def add(
        self,
        kind: Kind,
        what: str,
        reason: str = "",
        *,
        grams: Sequence[str] = (),
        spans: Sequence[str] = (),
        at: str | None = None,
    ) -> Withdrawal:
        """Add a request and return it as it stands in the register: the one that is there if it was made before.

        It has an effect once ``groundup withdraw --pending`` has looked for what it reaches. RequestError if it says
        nothing or is of no known kind.
        """
        return self.add_all([drafted(kind, what, reason, grams=grams, spans=spans, at=at)])[0]

    def add_all(self, drafts: Sequence[Withdrawal]) -> list[Withdrawal]:
        """The same for many at once, in one write."""
        with self.locked():
            before = {entry.id: entry for entry in self.entries()}
            new = {entry.id: entry for entry in reversed(drafts) if entry.id not in before}
            if new:
                self._append([*new.values()][::-1])
        return [before.get(entry.id) or new[entry.id] for entry in drafts]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the register while the body runs; others wait. It ends with the process, however that ends."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _append(self, entries: Sequence[Withdrawal]) -> None:
        """Write lines behind the last whole one, and see that they are on the disk."""
        said = [{name: value for name, value in asdict(entry).items() if value != ()} for entry in entries]
        lines = b"".join(json.dumps(data, ensure_ascii=False).encode() + b"\n" for data in said)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)
        with os.fdopen(handle, "r+b") as file:
            end = file.read().rfind(b"\n") + 1
            file.truncate(end)
            file.seek(end)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)


def drafted(
    kind: Kind,
    what: str,
    reason: str = "",
    *,
    grams: Sequence[str] = (),
    spans: Sequence[str] = (),
    at: str | None = None,
) -> Withdrawal:
    """A request that is in no register yet; RequestError if it says nothing or is of no known kind.

    Its id depends on kind and ``what`` alone, so the same request has the same id anywhere.
    """
    if kind not in KINDS:
        raise RequestError(f"a withdrawal can't be by {kind!r}{nearest(str(kind), KINDS)}")
    what = " ".join(what.split())
    if not what:
        raise RequestError(f"a withdrawal by {kind} must say which")
    now = at or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    name = sha256_json([kind, what])[:16]
    return Withdrawal(name, now, kind, what, " ".join(reason.split()), tuple(grams), tuple(spans))


def _parse(line: bytes, number: int, path: Path) -> Withdrawal:
    known = {one.name for one in fields(Withdrawal)}
    try:
        data: Any = json.loads(line)
        said: dict[str, Any] = {name: tuple(value) if name in _HASHES else value for name, value in data.items()}
        entry = Withdrawal(**said)
        plain = all(isinstance(getattr(entry, name), str) for name in known - _HASHES)
    except (ValueError, TypeError, AttributeError):
        plain = False
    if not plain or entry.kind not in KINDS:
        raise ArtifactError(f"{path} line {number} is damaged; repair it from a copy: no withdrawal may be lost")
    return entry
