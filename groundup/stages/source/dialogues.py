"""Read conversations and preferences: normalise, drop what can't be used, split off a held-out share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from groundup.artifact.exhibit import Funnel, Sample, Samples, Table
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.terms import Terms
from groundup.base.errors import DataError
from groundup.base.seeds import unit_interval
from groundup.stages.source.config import ConversationsConfig, PreferencesConfig, Supply
from groundup.stages.source.readers.rows import json_rows
from groundup.stages.source.run import draw, supply_terms
from groundup.stages.source.unpack import members
from groundup.stages.source.withdrawn import WITHDRAWN, read_jsonl, terms_of
from groundup.text.benchmark import Benchmark, item_id, item_texts, read_rows
from groundup.text.conversation import (
    BadRow,
    Conversation,
    Message,
    Preference,
    as_dicts,
    parse_conversations,
    parse_preference,
    read_conversations,
    read_preferences,
    write_conversations,
    write_jsonl,
    write_preferences,
)
from groundup.text.document import document_id
from groundup.text.overlap import OverlapIndex, evidence

MAX_ROW_BYTES: Final = 16 << 20
_SHOWN_SAMPLES: Final = 3
_SHOWN_CHARS: Final = 600

D = TypeVar("D", Conversation, Preference)


@dataclass(frozen=True)
class _Reject:
    source: str
    record: str
    step: str
    reason: str
    detail: str


@dataclass(frozen=True)
class _Kind(Generic[D]):
    """How one kind of row is read, told apart and put in words."""

    unit: str
    parse: Callable[[dict[str, Any], str, str], list[D]]
    text: Callable[[D], str]
    key: Callable[[D], str]
    read: Callable[[Path], list[D]]


def run_conversations(config: ConversationsConfig, task: Task) -> Outcome:
    """Write ``conversations.jsonl`` and ``rejects.jsonl``."""
    kind = _Kind(
        "conversations",
        _conversations,
        _conversation_text,
        lambda one: _messages_json(one.messages),
        read_conversations,
    )
    kept, outcome = _collect(config, task, kind)
    write_conversations(task.payload / "conversations.jsonl", kept)
    task.show(_samples([(one.messages, ()) for one in kept]))
    return outcome


def run_preferences(config: PreferencesConfig, task: Task) -> Outcome:
    """Write ``preferences.jsonl`` and ``rejects.jsonl``."""
    kind = _Kind("preferences", _preferences, _preference_text, _preference_key, read_preferences)
    kept, outcome = _collect(config, task, kind)
    write_preferences(task.payload / "preferences.jsonl", kept)
    task.show(_samples([(one.prompt, (("chosen", one.chosen), ("rejected", one.rejected))) for one in kept]))
    return outcome


def _collect(config: ConversationsConfig | PreferencesConfig, task: Task, kind: _Kind[D]) -> tuple[list[D], Outcome]:
    if task.former is not None:
        return _filtered(config, task, task.former, kind)
    rejects: list[_Reject] = []
    rows: Counter[str] = Counter()
    parsed = [one for file in config.files for one in _read(file, task, kind, rows, rejects)]
    distinct = _without_repeats(parsed, kind, rejects)
    clean, contamination = _without_items(distinct, config.decontaminate or (), task, kind, rejects)
    if not clean:
        most = Counter(reject.reason for reject in rejects).most_common(1)
        raise DataError(f"no {kind.unit} are left{f'; most were dropped as {most[0][0]}' if most else ''}")
    staying = _staying(clean, task, kind, rejects)
    kept = [replace(one, split="held_out") if held else one for one, held in _split(staying, config)]
    write_jsonl(task.payload / "rejects.jsonl", (vars(reject) for reject in rejects))
    per_source = Counter(one.source for one in kept)
    reasons = dict(sorted(Counter(f"{reject.step}:{reject.reason}" for reject in rejects).items()))
    metrics = {
        "rows": sum(rows.values()),
        kind.unit: len(kept),
        "held_out": sum(one.split == "held_out" for one in kept),
        "rejected": reasons,
        "sources": {file.name: per_source[file.name] for file in config.files},
        "contamination": contamination,
    }
    remaining: list[tuple[str, int, dict[str, int]]] = [
        ("readable", len(parsed), _of_step(reasons, "parse")),
        ("no repeats", len(distinct), _of_step(reasons, "exact_dedup")),
        ("no benchmark items", len(clean), _of_step(reasons, "decontaminate")),
    ]
    if task.withdrawn:
        remaining.append(("not withdrawn", len(kept), _of_step(reasons, WITHDRAWN)))
    counts = tuple((file.name, rows[file.name], per_source[file.name], file.licence) for file in config.files)
    task.show(
        Funnel(title=f"From rows to {kind.unit}", unit=kind.unit, steps=(("rows", sum(rows.values()), {}), *remaining)),
        Table(title="Sources", columns=("source", "rows", "kept", "licence"), rows=counts),
    )
    terms = tuple(supply_terms(file, task, per_source[file.name]) for file in config.files)
    return kept, Outcome(metrics, Terms.union([Terms(sources=terms)]))


def _staying(documents: Sequence[D], task: Task, kind: _Kind[D], rejects: list[_Reject]) -> list[D]:
    """The documents that were not withdrawn. It comes last, so that all others are those that they would be anyway."""
    rejects.extend(_Reject("", name, WITHDRAWN, WITHDRAWN, "") for name in sorted(task.withdrawn))
    staying = [one for one in documents if one.id not in task.withdrawn]
    if not staying:
        raise DataError(f"no {kind.unit} are left: all of them were withdrawn")
    return staying


def _filtered(
    config: ConversationsConfig | PreferencesConfig, task: Task, former: Artifact, kind: _Kind[D]
) -> tuple[list[D], Outcome]:
    """What :func:`_collect` gives, made of what it gave with more rows: the files that it read may be gone."""
    rows = kind.read(former.file(f"{kind.unit}.jsonl"))
    listed = [_Reject(**row) for row in read_jsonl(former.file("rejects.jsonl"))]
    rejects = [one for one in listed if one.step != WITHDRAWN]
    staying = _staying([replace(one, split="train") for one in rows], task, kind, rejects)
    kept = [replace(one, split="held_out") if held else one for one, held in _split(staying, config)]
    write_jsonl(task.payload / "rejects.jsonl", (vars(reject) for reject in rejects))
    per_source = Counter(one.source for one in kept)
    sources = {file.name: per_source[file.name] for file in config.files}
    before = former.record.metrics
    reasons = {name: count for name, count in before["rejected"].items() if not name.startswith(f"{WITHDRAWN}:")}
    metrics = {
        **before,
        kind.unit: len(kept),
        "held_out": sum(one.split == "held_out" for one in kept),
        "rejected": dict(sorted({**reasons, f"{WITHDRAWN}:{WITHDRAWN}": len(task.withdrawn)}.items())),
        "sources": sources,
    }
    counts = tuple((file.name, sources[file.name], file.licence) for file in config.files)
    task.show(Table(title="Sources", columns=("source", "kept", "licence"), rows=counts))
    return kept, Outcome(metrics, terms_of(former, sources))


def _read(file: Supply, task: Task, kind: _Kind[D], rows: Counter[str], rejects: list[_Reject]) -> Iterator[D]:
    skipped: Counter[str] = Counter()
    path = task.files[file.path]
    found = (
        (f"{member.name} line {number}" if path.is_dir() else f"line {number}", row)
        for member in members(path)
        for number, row in json_rows(member, path.name, MAX_ROW_BYTES, skipped)
    )
    for record, row in draw(found, file):
        rows[file.name] += 1
        task.progress.update(file.name, rows[file.name], rows[file.name], "rows")
        try:
            yield from kind.parse(row, file.name, record)
        except BadRow as bad:
            rejects.append(_Reject(file.name, record, "parse", bad.reason, bad.detail))
    for reason, count in sorted(skipped.items()):
        rows[file.name] += count
        rejects.extend(_Reject(file.name, "", "parse", reason, "") for _ in range(count))
    if not rows[file.name]:
        raise DataError(f"{file.path} has no rows")


def _without_repeats(parsed: Sequence[D], kind: _Kind[D], rejects: list[_Reject]) -> list[D]:
    first: dict[str, D] = {}
    for one in parsed:
        before = first.setdefault(kind.key(one), one)
        if before is not one:
            rejects.append(_Reject(one.source, one.id, "exact_dedup", "duplicate", before.id))
    return list(first.values())


def _without_items(
    documents: Sequence[D], benchmarks: Iterable[Benchmark], task: Task, kind: _Kind[D], rejects: list[_Reject]
) -> tuple[list[D], dict[str, int]]:
    named = tuple(benchmarks)
    index = OverlapIndex.build(
        (benchmark.name, item_id(row, number), text)
        for benchmark in named
        for number, row in enumerate(read_rows(task.files[benchmark.rows]), 1)
        for text in item_texts(benchmark.name, row)
    )
    hits = evidence([index.find(kind.text(one)) for one in documents])
    counts = {benchmark.name: 0 for benchmark in named}
    clean = []
    for one, hit in zip(documents, hits, strict=True):
        if hit is None:
            clean.append(one)
        else:
            counts[hit.benchmark] += 1
            detail = f"item {hit.item_id}, {hit.ngrams} shared runs of words"
            rejects.append(_Reject(one.source, one.id, "decontaminate", hit.benchmark, detail))
    return clean, counts


def _split(documents: Sequence[D], config: ConversationsConfig | PreferencesConfig) -> Iterator[tuple[D, bool]]:
    """Each document with whether it is held out; at least one is, if any share was asked for."""
    places = {one.id: unit_interval(config.seed, "held_out", one.id) for one in documents}
    least = min(places, key=lambda name: (places[name], name))
    for one in documents:
        forced = one.id == least and config.held_out > 0 and len(documents) > 1
        yield one, places[one.id] < config.held_out or forced


# -- the two kinds -----------------------------------------------------------------------------------------------


def _messages_json(messages: Sequence[Message]) -> str:
    return json.dumps(as_dicts(messages), ensure_ascii=False)


def _conversations(row: dict[str, Any], source: str, record: str) -> list[Conversation]:
    found = parse_conversations(row)
    names = [record] if len(found) == 1 else [f"{record}#{number}" for number in range(1, len(found) + 1)]
    return [
        Conversation(document_id(source, name, _messages_json(messages).encode()), source, messages)
        for name, messages in zip(names, found, strict=True)
    ]


def _preferences(row: dict[str, Any], source: str, record: str) -> list[Preference]:
    prompt, chosen, rejected = parse_preference(row)
    content = "\0".join((_messages_json(prompt), chosen, rejected)).encode()
    return [Preference(document_id(source, record, content), source, prompt, chosen, rejected)]


def _conversation_text(one: Conversation) -> str:
    return "\n".join(message.content for message in one.messages)


def _preference_text(one: Preference) -> str:
    return "\n".join([*(message.content for message in one.prompt), one.chosen, one.rejected])


def _preference_key(one: Preference) -> str:
    return "\0".join((_messages_json(one.prompt), one.chosen, one.rejected))


def _of_step(reasons: dict[str, int], step: str) -> dict[str, int]:
    return {name.partition(":")[2]: count for name, count in reasons.items() if name.startswith(f"{step}:")}


def _samples(kept: Sequence[tuple[tuple[Message, ...], tuple[tuple[str, str], ...]]]) -> Samples:
    chosen = kept[:: max(1, len(kept) // _SHOWN_SAMPLES)][:_SHOWN_SAMPLES]
    return Samples(
        title="What it looks like",
        samples=tuple(
            Sample(
                label=f"row {number}",
                parts=tuple(
                    (f"{role}: {text[:_SHOWN_CHARS]}{'…' if len(text) > _SHOWN_CHARS else ''}\n", role)
                    for role, text in [*((message.role, message.content) for message in messages), *answers]
                ),
            )
            for number, (messages, answers) in enumerate(chosen, 1)
        ),
    )
