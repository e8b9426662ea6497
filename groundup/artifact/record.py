"""The record of an artifact: what it is, from what it was made, how, and the hash of every file in it."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict

from groundup.artifact.terms import Terms

FORMAT = 1
LOG_FOLDER = "log/"


class InputLink(BaseModel):
    """An input artifact, by name and digest."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    digest: str


class FileEntry(BaseModel):
    """One file of the payload."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Cost(BaseModel):
    """What making an artifact took. Energy is an estimate: CPU seconds times ``watts_per_core``,
    and what GPUs counted themselves."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    energy_joules: float
    watts_per_core: float
    attempts: int


class Record(BaseModel):
    """``record.json``. ``digest`` is of the definition; ``payload`` is of the bytes, logs left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    name: str
    kind: str
    digest: str
    stage: str
    stage_version: int
    config: dict[str, Any]
    inputs: dict[str, list[InputLink]]
    code_version: str
    environment: dict[str, str]
    created: str
    cost: Cost
    metrics: dict[str, Any]
    terms: Terms
    files: dict[str, FileEntry]
    payload: str


def payload_digest(files: dict[str, FileEntry]) -> str:
    """One hash over names and contents. Files under ``log/`` hold times and rates, so they don't count."""
    whole = hashlib.sha256()
    for name in sorted(files):
        if not name.startswith(LOG_FOLDER):
            whole.update(f"{name}\0{files[name].sha256}\n".encode())
    return whole.hexdigest()
