"""Asking sites again: against a server of our own on loopback addresses, with everything that sites do wrong."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
from store_task import record
from typer.testing import CliRunner

from groundup.artifact.store import Store, scan
from groundup.base.errors import DataError, RequestError
from groundup.cli import app
from groundup.rights.register import Register
from groundup.rights.signals.decision import decisions
from groundup.rights.signals.fetch import Fetcher, Limits
from groundup.rights.signals.recheck import Plan, recheck
from groundup.text.document import PAGES, read_rows, write_shards

QUICK = Limits(seconds=1.0, silence=0.5, bytes=20_000)
PLAIN = "text/plain"


class Web:
    """A server on all loopback addresses; ``sites`` says what each host answers, ``log`` what it was asked for."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str, str, float]] = []
        self.sites: dict[str, dict[str, Any]] = {}
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host = self.headers["Host"].partition(":")[0]
                web.log.append((host, self.path, self.headers["User-Agent"], time.monotonic()))
                web.answer(self, web.sites.get(host, {}).get(self.path, 404))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("0.0.0.0", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler, said: Any) -> None:
        """A status; a body; or (status, headers, body), where a callable body writes for itself."""
        status, headers, body = (
            said if isinstance(said, tuple) else (said, {}, b"") if isinstance(said, int) else (200, {}, said)
        )
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if callable(body):
            handler.end_headers()
            try:
                body(handler.wfile)
            except OSError:
                return
            return
        data = body.encode() if isinstance(body, str) else body
        if "Content-Length" not in headers:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def url(self, host: str, path: str = "/") -> str:
        return f"http://{host}:{self.port}{path}"

    def asked(self, host: str) -> list[str]:
        return [path for name, path, _, _ in self.log if name == host]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.close()


def fetcher(agent: str = "testbot/1.0 (+https://example.org)", limits: Limits = QUICK) -> Fetcher:
    return Fetcher(agent, limits, allow_private=True)


def drip(out: Any) -> None:
    for _ in range(200):
        out.write(b"#")
        out.flush()
        time.sleep(0.05)


def flood(out: Any) -> None:
    for _ in range(1000):
        out.write(b"#" * 10_000)


DENIED = b"User-agent: *\nDisallow: /"
SITES: Mapping[str, tuple[dict[str, Any], str]] = {
    # host: (what it answers, the verdict on /page.html)
    "127.0.0.2": ({}, "allowed"),
    "127.0.0.3": ({"/robots.txt": "User-agent: GPTBot\nDisallow: /"}, "refused"),
    "127.0.0.4": ({"/.well-known/tdmrep.json": '[{"location": "/", "tdm-reservation": 1}]'}, "refused"),
    "127.0.0.5": ({"/ai.txt": "User-agent: *\nDisallow: *.html"}, "refused"),
    "127.0.0.6": ({"/page.html": (200, {"Content-Type": "text/html", "X-Robots-Tag": "noai"}, "<p>x")}, "refused"),
    "127.0.0.7": ({"/page.html": '<meta name="tdm-reservation" content=1>'}, "refused"),
    "127.0.0.8": ({"/robots.txt": 503}, "unknown"),
    "127.0.0.9": ({"/robots.txt": (200, {}, drip)}, "unknown"),
    "127.0.0.10": ({"/robots.txt": (302, {"Location": "/r"}, b""), "/r": "User-agent: *\nDisallow: /"}, "refused"),
    "127.0.0.11": ({"/robots.txt": (302, {"Location": "/robots.txt"}, b"")}, "unknown"),
    "127.0.0.12": ({"/robots.txt": (301, {"Location": "file:///etc/passwd"}, b"")}, "unknown"),
    "127.0.0.13": ({"/robots.txt": (200, {"Content-Length": "999"}, "User-agent: *\nAllow: /")}, "unknown"),
    "127.0.0.14": ({"/robots.txt": (200, {"Content-Encoding": "gzip"}, gzip.compress(DENIED))}, "refused"),
    "127.0.0.15": ({"/robots.txt": (200, {"Content-Encoding": "br"}, b"x")}, "unknown"),
    "127.0.0.16": ({"/page.html": 410}, "allowed"),
    "127.0.0.17": ({"/robots.txt": "User-agent: testbot\nDisallow: /page"}, "refused"),
    "127.0.0.18": ({"/robots.txt": "User-agent: *\nContent-Usage: train-ai=n"}, "refused"),
    "127.0.0.19": ({"/robots.txt": (200, {}, flood)}, "unknown"),
    "127.0.0.21": ({"/page.html": 500}, "unknown"),
    "127.0.0.20": ({"/page.html": (302, {"Location": "/other", "tdm-reservation": "1"}, b"")}, "allowed"),
}  # fmt: skip


