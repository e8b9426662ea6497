"""Lists of sites, addresses and words that condemn a page by its URL, before anything is read.

The rules are FineWeb's (Penedo et al. 2024, section 3.2, after RefinedWeb, Penedo et al. 2023, appendix G.1): the site
or a site above it is listed; the address is listed; the URL has a banned word, or a banned part of a word; or at least
two of the softer words. Words are runs of ASCII letters and digits. Deviations from datatrove's code: any ancestor of
the host may be listed, not only the host and the registered domain (so no list of public suffixes is needed); words
are compared in small letters on both sides; addresses without scheme, ``www.``, fragment and a slash at the end.

Lists are the user's: plain text, one entry a line, ``#`` for notes, also gzip; or folders in UT1's form (``domains``
and ``urls`` in a folder a category; Université Toulouse Capitole, CC BY-SA). Entries become sorted 64-bit hashes, so
ten million take 80 MB; another entry would be taken for a listed one once in 10^12 look-ups.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import DataError, RequestError
from groundup.base.files import sha256_path, write_atomic
from groundup.stages.curate.engine.operator import VERDICT, Spec, refuse, staying

Hashes = NDArray[np.uint64]

SHIPPED: Final = "url_words.tsv"
SOFT_WORDS: Final = 2
"""How many of the softer words condemn: datatrove's ``soft_word_threshold``."""

_WORD: Final = re.compile(r"[a-z0-9]+")
_CHUNK: Final = 4 << 20
_COMPILED: Final = ".npy"


@dataclass(frozen=True)
class UrlLists:
    """Which lists a URL is held against. Paths are files or folders; a folder stands for all files in it, by name.

    ``domains`` and ``urls`` may be compiled files (:func:`compile_list`) too. ``shipped`` adds our own short lists of
    words, all of them about pornography and betting.
    """

    domains: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    banned_words: tuple[str, ...] = ()
    banned_parts: tuple[str, ...] = ()
    soft_words: tuple[str, ...] = ()
    shipped: bool = True
    soft_threshold: int = SOFT_WORDS

    @property
    def paths(self) -> tuple[str, ...]:
        """All files and folders named."""
        return self.domains + self.urls + self.banned_words + self.banned_parts + self.soft_words


