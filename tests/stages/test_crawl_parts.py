"""The parts of the crawler by themselves: addresses, hosts, turns, the frontier, WARC files."""

from __future__ import annotations

import asyncio
import gzip
import io
import ipaddress
import sqlite3
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.public import is_public
from groundup.rights.signals.decision import decide
from groundup.rights.signals.signal import Signal, SiteFile
from groundup.stages.source.config import SourceConfig
from groundup.stages.source.crawl.frontier import Frontier, Result, Stored, Target
from groundup.stages.source.crawl.politeness import OutOfTimeError, Politeness, StoppedError, retry_after
from groundup.stages.source.crawl.warc import Shards, record_id
from groundup.stages.source.crawl.work import Work
from groundup.stages.source.crawl_config import Crawl
from groundup.stages.source.urls import LONGEST, Hosts, normal, origin_of

CRAWL = Crawl(
    seeds=("http://a.org/1", "http://b.org/2"), agent="test (+https://example.org)", licence="CC0-1.0", origin="nowhere"
)
AT = "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("HTTP://EXAMPLE.org", "http://example.org/"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("https://example.org:80/a", "https://example.org:80/a"),
        ("http://example.org./a", "http://example.org/a"),
        ("http://example.org/a/./b/../c", "http://example.org/a/c"),
        ("http://example.org/../../x", "http://example.org/x"),
        ("http://example.org/a/..", "http://example.org/"),
        ("http://example.org/ä?ö=ü", "http://example.org/%C3%A4?%C3%B6=%C3%BC"),
        ("http://example.org/%c3%a4", "http://example.org/%c3%a4"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://example.org/a\n b", "http://example.org/a%20b"),
        ("http://example.org/?b=2&a=1#top", "http://example.org/?b=2&a=1"),
        ("ftp://example.org/", None),
        ("file:///etc/passwd", None),
        ("//example.org/", None),
        ("http://", None),
        ("http://user@example.org/", None),
        ("http://example.org:99999/", None),
        ("http://[::1/", None),
        ("http://example.org/\x00", None),
        ("http://example.org/" + "a" * LONGEST, None),
        ("http://a..b/", None),
        ("", None),
    ],
)
def test_normal_form(url: str, wanted: str | None) -> None:
    assert normal(url) == wanted


ADDRESSES = st.builds(
    "http://{}{}/{}?{}".format,
    st.sampled_from(["example.org", "EXAMPLE.org", "bücher.example", "127.0.0.1", "[::1]", "xn--a", "a_b.org"]),
    st.sampled_from(["", ":80", ":81"]),
    st.text(max_size=20),
    st.text(max_size=20),
)


@given(ADDRESSES | st.text(max_size=40).map("http://example.org/".__add__))
def test_normal_form_is_its_own_and_what_scrapy_asks_for(url: str) -> None:
    from scrapy import Request

    made = normal(url)
    if made is not None:
        assert normal(made) == made
        assert Request(made).url == made


@given(st.text(max_size=60))
def test_anything_is_an_address_or_none(text: str) -> None:
    for made in (normal(text), normal(text, "http://example.org/a/b")):
        assert made is None or made.startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("pattern", "url", "wanted"),
    [
        ("example.org", "http://example.org/", True),
        ("example.org", "https://example.org:8080/", True),
        ("example.org", "http://a.example.org/", False),
        ("example.org:8080", "http://example.org:8080/", True),
        ("example.org:443", "https://example.org/", True),
        ("example.org:8080", "http://example.org/", False),
        ("*.example.org", "http://a.b.example.org/", True),
        ("*.example.org", "http://example.org/", False),
        ("*.example.org", "http://badexample.org/", False),
        ("Example.ORG", "http://example.org/", True),
        ("[::1]", "http://[::1]:80/", True),
        ("127.0.0.1", "http://127.0.0.10/", False),
    ],
)
def test_hosts(pattern: str, url: str, wanted: bool) -> None:
    assert Hosts.of([pattern]).has(url) is wanted


