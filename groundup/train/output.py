"""What a training stage leaves: the model as a Hugging Face folder with its tokenizer, and the log of the run."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from groundup.base.files import write_text
from groundup.model.exchange import huggingface
from groundup.model.transformer import Transformer
from groundup.text.tokenizer import Tokenizer
from groundup.train.loop import History


def write_model(model: Transformer, tokenizer: Tokenizer, history: History, payload: Path) -> None:
    """Write weights, tokenizer, ``metrics.jsonl`` and ``log/tensorboard/`` into a payload."""
    huggingface.save(
        model.cpu(), payload, bos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id, stop_ids=tokenizer.stop_ids
    )
    tokenizer.save(payload, model.config.max_seq_len)
    write_logs(history, payload)


def write_logs(history: History, payload: Path) -> None:
    """Write ``metrics.jsonl`` (one line a step or validation) and ``log/tensorboard/`` into a payload."""
    rows = sorted([*history.steps, *history.validations], key=lambda row: (row["step"], "loss" in row))
    write_text(payload / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with SummaryWriter(str(payload / "log" / "tensorboard")) as writer:
        for row in rows:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, int(row["step"]))
