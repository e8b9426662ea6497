"""A whole crawl of a web of strange hosts: what it asks for, what it uses, and how fast it asks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from crawl_cases import CASES, HOSTS, MORE, ROBOTS_ONLY, SITE_FILES, Case, P, links, page, robots
from crawl_run import AGENT, Crawled, crawl
from crawl_web import Web


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawled]:
    with Web(HOSTS) as web:
        yield crawl(
            tmp_path_factory.mktemp("crawl"),
            web,
            seeds=[web.url(case.host, case.path) for case in CASES if case.seed],
            allow=[place for name, place in web.ports.items() if name != "outside"],
            delay="0.02 s",
            timeout="3 s",
            max_page_size="64 KiB",
        )


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 80
    assert len({(case.host, case.path) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.host}{case.path}")
def test_decision_is_that_of_the_table(crawled: Crawled, case: Case) -> None:
    row = crawled.visits[crawled.web.url(case.host, case.path)]
    assert (row["reason"] or "", row["used"]) == (case.reason, not case.reason)
    assert (case.path in crawled.web.asked(case.host)) == case.fetched


def test_crawl_meets_no_address_that_is_not_in_the_table(crawled: Crawled) -> None:
    assert set(crawled.visits) == {crawled.web.url(case.host, case.path) for case in CASES}


def test_no_forbidden_request_reaches_the_log(crawled: Crawled) -> None:
    asked = {(one.host, one.path) for one in crawled.web.log if one.path not in SITE_FILES}
    assert asked == {(case.host, case.path) for case in CASES if case.fetched and case.host != "dead"} | MORE
    assert not crawled.web.asked("outside")
    for host in ROBOTS_ONLY:
        assert set(crawled.web.asked(host)) == {"/robots.txt"}
    assert "/.well-known/tdmrep.json" not in crawled.web.asked("tdmlocked")


def test_nothing_is_asked_for_twice(crawled: Crawled) -> None:
    counts = Counter((one.host, one.path) for one in crawled.web.log)
    again = {key: count for key, count in counts.items() if count > 1}
    assert again.pop(("open", "/busy")) == 2
    assert again.pop(("open", "/away")) == 3
    assert again.pop(("round", "/robots.txt")) == 6
    assert again.pop(("closed", "/robots.txt")) == 2  # for itself, and for the host that redirects there
    assert not again


def test_every_request_says_who_asks(crawled: Crawled) -> None:
    assert {one.headers["User-Agent"] for one in crawled.web.log} == {AGENT}
    assert not any("Cookie" in one.headers or "Referer" in one.headers for one in crawled.web.log)


def gaps(web: Web, host: str) -> list[float]:
    times = [one.time for one in web.log if one.host == host]
    return [after - before for before, after in pairwise(times)]


@pytest.mark.parametrize(("host", "delay"), [("delayed", 0.4), ("rated", 0.5)])
def test_no_host_is_asked_sooner_than_it_wants(crawled: Crawled, host: str, delay: float) -> None:
    assert len(gaps(crawled.web, host)) >= 5
    assert min(gaps(crawled.web, host)) >= delay - 0.001


def test_rates_are_kept_to_within_a_tenth(tmp_path: Path) -> None:
    # By themselves, and slow: on a machine with other work to do a tenth of a short time is nothing.
    said = {"delayed": "Crawl-delay: 1.5", "rated": "Request-rate: 2/3s", "plain": "Allow: /"}
    pages = {"/": page(links("/1", "/2")), "/1": P, "/2": P}
    hosts = {name: {"/robots.txt": robots(f"User-agent: *\n{line}\n"), **pages} for name, line in said.items()}
    with Web(hosts) as web:
        crawl(tmp_path, web, seeds=[web.url(host) for host in hosts], delay="1 s")
    for host, delay in (("delayed", 1.5), ("rated", 1.5), ("plain", 1.0)):
        found = gaps(web, host)
        assert len(found) == 5
        assert min(found) >= delay - 0.001
        assert median(found) <= 1.1 * delay


def test_hosts_without_a_delay_of_their_own_get_the_recipes(crawled: Crawled) -> None:
    times = [one.time for one in crawled.web.log if one.host == "open"]
    assert min(after - before for before, after in pairwise(times)) >= 0.019


def test_pages_hold_what_was_served_and_allowed(crawled: Crawled) -> None:
    wanted = {crawled.web.url(case.host, case.path) for case in CASES if not case.reason}
    assert sorted(page["url"] for page in crawled.pages) == sorted(wanted)
    assert {page["permission"] for page in crawled.pages} == {"allowed"}
    found = {page["url"]: page for page in crawled.pages}
    plain = found[crawled.web.url("open", "/text")]
    assert (plain["media_type"], plain["content"]) == ("text/plain", b"plain words")
    zipped = found[crawled.web.url("open", "/gzip")]
    assert b"<p>words</p>" in zipped["content"]
    assert json.loads(zipped["headers"])["content-encoding"] == "gzip"
    assert b"at last" in found[crawled.web.url("open", "/busy")]["content"]


def test_refused_pages_are_in_no_warc(crawled: Crawled) -> None:
    from warcio.archiveiterator import ArchiveIterator

    held: dict[str, list[str]] = {"response": [], "request": [], "warcinfo": []}
    for path in sorted((crawled.folder / "payload" / "warc").iterdir()):
        with path.open("rb") as file:
            for record in ArchiveIterator(file, check_digests="raise"):
                held[record.rec_type].append(record.rec_headers.get_header("WARC-Target-URI"))
                body = record.raw_stream.read()
                if held["response"][-1:] == [crawled.web.url("open", "/gzip")] and record.rec_type == "response":
                    assert body == HOSTS["open"]["/gzip"].body
    wanted = sorted(crawled.web.url(case.host, case.path) for case in CASES if not case.reason)
    assert sorted(held["response"]) == sorted(held["request"]) == wanted
    assert len(held["warcinfo"]) == 1


def test_bodies_of_what_can_be_no_page_are_not_fetched(crawled: Crawled) -> None:
    assert crawled.visits[crawled.web.url("open", "/image")]["bytes"] == 0
    assert crawled.visits[crawled.web.url("open", "/text")]["bytes"] == len(b"plain words")


def test_each_refusal_has_the_bytes_that_say_it(crawled: Crawled) -> None:
    refusing: dict[str, set[str]] = {}
    for row in crawled.signals:
        if row["decided"] and row["decision"] == "refused":
            refusing.setdefault(row["url"], set()).add(row["protocol"])
            if row["verdict"] == "refused":
                assert row["evidence"]
    for case in CASES:
        kind, _, protocol = case.reason.partition("_")
        if kind in ("refused", "unknown"):
            assert protocol.replace("_", "-") in refusing[crawled.web.url(case.host, case.path)]


def test_left_out_and_metrics_count_the_same(crawled: Crawled) -> None:
    lines = [json.loads(line) for line in (crawled.folder / "payload/left_out.jsonl").read_text().splitlines()]
    reasons = Counter(case.reason for case in CASES if case.reason)
    assert Counter(line["reason"] for line in lines) == reasons
    metrics = crawled.outcome.metrics["crawl"]
    assert metrics["reasons"] == dict(sorted(reasons.items()))
    assert metrics["used"] == crawled.outcome.metrics["pages"] == sum(not case.reason for case in CASES)
    assert metrics["requests"] == len(crawled.web.log) + 1  # the dead host hears nothing
    assert metrics["finished"].endswith("Z")
    (terms,) = crawled.outcome.terms.sources
    assert (terms.source, terms.documents) == ("crawl", metrics["used"])


def test_every_reason_is_explained_in_the_guide() -> None:
    text = (Path(__file__).parents[2] / "docs" / "crawl.md").read_text(encoding="utf-8")
    first = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    others = {"private_address", "no_host", "per_host", "budget", "failed", "unknown_encoding"}
    assert {case.reason for case in CASES if case.reason} | others <= set(re.findall(r"`([a-z_]+)`", first))
