"""The work of a crawl: which address is next, what its answer was, and when it is enough.

Budgets count over all attempts. Pages that are on their way count as kept until it is known that they aren't, so the
number of pages is never exceeded; bytes and time are checked before each request, and a page that comes in beyond them
is not kept.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from groundup.stages.source.crawl.frontier import Frontier, Result, Target
from groundup.stages.source.crawl.politeness import Politeness
from groundup.stages.source.crawl.warc import Pairs, Shards
from groundup.stages.source.crawl_config import Crawl
from groundup.stages.source.urls import host_of

AT_ONCE: Final = 64
"""Hosts that are asked at the same time."""

TRIES: Final = 3
"""How often an address is asked for whose server has no time (429, 503)."""

_MOST_HOPS: Final = 10
_POLL: Final = 0.5


@dataclass(frozen=True)
class Kept:
    """The message of a page: its address, the header fields both ways, the body as it came, the server's address."""

    url: str
    asked: Pairs
    answered: Pairs
    body: bytes
    address: str


class Work:
    """One attempt at a crawl; ``stop`` ends it early, and the next attempt goes on from there."""

    def __init__(self, config: Crawl, frontier: Frontier, politeness: Politeness, shards: Shards) -> None:
        self.config, self.frontier, self.politeness = config, frontier, politeness
        self.failure = ""
        self._shards = shards
        self._hosts = config.hosts
        self._received = 0
        self._requests = 0
        self._began = self._counted = time.monotonic()
        self._order = itertools.count()
        self._ready: list[tuple[float, int, str]] = []
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._changed = asyncio.Event()
        self._finished = False
        with frontier.transaction():
            for seed in config.seeds:
                frontier.add(seed, "seed", 0)
        for host, ready in frontier.waiting():
            self._offer(host, time.monotonic() + max(0.0, ready - time.time()))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do; False after a stop."""
        return self._finished

    def stop(self, failure: str = "") -> None:
        """Hand out no more; what is on its way comes to its end."""
        self.failure = self.failure or failure
        self.politeness.stopped.set()
        self._changed.set()

    def over(self) -> bool:
        """Whether nothing more is to be handed out."""
        if self.politeness.stopped.is_set() or self._finished:
            return True
        reason = self._spent()
        idle = not self._busy and not self._ready
        if not self._busy and (reason or idle):
            with self.frontier.transaction():
                self.frontier.leave_out(reason or "budget")
            self._finished = True
        return bool(reason) or idle

    def next(self) -> Target | None:
        """The next address whose host may be asked now; it is settled, or given back, some time later."""
        while self._ready and len(self._busy) < AT_ONCE and self._has_room():
            at, _, host = self._ready[0]
            if at > time.monotonic():
                return None
            heapq.heappop(self._ready)
            self._queued.discard(host)
            if self.config.per_host is not None and self.frontier.full(host) >= self.config.per_host:
                self.frontier.leave_out("per_host", host)
                continue
            target = self.frontier.next(host)
            if target is not None:
                self._busy.add(host)
                return target
        return None

    async def wait(self) -> None:
        """Until there may be something to hand out."""
        soonest = self._ready[0][0] - time.monotonic() if self._ready and self._has_room() else _POLL
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), min(max(soonest, 0.001), _POLL))
        except TimeoutError:
            return

    def received(self, size: int) -> None:
        """Count bytes of a body, used or not."""
        self._received += size

    def requested(self) -> None:
        """Count a request."""
        self._requests += 1

    def left_out(self, target: Target, result: Result, found: tuple[str, int] | None = None) -> None:
        """Settle an address that gave no page; ``found`` is where it redirects to, and after how many redirects."""
        with self.frontier.transaction():
            self._spend()
            self.frontier.settle(target, result)
            if found is not None:
                self._add(found[0], target.url, target.depth, found[1])
        self._free(target.host)

    def keep(self, target: Target, result: Result, answer: Kept, links: Iterable[tuple[str, str]]) -> None:
        """Settle an address whose page may be used: write its records, then note it and its links.

        ``links`` are (address, reason): one with a reason is left out at once.
        """
        total = self.frontier.totals.get("bytes", 0.0) + self._received
        if total > self.config.size:
            self.left_out(
                target, Result("budget", result.at, result.decision, result.status, result.seconds, result.bytes)
            )
            return
        stored = self._shards.write(
            answer.url, result.at, answer.asked, result.status or 0, answer.answered, answer.body, answer.address
        )
        whole = Result("", result.at, result.decision, result.status, result.seconds, result.bytes, stored)
        with self.frontier.transaction():
            self._spend()
            self.frontier.settle(target, whole)
            for url, reason in links:
                self._add(url, target.url, target.depth + 1, 0, reason)
        self._free(target.host)

    def postpone(self, target: Target, seconds: float) -> None:
        """Leave a host alone for some seconds, then ask for the same address again."""
        with self.frontier.transaction():
            self._spend()
            self.frontier.postpone(target, time.time() + seconds)
        self._free(target.host, time.monotonic() + seconds)

    def give_back(self, target: Target) -> None:
        """Leave an address to the next attempt."""
        self._free(target.host)

    def close(self) -> None:
        """Write down what was spent."""
        with self.frontier.transaction():
            self._spend()
        self._shards.close()

    def _spent(self) -> str:
        totals = self.frontier.totals
        is_spent = (
            totals.get("used", 0) >= self.config.pages
            or totals.get("bytes", 0.0) + self._received >= self.config.size
            or time.monotonic() >= self.politeness.deadline
            or (not self._busy and bool(self._ready) and self._ready[0][0] >= self.politeness.deadline)
        )
        return "budget" if is_spent else ""

    def _has_room(self) -> bool:
        return self.frontier.totals.get("used", 0) + len(self._busy) < self.config.pages

    def _add(self, url: str, via: str, depth: int, hops: int, reason: str = "") -> None:
        if not reason and not self._hosts.has(url):
            reason = "outside"
        elif not reason and hops > _MOST_HOPS:
            reason = "too_many_redirects"
        if self.frontier.add(url, via, depth, hops, reason):
            self._offer(host_of(url), 0.0)

    def _offer(self, host: str, at: float) -> None:
        if host not in self._queued and host not in self._busy:
            self._queued.add(host)
            heapq.heappush(self._ready, (at, next(self._order), host))

    def _free(self, host: str, at: float = 0.0) -> None:
        self._busy.discard(host)
        if self.frontier.next(host) is not None:
            self._offer(host, max(at, self.politeness.free_at(host)))
        self._changed.set()

    def _spend(self) -> None:
        time_now = time.monotonic()
        self.frontier.spend(seconds=time_now - self._counted, bytes=self._received, requests=self._requests)
        self._counted, self._received, self._requests = time_now, 0, 0
