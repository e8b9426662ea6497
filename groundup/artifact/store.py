"""The workspace: artifacts whole or absent, the names that recipes gave them, and proof that no byte changed.

workspace/
  artifacts/<digest16>/   payload files, record.json, log/
  partial/<digest16>/     payload/ and scratch/ of a stage that has not finished
  runs/<recipe>/          report.html, run.json
  names.json              {"recipe/name": digest}
  replaced.json           {digest: the digest that took its place}, where material was withdrawn
  lock
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from groundup.artifact.record import FileEntry, Record
from groundup.artifact.stage import Artifact
from groundup.base.errors import ArtifactError, RequestError, nearest
from groundup.base.files import read_json, sha256_file, sync_file, sync_folder, write_json, write_text

RECORD = "record.json"


class Store:
    """Reads and commits artifacts in a workspace folder. Creating a Store touches nothing."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.artifacts = workspace / "artifacts"
        self.partial = workspace / "partial"
        self.runs = workspace / "runs"
        self._names = workspace / "names.json"
        self._replaced = workspace / "replaced.json"

    # -- reading ---------------------------------------------------------------------------------------------

    def has(self, digest: str) -> bool:
        """Whether the artifact was committed."""
        return (self._folder(digest) / RECORD).is_file()

    def open(self, digest: str, *, verify: bool = True) -> Artifact:
        """The artifact with this digest; ArtifactError if it is absent or was altered.

        One that was deleted after material of it was withdrawn is the one that took its place.
        """
        digest = digest if self.has(digest) else self.standing(digest)
        folder = self._folder(digest)
        record = _read_record(folder)
        if record.digest != digest:
            raise ArtifactError(f"{folder} holds artifact {record.digest[:12]}, not {digest[:12]}; delete the folder")
        artifact = Artifact(folder, record)
        if verify:
            self._verify(artifact)
        return artifact

    def all(self) -> Iterator[Artifact]:
        """Every committed artifact, oldest first, unverified."""
        folders = self.artifacts.iterdir() if self.artifacts.is_dir() else iter(())
        records = [(folder, _read_record(folder)) for folder in folders if (folder / RECORD).is_file()]
        for folder, record in sorted(records, key=lambda pair: (pair[1].created, pair[1].digest)):
            yield Artifact(folder, record)

    def names(self) -> dict[str, str]:
        """The names given by recipes: ``recipe/artifact`` to digest."""
        if not self._names.is_file():
            return {}
        try:
            return dict(read_json(self._names))
        except (ValueError, TypeError) as error:
            raise ArtifactError(
                f"{self._names} is not readable ({error}); delete it and run the recipe again"
            ) from None

    def replaced(self) -> dict[str, str]:
        """Which artifact took the place of which, by digest, where material was withdrawn."""
        if not self._replaced.is_file():
            return {}
        try:
            return dict(read_json(self._replaced))
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{self._replaced} is not readable ({error}); restore it from a copy") from None

    def standing(self, digest: str) -> str:
        """The digest that took the place of another, through any number of steps; itself if none did."""
        replaced = self.replaced()
        seen = {digest}
        while (after := replaced.get(digest)) is not None and after not in seen:
            seen.add(after)
            digest = after
        return digest

    def find(self, reference: str, *, verify: bool = True) -> Artifact:
        """The artifact meant by ``base``, ``quickstart/base`` or the start of a digest."""
        names = self.names()
        if reference in names:
            return self.open(names[reference], verify=verify)
        digests = {digest for name, digest in names.items() if name.rpartition("/")[2] == reference}
        if not digests and len(reference) >= 6:
            digests = {one.record.digest for one in self.all() if one.record.digest.startswith(reference)}
        if len(digests) > 1:
            full = sorted(name for name, digest in names.items() if digest in digests)
            raise RequestError(f"{reference!r} is the name of several artifacts; say which: {', '.join(full)}")
        if not digests:
            known = {name.rpartition("/")[2] for name in names}
            hint = nearest(reference, known) or "; the workspace is empty: make one with 'groundup run quickstart'"
            raise RequestError(f"no artifact {reference!r} in {self.workspace}{hint}")
        return self.open(digests.pop(), verify=verify)

    def _folder(self, digest: str) -> Path:
        return self.artifacts / digest[:16]

    def _verify(self, artifact: Artifact) -> None:
        folder, record = artifact.path, artifact.record
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {RECORD}
        remedy = f"delete {folder} and run again to remake it"
        for name in sorted(there ^ set(record.files)):
            what = "is missing" if name in record.files else "is not in its record"
            raise ArtifactError(f"artifact {record.name!r}: file {name!r} {what}; {remedy}")
        with ThreadPoolExecutor() as pool:
            hashes = dict(zip(record.files, pool.map(sha256_file, (folder / n for n in record.files)), strict=True))
        for name, entry in record.files.items():
            if hashes[name] != entry.sha256:
                raise ArtifactError(f"artifact {record.name!r}: file {name!r} was altered; {remedy}")

    # -- writing ---------------------------------------------------------------------------------------------

    def begin(self, digest: str) -> tuple[Path, Path, int]:
        """An empty payload folder, the scratch folder as a former attempt left it, and the number of attempts."""
        payload, scratch = self.under_way(digest)
        shutil.rmtree(payload, ignore_errors=True)
        payload.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        counter = scratch.parent / "attempts"
        attempts = int(counter.read_text()) + 1 if counter.is_file() else 1
        write_text(counter, str(attempts))
        return payload, scratch, attempts

    def under_way(self, digest: str) -> tuple[Path, Path]:
        """The payload and scratch folders of an artifact that is being made."""
        base = self.partial / digest[:16]
        return base / "payload", base / "scratch"

    def commit(self, record: Record, payload: Path) -> Artifact:
        """Rename a finished payload into place. After a crash at any point it is either there or not."""
        write_json(payload / RECORD, record.model_dump(mode="json"))
        for path in payload.rglob("*"):
            sync_folder(path) if path.is_dir() else sync_file(path)
        sync_folder(payload)
        target = self._folder(record.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        payload.rename(target)
        sync_folder(target.parent)
        self.discard(record.digest)
        return Artifact(target, record)

    def discard(self, digest: str) -> None:
        """Delete what an unfinished or just finished attempt left in ``partial``."""
        shutil.rmtree(self.partial / digest[:16], ignore_errors=True)

    def discard_unstarted(self, digest: str) -> None:
        """Delete an attempt that was refused, but for what a former one keeps to go on from."""
        _, scratch = self.under_way(digest)
        if scratch.is_dir() and any(scratch.iterdir()):
            self.discard_payload(digest)
        else:
            self.discard(digest)

    def discard_payload(self, digest: str) -> None:
        """Delete the half-made payload of an attempt that failed; scratch stays for the next one."""
        shutil.rmtree(self.partial / digest[:16] / "payload", ignore_errors=True)

    def set_replaced(self, digests: dict[str, str]) -> None:
        """Say which artifact took the place of which, beside what was said before."""
        before = self.replaced()
        after = {**before, **digests}
        if after != before:
            write_json(self._replaced, dict(sorted(after.items())))

    def delete(self, digest: str) -> None:
        """Delete an artifact: after a crash at any point it is whole, or no artifact any more."""
        folder = self._folder(digest)
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def set_names(self, names: dict[str, str]) -> None:
        """Point names at digests, keeping the other names."""
        before = self.names()
        after = {**before, **names}
        if after != before:
            write_json(self._names, dict(sorted(after.items())))


def scan(payload: Path) -> dict[str, FileEntry]:
    """The size and hash of every file below ``payload``, by relative name."""
    names = sorted(str(path.relative_to(payload)) for path in payload.rglob("*") if path.is_file())
    return {
        name: FileEntry(bytes=(payload / name).stat().st_size, sha256=sha256_file(payload / name)) for name in names
    }


def _read_record(folder: Path) -> Record:
    try:
        return Record.model_validate(read_json(folder / RECORD))
    except FileNotFoundError:
        raise ArtifactError(f"no artifact at {folder}") from None
    except (ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{folder / RECORD} is damaged ({reason}); delete {folder} and run again") from None
