"""Checkpoints of a run in progress: written beside, renamed, the newest two kept, a damaged one passed over."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from groundup.base.files import write_atomic

_KEPT: Final = 2


class Checkpoints:
    """The checkpoints in a folder. One holds the engine's state, the next step and the log's length."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, state: dict[str, Any], extra: dict[str, Any]) -> None:
        """Store the state before ``step``; earlier checkpoints but the newest are then deleted."""
        whole = {"step": step, **state, **extra}
        write_atomic(self._folder / f"step-{step:09d}.pt", lambda beside: torch.save(whole, beside))
        for old in self._files()[:-_KEPT]:
            old.unlink()

    def restore(self, load: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        """Hand the newest readable checkpoint to ``load``; None if there is none."""
        for path in reversed(self._files()):
            try:
                state: dict[str, Any] = torch.load(path, weights_only=True)
            except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
                path.unlink()
                continue
            load(state)
            return state
        return None

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))
