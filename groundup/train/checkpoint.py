"""Checkpoints of a run in progress: sharded, written in the background, whole or absent, proven before they are read.

A checkpoint is a folder ``step-NNNNNNNNN``: tensors in the format of torch.distributed.checkpoint, one file for each
process, so that any layout of processes can read what another wrote; and ``checkpoint.json`` with the step, what the
loop keeps beside the tensors, a fingerprint of model, optimizer and data, and size and CRC-32 of every file. (The
format itself notices neither a flipped bit nor a file of another run.) The folder is written under a hidden name,
synced, and renamed when all processes have finished.

Training goes on meanwhile: the state is copied first, which costs the copy's memory and a fraction of a second.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded
from torch.distributed.checkpoint.state_dict_saver import save as save_sharded

from groundup.base.errors import ArtifactError
from groundup.base.files import read_json, sha256_json, sync_file, sync_folder, write_json
from groundup.train.settings import LoopConfig
from groundup.train.together import Together

MARKER: Final = "checkpoint.json"
_FORMAT: Final = 1
_ALMOST_FULL: Final = 2**20
_PIECE: Final = 2**22
_LAST_WAIT_SECONDS: Final = 20.0

State = dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint: the state before ``step``, and what the loop kept beside it."""

    folder: Path
    step: int
    extra: Mapping[str, Any]


class Checkpoints:
    """The checkpoints in a folder. Every process of a run makes one of these and calls the same methods in turn."""

    def __init__(
        self,
        folder: Path,
        config: LoopConfig,
        fingerprint: Mapping[str, str],
        note: Callable[[str], None],
        together: Together | None = None,
    ) -> None:
        """``together`` is the group to agree in; the writing thread has one of its own."""
        self._folder, self._config, self._fingerprint, self._note = folder, config, dict(fingerprint), note
        self._talk, self._write = together or Together(), Together()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._last_time = time.monotonic()
        self.last_step: int | None = None
        # One process is a sensible number of processes.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")

    # -- when --------------------------------------------------------------------------------------------------

    def due(self, step: int) -> bool:
        """Whether to save before ``step``: by steps, or because the main process finds enough seconds gone by."""
        spans = (self._config.checkpoint_every_steps, self._config.checkpoint_permanent_every)
        if any(span and step and step % span == 0 for span in spans):
            return self.last_step != step
        late = time.monotonic() - self._last_time > self._config.checkpoint_every
        return self._talk.main_says(late and not self._busy())

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    # -- writing -----------------------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        state: State,
        extra: Mapping[str, Any],
        *,
        logs: Sequence[Path] = (),
        hold: Collection[int] = (),
    ) -> None:
        """Store the state before ``step``. Returns once it is copied; ``wait`` once it is written.

        ``logs`` are synced first, since ``extra`` may tell their length. Afterwards only the newest checkpoints, the
        permanent ones and those of the steps in ``hold`` are kept. OSError if a save could not be written.
        """
        self.wait()
        self.last_step = step
        if self._config.checkpoint_in_background:
            state = copied(state)
            self._thread = threading.Thread(
                target=self._guarded, args=(step, state, extra, logs, hold), name=f"checkpoint {step}", daemon=True
            )
            self._thread.start()
        else:
            self._store(step, state, extra, logs, hold)
        self._last_time = time.monotonic()

    def wait(self) -> None:
        """Return when the last save is written; raise what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def finish(self) -> None:
        """Return when the last save is whole on the disk, which takes every process's share; raise as ``wait``."""
        self.wait()
        self._talk.gather(None)

    def close(self) -> None:
        """Let a save that is under way finish, also when the run ends with an error: it may be all that is left.

        Among several processes one may be gone, so there the others wait for it only so long.
        """
        if self._thread is not None:
            self._thread.join(None if self._write.alone else _LAST_WAIT_SECONDS)
            self._thread = None

    def _guarded(self, *arguments: Any) -> None:
        try:
            self._store(*arguments)
        except BaseException as error:  # raised by `wait` in the thread that trains
            self._failure = error

    def _store(
        self, step: int, state: State, extra: Mapping[str, Any], logs: Sequence[Path], hold: Collection[int]
    ) -> None:
        target = self._folder / f"step-{step:09d}"
        beside = self._folder / f".{target.name}.partial"
        if self._write.is_main:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
        self._write.gather(None)  # the folder is there
        try:
            save_sharded(
                state,
                storage_writer=FileSystemWriter(beside, sync_files=True),
                process_group=self._write.group,
                no_dist=self._write.alone,
            )
            own = {path.name: _sum(path) for path in beside.glob(f"__{self._write.rank}_*")}
        except (Exception, CheckpointException) as error:
            raise _plain(error, self._folder) from error
        sums = self._write.gather(own)
        if self._write.is_main:
            files = {name: value for part in sums for name, value in part.items()}
            files[".metadata"] = _sum(beside / ".metadata")
            for log in logs:
                sync_file(log)
            marker = {"format": _FORMAT, "step": step, "fingerprint": self._fingerprint, "files": files}
            marker["extra"] = dict(extra)
            write_json(beside / MARKER, {**marker, "check": sha256_json(marker)})
            shutil.rmtree(target, ignore_errors=True)
            beside.rename(target)
            sync_folder(self._folder)
            self._prune(hold)

    def _prune(self, hold: Collection[int]) -> None:
        """Delete what is neither new, nor permanent, nor held; by way of a rename, so that no half of one stays."""
        for folder in self._all()[: -self._config.checkpoint_keep]:
            if _step(folder) not in hold and not self._is_permanent(folder):
                _delete(folder)

    # -- reading -----------------------------------------------------------------------------------------------

    def newest(self) -> Saved | None:
        """The newest whole checkpoint, damaged ones deleted with a note; None if there is none.

        ArtifactError if it belongs to another model, optimizer or data.
        """
        if self._talk.is_main:
            for left in self._folder.glob(".step-*"):
                shutil.rmtree(left, ignore_errors=True)
        for folder in reversed(self._talk.from_main(self._all())):
            marker = _marker(folder)
            problem = "it is not whole" if marker is None else self._damage(folder, marker["files"])
            problems = [problem for problem in self._talk.everyone(problem) if problem]
            if problems:
                self._note(f"checkpoint {folder.name} is damaged ({problems[0]}): passed over")
                if self._talk.is_main:
                    _delete(folder)
                continue
            assert marker is not None
            for what, value in self._fingerprint.items():
                if marker["fingerprint"].get(what) != value:
                    raise ArtifactError(
                        f"{folder} is a checkpoint of another {what}; train in another folder, or delete "
                        f"{self._folder} to begin anew"
                    )
            self.last_step = int(marker["step"])
            return Saved(folder, self.last_step, marker["extra"])
        return None

    def load(self, folder: Path, state: State) -> State:
        """Read a checkpoint into ``state``, the state of a fresh engine, in place where tensors allow."""
        try:
            load_sharded(
                state,
                storage_reader=FileSystemReader(folder),
                process_group=self._talk.group,
                no_dist=self._talk.alone,
            )
        except (Exception, CheckpointException) as error:
            reason = " ".join(str(_first(error)).split())[:200]
            raise ArtifactError(f"{folder} can't be read into this model ({reason}); delete it and go on") from error
        return state

    def of_step(self, step: int) -> Path:
        """The folder of the checkpoint of a step, which must have been held; the one under way is finished first."""
        self.finish()
        return self._folder / f"step-{step:09d}"

    def permanent(self) -> list[Path]:
        """The checkpoints that stay for good."""
        return [folder for folder in self._all() if self._is_permanent(folder)]

    def _is_permanent(self, folder: Path) -> bool:
        every, step = self._config.checkpoint_permanent_every, _step(folder)
        return bool(every and step and step % every == 0)

    def _damage(self, folder: Path, files: Mapping[str, Sequence[int]]) -> str | None:
        """What is wrong with this process's share of the files."""
        for name in sorted(files)[self._talk.rank :: self._talk.size]:
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if _sum(path) != list(files[name]):
                return f"{name} was altered or cut off"
        return None

    def _all(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("step-*") if path.is_dir())