def test_what_sites_say_and_fail_to_say(web: Web) -> None:
    web.sites = {host: answers for host, (answers, _) in SITES.items()}
    urls = [web.url(host, "/page.html") for host in SITES]
    open_ = recheck(urls, fetcher(), Plan(None, 0.0, fail_closed=False, sites_at_once=20))
    found = {one.url: one.verdict for one in open_.refused}
    assert {host for host in SITES if found.get(web.url(host, "/page.html"))} == {
        host for host, (_, verdict) in SITES.items() if verdict == "refused"
    }
    assert open_.verdicts == {
        name: sum(verdict == name for _, verdict in SITES.values()) for name in ("allowed", "refused", "unknown")
    }
    closed = recheck(urls, fetcher(), Plan(None, 0.0, sites_at_once=20))
    assert {one.url for one in closed.refused} == {
        web.url(host, "/page.html") for host, (_, verdict) in SITES.items() if verdict != "allowed"
    }
    assert recheck(urls[:2], fetcher(), Plan(0, 0.0)).asked == 0
    assert {agent for _, _, agent, _ in web.log} == {"testbot/1.0 (+https://example.org)"}
    # A page that its site keeps from us, or that is refused already, is not asked for; nor is one behind a redirect.
    for host in ("127.0.0.3", "127.0.0.4", "127.0.0.17", "127.0.0.10"):
        assert "/page.html" not in web.asked(host)
    assert "/other" not in web.asked("127.0.0.20")
    # Where robots.txt can't be read, nothing else may be asked for (RFC 9309, 2.3.1.4), however open we fail.
    for host in ("127.0.0.8", "127.0.0.9", "127.0.0.11", "127.0.0.13", "127.0.0.19"):
        assert "/page.html" not in web.asked(host)


def test_a_site_is_asked_once_for_its_files_and_slowly_for_pages(web: Web) -> None:
    web.sites = {"127.0.0.2": {"/robots.txt": "User-agent: *\nCrawl-delay: 0.3"}}
    urls = [web.url("127.0.0.2", f"/{n}") for n in range(6)]
    check = recheck([*urls, *urls], fetcher(), Plan(2, 0.1))
    assert (check.urls, check.sites, check.asked) == (6, 1, 2)
    asked = web.asked("127.0.0.2")
    assert asked[:3] == ["/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"]
    assert len(asked) == 5 and set(asked[3:]) < {f"/{n}" for n in range(6)}
    times = [at for _, _, _, at in web.log]
    gaps = [after - before for before, after in pairwise(times)]
    assert all(gap >= 0.09 for gap in gaps[:2]) and all(gap >= 0.29 for gap in gaps[2:])


def test_a_site_that_wants_an_hour_between_requests_is_left_alone(web: Web) -> None:
    web.sites = {"127.0.0.2": {"/robots.txt": "User-agent: *\nCrawl-delay: 3600"}}
    assert recheck([web.url("127.0.0.2", "/a")], fetcher(), Plan(None, 0.0)).asked == 0


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "http:///x", "http://a:b@127.0.0.1/",
     "http://127.0.0.1/\r\nX: y", "http://[::1", "http://127.0.0.1:99999/", "http://127.0.0.1:1/", "x",
     "http://" + "a" * 300],
)  # fmt: skip
def test_what_is_not_asked_is_no_answer(url: str) -> None:
    answer = fetcher().get(url)
    assert answer.status is None and answer.why


def test_private_addresses_are_refused_whatever_leads_there(web: Web) -> None:
    public = Fetcher("testbot", QUICK)
    web.sites = {"127.0.0.2": {"/robots.txt": "User-agent: *\nAllow: /"}}
    for url in (
        web.url("127.0.0.2"),
        web.url("localhost"),
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/",
        "http://0/",
    ):
        assert "private" in public.get(url).why
    with pytest.raises(DataError, match=r"127\.0\.0\.2 is an address of a private network"):
        recheck([web.url("127.0.0.2")], public, Plan())
    assert web.log == []


def test_one_private_address_among_those_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    assert "private" in Fetcher("testbot", QUICK).get("http://example.org/").why


def test_an_agent_must_be_a_line() -> None:
    for agent in ("", " ", "a\r\nX: y", "ä"):
        with pytest.raises(RequestError, match="must be a line of plain letters"):
            Fetcher(agent)


def test_a_slow_answer_ends_in_time_and_a_long_one_at_its_limit(web: Web) -> None:
    web.sites = {"127.0.0.2": {"/drip": (200, {}, drip), "/flood": (200, {}, flood)}}
    start = time.monotonic()
    assert not fetcher().get(web.url("127.0.0.2", "/drip")).complete
    assert time.monotonic() - start < 3
    answer = fetcher().get(web.url("127.0.0.2", "/flood"))
    assert (answer.complete, len(answer.body)) == (False, QUICK.bytes)


