"""Files of a made-up site for the tests of signals."""

from __future__ import annotations

from groundup.rights.signals.decision import Decision, decide
from groundup.rights.signals.page import page_signals
from groundup.rights.signals.signal import SiteFile
from groundup.rights.signals.site import SITE_FILES, site_signals

SITE = "https://example.org"
AGENT = "Groundup"
AT = "2026-11-25T12:00:00Z"


def site_file(name: str, body: bytes | str | int | None, complete: bool = True, **headers: str) -> SiteFile:
    """What asking for a file gave: this body, this status without a body, or (None) nothing."""
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    url = SITE + SITE_FILES[name]
    if body is None or isinstance(body, int):
        return SiteFile(url, body, b"", fields, complete, AT)
    return SiteFile(url, 200, body.encode() if isinstance(body, str) else body, fields, complete, AT)


def decided(
    path: str = "/page.html",
    *,
    robots: bytes | str | int | None = 404,
    tdm: bytes | str | int | None = 404,
    ai: bytes | str | int | None = 404,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    page: bytes | str = "",
    media_type: str = "text/html",
    agent: str = AGENT,
    fail_closed: bool = True,
) -> Decision:
    """The decision on a page of the site, from everything at once."""
    url = SITE + path
    files = {
        "robots.txt": site_file("robots.txt", robots),
        "tdmrep.json": site_file("tdmrep.json", tdm),
        "ai.txt": site_file("ai.txt", ai),
    }
    content = page.encode() if isinstance(page, str) else page
    found = site_signals(url, files, agent) + page_signals(url, headers or {}, content, media_type)
    return decide(url, AT, found, fail_closed=fail_closed)
