"""Which documents are there twice, exactly or nearly. The longest of the like ones stays, the lower id among equals.

Near duplicates: documents that agree in a MinHash band are candidates only; a document is dropped when its true
Jaccard similarity with one that *stays* reaches the threshold. So no chain of likenesses can pull unlike documents
into one cluster, and what was dropped is always in the corpus in nearly the same words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from groundup.stages.curate.minhash import Hashes, jaccard


@dataclass(frozen=True)
class Twin:
    """A document that goes, the one that stays, and how alike they are (1.0 for exact duplicates)."""

    dropped: int
    kept: int
    jaccard: float


@dataclass(frozen=True)
class Fingerprint:
    """What deduplication needs of a document: ``exact`` is :func:`exact_key`, ``bands`` is empty without MinHash."""

    id: str
    chars: int
    exact: bytes
    bands: Hashes
    shingles: Hashes


def exact_key(text: str) -> bytes:
    """128 bits that two texts share when they differ in case and white space at most."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass")).digest()[:16]


def exact_twins(documents: Sequence[Fingerprint]) -> list[Twin]:
    """The documents whose key an earlier one has, in order of survival."""
    kept: dict[bytes, int] = {}
    twins = []
    for place in _by_right_to_stay(documents):
        survivor = kept.setdefault(documents[place].exact, place)
        if survivor != place:
            twins.append(Twin(place, survivor, 1.0))
    return twins


def near_twins(documents: Sequence[Fingerprint], min_jaccard: float) -> list[Twin]:
    """The documents that are verified to be like one that stays; the most alike survivor is named."""
    buckets: dict[int, list[int]] = {}
    twins = []
    for place in _by_right_to_stay(documents):
        document = documents[place]
        keys = document.bands.tolist()
        candidates = sorted({other for key in keys for other in buckets.get(key, ())}, key=lambda n: documents[n].id)
        likeness = [(jaccard(document.shingles, documents[other].shingles), other) for other in candidates]
        best, survivor = max(likeness, default=(0.0, -1), key=lambda pair: pair[0])
        if best >= min_jaccard:
            twins.append(Twin(place, survivor, best))
            continue
        for key in keys:
            buckets.setdefault(key, []).append(place)
    return twins


def _by_right_to_stay(documents: Sequence[Fingerprint]) -> list[int]:
    return sorted(range(len(documents)), key=lambda place: (-documents[place].chars, documents[place].id))
