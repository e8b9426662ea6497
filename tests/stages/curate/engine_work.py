"""Work for the tests of the engine: small, picklable, and with faults on demand."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from groundup.stages.curate.engine.operator import Spec, refuse, with_column


@dataclass(frozen=True)
class Square:
    """Writes the square of its payload; kills its process once for each payload named in ``fatal``."""

    marks: Path
    fatal: tuple[int, ...] = ()
    always: bool = False

    @property
    def digest(self) -> str:
        return "square"

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        mark = self.marks / f"died-{payload}"
        if payload in self.fatal and (self.always or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (self.marks / f"did-{payload}-{os.getpid()}").touch()
        (folder / "square.txt").write_text(str(payload**2))
        return {"square": payload**2}


@dataclass(frozen=True)
class Length:
    """Tags each text with its length."""

    @property
    def spec(self) -> Spec:
        return Spec("length", 1, "tag", ("text",), ("length",))

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return with_column(batch, "length", pa.array([len(text) for text in batch.column("text").to_pylist()]))


@dataclass(frozen=True)
class AtLeast:
    """Drops texts below a length."""

    least: int
    name: str = "short"

    @property
    def spec(self) -> Spec:
        return Spec(self.name, 1, "decide", ("length",), (), {"least": self.least})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        lengths = np.asarray(batch.column("length"))
        rules = [f"below_{self.least}" if length < self.least else None for length in lengths.tolist()]
        return refuse(batch, self.name, rules, [None if rule is None else "it is" for rule in rules])
