"""Checkpoints of a run in progress: written beside, renamed, the newest two kept, a damaged one passed over."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from groundup.base.files import write_atomic

_KEPT: Final = 2


class Checkpoints:
    """The checkpoints in a folder. One holds the model, the optimizer, the next step and the log's length."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, extra: dict[str, Any]) -> None:
        """Store the state before ``step``; earlier checkpoints but the newest are then deleted."""
        state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), **extra}
        write_atomic(self._folder / f"step-{step:09d}.pt", lambda beside: torch.save(state, beside))
        for old in self._files()[:-_KEPT]:
            old.unlink()

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Load the newest readable checkpoint into ``model`` and ``optimizer``; None if there is none."""
        for path in reversed(self._files()):
            try:
                state: dict[str, Any] = torch.load(path, weights_only=True)
            except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
                path.unlink()
                continue
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            return state
        return None

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))