def test_when_nobody_answers_nothing_is_known() -> None:
    with pytest.raises(
        DataError, match=r"not one of 2 sites can be asked \(such as http://127.0.0.1:1: .*refused\); nothing"
    ):
        recheck(["http://127.0.0.1:1/a", "http://127.0.0.2:1/a"], fetcher(), Plan(0, 0.0))
    with pytest.raises(DataError, match="nobody to ask"):
        recheck(["urn:x:1", "", "http:"], fetcher(), Plan())


# -- the verb ----------------------------------------------------------------------------------------------------------


def workspace(folder: Path, urls: list[str | None]) -> Store:
    store = Store(folder / "ws")
    digest = "ab" * 32
    payload, _, _ = store.begin(digest)
    rows = [
        {"id": f"{n:032x}", "source": "s", "record": str(n), "media_type": "text/html", "url": url,
         "licence": "CC0-1.0", "content": b"x"}
        for n, url in enumerate(urls)
    ]  # fmt: skip
    write_shards(payload, "pages", PAGES, rows)
    store.commit(record("pages", name="pages", digest=digest, files=scan(payload)), payload)
    store.set_names({"r/pages": digest})
    return store


def call(store: Store, *more: str) -> Any:
    words = ["recheck", "pages", "-w", str(store.workspace), "--delay", "0", "--allow-private", *more]
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_the_verb_tells_and_keeps_what_changed(tmp_path: Path, web: Web) -> None:
    web.sites = {"127.0.0.3": {"/robots.txt": "User-agent: GPTBot\nDisallow: /b"}}
    good, bad = web.url("127.0.0.2", "/a"), web.url("127.0.0.3", "/b")
    store = workspace(tmp_path, [good, bad, bad, None])
    dry = json.loads(call(store, "--dry-run", "--json").stdout)
    assert (dry["urls"], dry["changed"], dry["registered"]) == (2, 1, 0)
    assert not (store.workspace / "register").exists()
    told = call(store)
    assert told.exit_code == 0
    assert f"refused    {bad}  robots-ai (robots.txt): GPTBot: Disallow /b" in told.stdout
    assert "1 pages are in the register; run: groundup withdraw --pending" in told.stdout
    (entry,) = Register(store.workspace).entries()
    assert (entry.kind, entry.what, entry.reason) == ("signal", bad, "robots-ai (robots.txt): GPTBot: Disallow /b")
    (line,) = map(json.loads, (store.workspace / "register" / "checks.jsonl").read_text().splitlines())
    assert (line["pages"], line["urls"], line["changed"]) == ("ab" * 32, 2, 1)
    (kept,) = decisions(read_rows(store.workspace / "register" / line["evidence"]))
    assert (kept.url, kept.verdict, kept.because[0].evidence) == (bad, "refused", b"User-agent: GPTBot\nDisallow: /b")
    call(store)
    assert len(Register(store.workspace).entries()) == 1
    assert len((store.workspace / "register" / "checks.jsonl").read_text().splitlines()) == 2
    assert pq.read_metadata(store.workspace / "register" / line["evidence"]).num_rows == len(kept.signals)


def test_the_verb_says_when_nothing_changed(tmp_path: Path, web: Web) -> None:
    store = workspace(tmp_path, [web.url("127.0.0.2", "/a")])
    assert call(store, "--all").stdout.splitlines() == [
        "1 addresses on 1 sites asked about, 1 pages themselves: 1 allowed",
        "nothing has changed: all of them may be used",
    ]
    assert Register(store.workspace).entries() == []


def test_an_address_with_a_star_at_its_end_does_not_take_others_with_it(tmp_path: Path, web: Web) -> None:
    web.sites = {"127.0.0.3": {"/robots.txt": "User-agent: *\nDisallow: /"}}
    store = workspace(tmp_path, [web.url("127.0.0.3", "/*")])
    assert "not in the register, as its address ends with a star" in call(store).stdout
    assert Register(store.workspace).entries() == []


def test_only_pages_and_corpora_have_addresses(tmp_path: Path) -> None:
    store = Store(tmp_path)
    payload, _, _ = store.begin("cd" * 32)
    store.commit(record("model", name="base", digest="cd" * 32, files=scan(payload)), payload)
    store.set_names({"r/base": "cd" * 32})
    with pytest.raises(RequestError, match="'base' is of kind model, and addresses are in pages or corpus"):
        CliRunner().invoke(app, ["recheck", "base", "-w", str(tmp_path)], catch_exceptions=False)
