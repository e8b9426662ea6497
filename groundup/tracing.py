"""Which training documents hold the longest stretches of a text, word for word, and under which licences.

A model is followed to everything that it was trained on in this workspace: the token stores of its pretraining, and the
conversations and preferences of its tuning. Each has an index of spans in ``<workspace>/indexes/<digest16>/``, made at
the first use. Stretches are ordered by length, and by rarity where lengths are equal, for which we take the measure of
OLMoTrace (Liu et al. 2025, 2504.07096, section 3): the sum of -log2 of the share that each token has of all tokens.

Two texts that say the same by chance, and a document that says it before another, look alike: a stretch found here says
where its words stand, not that the model got them from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, RequestError
from groundup.base.files import folder_lock, sha256_file
from groundup.base.progress import Progress
from groundup.text.store.described import ABOUT, described
from groundup.text.store.said import CONVERSATIONS, PREFERENCES, write_said
from groundup.text.store.spans import GRAM, PROMISE, Spans, build
from groundup.text.store.spans_search import Found, search
from groundup.text.store.spans_text import Spelled, Text
from groundup.text.store.store import TokenStore
from groundup.text.tokenizer import FILES, Tokenizer

INDEXES: Final = "indexes"
_MODELS: Final = ("model", "bundle")
_MATERIAL: Final = {"tokens": "", "conversations": CONVERSATIONS, "preferences": PREFERENCES}
_NAMED: Final = 10
"""Documents that are named for a span; of the others the number is told."""
_LOOKED_AT: Final = 64
"""Documents of a span that are told apart by their ids: a mixture's copies of one document are one."""


@dataclass(frozen=True)
class Source:
    """A document that holds a span. ``part`` is whose turn of a conversation it is, empty for a document."""

    id: str
    artifact: str
    source: str
    licence: str | None
    url: str | None
    part: str = ""


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the text that documents hold word for word.

    ``tokens`` are whole ones, ``bits`` how rare they are. Beside the ``documents`` named there are ``more``.
    """

    start: int
    end: int
    text: str
    tokens: int
    bits: float
    documents: tuple[Source, ...]
    more: int


@dataclass(frozen=True)
class Trace:
    """What was found of a text of ``tokens`` in the ``searched`` artifacts, of stretches of ``min_tokens`` and more.

    ``hidden`` further spans are shorter than those told. ``complete`` is False if documents were left out of the count,
    because the text repeats what stands in very many of them.
    """

    model: str
    text: str
    tokens: int
    min_tokens: int
    searched: tuple[dict[str, Any], ...]
    spans: tuple[Span, ...]
    hidden: int
    complete: bool

    @property
    def promise(self) -> int:
        """Every stretch of so many tokens is found."""
        return max(PROMISE, self.min_tokens)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "finds_all_of": self.promise}


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer with the bytes of its tokens. ``sha256`` is that of its ``tokenizer.json``."""

    tokenizer: Tokenizer
    sha256: str

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Of a folder with a tokenizer; ArtifactError if it can't be read."""
        tokenizer = Tokenizer.load(folder)
        return cls(tokenizer, sha256_file(folder / FILES[0]))

    @cached_property
    def spelled(self) -> Spelled:
        """Its tokens as bytes."""
        return Spelled.of(self.tokenizer)


@dataclass(frozen=True)
class Searchable:
    """Something that a model was trained on, with the index of its spans. ``folder`` holds its table of documents."""

    record: Record
    folder: Path
    store: TokenStore
    spans: Spans
    vocabulary: Vocabulary

    def look_for(self, text: Text, min_tokens: int) -> Found:
        """The stretches of a text that its documents hold."""
        ids = np.asarray(self.store.ids)
        return search(self.spans, ids, self.store.offsets, self.vocabulary.spelled, text, min_tokens)

    def sources(self, documents: Sequence[int]) -> list[Source]:
        """The documents by number; those that a mixture has several copies of are named once."""
        columns = (*ABOUT, "part") if self.record.kind != "tokens" else ABOUT
        rows = described(self.folder, documents, columns)
        named = {(row["id"], row.get("part", "")): row for row in (rows[number] for number in documents)}
        return [Source(artifact=self.record.name, **row) for row in named.values()]