@pytest.mark.parametrize("pattern", ["", "*", "*.*.org", "http://a", "a/b", "a b", "a:port", "me@a", "**.a"])
def test_no_host(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        Hosts.of([pattern])


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, wanted: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("99999999999999999999", 30 * 86400.0),
        ("-5", 3.0),
        ("1.5", 3.0),
        ("٣", 3.0),
        ("tomorrow", 3.0),
        ("", 3.0),
        (None, 3.0),
    ],
)
def test_retry_after(value: str | None, wanted: float) -> None:
    assert retry_after(value, 60.0, 3.0) == wanted


@given(st.text(max_size=40))
def test_retry_after_reads_anything(value: str) -> None:
    assert 0.0 <= retry_after(value, 0.0, 3.0) <= 30 * 86400.0


@pytest.fixture
def frontier(tmp_path: Path) -> Frontier:
    return Frontier(tmp_path / "frontier.sqlite")


def turns(frontier: Frontier, deadline: float, *, delay: float = 0.0) -> Politeness:
    return Politeness(frontier, delay, time.monotonic() + deadline)


def test_turns_of_one_host_keep_their_distance_and_other_hosts_don_t_wait(frontier: Frontier) -> None:
    async def take() -> tuple[list[float], float]:
        politeness = turns(frontier, 60, delay=0.05)
        politeness.slow("b", 0.2)
        begin = time.monotonic()
        times: list[float] = []

        async def one(host: str) -> float:
            await politeness.turn(host)
            times.append(time.monotonic() - begin)
            return times[-1]

        last = await asyncio.gather(*(one("a") for _ in range(4)), one("b"))
        await politeness.turn("b")
        return sorted(last[:4]), time.monotonic() - begin

    first, second = asyncio.run(take())
    assert all(after - before >= 0.049 for before, after in pairwise(first))
    assert second >= 0.2


def test_a_killed_crawl_comes_back_no_sooner(frontier: Frontier) -> None:
    async def again() -> float:
        await turns(frontier, 60, delay=0.3).turn("a")
        begin = time.monotonic()
        await turns(frontier, 60, delay=0.3).turn("a")  # another process, the same file
        return time.monotonic() - begin

    assert 0.25 <= asyncio.run(again()) < 5


def test_no_turn_after_the_end_or_a_stop(frontier: Frontier) -> None:
    async def late() -> None:
        politeness = turns(frontier, 0.1, delay=5)
        await politeness.turn("a")
        with pytest.raises(OutOfTimeError):
            await politeness.turn("a")
        politeness = turns(frontier, 60, delay=30)
        waiting = asyncio.ensure_future(politeness.turn("a"))
        await asyncio.sleep(0.01)
        politeness.stopped.set()
        with pytest.raises(StoppedError):
            await waiting

    asyncio.run(late())


def target(frontier: Frontier, host: str) -> Target:
    found = frontier.next(host)
    assert found is not None
    return found


def test_frontier_is_breadth_first_and_knows_each_address_once(frontier: Frontier) -> None:
    assert frontier.add("http://a.org/", "seed", 0)
    assert frontier.add("http://a.org/deep", "x", 2)
    assert frontier.add("http://a.org/near", "x", 1)
    assert not frontier.add("http://a.org/", "y", 1)
    order = []
    while found := frontier.next("a.org"):
        order.append(found.url)
        frontier.settle(found, Result("http_status", AT))
    assert order == ["http://a.org/", "http://a.org/near", "http://a.org/deep"]
    assert frontier.waiting() == []


def test_nofollow_link_is_asked_for_once_another_leads_there(frontier: Frontier) -> None:
    assert not frontier.add("http://a.org/x", "p", 1, reason="nofollow")
    assert not frontier.add("http://a.org/x", "q", 1, reason="nofollow")
    assert frontier.next("a.org") is None
    assert frontier.add("http://a.org/x", "q", 3)
    assert not frontier.add("http://a.org/x", "r", 1, reason="nofollow")
    found = target(frontier, "a.org")
    assert (found.url, found.depth) == ("http://a.org/x", 3)
    frontier.settle(found, Result("http_status", AT))
    assert not frontier.add("http://a.org/x", "s", 1)
    assert frontier.next("a.org") is None


