"""What requests reach: the rows that they name, and every near-duplicate of those, in all texts of a workspace.

By address, host, id or hash of content, author, or an excerpt. Then the clusters of duplicates that curation's ledgers
know, followed both ways, and the likeness of the texts themselves (:mod:`.near`), which also reaches across corpora,
conversations and preferences that never were compared.
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, RequestError
from groundup.base.files import sha256_json, write_atomic
from groundup.base.progress import Progress
from groundup.rights.fingerprint import SHINGLE, SPAN, Hashes, runs_of, words
from groundup.rights.register import Kind, Withdrawal
from groundup.withdrawal.near import Probe, batches, members
from groundup.withdrawal.texts import Row, about, holders, pages, sha256, texts, watched

EXCERPT: Final = 0.8
"""The share of an excerpt's runs of words that a document must have."""

_ID: Final = re.compile(r"[0-9a-f]{8,32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHORTEST_HOST: Final = 4
_WHOLE_ID: Final = 32


@dataclass
class Found:
    """What was found. ``how`` tells for each row's id why, in words; ``held`` has the ids in each artifact that holds
    their text, by digest, and ``shares`` the share of what it keeps. ``kept`` are ids that something is trained on.
    ``texts`` has the hashes of texts that others were compared with, by id.
    """

    requests: tuple[Withdrawal, ...]
    how: dict[str, list[str]] = field(default_factory=dict)
    held: dict[str, set[str]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    artifacts: list[Artifact] = field(default_factory=list)
    texts: dict[str, list[Hashes]] = field(default_factory=dict)

    def add(self, name: str, why: str) -> None:
        """Say why a row was found."""
        reasons = self.how.setdefault(name, [])
        if why not in reasons:
            reasons.append(why)

    def largest_share(self) -> tuple[float, str]:
        """The largest share of what one artifact keeps, and its name."""
        named = [(self.shares.get(one.record.digest, 0.0), one.record.name) for one in self.artifacts]
        return max(named, default=(0.0, ""))


def checked(kind: Kind, what: str) -> str:
    """What is asked for in the form in which it is looked for; RequestError if it can't be meant."""
    what = " ".join(what.split())
    if kind == "document":
        what = what.lower()
        if not _ID.fullmatch(what) and not _SHA256.fullmatch(what):
            raise RequestError(
                f"document {what[:40]!r} must be an id (8 to 32 hex digits of it) or the SHA-256 of a page's content"
            )
    elif kind == "domain":
        what = _host(what if "//" in what else f"//{what}")
        if len(what) < _SHORTEST_HOST or "." not in what or "*" in what:
            raise RequestError(f"domain {what!r} must be a host such as example.org; it includes all hosts below it")
    elif kind in ("url", "signal"):
        if len(what.rstrip("*")) < _SHORTEST_HOST:
            raise RequestError(f"url {what!r} must be an address, or the beginning of one with * at its end")
    elif kind == "text" and len(words([what]).hashes) < SPAN:
        raise RequestError(f"an excerpt must have at least {SPAN} words: a shorter one is in texts of other people too")
    elif not what:
        raise RequestError(f"a withdrawal by {kind} must say which")
    return what


def hashes_of_excerpt(text: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What the register keeps of an excerpt: a name for it, and hashes of its runs of 5 and of 8 words."""
    grams, spans = runs_of(text, SHINGLE), runs_of(text, SPAN)
    name = sha256(words([text]).hashes.astype("<u8").tobytes())
    return f"sha256:{name}", *(tuple(f"{one:016x}" for one in found.tolist()) for found in (grams, spans))  # type: ignore[return-value]


def read_hashes(written: Sequence[str]) -> Hashes:
    """Hashes as the register keeps them."""
    return np.array(sorted(int(one, 16) for one in written), np.uint64)


def find(store: Store, requests: Sequence[Withdrawal], progress: Progress) -> Found:
    """The rows that requests reach, near-duplicates included, and where they are.

    Texts that the same requests reached before are looked for as well: they may be gone, but not their hashes.

    DataError if a corpus and its ledger disagree; ArtifactError if an artifact was altered.
    """
    found = Found(tuple(requests), artifacts=holders(store))
    before = known_texts(store.workspace, requests)
    _by_name(found, progress)
    _by_content(found, progress)
    if found.how or before:
        _by_cluster(found)
        _by_likeness(found, before, progress)
        _by_cluster(found)
    _locate(found, progress)
    return found


def known_texts(workspace: Path, requests: Sequence[Withdrawal]) -> dict[str, list[Hashes]]:
    """The hashes of the texts that requests reached before, by id; ArtifactError if a file of them is damaged."""
    known: dict[str, list[Hashes]] = {}
    mine = {request.id for request in requests}
    for path in sorted((workspace / "register" / "texts").glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as data:
                if mine.isdisjoint(data["requests"].tolist()):
                    continue
                parts = np.split(data["hashes"], np.cumsum(data["sizes"])[:-1])
                for name, hashes in zip(data["ids"].tolist(), parts, strict=True):
                    known.setdefault(name, []).append(hashes)
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ArtifactError(
                f"{path} is damaged ({error}); delete it: copies in new material may be missed"
            ) from None
    return known


def remember_texts(workspace: Path, found: Found) -> None:
    """Keep the hashes of what was found, for material that comes later: no text, and not in any order."""
    pairs = [(name, one) for name, several in sorted(found.texts.items()) for one in several if len(one)]
    if not pairs:
        return
    requests = sorted(request.id for request in found.requests)
    arrays: dict[str, Any] = {
        "requests": np.array(requests),
        "ids": np.array([name for name, _ in pairs]),
        "sizes": np.array([len(one) for _, one in pairs]),
        "hashes": np.concatenate([one for _, one in pairs]),
    }

    def fill(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    write_atomic(workspace / "register" / "texts" / f"{sha256_json(requests)[:16]}.npz", fill)


# -- what was named ------------------------------------------------------------------------------------------------


class Named:
    """What requests name: a look-up for each row, however many requests there are (signals come in thousands)."""

    def __init__(self, requests: Iterable[Withdrawal]) -> None:
        self._exact: dict[tuple[str, str], list[Withdrawal]] = defaultdict(list)
        self._beginnings: list[tuple[str, str, Withdrawal]] = []
        for one in requests:
            if one.kind == "url" and one.what.endswith("*"):
                self._beginnings.append(("url", _beginning(one.what[:-1]), one))
            elif one.kind in ("url", "signal"):
                self._exact["url", _address(one.what)].append(one)
            elif one.kind == "author":
                self._exact["author", _person(one.what)].append(one)
            elif one.kind == "document" and len(one.what) < _WHOLE_ID:
                self._beginnings.append(("document", one.what, one))
            elif one.kind in ("domain", "document"):
                self._exact[one.kind, one.what].append(one)

    def of(self, row: Row) -> list[Withdrawal]:
        """The requests that mean a row."""
        said = [("document", row.id)]
        if row.author is not None:
            said += [("author", name) for name in {_person(one) for one in (row.author, *re.split("[;,]", row.author))}]
        address = "" if row.url is None else _address(row.url)
        if row.url is not None:
            labels = _host(row.url).split(".")
            said += [("url", address), *(("domain", ".".join(labels[at:])) for at in range(len(labels)))]
        found = [one for what in said if what in self._exact for one in self._exact[what]]
        values = {"document": row.id, "url": address}
        return found + [one for kind, begin, one in self._beginnings if values[kind].startswith(begin) and values[kind]]


def _by_name(found: Found, progress: Progress) -> None:
    """Match addresses, hosts, ids and authors."""
    named = Named(found.requests)
    for artifact in found.artifacts:
        for row in watched(artifact, about(artifact), "looking through", progress):
            for request in named.of(row):
                found.add(row.id, f"{request.kind} of request {request.id}")


def _address(url: str) -> str:
    """An address as it is compared: host in lower case, no fragment, no port that goes without saying, and no scheme,
    as http and https lead to one page."""
    scheme, _, rest = url.strip().rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        return url.strip()
    host = parts.netloc.lower()
    for default, port in (("http", ":80"), ("https", ":443")):
        if scheme.lower() in (default, ""):
            host = host.removesuffix(port)
    return f"{host}{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"


def _beginning(url: str) -> str:
    """The beginning of an address in the same form."""
    rest = url.rpartition("://")[2]
    return _address(url) if "/" in rest else rest.lower()


def _host(url: str) -> str:
    try:
        host = urlsplit(url.strip()).hostname or ""
        return host.rstrip(".").encode("idna").decode() if not host.isascii() else host.rstrip(".")
    except (ValueError, UnicodeError):
        return ""


def _person(name: str) -> str:
    return " ".join(name.casefold().split())


def _by_content(found: Found, progress: Progress) -> None:
    """Match hashes of pages, and excerpts."""
    wanted = {one.what: one for one in found.requests if one.kind == "document" and len(one.what) == 64}
    excerpts = [(one, read_hashes(one.grams)) for one in found.requests if one.kind == "text" and one.grams]
    if not wanted and not excerpts:
        return
    covered: set[str] = set()
    for artifact in found.artifacts:
        if artifact.record.kind == "pages":
            rows = pages(artifact, set() if wanted else covered)
        else:
            rows = texts(artifact)
        for batch in batches(watched(artifact, rows, "reading", progress)):
            if artifact.record.kind != "pages":
                covered.update(row.id for row in batch if row.text)
            for row in batch:
                request = wanted.get(sha256(row.content)) if row.content else None
                if request is not None:
                    found.add(row.id, f"document of request {request.id}")
            for request, grams in excerpts:
                for row in _holding(batch, grams):
                    found.add(row.id, f"text of request {request.id}")


def _holding(batch: Sequence[Row], grams: Hashes) -> list[Row]:
    """The rows that have most of an excerpt's runs of words."""
    runs = words([row.text for row in batch]).runs(SHINGLE)
    places, inside = members(runs.hashes, grams)
    hits = np.flatnonzero(inside)
    owners = np.searchsorted(runs.offsets, hits, side="right") - 1
    pairs = np.unique(np.stack([owners, places[hits]], axis=1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=len(batch))
    return [row for row, count in zip(batch, counts.tolist(), strict=True) if count >= EXCERPT * len(grams)]


# -- what is like it -----------------------------------------------------------------------------------------------


def _by_cluster(found: Found) -> None:
    """Follow the ledgers' clusters: a duplicate and the document for whose sake it went, both ways, to the end."""
    near: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for artifact in found.artifacts:
        folder = artifact.path / "ledger"
        if artifact.record.kind != "corpus" or not folder.is_dir():
            continue
        for shard in sorted(folder.glob("*.parquet")):
            table = pq.read_table(shard, columns=["id", "survivor"])
            for row in table.filter(table["survivor"].is_valid()).to_pylist():
                near[row["id"]].add((row["survivor"], artifact.record.name))
                near[row["survivor"]].add((row["id"], artifact.record.name))
    waiting = list(found.how)
    while waiting:
        name = waiting.pop()
        for other, corpus in sorted(near.get(name, ())):
            if other not in found.how:
                found.add(other, f"in one cluster of duplicates with {name} (ledger of {corpus})")
                waiting.append(other)


def _by_likeness(found: Found, before: Mapping[str, Sequence[Hashes]], progress: Progress) -> None:
    """Search all texts for what is like those that were found, now or before."""
    wanted = {name: list(before.get(name, ())) for name in {**before, **found.how}}
    covered = _collect(found.artifacts, wanted, progress)
    probe = Probe(wanted)
    for artifact in found.artifacts:
        kind = artifact.record.kind
        rows = pages(artifact, covered) if kind == "pages" else texts(artifact)
        for _ in probe.search(watched(artifact, rows, "comparing", progress)):
            pass
    found.texts = {name: known for name, known in wanted.items() if known}
    for near in probe.found():
        if near.id not in found.how:
            found.add(near.id, f"shares {near.share:.0%} of its runs of {SHINGLE} words with {near.of}")


def _collect(artifacts: Iterable[Artifact], wanted: Mapping[str, list[Hashes]], progress: Progress) -> set[str]:
    """Fill in the hashes of the texts of some rows; all ids of rows whose text is known better than from their page."""
    covered: set[str] = set()
    for artifact in artifacts:
        rows = pages(artifact, covered) if artifact.record.kind == "pages" else texts(artifact)
        for row in watched(artifact, rows, "reading", progress):
            if artifact.record.kind != "pages" and row.text:
                covered.add(row.id)
            if row.id in wanted and row.text:
                (hashes,) = words([row.text]).shingles()
                if not any(np.array_equal(hashes, known) for known in wanted[row.id]):
                    wanted[row.id].append(hashes)
    return covered


def _locate(found: Found, progress: Progress) -> None:
    """Say which artifacts hold the rows, and what share of what they keep that is."""
    for artifact in found.artifacts:
        ids, kept = set(), set()
        for row in watched(artifact, about(artifact), "locating", progress):
            if row.kept or artifact.record.kind == "pages":
                kept.add(row.id)
            if row.id in found.how:
                ids.add(row.id)
                if row.kept:
                    found.kept.add(row.id)
        found.shares[artifact.record.digest] = len(ids & kept) / max(len(kept), 1)
        if ids:
            found.held[artifact.record.digest] = ids
