"""Corpora for the tokenizer stage, written and read without a workspace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from groundup.artifact.record import FileEntry, Record
from groundup.artifact.stage import Artifact, Task
from groundup.base.files import sha256_file
from groundup.base.progress import Progress, Silent
from groundup.text.document import CORPUS, tables, write_shards


def write_corpus(folder: Path, texts: Iterable[str]) -> int:
    """Write texts as a corpus of training documents; their bytes."""
    size = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal size
        for number, text in enumerate(texts):
            size += len(text.encode())
            yield {
                "id": f"{number:032x}", "text": text, "source": "benchmark", "record": str(number), "url": None,
                "licence": "LicenseRef-public-domain", "language": "eng_Latn", "language_score": 1.0, "split": "train",
                "chars": len(text),
            }  # fmt: skip

    write_shards(folder, "corpus", CORPUS, rows())
    return size


def artifact_of(folder: Path) -> Any:
    """The corpus as an artifact, with the hashes of its files and no more of a record."""
    files = {
        str(path.relative_to(folder)): FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path))
        for path in tables(folder, "corpus")
    }
    make: Any = Record.model_construct
    return Artifact(folder, make(name="corpus", kind="corpus", digest="0" * 64, metrics={}, files=files))


def task_of(corpus: Path, folder: Path, *, loud: bool = False) -> Any:
    """A task of the stage on the corpus."""
    for name in ("payload", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    inputs = {"corpus": (artifact_of(corpus),)}
    progress = Progress("tokenizer") if loud else Silent()
    return Task("tokenizer", "d" * 64, inputs, {}, folder / "payload", folder / "scratch", progress)
