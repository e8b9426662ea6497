"""The spider: hands addresses out as hosts have time for them, and settles each by what came back."""

from __future__ import annotations

import sqlite3
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import Any, Final

from lxml import etree  # type: ignore[import-untyped, unused-ignore]
from scrapy import Request, Spider
from scrapy.http import HtmlResponse, Response
from scrapy.linkextractors import IGNORED_EXTENSIONS
from scrapy.linkextractors.lxmlhtml import LxmlLinkExtractor
from scrapy.utils.url import url_has_any_extension
from twisted.python.failure import Failure

from groundup.base.errors import GroundupError
from groundup.stages.source.crawl.frontier import Result, Target
from groundup.stages.source.crawl.middleware import (
    RefusedError,
    header_pairs,
    network_reason,
    page_headers,
    text_of,
)
from groundup.stages.source.crawl.permission import REDIRECTS, now
from groundup.stages.source.crawl.politeness import OutOfTimeError, StoppedError, retry_after
from groundup.stages.source.crawl.work import TRIES, Kept, Work
from groundup.stages.source.urls import normal

_BUSY: Final = frozenset({429, 503})
_BACK_OFF: Final = 5.0
_MOST_LINKS: Final = 5000
_ENDINGS: Final = frozenset(f".{ending}" for ending in IGNORED_EXTENSIONS)
_NO_FOLLOW: Final = frozenset({"nofollow", "none"})

_OURS: Final = (sqlite3.Error, MemoryError, GroundupError)
"""Errors that have nothing to do with what a site sent. Any other may be its doing, and costs its address only."""

Handler = Callable[["PageSpider", Any], None]


def _or_stop(method: Handler) -> Handler:
    """Scrapy logs what a callback raises and goes on; a fault of ours must end the crawl, and be seen."""

    @wraps(method)
    def handled(spider: PageSpider, given: Any) -> None:
        try:
            method(spider, given)
        except Exception:
            spider.work.stop(traceback.format_exc())

    return handled


class PageSpider(Spider):
    """Asks for what ``work`` says."""

    name = "groundup"

    def __init__(self, work: Work, **fields: Any) -> None:
        super().__init__(**fields)
        self.work = work
        self._headers = dict(page_headers(work.config.agent))
        self._links = LxmlLinkExtractor(deny_extensions=[], unique=False, strip=True)

    async def start(self) -> AsyncIterator[Any]:
        """Addresses as their hosts have time for them, until there are none or the budget is spent."""
        while not self.work.over():
            target = self.work.next()
            if target is None:
                await self.work.wait()
                continue
            meta = {"target": target}
            yield Request(
                target.url, self.answered, headers=self._headers, dont_filter=True, errback=self.failed, meta=meta
            )

    @_or_stop
    def answered(self, response: Response) -> None:
        """Settle an address that was answered."""
        request = response.request
        assert request is not None
        target: Target = request.meta["target"]
        status = response.status
        location = text_of(response.headers.get("Location"))
        if status == 200:
            self._keep(target, request, response)
        elif status in REDIRECTS and location:
            url = normal(location, response.url)
            found = (url, target.hops + 1) if url else None
            self.work.left_out(target, self._result(request, "redirect", status), found)
        elif status in _BUSY and target.tries + 1 < TRIES:
            default = max(self.work.politeness.delay(target.host), _BACK_OFF) * 2**target.tries
            asked = text_of(response.headers.get("Retry-After"))
            self.work.postpone(target, retry_after(asked, time.time(), default))
        else:
            self.work.left_out(target, self._result(request, "http_status", status))

    @_or_stop
    def failed(self, failure: Failure) -> None:
        """Settle an address that was refused, or not answered."""
        request: Request = failure.request  # type: ignore[attr-defined]
        target: Target = request.meta["target"]
        error = failure.value
        assert error is not None
        if isinstance(error, StoppedError):
            self.work.give_back(target)
            return
        if isinstance(error, RefusedError):
            request.meta["decision"] = error.decision
        reason = "budget" if isinstance(error, OutOfTimeError) else network_reason(error, request.url)
        if reason is None:
            told = "".join(traceback.format_exception(error))
            if isinstance(error, _OURS):
                self.work.stop(told)
                return
            print(told, file=sys.stderr, flush=True)  # into the crawl's log
            reason = "failed"
        if reason == "too_slow" and time.monotonic() >= self.work.politeness.deadline:
            reason = "budget"
        self.work.left_out(target, self._result(request, reason, request.meta.get("status")))

    def _keep(self, target: Target, request: Request, response: Response) -> None:
        pairs = header_pairs(response.headers)
        sent = [(text_of(name), text_of(value)) for name, values in request.headers.items() for value in values]
        address = str(response.ip_address or "")
        kept = Kept(response.url, sent, pairs, response.body, address)
        links = self._found(request, response) if self.work.config.follow else ()
        self.work.keep(target, self._result(request, "", response.status), kept, links)

    def _result(self, request: Request, reason: str, status: int | None) -> Result:
        began = request.meta.get("began")
        seconds = time.monotonic() - began if began is not None else 0.0
        decision = request.meta.get("decision")
        at = request.meta.get("at") or (decision.at if decision is not None else now())
        return Result(reason, at, decision, status, seconds, request.meta.get("received", 0))

    def _found(self, request: Request, response: Response) -> Iterator[tuple[str, str]]:
        """The links of a page as (address, reason), each once."""
        if request.meta["kind"] != "text/html":
            return
        headers = {"Content-Type": text_of(response.headers.get("Content-Type"))}
        page = HtmlResponse(response.url, headers=headers, body=request.meta["content"])
        fields = [text_of(value) for value in response.headers.getlist("X-Robots-Tag")]
        try:
            if self._says_no_follow(page, fields):
                return
            links = self._links.extract_links(page)
        except (ValueError, etree.LxmlError, UnicodeError, RecursionError, LookupError):
            return  # a page that no parser can read has no links
        seen: set[str] = set()
        for link in links[:_MOST_LINKS]:
            url = normal(link.url)
            if url is None or (url in seen and not link.nofollow):
                continue
            seen.add(url)
            if link.nofollow:
                yield url, "nofollow"
            elif url_has_any_extension(url, _ENDINGS):
                yield url, "file_ending"
            else:
                yield url, ""

    def _says_no_follow(self, page: HtmlResponse, fields: list[str]) -> bool:
        """Whether a page asks robots, or us, not to follow its links: X-Robots-Tag, or a meta element."""
        token = self.work.config.token.lower()
        for field in fields:
            name, colon, rest = field.partition(":")
            is_ours = not colon or name.strip().lower() in (token, "*", "robots")
            if is_ours and _directives(rest if colon else field) & _NO_FOLLOW:
                return True
        for element in page.xpath("//meta[@name and @content]"):
            name = element.attrib["name"].strip().lower()
            if name in ("robots", token) and _directives(element.attrib["content"]) & _NO_FOLLOW:
                return True
        return False


def _directives(text: str) -> set[str]:
    return {part.strip().lower() for part in text.replace(";", ",").split(",")}
