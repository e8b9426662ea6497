"""Every row of text that a workspace holds: pages, corpora with what they dropped, conversations, preferences."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, DataError
from groundup.base.progress import Progress
from groundup.text.conversation import Message, read_conversations, read_preferences
from groundup.text.document import read_rows, tables

HOLDERS: Final = ("pages", "corpus", "conversations", "preferences")
"""Kinds of artifacts that hold text in rows with ids."""

_MARKUP: Final = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>")
_MARKED_UP: Final = ("html", "xml")
_TEXTUAL: Final = ("text/", "application/xhtml", "application/xml", "application/json", "message/")


@dataclass(frozen=True)
class Row:
    """A row: ``kept`` tells whether something is trained on it (a document that curation dropped is not kept).

    ``content`` is a page as it came, read only where it is asked for. ``text`` is without system messages, which many
    conversations share; it is ``rough`` if menus and the like, which the pages of a site share, are still in it.
    """

    id: str
    kept: bool
    url: str | None = None
    author: str | None = None
    text: str = ""
    content: bytes = b""
    rough: bool = False


def holders(store: Store) -> list[Artifact]:
    """The artifacts that hold text, corpora first, verified: a request must not miss what was altered."""
    found = [one for one in store.all() if one.record.kind in HOLDERS]
    found.sort(key=lambda one: one.record.kind == "pages")
    return [store.open(one.record.digest) for one in found]


def about(artifact: Artifact) -> Iterator[Row]:
    """The rows of an artifact without their texts: ids, addresses and authors where they are known."""
    kind = artifact.record.kind
    if kind == "pages":
        for shard in tables(artifact.path, "pages"):
            for row in _columns(shard, ("id", "url", "author")):
                yield Row(row["id"], False, row["url"], row["author"])
    elif kind == "corpus":
        kept = set()
        for shard in tables(artifact.path, "corpus"):
            for row in _columns(shard, ("id", "url")):
                kept.add(row["id"])
                yield Row(row["id"], True, row["url"])
        yield from _ledger(artifact, kept)
    else:
        yield from texts(artifact)


def texts(artifact: Artifact, *, dropped: bool = True) -> Iterator[Row]:
    """The rows of a corpus, of conversations or of preferences with their texts; ``dropped`` ones too."""
    kind = artifact.record.kind
    if kind == "corpus":
        names = ("corpus", "rejects") if dropped and (artifact.path / "rejects").is_dir() else ("corpus",)
        for name in names:
            for shard in tables(artifact.path, name):
                for row in read_rows(shard, ("id", "text")):
                    yield Row(row["id"], name == "corpus", text=row["text"] or "")
    elif kind == "conversations":
        for talk in read_conversations(artifact.file("conversations.jsonl")):
            yield Row(talk.id, True, text=_said(talk.messages))
    elif kind == "preferences":
        for pair in read_preferences(artifact.file("preferences.jsonl")):
            yield Row(pair.id, True, text="\n".join([_said(pair.prompt), pair.chosen, pair.rejected]))


def pages(artifact: Artifact, without: set[str]) -> Iterator[Row]:
    """The pages of an artifact with their content and a rough text, but for ids ``without``, whose texts are known."""
    for shard in tables(artifact.path, "pages"):
        for row in read_rows(shard, ("id", "media_type", "encoding", "content"), batch_size=32):
            if row["id"] not in without:
                rough = any(sign in (row["media_type"] or "") for sign in _MARKED_UP)
                yield Row(row["id"], False, text=_rough_text(row), content=row["content"], rough=rough)


def sizes(artifacts: list[Artifact]) -> int:
    """The bytes of the artifacts' files."""
    return sum(entry.bytes for one in artifacts for entry in one.record.files.values())


def watched(artifact: Artifact, rows: Iterator[Row], phase: str, progress: Progress) -> Iterator[Row]:
    """The rows, with how many of the artifact's were seen."""
    metrics = artifact.record.metrics
    total = int(metrics.get(artifact.record.kind, metrics.get("pages", 0)) or 0)
    for number, row in enumerate(rows, 1):
        progress.update(f"{phase} {artifact.record.name}", number, max(total, number), "rows")
        yield row


def sha256(content: bytes) -> str:
    """The hex hash by which a page can be named."""
    return hashlib.sha256(content).hexdigest()


def _ledger(artifact: Artifact, kept: set[str]) -> Iterator[Row]:
    """What the ledger knows of a corpus's pages; DataError if it disagrees with the corpus."""
    folder = artifact.path / "ledger"
    if not folder.is_dir():
        return
    listed = set()
    for shard in sorted(folder.glob("*.parquet")):
        for row in _columns(shard, ("id", "url", "author", "step")):
            if row["step"] is None:
                listed.add(row["id"])
            yield Row(row["id"], row["step"] is None, row["url"], row["author"])
    if listed != kept:
        odd = min(listed ^ kept)
        said = "kept, which the corpus does not hold" if odd in listed else "not kept, which the corpus holds"
        raise DataError(
            f"the ledger of {artifact.record.name!r} disagrees with its corpus in {len(listed ^ kept)} documents "
            f"({odd[:8]} is {said}): delete {artifact.path} and run its recipe again before anything is withdrawn"
        )


def _columns(shard: Path, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Some columns of a table; those that an older version did not write are None."""
    try:
        there = [name for name in names if name in pq.read_schema(shard).names]
    except OSError as error:
        raise ArtifactError(f"{shard} can't be read ({error})") from None
    missing = dict.fromkeys(set(names) - set(there))
    for row in read_rows(shard, there, batch_size=4096):
        yield {**missing, **row}


def _said(messages: tuple[Message, ...]) -> str:
    return "\n".join(one.content for one in messages if one.role != "system")


def _rough_text(row: dict[str, Any]) -> str:
    """What can be read on a page that no corpus holds: markup is cut away, nothing is cleaned."""
    media = row["media_type"] or ""
    if not media.startswith(_TEXTUAL):
        return ""
    try:
        text = bytes(row["content"]).decode(row["encoding"] or "utf-8", "replace")
    except LookupError:
        text = bytes(row["content"]).decode("utf-8", "replace")
    return html.unescape(_MARKUP.sub(" ", text)) if any(sign in media for sign in _MARKED_UP) else text
