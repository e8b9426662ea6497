"""Work for the tests of the shard runner: small, picklable, and with faults on demand."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
