"""The process in which Scrapy runs: Twisted's reactor can be started once in a process and never again.

The parent writes one line of JSON to its standard input (the configuration and a folder) and leaves it open; lines of
JSON come back on its standard output: progress, then the end. When the input closes, the parent is gone, and so is this
process at once: whatever it does is safe against that. SIGTERM lets what is under way come to its end.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Final

from groundup import __version__
from groundup.base.errors import GroundupError
from groundup.stages.source.crawl.frontier import FRONTIER, WARC, Frontier
from groundup.stages.source.crawl.politeness import Politeness
from groundup.stages.source.crawl.warc import Shards
from groundup.stages.source.crawl.work import AT_ONCE, Work
from groundup.stages.source.crawl_config import Crawl
from groundup.stages.source.urls import Hosts

_TELL_SECONDS: Final = 0.25
_LOCK_SECONDS: Final = 20.0


def settings(config: Crawl) -> dict[str, Any]:
    """Scrapy's settings: nothing of it is on but the engine, the downloader, and our gate in it."""
    from scrapy.settings import default_settings

    off = (
        "DOWNLOADER_MIDDLEWARES_BASE", "SPIDER_MIDDLEWARES_BASE", "EXTENSIONS_BASE", "ITEM_PIPELINES_BASE",
        "SPIDER_CONTRACTS_BASE", "FEED_STORAGES_BASE", "FEED_EXPORTERS_BASE",
    )  # fmt: skip
    handlers = {name: None for name in default_settings.DOWNLOAD_HANDLERS_BASE if name not in ("http", "https")}
    return {
        **{name: {} for name in off},
        "DOWNLOAD_HANDLERS": handlers,
        "DOWNLOADER_MIDDLEWARES": {"groundup.stages.source.crawl.middleware.PermissionMiddleware": 1},
        "TWISTED_DNS_RESOLVER": "groundup.stages.source.crawl.resolver.PublicResolver",
        "DNS_RESOLVER": "groundup.stages.source.crawl.resolver.PublicResolver",
        "GROUNDUP_ALLOW_PRIVATE": config.allow_private,
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_REQUESTS": 2 * AT_ONCE,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "DEFAULT_REQUEST_HEADERS": {},
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "LOG_LEVEL": "ERROR",
        "LOG_FORMATTER": "scrapy.logformatter.LogFormatter",
        "STATS_DUMP": False,
    }


def main() -> None:
    """One attempt at a crawl."""
    job = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints, prints to the log
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        config = Crawl.model_validate(job["config"])
        _crawl(config, Path(job["folder"]), out)
    except GroundupError as error:
        _tell(out, {"end": "failed", "error": str(error)})


def _crawl(config: Crawl, folder: Path, out: IO[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder / "lock")
    frontier = Frontier(folder / FRONTIER)
    warc = folder / WARC
    sizes = {int(path.name.partition(".")[0]): path.stat().st_size for path in warc.glob("*.warc.gz")}
    frontier.recover(sizes)
    shards = Shards(warc, frontier.written(), _info(config))
    importlib.import_module("groundup.stages.source.crawl.spider")  # takes a second, which is not the crawl's
    left = config.time - frontier.totals.get("seconds", 0.0)
    politeness = Politeness(frontier, config.delay, time.monotonic() + left)
    work = Work(config, frontier, politeness, shards)
    _run_scrapy(config, work, out)
    work.over()
    work.close()
    if work.finished and not work.failure:
        frontier.set_total("finished", time.time())
    end = "failed" if work.failure else "finished" if work.finished else "stopped"
    _tell(out, {"end": end, "error": work.failure, **progress(work)})
    frontier.close()
    os.close(lock)


def progress(work: Work) -> dict[str, float]:
    """Where a crawl stands: counts, bytes, and seconds left in its budget."""
    totals = work.frontier.totals
    return {
        "pages": totals.get("used", 0.0),
        "bytes": totals.get("bytes", 0.0),
        "requests": totals.get("requests", 0.0),
        "hosts": work.frontier.hosts(),
        "left": work.frontier.left(),
        "seconds_left": max(0.0, work.politeness.deadline - time.monotonic()),
    }


def _run_scrapy(config: Crawl, work: Work, out: IO[str]) -> None:
    from scrapy.crawler import AsyncCrawlerProcess

    from groundup.stages.source.crawl.spider import PageSpider

    process = AsyncCrawlerProcess(settings(config))
    process.crawl(PageSpider, work=work)
    loop = asyncio.get_event_loop()
    loop.add_signal_handler(signal.SIGTERM, work.stop)
    loop.add_signal_handler(signal.SIGINT, work.stop)
    teller = loop.create_task(_keep_telling(work, out))
    process.start(stop_after_crawl=True, install_signal_handlers=False)
    teller.cancel()


async def _keep_telling(work: Work, out: IO[str]) -> None:
    while True:
        _tell(out, progress(work))
        await asyncio.sleep(_TELL_SECONDS)


def _tell(out: IO[str], message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _info(config: Crawl) -> dict[str, str]:
    """The fields of a warcinfo record; none changes from one attempt to the next."""
    hosts: Hosts = config.hosts
    return {
        "software": f"groundup/{__version__}",
        "format": "WARC File Format 1.1",
        "conformsTo": "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
        "robots": "rfc9309",
        "http-header-user-agent": config.agent,
        "description": f"{config.origin} (hosts: {', '.join(hosts.patterns)})",
    }


def _lock(path: Path) -> int:
    """Hold the crawl's folder; a process of a former attempt that is just dying gets time for it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > until:
                raise GroundupError("another crawl still uses this folder; wait for it, then run again") from None
            time.sleep(0.1)


def _die_with_parent() -> None:
    while os.read(0, 1 << 12):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
