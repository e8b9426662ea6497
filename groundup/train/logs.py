"""The log of a run: ``metrics.jsonl`` for programs, TensorBoard event files for people."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from groundup.base.files import write_text
from groundup.train.loop import History


def write_logs(history: History, payload: Path) -> None:
    """Write ``metrics.jsonl`` (one line a step or validation) and ``log/tensorboard/`` into a payload."""
    rows = sorted([*history.steps, *history.validations], key=lambda row: (row["step"], "loss" in row))
    write_text(payload / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with SummaryWriter(str(payload / "log" / "tensorboard")) as writer:
        for row in rows:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, int(row["step"]))
