"""The gate in Scrapy's downloader: permission before a request goes out, and again once its page is here.

What is refused or left out raises an error that carries the reason to the spider; so nothing that was refused gets
further than this file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Self, cast

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import StopDownload
from scrapy.http import Headers, Response

from groundup.base.public import is_public
from groundup.rights.signals.decision import Decision
from groundup.stages.source.crawl.permission import Answer, LeftOutError, Permissions, now
from groundup.stages.source.crawl.resolver import private_names
from groundup.stages.source.crawl.work import Work
from groundup.stages.source.readers import http
from groundup.stages.source.readers.encodings import decode_any
from groundup.stages.source.urls import host_of, literal

SITE_LIMIT: Final = 512 << 10
"""Bytes of a site's file that are received; RFC 9309 (2.5) wants 500 KiB at least."""

_NO_HOST: Final = ("no_host", "private_address")
_ACCEPT: Final = "text/html,application/xhtml+xml,text/plain;q=0.9,text/markdown;q=0.9"
_NETWORK: Final = ("scrapy.", "twisted.", "OpenSSL.", "service_identity.", "idna.", "ssl", "h2.")


class RefusedError(LeftOutError):
    """An owner refuses, or what an owner says can't be read."""

    def __init__(self, decision: Decision) -> None:
        first = decision.because[0]
        super().__init__(f"{first.verdict}_{first.protocol.replace('-', '_')}")
        self.decision = decision


class PermissionMiddleware:
    """Asks before a page is asked for, and again before it is used. ``permissions`` belongs to the whole crawl."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._work: Work = cast(Any, crawler.spider).work
        self._config = self._work.config
        self.permissions = Permissions(self._config, self._work.frontier, self._work.politeness, self._fetch)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        made = cls(crawler)
        crawler.signals.connect(made.headers_received, signals.headers_received)
        crawler.signals.connect(made.bytes_received, signals.bytes_received)
        return made

    async def process_request(self, request: Request) -> None:
        """Let a request go when its owner allows it and its host has time for it."""
        host = host_of(request.url)
        address = literal(host)
        if address is not None and not self._config.allow_private and not is_public(address):
            raise LeftOutError("private_address")
        if "target" in request.meta:
            decision = request.meta["decision"] = await self.permissions.before(request.url)
            if not decision.usable:
                raise RefusedError(decision)
        politeness = self._work.politeness
        await politeness.turn(host)
        self._work.requested()
        request.meta["began"], request.meta["at"] = time.monotonic(), now()
        # Beyond the crawl's end nothing is worth waiting for; an answer that is under way gets a second.
        request.meta["download_timeout"] = max(1.0, min(self._config.timeout, politeness.deadline - time.monotonic()))
        request.meta["download_maxsize"] = 0 if "target" not in request.meta else int(self._config.max_page_size)

    def process_response(self, request: Request, response: Response) -> Response:
        """Pass a page on if its headers and its own words allow that, with its content ready in ``request.meta``."""
        self._work.politeness.ended(host_of(request.url))
        request.meta["status"] = response.status
        if "target" not in request.meta or response.status != 200:
            return response
        pairs = header_pairs(response.headers)
        content, kind = self._content(response, pairs)
        decision = self.permissions.after(request.meta["decision"], pairs, content, kind)
        request.meta["decision"] = decision
        if not decision.usable:
            raise RefusedError(decision)
        request.meta["content"], request.meta["kind"] = content, kind
        return response

    def process_exception(self, request: Request, exception: Exception) -> None:
        """The same for a request that failed on its way."""
        if "began" in request.meta:
            self._work.politeness.ended(host_of(request.url))

    def _content(self, response: Response, pairs: list[tuple[str, str]]) -> tuple[bytes, str]:
        """The body without its coding, and what it is; LeftOutError where the WARC reader would leave it out too."""
        fields = {name.lower(): value for name, value in pairs}
        said = fields.get("content-type")
        if "download_stopped" in response.flags:
            raise LeftOutError("media_type")
        try:
            content = http.decoded(response.body, fields, int(self._config.max_page_size))
        except http.TooLargeError:
            raise LeftOutError("too_large") from None
        if content is None:
            raise LeftOutError("content_encoding")
        if not content.strip():
            raise LeftOutError("empty")
        kind = http.media_type(said, None, content)
        if kind != "text/html" and kind not in http.TEXT_TYPES:
            raise LeftOutError("media_type")
        if kind in http.TEXT_TYPES and decode_any(content) is None and not _is_utf8(content):
            raise LeftOutError("unknown_encoding")
        return content, kind

    def headers_received(self, headers: Headers, request: Request, **_: Any) -> None:
        """Don't fetch the body of what can be no page."""
        kind = text_of(headers.get("Content-Type")).partition(";")[0].strip().lower()
        may_be = not kind or kind in http.HTML_TYPES or kind in http.TEXT_TYPES or kind == "application/octet-stream"
        if "target" in request.meta and not may_be:
            raise StopDownload(fail=False)

    def bytes_received(self, data: bytes, request: Request, **_: Any) -> None:
        """Count bytes; the rest of a site's file beyond its limit isn't read."""
        self._work.received(len(data))
        got = request.meta["received"] = request.meta.get("received", 0) + len(data)
        if "target" not in request.meta and got > SITE_LIMIT:
            raise StopDownload(fail=False)

    async def _fetch(self, url: str) -> Answer:
        """Ask for one of a site's files."""
        headers = {"User-Agent": self._config.agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        request = Request(url, headers=headers, dont_filter=True, meta={"site_file": True})
        engine = self._crawler.engine
        assert engine is not None
        try:
            response = await engine.download_async(request)
        except Exception as error:
            reason = network_reason(error, url)
            if reason is None:
                raise
            if reason in _NO_HOST:
                raise LeftOutError(reason) from None
            return Answer(None, {}, b"", False)
        fields: dict[str, str] = {}
        for name, value in header_pairs(response.headers):
            key = name.lower()
            fields[key] = f"{fields[key]}, {value}" if key in fields else value
        is_whole = "download_stopped" not in response.flags  # what breaks off raises; a closed connection is an end too
        try:
            body = http.decoded(response.body[:SITE_LIMIT], fields, SITE_LIMIT)
        except http.TooLargeError:
            body = None
        if body is None:  # it is there, and can't be read
            return Answer(None, fields, b"", False)
        return Answer(response.status, fields, body, is_whole)


def page_headers(agent: str) -> Mapping[str, str]:
    """The header fields of every request for a page."""
    return {"User-Agent": agent, "Accept": _ACCEPT, "Accept-Language": "*", "Accept-Encoding": "gzip"}


def header_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Header fields as text, in order; a field that is there twice stays twice."""
    return [(text_of(name), text_of(value)) for name, values in headers.items() for value in values]


def text_of(value: bytes | None) -> str:
    """A header's bytes as text, byte for byte (RFC 9110, 5.5)."""
    return (value or b"").decode("latin-1")


def network_reason(error: BaseException, url: str) -> str | None:
    """Why there was no answer; None for an error that isn't the network's."""
    name = type(error).__name__
    if isinstance(error, LeftOutError):
        return error.reason
    if "Timeout" in name:
        return "too_slow"
    if "Resolve" in name or "DNSLookup" in name:
        return "private_address" if host_of(url) in private_names else "no_host"
    if name == "DownloadCancelledError":
        return "too_large"
    if name == "ResponseDataLossError":
        return "truncated"
    module = type(error).__module__
    if isinstance(error, OSError | UnicodeError) or module.startswith(_NETWORK):
        return "no_answer"
    return None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