def copied(state: Any) -> Any:
    """A copy of a state on the CPU: tensors, sharded or not, in dictionaries and lists; the rest as it is."""
    if isinstance(state, Mapping):
        return {name: copied(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(copied(value) for value in state)
    if isinstance(state, Tensor):
        return state.detach().clone() if state.device.type == "cpu" else state.detach().to("cpu")
    return state


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = read_json(folder / MARKER)
    except (OSError, ValueError):
        return None
    if not isinstance(marker, dict) or marker.get("format") != _FORMAT:
        return None
    return marker if marker.pop("check", None) == sha256_json(marker) else None


def _sum(path: Path) -> list[int]:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as handle:
        while piece := handle.read(_PIECE):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
    return [size, crc]


def _delete(folder: Path) -> None:
    away = folder.with_name(f".{folder.name}.deleted")
    shutil.rmtree(away, ignore_errors=True)
    folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def _first(error: BaseException) -> BaseException:
    """The error that one of the processes had."""
    if isinstance(error, CheckpointException):
        return next((failure[0] for failure in error.failures.values()), error)
    return error


def _plain(error: BaseException, folder: Path) -> BaseException:
    """The error as an OSError where the disk is to blame: torch words a full disk as an error of its own."""
    first = _first(error)
    if isinstance(first, OSError):
        return first
    if shutil.disk_usage(folder).free < _ALMOST_FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    return first
