"""Jobs: pieces of work that are whole or absent, each in a folder of its own with a manifest.

A job is named by a hash of what defines its result: the hashes of its inputs and the specification of its work. Its
output is written beside and renamed with its manifest in it, so that a kill at any moment leaves finished jobs or
nothing. A later attempt compares hashes and does only what is missing, whatever the number of workers then and now.

Large files of a result are freed when all jobs that read them are done: the manifest goes on vouching for them, so the
result counts as finished. Should such a job be missing after all (its own result was damaged, or the program is a newer
one that works differently), it raises :class:`FreedError`, and :func:`renew` clears the way for making them again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

from groundup.base.files import read_json, sha256_file, sha256_json, sync_folder, write_json
from groundup.base.machine import peak_memory

MANIFEST: Final = "manifest.json"

_FREED: Final = "freed"


class FreedError(Exception):
    """A job needs a file of a result, ``args[0]`` names its folder, that was freed."""


@dataclass(frozen=True)
class Job:
    """One piece of work. ``identity`` defines its result, JSON only; ``size`` is for progress, in what the work counts.

    ``payload`` is what the work is handed: where its inputs lie now, which is no part of its identity. ``reads`` are
    files of other results that it needs and that may have been freed.
    """

    identity: Mapping[str, Any]
    size: int
    payload: Any = None
    reads: tuple[Path, ...] = ()

    def digest(self, work: str) -> str:
        """The name of the job's folder, for the digest of the work to be done on it."""
        return sha256_json({"work": work, **self.identity})[:32]


class Work(Protocol):
    """What is done to each job of a kind; picklable. Costly state is made at the first call in each process."""

    @property
    def digest(self) -> str:
        """The hash of what defines the work."""
        ...

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Write the result into ``folder``; return facts for the manifest, JSON only."""
        ...


@dataclass(frozen=True)
class Done:
    """A finished job: its folder and the facts that its work returned."""

    folder: Path
    facts: Mapping[str, Any] = field(repr=False)
    peak_memory: int = 0

    def file(self, name: str) -> Path:
        """A file of the result."""
        return self.folder / name

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file, by name: what a job that reads this one puts into its identity."""
        return dict(read_json(self.folder / MANIFEST)["files"])


def find(home: Path, digest: str) -> Done | None:
    """The result of a finished job; None if there is none, or one whose files are not what its manifest says."""
    folder = home / digest
    try:
        manifest = read_json(folder / MANIFEST)
        there = {name: sha256 for name, sha256 in manifest["files"].items() if name not in manifest.get(_FREED, ())}
        sound = all(sha256_file(folder / name) == sha256 for name, sha256 in there.items())
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return Done(folder, manifest["facts"], int(manifest["peak_memory"]))


def carry_out(work: Work, job: Job, home: Path) -> Done:
    """Do a job, or find that it was done. FreedError if it isn't, and a file that it reads is no more."""
    digest = job.digest(work.digest)
    if done := find(home, digest):
        return done
    for path in job.reads:
        if not path.exists():
            raise FreedError(path.parent.name)
    beside = home / f".{digest}.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        facts = work(job.payload, beside)
        files = {path.name: sha256_file(path) for path in sorted(beside.iterdir())}
        manifest = {"job": dict(job.identity), "work": work.digest, "files": files, "facts": facts}
        write_json(beside / MANIFEST, {**manifest, "peak_memory": peak_memory()})
        try:
            beside.rename(home / digest)
        except OSError:  # the same job was done meanwhile by another worker: of a table that is there twice, say
            if (there := find(home, digest)) is None:
                raise
            shutil.rmtree(beside)
            return there
        sync_folder(home)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return Done(home / digest, facts, peak_memory())


def forget(done: Done) -> None:
    """Delete a result that nothing asks for any more."""
    shutil.rmtree(done.folder, ignore_errors=True)


def free(done: Done, *names: str) -> None:
    """Delete files of a result, which all jobs that read them have outlived; the result stays finished."""
    manifest = read_json(done.folder / MANIFEST)
    freed = sorted({*manifest.get(_FREED, ()), *names})
    if freed != manifest.get(_FREED):  # before they are deleted: a kill in between must not look like damage
        write_json(done.folder / MANIFEST, {**manifest, _FREED: freed})
    for name in names:
        (done.folder / name).unlink(missing_ok=True)


def renew(home: Path, name: str) -> None:
    """Forget all results of the work that made ``name``, a folder in ``home``, of which something was freed."""
    work = read_json(home / name / MANIFEST)["work"]
    for path in home.glob(f"*/{MANIFEST}"):
        manifest = read_json(path)
        if manifest["work"] == work and _FREED in manifest:
            shutil.rmtree(path.parent)