@dataclass(frozen=True)
class DecideUrl:
    """The decision ``url:banned_domain``, ``:banned_url``, ``:banned_word`` or ``:soft_words``, the first that applies.

    A row without a URL stays. Details never quote the URL or the word: they may be offensive.
    """

    lists: UrlLists

    @cached_property
    def spec(self) -> Spec:
        """Lists are assets."""
        assets = {SHIPPED: _shipped_digest()} if self.lists.shipped else {}
        for number, path in enumerate(self.lists.paths):
            if not Path(path).exists():
                raise RequestError(f"no URL list at {path}")
            assets[f"list {number}"] = sha256_path(Path(path))
        names = ("domains", "urls", "banned_words", "banned_parts", "soft_words")
        counts = {name: len(getattr(self.lists, name)) for name in names}
        parameters = {"shipped": self.lists.shipped, "soft_threshold": self.lists.soft_threshold, "lists": counts}
        return Spec("url", 1, "decide", ("url",), VERDICT, parameters, assets)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with verdicts."""
        loaded = _load(self.lists)
        rows = np.flatnonzero(staying(batch)).tolist()
        column: list[str | None] = batch.column("url").to_pylist()
        rules: list[str | None] = [None] * batch.num_rows
        details: list[str | None] = [None] * batch.num_rows
        urls = {row: url for row in rows if (url := column[row])}
        listed = loaded.listed(list(urls.values()))
        for row, by_list in zip(urls, listed, strict=True):
            found = by_list or loaded.by_word(urls[row], self.lists.soft_threshold)
            if found is not None:
                rules[row], details[row] = found
        return refuse(batch, "url", rules, details)


@dataclass(frozen=True)
class Loaded:
    """Lists in memory. ``domains``, ``urls``: sorted hashes."""

    domains: Hashes
    urls: Hashes
    banned_words: frozenset[str]
    banned_parts: re.Pattern[str] | None
    soft_words: frozenset[str]

    def listed(self, urls: Sequence[str]) -> list[tuple[str, str] | None]:
        """(rule, detail) of each URL whose site or address is listed."""
        verdicts: list[tuple[str, str] | None] = [None] * len(urls)
        keys: list[str] = []
        owners: list[tuple[int, str, str]] = []
        for row, url in enumerate(urls):
            host, address = parts(url)
            for level, name in enumerate(ancestors(host)):
                keys.append(name)
                owners.append((row, "banned_domain", "the host" if level == 0 else f"{level} levels above the host"))
            keys.append(address)
            owners.append((row, "banned_url", "the address"))
        if not keys or not (len(self.domains) or len(self.urls)):
            return verdicts
        hashes = hash_lines([key or "-" for key in keys])
        by_domain, by_url = contains(self.domains, hashes), contains(self.urls, hashes)
        for (row, rule, detail), domain, url_hit in zip(owners, by_domain.tolist(), by_url.tolist(), strict=True):
            if verdicts[row] is None and (domain if rule == "banned_domain" else url_hit):
                verdicts[row] = (rule, detail)
        return verdicts

    def by_word(self, url: str, soft_threshold: int) -> tuple[str, str] | None:
        """(rule, detail) of a URL with banned or soft words."""
        found = set(_WORD.findall(url.lower()))
        banned = len(found & self.banned_words)
        if banned:
            return "banned_word", f"{banned} as words"
        soft = len(found & self.soft_words)
        if soft >= soft_threshold:
            return "soft_words", f"{soft} of them; {soft_threshold} condemn"
        if self.banned_parts is not None and self.banned_parts.search("".join(_WORD.findall(url.lower()))):
            return "banned_word", "as part of a word"
        return None


def parts(url: str) -> tuple[str, str]:
    """(host, address) of a URL: small letters, no ``www.``, no port; the address without scheme, fragment, last slash.

    >>> parts("HTTP://www.Example.org:80/a/?b=1#c")
    ('example.org', 'example.org/a/?b=1')
    """
    text = url.strip().lower()
    if "://" not in text:
        text = "//" + text.removeprefix("//")
    try:
        split = urlsplit(text)
        host = (split.hostname or "").rstrip(".").removeprefix("www.")
    except ValueError:  # brackets that hold no address
        return "", ""
    address = host + split.path + (f"?{split.query}" if split.query else "")
    return host, "".join(address.split()).rstrip("/")


def ancestors(host: str) -> list[str]:
    """The host and all domains above it that have a dot; a numeric address has none above it.

    >>> ancestors("a.b.example.org")
    ['a.b.example.org', 'b.example.org', 'example.org']
    """
    if not host:
        return []
    labels = host.split(".")
    if labels[-1].isdigit() or ":" in host:
        return [host]
    return [".".join(labels[at:]) for at in range(max(1, len(labels) - 1))]


def hash_lines(lines: Iterable[str]) -> Hashes:
    """(lines,) uint64 hashes of lines that are not empty and have no note in them."""
    return _hash_bytes("\n".join(lines).encode("utf-8", "replace"))[0]


def contains(listed: Hashes, hashes: Hashes) -> NDArray[np.bool_]:
    """Which hashes are in a sorted list: (hashes,) bool."""
    if not len(listed):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(listed, hashes), len(listed) - 1)
    return np.asarray(listed[places] == hashes)


def load_list(path: Path, kind: str) -> Hashes:
    """The sorted hashes of a list; ``kind``: ``domains`` or ``urls``. RequestError without it, DataError if damaged.

    Entries are normalised as URLs are; a leading ``*.`` or ``.`` means what is meant anyway.
    """
    if not path.exists():
        raise RequestError(f"no URL list at {path}")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _is_list(file, kind))
        if not files:
            raise RequestError(f"{path} has no files named {kind}, as UT1's folders do")
        return _sorted([load_list(file, kind) for file in files])
    if path.suffix == _COMPILED:
        try:
            hashes = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            raise DataError(f"{path.name} is no compiled URL list") from None
        if hashes.dtype != np.uint64 or hashes.ndim != 1:
            raise DataError(f"{path.name} is no compiled URL list")
        return np.asarray(hashes)
    return _sorted([_entry_hashes(chunk, kind) for chunk in _chunks(path)])


def compile_list(paths: Sequence[Path], kind: str, out: Path) -> int:
    """Write lists as one ``.npy`` file of sorted hashes, which later opens at once; returns how many entries it has."""
    if out.suffix != _COMPILED:
        raise RequestError(f"{out.name}: a compiled list's name ends in {_COMPILED}")
    hashes = _sorted([load_list(path, kind) for path in paths])

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.lib.format.write_array(file, hashes, allow_pickle=False)

    write_atomic(out, write)
    return len(hashes)


def load_words(path: Path) -> set[str]:
    """The words of a list, in small letters and without signs, as words of URLs are."""
    words: set[str] = set()
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    for file in files:
        for chunk in _chunks(file):
            for line in chunk.decode("utf-8", "replace").lower().splitlines():
                word = "".join(_WORD.findall(line)) if not line.startswith("#") else ""
                words |= {word} if word else set()
    return words


def _entry_hashes(chunk: bytes, kind: str) -> Hashes:
    """Hashes of a piece of a list. Bare domains, nearly all of any list, never become objects."""
    hashes, bounds = _hash_bytes(chunk)
    slow = (bounds[:, 2] != 0) if kind == "domains" else np.ones(len(hashes), np.bool_)
    again = []
    for begin, end, _ in bounds[slow].tolist():
        entry = chunk[begin:end].decode("utf-8", "replace").removeprefix("*.").lstrip(".")
        host, address = parts(entry)
        name = host if kind == "domains" else address
        again += [name] if name else []
    return np.concatenate([hashes[~slow], hash_lines(again)])


def _hash_bytes(content: bytes) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of lines; and where each begins and ends, and whether it is more than a bare domain."""
    from groundup.stages.curate.judging import kernels

    data = np.frombuffer(content, np.uint8)
    room = content.count(b"\n") + 1
    hashes, bounds = np.empty(room, np.uint64), np.empty((room, 3), np.int64)
    count = kernels.line_hashes(data, hashes, bounds)
    return hashes[:count], bounds[:count]


