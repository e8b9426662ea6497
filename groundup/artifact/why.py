"""Why a page is in a corpus or not: its ledger entry in words, its cluster, and its text at that point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.dataset as ds

from groundup.artifact import ledger
from groundup.artifact.present import clean
from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact, need
from groundup.artifact.store import Store
from groundup.base.errors import RequestError

_TEXT_CHARS: Final = 400
_MOST_SHOWN: Final = 5
_MOST_STORIES: Final = 100


@dataclass(frozen=True)
class Story:
    """What happened to one page. ``cluster``: the entries that went for the same survivor."""

    corpus: Record
    entry: dict[str, Any]
    survivor: dict[str, Any] | None
    cluster: tuple[dict[str, Any], ...]
    text: str

    def as_json(self) -> dict[str, Any]:
        """All of it, plain data."""
        return {
            "corpus": {"name": self.corpus.name, "digest": self.corpus.digest},
            "document": {**self.entry, "redactions": dict(self.entry["redactions"] or ())},
            "survivor": self.survivor and self.survivor["id"],
            "cluster": [row["id"] for row in self.cluster],
            "text": self.text,
        }

    def lines(self) -> list[str]:
        """For a person to read."""
        entry = self.entry
        found = [f"{entry['id']}  {clean(entry['record'])}"]

        def tell(name: str, text: str) -> None:
            found.append(f"  {name:<10} {clean(text)}")

        tell("corpus", f"{self.corpus.name} ({self.corpus.digest[:12]})")
        tell("source", f"{entry['source']}, {entry['licence']}" + (f", {entry['url']}" if entry["url"] else ""))
        for name, column in (("author", "author"), ("says", "found_licence"), ("permission", "permission")):
            if entry[column]:
                tell(name, entry[column])
        if entry["extractor"]:
            of = f" from {entry['page_bytes']:,} bytes of {entry['media_type']}" if entry["page_bytes"] else ""
            tell("text", f"by {entry['extractor']}{of}")
        if entry["language"]:
            tell("language", f"{entry['language']}, {entry['language_score']:.2f}")
        if redacted := dict(entry["redactions"] or ()):
            tell("redacted", ", ".join(f"{kind} {count}" for kind, count in sorted(redacted.items())))
        if entry["step"] is None:
            tell("kept", f"in the split {entry['split']}, {entry['chars']:,} characters")
        else:
            tell("dropped", f"by {entry['step']}: {entry['rule']}: {entry['detail']}")
        self._tell_cluster(tell)
        if self.text:
            text = " ".join(self.text.split())
            tell("reads", text[:_TEXT_CHARS] + (" …" if len(text) > _TEXT_CHARS else ""))
        return found

    def _tell_cluster(self, tell: Any) -> None:
        if self.survivor:
            tell("in favour", f"of {self.survivor['id']}  {self.survivor['source']}: {self.survivor['record']}")
        others = [row for row in self.cluster if row["id"] != self.entry["id"]]
        if others:
            shown = ", ".join(f"{row['id'][:12]} ({row['similarity']:.3f})" for row in others[:_MOST_SHOWN])
            more = f" and {len(others) - _MOST_SHOWN} more" if len(others) > _MOST_SHOWN else ""
            what = "went too" if self.survivor else "went for it"
            tell("cluster", f"{len(others)} {what}: {shown}{more}")


def stories(store: Store, wanted: str, reference: str | None) -> list[Story]:
    """What happened to the page with this id (or its beginning), record or address, in one corpus or in all.

    RequestError if no ledger knows it, more pages than a person reads match, or ``reference`` is not a corpus.
    ArtifactError if a ledger disagrees with its corpus.
    """
    need(bool(wanted.strip()), "name a page by its id or the beginning of it, its record or its address")
    if reference is not None:
        corpora: Sequence[Artifact] = [store.find(reference)]
        if corpora[0].record.kind != "corpus":
            raise RequestError(
                f"{reference!r} is of kind {corpora[0].record.kind!r}: name a corpus, or no artifact at all"
            )
    else:
        corpora = [artifact for artifact in store.all() if artifact.record.kind == "corpus"]
    with_ledger = [artifact for artifact in corpora if (artifact.path / "ledger").is_dir()]
    for artifact in with_ledger:
        ledger.check(artifact.path, artifact.record.name)
    entries = [(artifact, entry) for artifact in with_ledger for entry in ledger.find(artifact.path / "ledger", wanted)]
    if not entries:
        where = f"{len(with_ledger)} ledger{'s' * (len(with_ledger) != 1)}"
        raise RequestError(f"no page {wanted!r} in {where}: give an id or its beginning, a record or an address")
    need(len(entries) <= _MOST_STORIES, f"{len(entries):,} pages match {wanted!r}: give more of the id, or the corpus")
    return [_story(artifact, entry) for artifact, entry in entries]


def _story(corpus: Artifact, entry: dict[str, Any]) -> Story:
    folder = corpus.path / "ledger"
    survivor = entry["survivor"]
    named = ledger.find(folder, survivor) if survivor else []
    return Story(
        corpus.record,
        entry,
        named[0] if named else None,
        tuple(ledger.cluster(folder, survivor or entry["id"])),
        _text(corpus.path / ("corpus" if entry["step"] is None else "rejects"), entry["id"]),
    )


def _text(folder: Path, document: str) -> str:
    if not folder.is_dir():  # a mixture keeps no text of what it did not take: the corpus that it came from has it
        return ""
    table = ds.dataset(sorted(folder.glob("*.parquet")), format="parquet")
    found = table.to_table(columns=["text"], filter=ds.field("id") == document).column("text").to_pylist()
    return str(found[0]) if found else ""
