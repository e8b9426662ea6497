"""Whose turn it is: one request at a time to a host, and never sooner than its owner and the recipe allow.

The time between two requests, from the end of one to the start of the next, is the longest of the recipe's ``delay``,
the Crawl-delay of the host's robots.txt and the seconds a request of its Request-rate: however slow a host or the way
to it is, it never sees them closer together. Files such as robots.txt count as requests too. When a host was asked last
is written down, so that a crawl that was killed doesn't come back too soon.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections import defaultdict
from typing import Final

from groundup.stages.source.crawl.frontier import Frontier

_LONGEST_DELAY: Final = 30 * 86400.0
"""Seconds: what a robots.txt asks for beyond that means never, for any crawl."""


class OutOfTimeError(Exception):
    """The next turn comes after the crawl's end."""


class StoppedError(Exception):
    """The crawl was told to stop while a request waited for its turn."""


class Politeness:
    """Turns at hosts. ``delay`` and ``deadline`` are in seconds, the latter on ``time.monotonic``'s clock."""

    def __init__(self, frontier: Frontier, delay: float, deadline: float) -> None:
        self.deadline = deadline
        self.stopped = asyncio.Event()
        self._frontier = frontier
        self._delay = delay
        self._slower: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def slow(self, host: str, seconds: float) -> None:
        """Leave at least so much time between requests to a host, from now on."""
        if seconds > self._slower.get(host, 0.0):
            self._slower[host] = min(seconds, _LONGEST_DELAY)

    def delay(self, host: str) -> float:
        """Seconds between two requests to a host."""
        return max(self._delay, self._slower.get(host, 0.0))

    def free_at(self, host: str) -> float:
        """When a host may be asked next, on the clock of ``time.monotonic``."""
        if host not in self._last:
            ago = max(0.0, time.time() - self._frontier.asked(host))
            self._last[host] = time.monotonic() - ago
        return self._last[host] + self.delay(host)

    async def turn(self, host: str) -> None:
        """Wait until a host may be asked; OutOfTimeError at once if that is too late, StoppedError on a stop."""
        async with self._locks[host]:
            while (wait := self.free_at(host) - time.monotonic()) > 0:
                if self.free_at(host) >= self.deadline:
                    raise OutOfTimeError
                try:
                    await asyncio.wait_for(self.stopped.wait(), wait)
                except TimeoutError:
                    continue
                raise StoppedError
            if self.stopped.is_set():
                raise StoppedError
            if time.monotonic() >= self.deadline:
                raise OutOfTimeError
            self.ended(host)

    def ended(self, host: str) -> None:
        """A request to a host has come to its end, whichever."""
        self._last[host] = time.monotonic()
        self._frontier.set_asked(host, time.time())


def retry_after(value: str | None, now: float, default: float) -> float:
    """Seconds that a Retry-After asks to wait: a number of seconds or a date (RFC 9110, 10.2.3).

    ``now`` is in seconds since 1970; what can't be read is ``default``.

    >>> retry_after("120", 0.0, 1.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 10.0, 1.0)
    (120.0, 50.0)
    >>> retry_after("soon", 0.0, 1.0)
    1.0
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), _LONGEST_DELAY)
    try:
        wanted = email.utils.parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return default
    return min(max(wanted, 0.0), _LONGEST_DELAY)