def _chunks(path: Path) -> Iterator[bytes]:
    """A file, plain or gzip, in pieces of whole lines."""
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    rest = b""
    try:
        with opened as file:
            while piece := file.read(_CHUNK):
                whole, found, after = piece.rpartition(b"\n")
                if not found:
                    rest += piece
                    continue
                yield (rest + whole).removeprefix(b"\xef\xbb\xbf")
                rest = after
    except FileNotFoundError:
        raise RequestError(f"no URL list at {path}") from None
    except (gzip.BadGzipFile, EOFError, OSError):
        raise DataError(f"{path.name} is not a whole gzip or text file") from None
    if rest:
        yield rest.removeprefix(b"\xef\xbb\xbf")


def _sorted(parts: Sequence[Hashes]) -> Hashes:
    """All hashes in order, each once."""
    if len(parts) == 1 and not parts[0].flags.writeable:
        return parts[0]  # a compiled list, which stays on disk until it is asked
    if not parts:
        return np.zeros(0, np.uint64)
    whole = np.concatenate(parts)
    whole.sort()
    return whole[np.append(True, whole[1:] != whole[:-1])] if len(whole) else whole


def _is_list(file: Path, kind: str) -> bool:
    return file.name in (kind, f"{kind}.txt", f"{kind}.gz", f"{kind}.txt.gz")


@lru_cache(maxsize=1)
def _shipped() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in resources.files(__package__).joinpath(SHIPPED).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, word = line.split("\t")
            found.setdefault(kind, set()).add(word)
    return {kind: frozenset(words) for kind, words in found.items()}


def _shipped_digest() -> str:
    return hashlib.sha256(resources.files(__package__).joinpath(SHIPPED).read_bytes()).hexdigest()


@lru_cache(maxsize=2)
def _load(lists: UrlLists) -> Loaded:
    ours = _shipped() if lists.shipped else {}

    def hashes(paths: tuple[str, ...], kind: str) -> Hashes:
        return _sorted([load_list(Path(path), kind) for path in paths])

    def words(paths: tuple[str, ...], kind: str) -> frozenset[str]:
        return frozenset().union(ours.get(kind, frozenset()), *(load_words(Path(path)) for path in paths))

    listed_parts = sorted(words(lists.banned_parts, "part"))
    pattern = re.compile("|".join(map(re.escape, listed_parts))) if listed_parts else None
    return Loaded(
        hashes(lists.domains, "domains"), hashes(lists.urls, "urls"), words(lists.banned_words, "banned"), pattern,
        words(lists.soft_words, "soft"),
    )  # fmt: skip
