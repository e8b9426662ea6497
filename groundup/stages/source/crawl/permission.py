"""May this page be asked for, and may it be used: a site's files, asked for once a day, and what the page itself says.

robots.txt comes first. Where it keeps us from a page nothing more is asked of the site; else tdmrep.json and ai.txt
are, each if robots.txt lets us. What can't be had counts as not readable, and so refuses (``fail_closed``).

Redirects of these files are followed, five at most (RFC 9309, 2.3.1.2), within the hosts of the crawl. As nobody may
be asked for a page without permission, robots.txt is followed to another site only where it is a robots.txt there too
(which anyone may read), and the other files only where the robots.txt of the site that they lead to lets us.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from groundup.rights.signals.decision import Decision, decide
from groundup.rights.signals.page import page_signals
from groundup.rights.signals.robots import pace
from groundup.rights.signals.signal import Signal, SiteFile
from groundup.rights.signals.site import SITE_FILES, site_signals
from groundup.stages.source.crawl.frontier import Frontier
from groundup.stages.source.crawl.politeness import Politeness
from groundup.stages.source.crawl_config import Crawl
from groundup.stages.source.urls import host_of, normal, origin_of

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_HOPS: Final = 5
_HELD: Final = 256
"""Files that are held in memory; the others are in the frontier's file."""


@dataclass(frozen=True)
class Answer:
    """What one request gave: ``status`` is None without an answer; ``headers`` have lower-case names.

    ``complete`` is False if the body was cut off at a limit, or by the server.
    """

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class LeftOutError(Exception):
    """An address gives no page, for ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Fetch = Callable[[str], Awaitable[Answer]]
"""Asks for one address, in its host's turn, and follows nothing; LeftOutError for a host that nobody can or may ask."""


def now() -> str:
    """The time, in ISO 8601 (UTC)."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Permissions:
    """Answers for the pages of one crawl."""

    def __init__(self, config: Crawl, frontier: Frontier, politeness: Politeness, fetch: Fetch) -> None:
        self._config, self._frontier, self._politeness, self._fetch = config, frontier, politeness, fetch
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: OrderedDict[tuple[str, str], tuple[SiteFile, float]] = OrderedDict()
        self._closed: dict[str, str] = {}

    async def before(self, url: str) -> Decision:
        """Whether a page may be asked for, by what its site says; LeftOutError where there is no host to ask."""
        at = now()
        if reason := self._closed.get(host_of(url)):
            raise LeftOutError(reason)
        site = {"robots.txt": await self._file(origin_of(url), "robots.txt")}
        decision = self._decide(url, at, self._site_signals(url, site))
        if decision.usable:
            for name in ("tdmrep.json", "ai.txt"):
                site[name] = await self._file(origin_of(url), name)
            decision = self._decide(url, at, self._site_signals(url, site))
        return decision

    def after(self, asked: Decision, headers: Sequence[tuple[str, str]], content: bytes, kind: str) -> Decision:
        """Whether a page that was asked for may be used: what its site said, and what it says itself."""
        own = page_signals(asked.url, headers, content, kind)
        return self._decide(asked.url, asked.at, [*asked.signals, *own])

    def _decide(self, url: str, at: str, signals: Sequence[Signal]) -> Decision:
        return decide(url, at, signals, fail_closed=self._config.fail_closed)

    def _site_signals(self, url: str, site: Mapping[str, SiteFile]) -> list[Signal]:
        if self._config.ai_agents is None:
            return site_signals(url, site, self._config.token)
        return site_signals(url, site, self._config.token, self._config.ai_agents)

    def _lets(self, url: str, robots: SiteFile) -> bool:
        """Whether a robots.txt lets our own agent ask for an address of its site."""
        said = [one for one in self._site_signals(url, {"robots.txt": robots}) if one.protocol == "robots"]
        return self._decide(url, robots.at, said).usable

    async def _file(self, origin: str, name: str) -> SiteFile:
        """A site's file, asked for unless it was less than ``cache`` ago."""
        key = (origin, name)
        async with self._locks[key]:
            oldest = time.time() - self._config.cache
            found = self._held.get(key)
            if found is None or found[1] < oldest:
                found = self._frontier.site(origin, name, oldest)
            if found is None:
                found = await self._ask(origin, name), time.time()
                self._frontier.set_site(origin, name, *found)
            self._hold(key, found)
        if name == "robots.txt":
            self._politeness.slow(host_of(origin), pace(found[0], self._config.token).seconds)
        return found[0]

    def _hold(self, key: tuple[str, str], found: tuple[SiteFile, float]) -> None:
        self._held[key] = found
        self._held.move_to_end(key)
        if len(self._held) > _HELD:
            self._held.popitem(last=False)

    async def _ask(self, origin: str, name: str) -> SiteFile:
        url, at = origin + SITE_FILES[name], now()
        for _ in range(_HOPS + 1):
            if name != "robots.txt" and not self._lets(url, await self._file(origin_of(url), "robots.txt")):
                break
            try:
                answer = await self._fetch(url)
            except LeftOutError as error:
                if host_of(url) != host_of(origin):
                    break
                self._closed[host_of(origin)] = error.reason
                raise
            if answer.status not in REDIRECTS:
                return SiteFile(url, answer.status, answer.body, answer.headers, answer.complete, at)
            target = normal(answer.headers.get("location", ""), url)
            if target is None or not self._may_follow(url, target, name):
                break
            url = target
        return SiteFile(url, None, b"", {}, False, at)

    def _may_follow(self, url: str, target: str, name: str) -> bool:
        if not self._config.hosts.has(target):
            return False
        is_own = urlsplit(target).path == SITE_FILES["robots.txt"] or origin_of(target) == origin_of(url)
        return name != "robots.txt" or is_own
