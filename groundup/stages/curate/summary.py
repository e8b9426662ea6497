"""What a curation did, added up from the facts of its jobs."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from groundup.stages.curate.passes.counts import SAMPLES

UNKNOWN: Final = "unknown"
"""The language or extractor of a document that was dropped before it had one."""

_MOST_DOMAINS: Final = 10
_MOST_PAIRS: Final = 1 << 20
"""Counts by host and reason in memory, of about 250 bytes each; then hosts with few documents are let go."""
_HOSTS_LEFT: Final = 1 << 18
_ADDED: Final = ("groups", "chars", "sizes", "redactions", "hits", "shards")


class Group(NamedTuple):
    """Documents that are alike in all that is counted by. ``reason``: ``step:rule``, or empty if they stay."""

    source: str
    licence: str
    language: str | None
    extractor: str | None
    reason: str
    documents: int
    chars: int
    page_bytes: int


@dataclass(frozen=True)
class Summary:
    """Counts over all documents, each in a fixed order, so that equal corpora give equal summaries."""

    groups: tuple[Group, ...]
    text_bytes: int
    held_out: int
    redactions: Counter[str]
    hits: Counter[tuple[str, str]]
    """Documents dropped by benchmark and item."""
    domains: Counter[tuple[str, str]]
    """Documents by host and reason; of more than a million such pairs only the hosts with the most documents, and
    theirs may be counted a little low."""
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    page: Mapping[str, Any] | None
    """The first HTML page that was kept, by id: to show it before and after."""
    together: Counter[tuple[str, ...]]
    items: Mapping[str, int]
    seconds: Counter[str] = field(default_factory=Counter)
    shards: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Documents dropped by benchmark and shard of pages (see :data:`.passes.finish.CONTAMINATION`)."""

    @property
    def pages(self) -> int:
        """How many pages came in."""
        return sum(group.documents for group in self.groups)

    @property
    def kept(self) -> int:
        """How many documents stay."""
        return sum(group.documents for group in self.groups if not group.reason)

    def count(self, name: str, *, of: str = "documents", reason: str | None = None) -> dict[str, int]:
        """Documents (or chars, page_bytes) by a field of the groups; of one reason (empty: kept), or of all."""
        found = Counter[str]()
        for group in self.groups:
            if reason is None or group.reason == reason:
                found[getattr(group, name) or UNKNOWN] += getattr(group, of)
        return dict(sorted(found.items()))

    @property
    def reasons(self) -> dict[str, int]:
        """Documents dropped, by reason, the most frequent first."""
        found = {reason: count for reason, count in self.count("reason").items() if reason != UNKNOWN}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def domains_of(self, reason: str) -> list[tuple[str, int]]:
        """The hosts that lost the most documents to a reason."""
        found = [(host, count) for (host, why), count in self.domains.items() if why == reason]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:_MOST_DOMAINS]

    def shards_of(self, benchmark: str) -> dict[str, int]:
        """How many documents of each shard of pages hold an item of a benchmark, the most first."""
        found = {shard: count for (name, shard), count in self.shards.items() if name == benchmark}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def overlap(self) -> dict[tuple[str, str], int]:
        """In the sample of pages that every rule saw: how many break both of two rules; (r, r) is how many break r."""
        found = Counter[tuple[str, str]]()
        for rules, count in self.together.items():
            for one in set(rules):
                for other in set(rules):
                    found[one, other] += count
        return dict(sorted(found.items()))

    def all_gone(self) -> str:
        """What to say when nothing is left."""
        if not self.pages:
            return "there are no pages to curate"
        reason, count = next(iter(self.reasons.items()))
        return (
            f"no document is left of {self.pages}; most ({count}) were dropped by {reason}: "
            "look at the pages, or loosen that rule"
        )

    def metrics(self, redacted: Iterable[str]) -> dict[str, Any]:
        """The figures for the record; keys are sorted."""
        found, left = self.count("source"), self.count("source", reason="")
        chars = self.count("source", of="chars", reason="")
        leaks = Counter[str]()
        for (benchmark, _), count in self.hits.items():
            leaks[benchmark] += count
        return {
            "documents_in": self.pages,
            "documents": self.kept,
            "held_out": self.held_out,
            "page_bytes": sum(group.page_bytes for group in self.groups),
            "text_bytes": self.text_bytes,
            "chars": sum(chars.values()),
            "rejected": dict(sorted(self.reasons.items())),
            "redactions": {kind: self.redactions[kind] for kind in sorted({*redacted, *self.redactions})},
            "sources": {
                source: {"pages": count, "documents": left.get(source, 0), "chars": chars.get(source, 0)}
                for source, count in found.items()
            },
            "contamination": {
                name: {"items": count, "documents": leaks[name]} for name, count in sorted(self.items.items())
            },
            "languages": self.count("language"),
            "extractors": self.count("extractor", reason=""),
        }


def summary(
    finished: Iterable[Mapping[str, Any]], cleaned: Sequence[Mapping[str, Any]], items: Mapping[str, int]
) -> Summary:
    """Add up what was counted (:mod:`.passes.counts`), a partition at a time, and the facts of the first pass.

    ``items``: how many items each benchmark has.
    """
    added: dict[str, Counter[str]] = {name: Counter() for name in _ADDED}
    domains = Counter[tuple[str, str]]()
    samples: dict[str, list[Mapping[str, Any]]] = {}
    text_bytes = held_out = 0
    page: Mapping[str, Any] | None = None
    for counts in finished:
        for name in _ADDED:
            _add(added[name], counts[name])
        for key, count in counts["domains"].items():
            domains[_pair(key)] += count
        if len(domains) > _MOST_PAIRS:
            domains = _frequent(domains)
        for reason, rows in counts["samples"].items():
            shown = samples.setdefault(reason, [])
            shown += rows[: SAMPLES - len(shown)]
        text_bytes += counts["text_bytes"]
        held_out += counts["held_out"]
        page = page or counts["page"]
    groups, chars, sizes = (added[name] for name in ("groups", "chars", "sizes"))
    together = _merged(cleaned, "together")
    return Summary(
        groups=tuple(_group(key, groups[key], chars[key], sizes[key]) for key in sorted(groups)),
        text_bytes=text_bytes,
        held_out=held_out,
        redactions=added["redactions"],
        hits=Counter({_pair(key): count for key, count in added["hits"].items()}),
        domains=domains,
        samples={reason: samples[reason] for reason in sorted(samples)},
        page=page,
        together=Counter({tuple(json.loads(key)): count for key, count in together.items()}),
        items=items,
        seconds=_merged(cleaned, "seconds"),
        shards=Counter({_pair(key): count for key, count in added["shards"].items()}),
    )


def _frequent(domains: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """The counts of the hosts that have the most documents so far."""
    documents = Counter[str]()
    for (host, _), count in domains.items():
        documents[host] += count
    kept = set(heapq.nsmallest(_HOSTS_LEFT, documents, key=lambda host: (-documents[host], host)))
    return Counter({pair: count for pair, count in domains.items() if pair[0] in kept})


def _pair(key: str) -> tuple[str, str]:
    first, second = json.loads(key)
    return first, second


def _group(key: str, documents: int, chars: int, page_bytes: int) -> Group:
    source, licence, language, extractor, reason = json.loads(key)
    return Group(source, licence, language, extractor, reason, documents, chars, page_bytes)


def _merged(facts: Iterable[Mapping[str, Any]], name: str) -> Counter[str]:
    found = Counter[str]()
    for one in facts:
        _add(found, one[name])
    return found


def _add(found: Counter[str], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        found[key] += value