def test_frontier_keeps_evidence_once_and_gives_it_back(frontier: Frontier) -> None:
    signal = Signal("robots", "robots.txt", "refused", "*: Disallow /", b"Disallow: /", "http://a.org/robots.txt")
    for path in ("b", "a"):
        url = f"http://a.org/{path}"
        frontier.add(url, "seed", 0)
        frontier.settle(target(frontier, "a.org"), Result("refused_robots", AT, decide(url, AT, [signal])))
    rows = list(frontier.evidence())
    assert [row["url"] for row in rows] == ["http://a.org/a", "http://a.org/b"]
    assert all(row["evidence"] == b"Disallow: /" and row["decided"] is True for row in rows)
    assert dict(frontier.reasons()) == {"refused_robots": 2}


def test_frontier_takes_back_pages_that_are_not_whole(frontier: Frontier) -> None:
    for number, stored in enumerate([Stored(0, 0, 100), Stored(0, 100, 50), Stored(1, 0, 10)]):
        frontier.add(f"http://a.org/{number}", "seed", 0)
        frontier.settle(target(frontier, "a.org"), Result("", AT, stored=stored))
    frontier.recover({0: 149, 1: 10})
    assert target(frontier, "a.org").url == "http://a.org/1"
    assert frontier.totals["used"] == frontier.full("a.org") == 2
    assert frontier.written() == {0: 100, 1: 10}


def test_site_files_are_kept_for_a_while(frontier: Frontier) -> None:
    file = SiteFile("http://a.org/robots.txt", None, b"\x00\xff", {"x": "y"}, False, AT)
    frontier.set_site("http://a.org", "robots.txt", file, 1000.0)
    assert frontier.site("http://a.org", "robots.txt", 999.0) == (file, 1000.0)
    assert frontier.site("http://a.org", "robots.txt", 1001.0) is None
    assert frontier.site("https://a.org", "robots.txt", 0.0) is None
    assert origin_of("https://a.org:8443/x?y") == "https://a.org:8443"


def test_what_is_left_is_counted_right(frontier: Frontier) -> None:
    for number in range(6):
        frontier.add(f"http://{'ab'[number % 2]}.org/{number}", "seed", 0)
    frontier.add("http://c.org/", "seed", 0, reason="nofollow")
    assert frontier.left() == 6
    frontier.add("http://c.org/", "seed", 0)
    frontier.settle(target(frontier, "a.org"), Result("", AT, stored=Stored(0, 0, 9)))
    frontier.leave_out("per_host", "b.org")
    assert frontier.left() == 3
    frontier.recover({})
    assert frontier.left() == 4
    assert sum(frontier.next(host) is not None for host, _ in frontier.waiting()) == 2
    frontier.leave_out("budget")
    assert frontier.left() == 0
    assert dict(frontier.reasons()) == {"budget": 4, "per_host": 3}


def test_failed_transaction_leaves_no_trace(frontier: Frontier) -> None:
    with pytest.raises(KeyError), frontier.transaction():
        frontier.add("http://a.org/", "seed", 0)
        raise KeyError
    assert frontier.count() == 0


def written(folder: Path, known: dict[int, int], urls: list[str], size: int = 1 << 30) -> list[Stored]:
    shards = Shards(folder, known, {"software": "test"}, size)
    head = [("Content-Type", "text/html"), ("X-Name", "caf\xe9")]
    made = [shards.write(url, AT, [("User-Agent", "me")], 200, head, url.encode() * 50, "127.0.0.1") for url in urls]
    shards.close()
    return made


