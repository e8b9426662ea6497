"""What a curation did, added up from the facts of its jobs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

UNKNOWN: Final = "unknown"
"""The language or extractor of a document that was dropped before it had one."""

_MOST_DOMAINS: Final = 10


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
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    page: Mapping[str, Any] | None
    """The first HTML page that was kept, by id: to show it before and after."""
    together: Counter[tuple[str, ...]]
    items: Mapping[str, int]
    seconds: Counter[str] = field(default_factory=Counter)
    shards: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Documents dropped by benchmark and shard of pages (``ARTIFACT/FILE``), which depend on how pages are cut."""

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
    finished: Sequence[Mapping[str, Any]], cleaned: Sequence[Mapping[str, Any]], items: Mapping[str, int]
) -> Summary:
    """Add up the facts of the first and the last pass; ``items``: how many items each benchmark has."""
    groups, chars, sizes = (_merged(finished, name) for name in ("groups", "chars", "sizes"))
    hits, shards = (
        {tuple(json.loads(key)): count for key, count in _merged(finished, name).items()} for name in ("hits", "shards")
    )
    domains = {tuple(json.loads(key)): count for key, count in _merged(finished, "domains").items()}
    together = {tuple(json.loads(key)): count for key, count in _merged(cleaned, "together").items()}
    samples: dict[str, list[Mapping[str, Any]]] = {}
    for facts in finished:
        for reason, rows in facts["samples"].items():
            samples.setdefault(reason, []).extend(rows)
    return Summary(
        groups=tuple(_group(key, groups[key], chars[key], sizes[key]) for key in sorted(groups)),
        text_bytes=sum(facts["text_bytes"] for facts in finished),
        held_out=sum(facts["held_out"] for facts in finished),
        redactions=_merged(finished, "redactions"),
        hits=Counter(hits),
        domains=Counter(domains),
        samples={reason: samples[reason][:3] for reason in sorted(samples)},
        page=next((facts["page"] for facts in finished if facts["page"]), None),
        together=Counter(together),
        items=items,
        seconds=_merged(cleaned, "seconds"),
        shards=Counter(shards),
    )


def _group(key: str, documents: int, chars: int, page_bytes: int) -> Group:
    source, licence, language, extractor, reason = json.loads(key)
    return Group(source, licence, language, extractor, reason, documents, chars, page_bytes)


def _merged(facts: Sequence[Mapping[str, Any]], name: str) -> Counter[str]:
    found = Counter[str]()
    for one in facts:
        for key, value in one[name].items():
            found[key] += value
    return found
