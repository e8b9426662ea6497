"""Small corpora as artifacts, and the tokenizer stage run on them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from groundup.artifact.record import FileEntry, Record
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.files import sha256_file
from groundup.base.progress import Silent
from groundup.stages.tokenize.config import TokenizerConfig
from groundup.text.document import COPIES, CORPUS, MIXED, document_id, tables, write_shards
from groundup.text.tokenizer import Tokenizer


def document(text: str, number: int, **fields: Any) -> dict[str, Any]:
    """A row of a corpus; by default of one source, English, and for training."""
    row = {
        "id": document_id(str(fields.get("source", "s")), str(number), text.encode()),
        "text": text,
        "source": "s",
        "record": str(number),
        "url": None,
        "licence": "CC0-1.0",
        "language": "eng_Latn",
        "language_score": 1.0,
        "split": "train",
        "chars": len(text),
    }
    return row | fields


def corpus(folder: Path, rows: Iterable[dict[str, Any]]) -> Artifact:
    """Written in the order given; a mixture if rows say how often they are read."""
    found = list(rows)
    schema = MIXED if any(COPIES in row for row in found) else CORPUS
    write_shards(folder, "corpus", schema, [{COPIES: 1, **row} if schema is MIXED else row for row in found])
    files = {
        str(path.relative_to(folder)): FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path))
        for path in tables(folder, "corpus")
    }
    make: Any = Record.model_construct  # no more of a record than the stage looks at
    record: Record = make(name="corpus", kind="corpus", digest="c" * 64, metrics={"documents": len(found)}, files=files)
    return Artifact(folder, record)


def task(source: Artifact, folder: Path) -> Task:
    """A task with its payload and scratch in ``folder``."""
    for name in ("payload", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Task("tokenizer", "d" * 64, {"corpus": (source,)}, {}, folder / "payload", folder / "scratch", Silent())


def made(source: Artifact, folder: Path, **fields: Any) -> tuple[Tokenizer, Outcome]:
    """The tokenizer that the stage makes, and its outcome."""
    config = TokenizerConfig.parse({"corpus": "corpus", **fields}, "artifact 'tokenizer'")
    work = task(source, folder)
    outcome = config.run(work)
    return Tokenizer.load(work.payload), outcome
