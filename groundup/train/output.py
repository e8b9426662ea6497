"""What a training stage leaves: the model as a Hugging Face folder with its tokenizer, and the log of the run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundup.base.errors import ArtifactError
from groundup.base.files import write_text
from groundup.model.exchange import huggingface
from groundup.text.tokenizer import Tokenizer
from groundup.train.journal import as_line
from groundup.train.loop import History
from groundup.train.trackers import TensorBoard


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int, folder: Path) -> None:
    """ArtifactError if a tokenizer makes ids that the model beside it in ``folder`` has no entries for."""
    if tokenizer.vocab_size > vocab_size:
        raise ArtifactError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} entries, the model beside it {vocab_size}: they "
            "don't belong together"
        )


def write_model(tokenizer: Tokenizer, history: History, payload: Path) -> None:
    """Write the trained weights, tokenizer and logs into a payload. Only the main process has a model to write."""
    if history.model is None:
        return
    huggingface.save(
        history.model.cpu(), payload, bos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id, stop_ids=tokenizer.stop_ids
    )
    tokenizer.save(payload, history.model.config.max_seq_len)
    write_logs(history, payload)


def write_logs(history: History, payload: Path) -> None:
    """Write ``metrics.jsonl`` (one line a step, validation or event), and below ``log/`` what is of this run only:
    ``speed.jsonl``, ``tensorboard/``, and the permanent checkpoints."""
    rows = sorted(
        [*history.steps, *history.events, *history.validations],
        key=lambda row: (row["step"], 1 if "loss" in row else 2 if "event" in row else 0),
    )
    write_text(payload / "metrics.jsonl", _lines(rows))
    write_text(payload / "log" / "speed.jsonl", _lines(history.speed))
    board = TensorBoard(payload / "log" / "tensorboard")
    for row in [*rows, *history.speed]:
        numbers = {name: value for name, value in row.items() if name != "step" and isinstance(value, (int, float))}
        board.log(int(row["step"]), numbers)
    board.close()
    for folder in history.permanent:
        shutil.copytree(folder, payload / "log" / "checkpoints" / folder.name, copy_function=_link)


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(as_line(row) for row in rows)


def _link(source: str, target: str) -> None:
    """A second name for the same bytes, where the file system has that: checkpoints are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
