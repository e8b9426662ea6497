"""What a partition's documents add up to: groups, lengths, hosts, benchmark items, and samples to look at."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SAMPLES: Final = 3
"""Documents that are shown of each reason."""

_SAMPLE_CHARS: Final = 1500
_SHOWN: Final = ("id", "source", "record", "url", "media_type", "detail", "survivor")
_GROUPED: Final = ("source", "licence", "language", "extractor", "reason")

compute: Any = pc
"""The same module; its stubs know only some of its functions."""


def counted(table: pa.Table) -> dict[str, Any]:
    """The facts of documents in the order of their ids, JSON; facts of partitions are merged by adding.

    ``table`` has the columns of :data:`.finish.PLACED`. Keys are JSON lists: ``groups``, ``chars`` and ``sizes`` by
    source, licence, language, extractor and reason (``step:rule``, empty for what stays); ``domains`` by host and
    reason; ``hits`` by benchmark and item, ``shards`` by benchmark and shard of pages.
    """
    reason = reasons(table)
    stays = np.asarray(table.column("step").is_null())
    groups, chars, sizes = _groups(table.append_column("reason", reason))
    hits, shards = _hits(table)
    html = np.asarray(compute.equal(table.column("media_type"), "text/html").fill_null(False))
    kept = table.filter(pa.array(stays))
    return {
        "groups": groups,
        "chars": chars,
        "sizes": sizes,
        "text_bytes": _sum(compute.binary_length(kept.column("text"))),
        "domains": _domains(table, reason),
        "redactions": _redactions(kept.column("redactions")),
        "hits": hits,
        "shards": shards,
        "samples": _samples(table, reason),
        "page": next(iter(_shown(table, np.flatnonzero(stays & html)[:1])), None),
    }


def reasons(table: pa.Table) -> pa.Array[Any]:
    """For each document ``step:rule``; empty if it stays."""
    step, rule = (table.column(name).combine_chunks() for name in ("step", "rule"))
    found: Any = compute.binary_join_element_wise(step, rule, ":")
    return found.fill_null("")  # type: ignore[no-any-return]


def _groups(table: pa.Table) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    columns: dict[str, Any] = {name: table.column(name) for name in _GROUPED}
    columns["chars"] = compute.utf8_length(table.column("text")).fill_null(0)
    columns["sizes"] = compute.fill_null(table.column("page_bytes"), 0)
    found = pa.table(columns).group_by(list(_GROUPED), use_threads=False)
    groups, chars, sizes = dict[str, int](), dict[str, int](), dict[str, int]()
    for row in found.aggregate([([], "count_all"), ("chars", "sum"), ("sizes", "sum")]).to_pylist():
        key = _key(*(row[name] for name in _GROUPED))
        groups[key], chars[key], sizes[key] = row["count_all"], row["chars_sum"], row["sizes_sum"]
    return groups, chars, sizes


def _domains(table: pa.Table, reason: pa.Array[Any]) -> dict[str, int]:
    found = Counter[tuple[str, str]]()
    there = np.flatnonzero(np.asarray(compute.binary_length(table.column("url")).fill_null(0)))
    for url, why in zip(table.column("url").take(there).to_pylist(), reason.take(there).to_pylist(), strict=True):
        found[domain_of(str(url)), str(why)] += 1
    return {_key(*pair): count for pair, count in found.items()}


def _redactions(column: Any) -> dict[str, int]:
    found = Counter[str]()
    for array in column.chunks:
        first, last = array.offsets[0].as_py(), array.offsets[len(array)].as_py()
        kinds, counts = array.keys.slice(first, last - first), array.items.slice(first, last - first)
        for kind, count in zip(kinds.to_pylist(), counts.to_pylist(), strict=True):
            found[kind] += count
    return dict(found)


def _hits(table: pa.Table) -> tuple[dict[str, int], dict[str, int]]:
    hits, shards = Counter[str](), Counter[str]()
    for text in table.column("hit").drop_null().to_pylist():
        benchmark, item, *_, shard = json.loads(str(text))
        hits[_key(benchmark, item)] += 1
        shards[_key(benchmark, shard)] += 1
    return dict(hits), dict(shards)


def _samples(table: pa.Table, reason: pa.Array[Any]) -> dict[str, list[dict[str, Any]]]:
    encoded: Any = reason.dictionary_encode()
    which = np.asarray(encoded.indices)
    return {
        str(name): _shown(table, np.flatnonzero(which == number)[:SAMPLES])
        for number, name in enumerate(encoded.dictionary.to_pylist())
    }


def _shown(table: pa.Table, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    shown = table.select([*_SHOWN, "text"]).take(rows).to_pylist()
    return [{**row, "text": (row["text"] or "")[:_SAMPLE_CHARS]} for row in shown]


def _key(*parts: str | None) -> str:
    return json.dumps(parts, ensure_ascii=False)


def _sum(column: Any) -> int:
    return int(compute.sum(column).as_py() or 0)


def domain_of(url: str) -> str:
    """The host of an address, lower-cased; as it stands if it has none.

    >>> domain_of("https://Example.org:80/a?b")
    'example.org'
    """
    host = url.partition("//")[2] or url
    return host.partition("/")[0].partition("?")[0].rpartition("@")[2].partition(":")[0].lower()