@dataclass(frozen=True)
class Sources:
    """All that a model was trained on in this workspace, ready to be searched."""

    model: str
    parts: tuple[Searchable, ...]

    @classmethod
    def find(cls, store: Store, model: Artifact, progress: Progress) -> Sources:
        """Follow a model, and index what isn't yet; RequestError if nothing that it was trained on is known here."""
        if model.record.kind not in _MODELS:
            raise RequestError(
                f"{model.record.name!r} is a {model.record.kind}, not a model or bundle: give one of these"
            )
        vocabularies: dict[Path, Vocabulary] = {}
        parts = []
        for artifact, folder in _material(store, model):
            if folder not in vocabularies:
                vocabularies[folder] = Vocabulary.load(folder)
            parts.append(_searchable(store, artifact, vocabularies[folder], progress))
        if not parts:
            raise RequestError(
                f"{model.record.name!r} was not trained in this workspace: what it read is not known here"
            )
        return cls(model.record.name, tuple(parts))

    def trace(self, text: str, *, min_tokens: int = PROMISE, top: int = 10) -> Trace:
        """The ``top`` longest spans of a text; RequestError if it is shorter than any that can be found."""
        if min_tokens < GRAM:
            raise RequestError(f"spans of fewer than {GRAM} tokens can't be found; ask for {GRAM} or more")
        if not text.strip():
            raise RequestError("there is no text to trace")
        texts: dict[str, Text] = {}
        for part in self.parts:
            words = part.vocabulary
            if words.sha256 not in texts:
                texts[words.sha256] = Text.read(text, words.tokenizer, words.spelled)
        longest = max(len(read.ids) for read in texts.values())
        if longest < GRAM:
            raise RequestError(f"the text has {longest} tokens: spans of fewer than {GRAM} can't be found")
        groups: dict[tuple[int, int], _Group] = {}
        complete = True
        for place, part in enumerate(self.parts):
            read = texts[part.vocabulary.sha256]
            found = part.look_for(read, min_tokens)
            complete &= found.complete
            _collect(groups, place, part, read, found)
        ranked = sorted(groups.values(), key=lambda one: (-one.tokens, -one.bits, one.start))
        whole = next(iter(texts.values()))
        return Trace(
            self.model,
            whole.text,
            len(whole.ids),
            min_tokens,
            tuple(_about(part) for part in self.parts),
            tuple(self._named(group, whole.text) for group in ranked[:top]),
            max(0, len(ranked) - top),
            complete,
        )

    def _named(self, group: _Group, text: str) -> Span:
        total, sources = sum(len(found) for found in group.documents.values()), []
        looked_at = 0
        for place, found in sorted(group.documents.items()):
            numbers = found[: _LOOKED_AT - looked_at].tolist()
            looked_at += len(numbers)
            sources += self.parts[place].sources(numbers) if numbers else []
        more = len(sources[_NAMED:]) + total - looked_at
        words = text[group.start : group.end]
        return Span(group.start, group.end, words, group.tokens, round(group.bits, 1), tuple(sources[:_NAMED]), more)


@dataclass
class _Group:
    """The documents, by artifact and number, that hold the same characters."""

    start: int
    end: int
    tokens: int = 0
    bits: float = 0.0
    documents: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)