def read(path: Path) -> list[tuple[str, str, bytes]]:
    from warcio.archiveiterator import ArchiveIterator

    with path.open("rb") as file:
        return [
            (one.rec_type, one.rec_headers.get_header("WARC-Target-URI") or "", one.raw_stream.read())
            for one in ArchiveIterator(file, no_record_parse=True)
        ]


def test_warc_file_that_was_cut_off_goes_on_at_the_last_settled_page(tmp_path: Path) -> None:
    first = written(tmp_path, {}, ["http://a.org/1", "http://a.org/2"])
    path = tmp_path / "00000.warc.gz"
    with path.open("ab") as file:
        file.write(gzip.compress(b"WARC/1.1\r\nWARC-Type: resp")[:20])  # killed in the middle of a record
    written(tmp_path, {0: first[0].start + first[0].length}, ["http://a.org/3"])
    records = read(path)
    assert [(kind, url) for kind, url, _ in records if kind != "warcinfo"] == [
        (kind, f"http://a.org/{number}") for number in (1, 3) for kind in ("response", "request")
    ]
    assert sum(kind == "warcinfo" for kind, _, _ in records) == 1
    assert b"X-Name: caf\xe9\r\n" in records[1][2]


def test_each_stored_place_holds_its_own_records(tmp_path: Path) -> None:
    urls = [f"http://a.org/{number}?q" for number in range(5)]
    for url, stored in zip(urls, written(tmp_path, {}, urls), strict=True):
        with (tmp_path / f"{stored.shard:05d}.warc.gz").open("rb") as file:
            file.seek(stored.start)
            text = gzip.GzipFile(fileobj=io.BytesIO(file.read(stored.length))).read()
        assert text.count(b"WARC-Target-URI: " + url.encode()) == 2
        assert b"GET /" in text
        assert url.encode() * 50 in text


def test_shards_are_closed_by_size_and_unsettled_ones_deleted(tmp_path: Path) -> None:
    made = written(tmp_path, {}, [f"http://a.org/{number}" for number in range(6)], size=1500)
    assert len({one.shard for one in made}) > 2
    keep = {0: max(one.start + one.length for one in made if one.shard == 0)}
    again = written(tmp_path, keep, ["http://b.org/"], size=1500)
    assert again[0].shard == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.warc.gz", "00001.warc.gz"]


def test_record_ids_are_of_what_was_received() -> None:
    assert record_id("http://a.org/", b"x") != record_id("http://a.org/", b"x", "request")
    assert record_id("http://a.org/", b"x").startswith("<urn:uuid:")


def test_fault_that_a_site_provokes_costs_its_address_and_one_of_ours_ends_the_crawl(
    frontier: Frontier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scrapy import Request
    from twisted.python.failure import Failure

    from groundup.stages.source.crawl.spider import PageSpider

    async def fail(error: Exception) -> Work:
        work = Work(CRAWL, frontier, turns(frontier, 60), Shards(tmp_path / "warc", {}, {}))
        found = work.next()
        assert found is not None
        failure = Failure(error)
        failure.request = Request(found.url, meta={"target": found})  # type: ignore[attr-defined]
        PageSpider(work).failed(failure)
        return work

    assert not asyncio.run(fail(OverflowError("a number of a thousand digits"))).failure
    assert dict(frontier.reasons()) == {"failed": 1}
    assert "OverflowError" in capsys.readouterr().err
    stopped = asyncio.run(fail(sqlite3.OperationalError("disk is full")))
    assert "disk is full" in stopped.failure
    assert stopped.over() and not stopped.finished
    assert dict(frontier.reasons()) == {"failed": 1}


def test_recipe_in_the_guide_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "crawl.md").read_text(encoding="utf-8")
    recipe = next(block for block in text.split("\n\n") if block.startswith("    name:"))
    stage = yaml.safe_load(recipe)["artifacts"]["pages"]
    assert stage.pop("stage") == SourceConfig.stage
    config = SourceConfig.parse(stage, "artifact 'pages'")
    assert config.crawl is not None
    assert config.crawl.hosts.has("https://a.essays.example.org/")
