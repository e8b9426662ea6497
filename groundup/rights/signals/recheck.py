"""Asking the owners again: what the sites of pages that were taken in say today.

Each site is asked for its files once; of the pages themselves as many as wanted are asked for their headers and markup,
and only where the site lets our agent. Sites are asked side by side, each slowly.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.errors import DataError
from groundup.base.files import write_atomic
from groundup.rights.signals.agents import TRAINING_AGENTS
from groundup.rights.signals.decision import SIGNALS, Decision, decide, rows
from groundup.rights.signals.fetch import Fetcher
from groundup.rights.signals.page import page_signals
from groundup.rights.signals.robots import pace, product_token
from groundup.rights.signals.signal import Signal, SiteFile
from groundup.rights.signals.site import SITE_FILES, site_signals

CHECKS: Final = "checks.jsonl"
"""File of the register in which each check is a line: pages (a digest), at (ISO 8601), urls, changed, and more."""

EVIDENCE: Final = "checks"
"""Folder beside it with what was said by those who refuse now."""

MAX_PACE: Final = 60.0
"""Seconds between requests beyond which a site's pages are not asked for: it is left alone."""

_GOOD: Final = frozenset({200, 203})


@dataclass(frozen=True)
class Plan:
    """How to ask: ``pages`` of them themselves (None: all), ``delay`` seconds between requests to a site at least."""

    pages: int | None = 100
    delay: float = 1.0
    fail_closed: bool = True
    ai_agents: Sequence[str] = TRAINING_AGENTS
    sites_at_once: int = 8


@dataclass(frozen=True)
class Check:
    """What came of asking again. ``refused`` are decisions on the addresses that may not be used any more."""

    at: str
    urls: int
    sites: int
    silent: tuple[str, ...]
    asked: int
    verdicts: Mapping[str, int]
    refused: tuple[Decision, ...]

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "at": self.at, "urls": self.urls, "sites": self.sites, "silent": list(self.silent), "asked": self.asked,
            "verdicts": dict(self.verdicts), "changed": len(self.refused),
            "refused": [{"url": one.url, "verdict": one.verdict, "why": one.why} for one in self.refused],
        }  # fmt: skip


@dataclass
class _Site:
    """A site as it was found."""

    origin: str
    silent: bool
    asked: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    refused: list[Decision] = field(default_factory=list)


def origin_of(url: str) -> str | None:
    """Scheme, host and port of an address, normal; None if it is none of http or https.

    >>> origin_of("HTTPS://Example.org:443/a"), origin_of("http://example.org:8000"), origin_of("urn:x:1")
    ('https://example.org', 'http://example.org:8000', None)
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + (f":{port}" if port and port != usual else "")


def recheck(
    urls: Iterable[str], fetcher: Fetcher, plan: Plan, show: Callable[[int, int], None] = lambda done, total: None
) -> Check:
    """Ask about addresses, in any order and each once; ``show`` is told (addresses done, all of them).

    DataError if there is none, or if not one site answers: then it is we who are cut off, and nothing is known.
    """
    sites: dict[str, list[str]] = {}
    for url in dict.fromkeys(urls):
        if (origin := origin_of(url)) is not None:
            sites.setdefault(origin, []).append(url)
    total = sum(map(len, sites.values()))
    if not total:
        raise DataError("no page has an address of the web, so there is nobody to ask")
    chosen = _drawn([url for found in sites.values() for url in found], plan.pages)
    done, results = 0, []
    stop = threading.Event()
    with ThreadPoolExecutor(min(plan.sites_at_once, len(sites))) as pool:
        jobs = [pool.submit(_ask, origin, found, chosen, fetcher, plan, stop) for origin, found in sites.items()]
        try:
            for job in as_completed(jobs):
                results.append(job.result())
                done += sum(results[-1].verdicts.values())
                show(done, total)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    silent = sorted(site.origin for site in results if site.silent)
    if len(silent) == len(results):
        why = fetcher.get(silent[0] + SITE_FILES["robots.txt"]).why or "no answer"
        raise DataError(f"not one of {len(silent)} sites can be asked (such as {silent[0]}: {why}); nothing was kept")
    verdicts: Counter[str] = sum((site.verdicts for site in results), Counter())
    refused = sorted((one for site in results for one in site.refused), key=lambda one: one.url)
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    asked = sum(site.asked for site in results)
    return Check(at, total, len(sites), tuple(silent), asked, dict(sorted(verdicts.items())), tuple(refused))


def _drawn(urls: Sequence[str], pages: int | None) -> frozenset[str]:
    """So many of the addresses, drawn by a hash of each, so that the same are drawn again."""
    if pages is None or pages >= len(urls):
        return frozenset(urls)
    return frozenset(sorted(urls, key=lambda url: hashlib.sha256(url.encode("utf-8", "replace")).digest())[:pages])


def _ask(
    origin: str, urls: Sequence[str], chosen: frozenset[str], fetcher: Fetcher, plan: Plan, stop: threading.Event
) -> _Site:
    """Ask one site for its files and for the pages among ``urls`` that were ``chosen``; one request at a time."""
    files: dict[str, SiteFile] = {}
    for name, path in SITE_FILES.items():
        if files and stop.wait(plan.delay):
            break
        files[name] = fetcher.site_file(origin + path)
    site = _Site(origin, all(file.status is None for file in files.values()))
    agent = product_token(fetcher.agent)
    wait = max(plan.delay, pace(files["robots.txt"], agent).seconds)
    for url in urls:
        found = site_signals(url, files, agent, plan.ai_agents)
        decision = _decided(url, found, plan)
        if url in chosen and decision.usable and wait <= MAX_PACE and not stop.is_set() and _may_fetch(found):
            stop.wait(wait)
            site.asked += 1
            decision = _decided(url, [*found, *_of_page(url, fetcher)], plan)
        site.verdicts[decision.verdict] += 1
        if not decision.usable:
            site.refused.append(decision)
    return site


def _may_fetch(found: Sequence[Signal]) -> bool:
    return all(one.verdict == "allowed" for one in found if one.protocol == "robots")


def _of_page(url: str, fetcher: Fetcher) -> list[Signal]:
    """What a page says now: nothing if it isn't there any more or has moved, which is no refusal.

    One that should be there and can't be had says something that is unknown.
    """
    answer = fetcher.get(url)
    if answer.status is None or answer.status == 429 or answer.status >= 500:
        why = "no answer" if answer.status is None else f"status {answer.status}"
        return [Signal("noai", "header", "unknown", f"the page: {why}", b"", url)]
    if answer.status not in _GOOD:
        return []
    kind = answer.headers.get("content-type", "text/html")
    return page_signals(url, answer.fields, answer.body, kind)


def _decided(url: str, found: Sequence[Signal], plan: Plan) -> Decision:
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return decide(url, at, found, fail_closed=plan.fail_closed)


def keep(folder: Path, digest: str, check: Check) -> None:
    """Add a line about a check of the artifact with this digest to the register in ``folder``.

    What was said where pages are refused now is kept beside it, as a table of SIGNALS named by artifact and time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    line = {"pages": digest, **{name: value for name, value in check.as_json().items() if name != "refused"}}
    if check.refused:
        name = f"{EVIDENCE}/{digest[:16]}-{check.at.replace(':', '')}.parquet"
        table = pa.Table.from_pylist([row for one in check.refused for row in rows(one)], schema=SIGNALS)
        (folder / EVIDENCE).mkdir(exist_ok=True)
        write_atomic(folder / name, lambda beside: pq.write_table(table, beside, compression="zstd"))
        line["evidence"] = name
    with (folder / CHECKS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
