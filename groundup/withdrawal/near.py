"""Near-duplicates of some texts among many: by the runs of 5 words that they share, counted exactly.

A text in which one word of five was changed at random still shares 0.8^5, a third, of its runs with the original, and
unrelated texts share almost none; so the threshold lies at a fifth. Runs that many documents have (boilerplate, set
phrases) don't count, and a match needs several others. Only the runs of the texts looked for are in memory: what is
searched passes by once, at tens of megabytes a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from groundup.rights.fingerprint import SHINGLE, Hashes, Numbers, Words, words
from groundup.withdrawal.texts import Row

CONTAINMENT: Final = 0.2
"""The least share of the shorter text's runs that is shared with the other."""
ROUGHLY: Final = 0.5
"""The same for a page of which no clean text is known: the pages of a site share their menus."""
FEWEST: Final = 10
"""The fewest runs shared, of those that are not common."""
SAME: Final = 0.8
"""Jaccard's index from which texts of any length, and of common runs alone, are the same."""
COMMON: Final = 100
"""A run that more documents have than this is common."""

_BATCH: Final = 1 << 20
"""Characters hashed at once."""


@dataclass(frozen=True)
class Near:
    """A text like one that was looked for: ``of`` is the latter's id, ``share`` the containment, from 0 to 1."""

    id: str
    of: str
    share: float


@dataclass
class _Candidate:
    id: str
    keys: Numbers
    runs: int
    rough: bool


@dataclass
class Probe:
    """Texts that are looked for, by id: the hashes of their runs."""

    wanted: Mapping[str, list[Hashes]]
    names: list[str] = field(init=False)
    keys: Hashes = field(init=False)

    def __post_init__(self) -> None:
        pairs = [(name, one) for name, several in self.wanted.items() for one in several if len(one)]
        self.names = [name for name, _ in pairs]
        hashes = np.concatenate([np.zeros(0, np.uint64), *(one for _, one in pairs)])
        owners = np.repeat(np.arange(len(pairs)), [len(one) for _, one in pairs])
        self.keys, places = np.unique(hashes, return_inverse=True)
        order = np.argsort(places, kind="stable")
        self._owners = owners[order]
        self._starts = np.searchsorted(places[order], np.arange(len(self.keys) + 1))
        self._own = [np.searchsorted(self.keys, one) for _, one in pairs]
        self._spread = np.zeros(len(self.keys), np.int64)
        self._candidates: list[_Candidate] = []
        self._seen: set[tuple[str, int]] = set()
        self._short = any(len(one) == 1 for one in self._own)

    def search(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows on, and remember those that share runs with what is looked for."""
        batch: list[Row] = []
        size = 0
        for row in rows:
            yield row
            place = (row.id, len(row.text))
            if place in self._seen or not len(self.keys):
                continue
            self._seen.add(place)
            batch.append(row)
            size += len(row.text)
            if size >= _BATCH:
                self._take(batch)
                batch, size = [], 0
        if batch:
            self._take(batch)

    def found(self) -> list[Near]:
        """The rows that are near-duplicates, each with the one that it is nearest to."""
        rare = self._spread <= COMMON
        sizes = np.array([len(own) for own in self._own])
        rare_sizes = np.array([int(rare[own].sum()) for own in self._own])
        found: dict[str, Near] = {}
        for one in self._candidates:
            near = self._judge(one, rare, sizes, rare_sizes)
            if near is not None and (one.id not in found or found[one.id].share < near.share):
                found[one.id] = near
        return sorted(found.values(), key=lambda near: near.id)

    def _judge(
        self, one: _Candidate, rare: np.ndarray[tuple[int], np.dtype[np.bool_]], sizes: Numbers, rare_sizes: Numbers
    ) -> Near | None:
        shared = self._shared(one.keys)
        rarely = self._shared(one.keys[rare[one.keys]])
        union = sizes + one.runs - shared
        of_rare = one.runs - int((~rare[one.keys]).sum())
        least = ROUGHLY if one.rough else CONTAINMENT
        smaller = np.maximum(np.minimum(rare_sizes, of_rare), 1)
        near = (shared >= SAME * union) | ((rarely >= FEWEST) & (rarely >= least * smaller))
        if not near.any():
            return None
        share = shared / np.maximum(np.minimum(sizes, one.runs), 1)
        best = int(np.argmax(np.where(near, share, -1.0)))
        return Near(one.id, self.names[best], round(float(share[best]), 4))

    def _shared(self, keys: Numbers) -> Numbers:
        """How many of these keys each text that is looked for has, (N,)."""
        owners = [self._owners[self._starts[key] : self._starts[key + 1]] for key in keys.tolist()]
        return np.bincount(np.concatenate([np.zeros(0, np.int64), *owners]), minlength=len(self.names))

    def _take(self, batch: list[Row]) -> None:
        cut = words([row.text for row in batch])
        runs = cut.runs(SHINGLE)
        places, inside = members(runs.hashes, self.keys)
        hits = np.flatnonzero(inside)
        texts = np.searchsorted(runs.offsets, hits, side="right") - 1
        owners, found = np.divmod(np.unique(texts * len(self.keys) + places[hits]), len(self.keys))
        self._spread += np.bincount(found, minlength=len(self.keys))
        bounds = np.searchsorted(owners, np.arange(len(batch) + 1))
        for number in np.unique(owners).tolist():
            keys = found[bounds[number] : bounds[number + 1]]
            own = runs.hashes[runs.offsets[number] : runs.offsets[number + 1]]
            if len(keys) >= FEWEST or len(keys) >= SAME * len(own):
                self._candidates.append(_Candidate(batch[number].id, keys, len(np.unique(own)), batch[number].rough))
        if self._short:
            self._take_short(batch, cut)

    def _take_short(self, batch: list[Row], cut: Words) -> None:
        """Texts of fewer words than a run, which are like another only if they are the same."""
        few = np.flatnonzero((np.diff(cut.offsets) < SHINGLE) & (np.diff(cut.offsets) > 0))
        for number in few.tolist():
            (one,) = words([batch[number].text]).shingles()
            places, inside = members(one, self.keys)
            if inside.all():
                self._spread[places] += 1
                self._candidates.append(_Candidate(batch[number].id, places, 1, False))


def members(hashes: Hashes, keys: Hashes) -> tuple[Numbers, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Where each hash stands in ascending ``keys``, and whether it does: (N,) both."""
    if not len(keys):
        return np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
    return places, keys[places] == hashes


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in lists of about a million characters."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
