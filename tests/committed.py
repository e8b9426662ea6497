"""Artifacts put into a store by hand, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from store_task import record

from groundup.artifact.record import InputLink, payload_digest
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store, scan


def commit(store: Store, name: str, digit: str, fill: Callable[[Path], Any], **fields: Any) -> Artifact:
    """An artifact whose payload ``fill`` writes; its digest is a digit again and again, its name ``test/NAME``."""
    digest = digit * 64
    payload, _, _ = store.begin(digest)
    fill(payload)
    files = scan(payload)
    made = record(fields.pop("kind"), name=name, digest=digest, files=files, payload=payload_digest(files), **fields)
    artifact = store.commit(made, payload)
    store.set_names({f"test/{name}": digest})
    return artifact


def link(artifact: Artifact) -> InputLink:
    """An input link to an artifact."""
    one = artifact.record
    return InputLink(name=one.name, kind=one.kind, digest=one.digest)
