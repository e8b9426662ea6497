"""Lists of profane, adult and hateful words by language: the format of LDNOOBW, a small list of our own, and a counter.

LDNOOBW ("List of Dirty, Naughty, Obscene, and Otherwise Bad Words", the list behind C4's bad-words rule) has one file a
language, named by its code (``en``), with one word or phrase a line. Such files are read as they are. The list that
comes with the package was written for it, is short, and is encoded (Base64) so that the repository can be read in
company: enough to find pages of nothing else, not to find every insult. Lists of other people's are not copied.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import DataError, RequestError, nearest
from groundup.stages.curate.engine.columns import Texts

KINDS: Final = ("profane", "adult", "slur")
SHIPPED: Final = "words.tsv"
LONGEST: Final = 8
"""Words of a phrase that are compared; in scripts without spaces each character counts as one."""

_LETTERS: Final = {"p": "profane", "a": "adult", "s": "slur"}
# The codes of LDNOOBW's files, as the languages of labels such as eng_Latn.
_CODES: Final = {
    "ar": "arb", "cs": "ces", "da": "dan", "de": "deu", "en": "eng", "eo": "epo", "es": "spa", "fa": "pes", "fi": "fin",
    "fil": "fil", "fr": "fra", "hi": "hin", "hu": "hun", "it": "ita", "ja": "jpn", "kab": "kab", "ko": "kor",
    "nl": "nld", "no": "nob", "pl": "pol", "pt": "por", "ru": "rus", "sv": "swe", "th": "tha", "tlh": "tlh",
    "tr": "tur", "zh": "cmn",
}  # fmt: skip

Phrases = Mapping[str, frozenset[str]]
"""From a phrase to its kinds."""


@dataclass(frozen=True)
class Table:
    """Phrases as a hash table for the kernel. ``keys``: (places,) uint64, ``bits``: (places,) uint8, a bit a kind."""

    keys: NDArray[np.uint64]
    bits: NDArray[np.uint8]
    longest: int
    kinds: tuple[str, ...]

    def count(self, texts: Texts, skip: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows, kinds) how many phrases of each kind a row has, and (rows,) how many words; 0 in skipped rows."""
        from groundup.stages.curate.judging import kernels
        from groundup.stages.curate.judging.linear import frozen

        rows = len(texts.offsets) - 1
        counts, words = np.zeros((rows, len(self.kinds)), np.int64), np.zeros(rows, np.int64)
        data, offsets = frozen(texts)
        kernels.count_listed(data, offsets, np.array(skip, np.bool_), self.keys, self.bits, self.longest, counts, words)
        return counts, words


def build_table(phrases: Phrases, kinds: tuple[str, ...]) -> Table:
    """The table of phrases. Of phrases of more than ``LONGEST`` words the first ones count."""
    from groundup.stages.curate.judging import kernels

    found: dict[int, int] = {}
    longest = 1
    hashes = np.empty(1024, np.uint64)
    for phrase, belongs in phrases.items():
        bits = sum(1 << kinds.index(kind) for kind in belongs if kind in kinds)
        # The kernel reads ASCII capitals as small letters and no others: those are spelt out here.
        for spelling in {phrase.lower(), phrase.capitalize(), phrase.title(), phrase.upper()}:
            data = np.frombuffer(spelling.encode()[:1000], np.uint8)
            number = min(LONGEST, kernels.token_hashes(data, hashes))
            if number and bits:
                longest = max(longest, number)
                key = int(kernels.chain(hashes, number)) | 1
                found[key] = found.get(key, 0) | bits
    places = 16
    while places < 4 * len(found):
        places *= 2
    keys, values = np.zeros(places, np.uint64), np.zeros(places, np.uint8)
    for key in sorted(found):
        place = key & (places - 1)
        while keys[place]:
            place = (place + 1) & (places - 1)
        keys[place], values[place] = key, found[key]
    return Table(keys, values, longest, kinds)


@lru_cache(maxsize=1)
def shipped_words() -> dict[str, dict[str, frozenset[str]]]:
    """Our own list: from a language (``eng``) to phrases and their kinds."""
    languages: dict[str, dict[str, frozenset[str]]] = {}
    for line in resources.files(__package__).joinpath(SHIPPED).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            language, kinds, encoded = line.split("\t")
            phrase = base64.b64decode(encoded).decode()
            languages.setdefault(language, {})[phrase] = frozenset(_LETTERS[letter] for letter in kinds)
    return languages


def shipped_digest() -> str:
    """The SHA-256 of our own list's file."""
    return hashlib.sha256(resources.files(__package__).joinpath(SHIPPED).read_bytes()).hexdigest()


def read_words(path: Path, kind: str = "profane") -> dict[str, frozenset[str]]:
    """A list in LDNOOBW's format, plain UTF-8; all of it counts as ``kind``. Lines that begin with ``#`` are notes."""
    if kind not in KINDS:
        raise RequestError(f"no kind of words {kind!r}{nearest(kind, KINDS)}")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError:
        raise RequestError(f"no word list at {path}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8") from None
    phrases = (line.strip().lower() for line in lines)
    return {phrase: frozenset({kind}) for phrase in phrases if phrase and not phrase.startswith("#")}


def language_of(name: str) -> str:
    """The language of a list by the name of its file: LDNOOBW's code, ISO 639-3, or a label.

    >>> language_of("en"), language_of("deu.txt"), language_of("fra_Latn")
    ('eng', 'deu', 'fra')
    """
    code = name.split(".")[0].split("_")[0]
    if code in _CODES:
        return _CODES[code]
    if len(code) == 3 and code.isalpha() and code.islower():
        return code
    raise RequestError(f"{name} names no language; call a word list en, or eng, or eng_Latn{nearest(code, _CODES)}")


def gather(paths: Sequence[Path], shipped: bool = True, kind: str = "profane") -> dict[str, dict[str, frozenset[str]]]:
    """Our own list and those in files, together by language. A folder stands for the files in it."""
    languages = {language: dict(phrases) for language, phrases in shipped_words().items()} if shipped else {}
    for path in paths:
        if not path.exists():
            raise RequestError(f"no word list at {path}")
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        for file in files:
            # LDNOOBW's folder has a README and a licence beside the lists.
            if path.is_dir() and (file.name.startswith(".") or file.name.split(".")[0].isupper()):
                continue
            phrases = languages.setdefault(language_of(file.name), {})
            for phrase, kinds in read_words(file, kind).items():
                phrases[phrase] = phrases.get(phrase, frozenset()) | kinds
    return languages


def bad_words(language: str, kinds: Iterable[str] = KINDS, paths: Sequence[Path] = ()) -> tuple[str, ...]:
    """The phrases of a language, sorted: what C4's bad-words rule asks for. Files come on top of our own list."""
    wanted = frozenset(kinds)
    phrases = gather(paths).get(language_of(language), {})
    return tuple(sorted(phrase for phrase, belongs in phrases.items() if belongs & wanted))