def _collect(groups: dict[tuple[int, int], _Group], place: int, part: Searchable, text: Text, found: Found) -> None:
    """Put what was found in one artifact to the rest, by the characters that it covers."""
    if not len(found.starts):
        return
    counts = part.spans.counts
    shares = (counts[text.ids] + 1) / (part.spans.about.tokens + len(counts))
    bits = np.concatenate([[0.0], np.cumsum(-np.log2(shares))])
    ranges, which = np.unique(np.stack([found.starts, found.ends], axis=1), axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    cuts = np.cumsum(np.bincount(which.ravel(), minlength=len(ranges)))[:-1]
    for (first, behind), rows in zip(ranges.tolist(), np.split(order, cuts), strict=True):
        start, end = text.characters(first, behind)
        if end == start:
            continue
        group = groups.setdefault((start, end), _Group(start, end))
        tokens = np.searchsorted(text.begins, [first, behind])
        group.tokens = max(group.tokens, int(found.tokens[rows].max()))
        group.bits = max(group.bits, float(bits[tokens[1]] - bits[tokens[0]]))
        known = group.documents.get(place, np.zeros(0, np.int64))
        group.documents[place] = np.unique(np.concatenate([known, found.documents[rows]]))


def _about(part: Searchable) -> dict[str, Any]:
    return {
        "artifact": part.record.name,
        "kind": part.record.kind,
        "digest": part.record.digest,
        "documents": part.store.num_documents,
        "tokens": part.store.num_tokens,
    }


def _material(store: Store, model: Artifact) -> Iterator[tuple[Artifact, Path]]:
    """What a model and those that it was made from were trained on, each once, with the folder of its tokenizer."""
    seen: set[str] = set()
    waiting = [model]
    while waiting:
        trained = waiting.pop(0)
        for name in sorted(trained.record.inputs):
            for link in trained.record.inputs[name]:
                if link.digest in seen or link.kind not in (*_MODELS, *_MATERIAL):
                    continue
                seen.add(link.digest)
                found = store.open(link.digest, verify=False)
                if link.kind in _MODELS:
                    waiting.append(found)
                elif link.kind != "tokens":
                    yield found, trained.path
                else:
                    made_with = found.record.inputs.get("tokenizer", ())
                    yield found, store.open(made_with[0].digest, verify=False).path if made_with else trained.path


def _searchable(store: Store, artifact: Artifact, vocabulary: Vocabulary, progress: Progress) -> Searchable:
    record = artifact.record
    home = store.workspace / INDEXES / record.digest[:16]
    folder, index = artifact.path, home / "spans"
    if record.kind != "tokens":
        # The same conversations can be read with several tokenizers.
        folder, index = home / f"said-{vocabulary.sha256[:8]}", home / f"spans-{vocabulary.sha256[:8]}"
    if not index.is_dir():
        with folder_lock(home):
            if record.kind != "tokens":
                licences = _licences(record)
                write_said(folder, artifact.file(_MATERIAL[record.kind]), licences, vocabulary.tokenizer)
            _index(index, _open(folder, record, vocabulary), record, vocabulary, progress)
    opened = _open(folder, record, vocabulary)
    return Searchable(record, folder, opened, Spans.open(index, record.digest, opened.num_tokens), vocabulary)


def _open(folder: Path, record: Record, vocabulary: Vocabulary) -> TokenStore:
    opened = replace(TokenStore.open(folder), order=None)
    opened.check_tokenizer(vocabulary.sha256, vocabulary.tokenizer.vocab_size, record.name)
    return opened


def _index(index: Path, opened: TokenStore, record: Record, vocabulary: Vocabulary, progress: Progress) -> None:
    ids = opened.ids
    if not isinstance(ids, np.ndarray):
        raise ArtifactError(f"the token store {record.name!r} lies elsewhere: only one on this machine can be indexed")
    say = lambda done, total: progress.update(f"indexing {record.name}", done, total, "tokens")  # noqa: E731
    build(index, ids, opened.offsets, vocabulary.spelled.stops, record.digest, say)


def _licences(record: Record) -> Mapping[str, str]:
    """The licence of each source, as its record declares it."""
    return {one.source: one.licence for one in record.terms.sources}
