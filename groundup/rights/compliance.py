"""Whether a recipe keeps to its policy and to what its sources were declared for, told before anything starts.

Material is *learned from* where a path leads from its source to a model, a tokenizer or a quality model, save through
fields that are only measured on (validation). What may only be evaluated must not be learned from; what may never be
used must not be in a recipe at all.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from groundup.artifact.record import Record
from groundup.artifact.stage import StageConfig
from groundup.artifact.terms import Declared, Use, strictest
from groundup.base.errors import RequestError
from groundup.rights.policy import Policy

LEARNED: Final = frozenset({"model", "tokenizer", "quality"})
"""Kinds of artifacts that are learned from what goes into them."""
CHECKS: Final = Path("register") / "checks.jsonl"
"""In the workspace: a line for each time that the signals of pages were looked at again."""

_TOLD: Final = 3


def comply(configs: Mapping[str, StageConfig], policy: Policy | None) -> dict[str, StageConfig]:
    """The configurations of a recipe under a policy; RequestError with the reasons if they violate it.

    Without a policy only the uses count that sources declare themselves.
    """
    violations, sources = list[str](), 0
    for name, config in configs.items():
        for one in config.declared():
            sources += 1
            violations += _violation(configs, name, one, policy)
    title = f"policy {policy.name!r}" if policy else "the uses that sources declare"
    if violations:
        if policy and len(violations) == sources > 1:
            raise RequestError(f"{title} excludes everything: {violations[0]}; and so on for all {sources} sources")
        more = f" (and {len(violations) - _TOLD} more)" if len(violations) > _TOLD else ""
        raise RequestError(f"the recipe violates {title}: {'; '.join(violations[:_TOLD])}{more}")
    if policy is None:
        return dict(configs)
    return {name: config.govern(policy.on_documents, purpose(configs, name)) for name, config in configs.items()}


def purpose(configs: Mapping[str, StageConfig], name: str) -> Use:
    """What an artifact is for: ``evaluate`` if it is used and nothing is learned from it, else ``train``."""
    used = any(name in config.input_names(field) for config in configs.values() for field in config.input_fields())
    return "evaluate" if used and learned_through(configs, name) is None else "train"


def learned_through(configs: Mapping[str, StageConfig], name: str) -> tuple[str, ...] | None:
    """The shortest path from an artifact to something that is learned from it, both ends in it; None if there is none.

    A path to a model comes first, as that is what people look for, then one to a tokenizer or a quality model.
    """
    return _path(configs, name, frozenset({"model"})) or _path(configs, name, LEARNED)


def require_fresh(policy: Policy, pages: Iterable[Record], workspace: Path, now: datetime.datetime) -> None:
    """RequestError if signals of crawled pages were looked at longer ago than the policy allows.

    ``pages`` are records from which something is about to be learned; those that were not crawled have no such age.
    """
    within = policy.signals.recheck_within
    if within is None:
        return
    checks = _checks(workspace / CHECKS)
    for record in pages:
        crawl = record.metrics.get("crawl")
        if not isinstance(crawl, Mapping):
            continue
        times = [_time(crawl.get("finished")), *(_time(at) for at in checks.get(record.digest, ()))]
        known = [at for at in times if at is not None and at <= now]
        age = (now - max(known)).total_seconds() if known else float("inf")
        if age > within:
            told = f"{_days(age)} ago" if known else "at a time that is not known"
            raise RequestError(
                f"policy {policy.name!r} wants signals that are at most {_days(within)} old, and those of "
                f"{record.name!r} were last looked at {told}; run: groundup recheck {record.digest[:12]}"
            )


def _violation(configs: Mapping[str, StageConfig], name: str, one: Declared, policy: Policy | None) -> list[str]:
    judgement = policy.best(one.licence, one.source) if policy else None
    use = strictest([one.use, judgement.use if judgement else "train"])
    if use == "train":
        return []
    reason = judgement.reason if judgement and judgement.use == use else f"the recipe declares 'use: {one.use}'"
    what = f"source {one.source!r} ({one.licence})"
    if use == "never":
        return [f"{what} of {name!r} may not be used ({reason})"]
    path = learned_through(configs, name)
    if path is None and configs[name].kind in LEARNED:
        path = (name,)
    return [f"{what} may only be evaluated ({reason}), and {' → '.join(path)} learns from it"] if path else []


def _consumers(configs: Mapping[str, StageConfig], name: str) -> list[str]:
    return [
        consumer
        for consumer, config in configs.items()
        if any(
            name in config.input_names(field) for field in config.input_fields() if field not in config.only_measured
        )
    ]


def _path(configs: Mapping[str, StageConfig], name: str, kinds: frozenset[str]) -> tuple[str, ...] | None:
    """The shortest path to an artifact of these kinds, through none of the other kinds that are learned."""
    paths: list[tuple[str, ...]] = [(name,)]
    seen = {name}
    for path in paths:  # grows meanwhile: breadth first
        for consumer in _consumers(configs, path[-1]):
            if configs[consumer].kind in kinds:
                return (*path, consumer)
            if consumer not in seen and configs[consumer].kind not in LEARNED:
                seen.add(consumer)
                paths.append((*path, consumer))
    return None


def _checks(path: Path) -> dict[str, list[str]]:
    """When the signals of each pages artifact were looked at again, by digest; a line that says nothing counts not."""
    found: dict[str, list[str]] = {}
    if path.is_file():
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                row = json.loads(line)
                found.setdefault(str(row["pages"]), []).append(str(row["at"]))
            except (ValueError, KeyError, TypeError):
                continue
    return found


def _days(seconds: float) -> str:
    """
    >>> _days(2592000), _days(5400)
    ('30 days', '0.1 days')
    """
    return f"{round(seconds / 86400, 1):g} days"


def _time(text: object) -> datetime.datetime | None:
    try:
        at = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
