"""What holds of any signals: order, refusals that last, tables there and back; and bytes that mean harm."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_files import AT, SITE, decided, site_file

from groundup.rights.signals.decision import SIGNALS, decide, decisions, rows
from groundup.rights.signals.markup import may_hold
from groundup.rights.signals.page import page_signals
from groundup.rights.signals.robots import LIMIT, pace, parse
from groundup.rights.signals.signal import EVIDENCE, Signal
from groundup.rights.signals.site import site_signals
from groundup.text.document import read_rows, write_rows

PLACES = {
    "robots": ["robots.txt"], "robots-ai": ["robots.txt"], "content-usage": ["robots.txt", "header", "meta"],
    "tdm": ["well-known", "header", "meta"], "ai-txt": ["ai.txt"], "noai": ["header", "meta"],
}  # fmt: skip
SIGNAL = st.sampled_from([(name, place) for name, places in PLACES.items() for place in places]).flatmap(
    lambda pair: st.builds(
        Signal,
        st.just(pair[0]),
        st.just(pair[1]),
        st.sampled_from(["allowed", "refused", "unknown"]),
        st.text(max_size=8),
        st.binary(max_size=8),
        st.just(SITE),
    )
)
LICENCE = st.builds(
    Signal, st.just("licence"), st.just("link"), st.just("allowed"), st.text(max_size=8), st.binary(), st.just(SITE)
)
MANY = st.lists(SIGNAL | LICENCE, max_size=8)


@given(MANY, SIGNAL, st.booleans())
def test_another_refusal_never_lifts_one(signals: list[Signal], more: Signal, closed: bool) -> None:
    refusing = Signal(more.protocol, more.place, "refused", more.value, more.evidence, more.url)
    if decide(SITE, AT, signals, fail_closed=closed).verdict == "refused":
        assert decide(SITE, AT, [*signals, refusing], fail_closed=closed).verdict == "refused"


@given(MANY, SIGNAL)
def test_another_refusal_refuses_unless_a_nearer_place_of_its_protocol_speaks(
    signals: list[Signal], more: Signal
) -> None:
    refusing = Signal(more.protocol, more.place, "refused", more.value, more.evidence, more.url)
    nearer = {"well-known": {"header", "meta"}, "header": {"meta"}}.get(more.place, set())
    if more.protocol != "tdm" or not any(one.protocol == "tdm" and one.place in nearer for one in signals):
        assert decide(SITE, AT, [*signals, refusing]).verdict == "refused"


@given(MANY, st.randoms(), st.booleans())
def test_order_and_repetition_change_nothing(signals: list[Signal], chance: random.Random, closed: bool) -> None:
    mixed = [*signals, *signals]
    chance.shuffle(mixed)
    assert decide(SITE, AT, mixed, fail_closed=closed) == decide(SITE, AT, signals, fail_closed=closed)


@given(MANY)
def test_failing_closed_refuses_exactly_what_is_refused_or_unknown(signals: list[Signal]) -> None:
    closed, open_ = decide(SITE, AT, signals), decide(SITE, AT, signals, fail_closed=False)
    assert closed.usable == (open_.verdict == "allowed")
    assert closed.because == open_.because
    assert set(closed.because) <= set(closed.signals) == set(signals)


@given(st.lists(MANY, max_size=4))
@settings(max_examples=30)
def test_decisions_come_back_from_the_table(
    tmp_path_factory: pytest.TempPathFactory, several: list[list[Signal]]
) -> None:
    held = [decide(f"{SITE}/{number}", AT, signals) for number, signals in enumerate(several)]
    path = tmp_path_factory.mktemp("signals") / "00000.parquet"
    written = write_rows(path, SIGNALS, (row for one in held for row in rows(one)))
    assert written == sum(len(one.signals) for one in held)
    assert list(decisions(read_rows(path))) == [one for one in held if one.signals]


def test_evidence_and_values_are_bounded_and_on_one_line() -> None:
    one = Signal("noai", "meta", "refused", "x\r\n\x1b[31my" + "z" * 9999, b"e" * 9999, SITE)
    assert len(one.evidence) == EVIDENCE
    assert one.value.startswith("x [31my") and len(one.value) <= 400


# -- harm --------------------------------------------------------------------------------------------------------------


class Timer:
    """Fails if its body takes longer than it may, in processor time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.start = time.process_time()

    def __exit__(self, *_: object) -> None:
        assert time.process_time() - self.start < self.seconds


NAMES = b"".join(b"User-agent: a%d\n" % n for n in range(14_000))
PATHS = b"".join(b"Disallow: /%d\n" % n for n in range(14_000))
FIRST = b"User-agent: *\nDisallow: /a\n"


@pytest.mark.parametrize(
    "body",
    [
        FIRST + b"#" * (5 << 20) + b"\nDisallow: /b\n",
        FIRST + b"Disallow: /x*y*z$\n" * 300_000,
        FIRST + NAMES * 20,
        NAMES + FIRST + PATHS,
        FIRST + b"Disallow: /" + b"*" * 400_000 + b"b\n",
        FIRST + b"Disallow: /" + b"*a" * 200_000 + b"$\n",
        FIRST + b"Content-Usage: /" + b"*a" * 100_000 + b" train-ai=n\n",
    ],
)
def test_a_robots_of_megabytes_is_read_in_time_as_far_as_it_goes(body: bytes) -> None:
    file = site_file("robots.txt", body)
    with Timer(5):
        (first, *_) = site_signals(f"{SITE}/a", {"robots.txt": file}, "groundup")
        assert first.verdict == "refused"
        (other, *_) = site_signals(f"{SITE}/" + "a" * 5000, {"robots.txt": file}, "groundup")
        assert other.protocol == "robots"


def test_what_stands_beyond_the_limit_is_not_read_and_no_line_is_cut() -> None:
    line = b"Disallow: /abcde\n"  # the limit falls into a path, which would be another one
    body = b"User-agent: *\n" + line * (LIMIT // len(line) + 10)
    whole = parse(body).groups[0].lines
    assert {one.raw for one in whole} == {line.strip()}
    assert LIMIT - len(line) <= len(b"User-agent: *\n") + len(whole) * len(line) <= LIMIT
    assert parse(b"#" * LIMIT + b"\nUser-agent: *\nDisallow: /").groups == ()


def test_a_file_cut_off_before_the_limit_is_no_answer() -> None:
    cut = site_file("robots.txt", "User-agent: *\nAllow: /\n", complete=False)
    assert site_signals(f"{SITE}/a", {"robots.txt": cut}, "groundup")[0].verdict == "unknown"
    long = site_file("robots.txt", b"User-agent: *\nAllow: /\n".ljust(LIMIT + 1, b"#"), complete=False)
    assert site_signals(f"{SITE}/a", {"robots.txt": long}, "groundup")[0].verdict == "allowed"


@given(st.binary(max_size=400), st.text(max_size=30))
def test_no_bytes_stop_the_readers(body: bytes, path: str) -> None:
    fields = {"link": path, "content-usage": path, "x-robots-tag": path, "tdm-reservation": path}
    decision = decided("/" + path, robots=body, tdm=body, ai=body, page=body, headers=fields)
    for row in rows(decision):
        assert "\n" not in row["value"]


@pytest.mark.parametrize(
    "scrap",
    [
        b"<",
        b"<a ",
        b"<!--",
        b"<!-- --!",
        b"<script>",
        b"<script><!--<script>",
        b'<a b="',
        b"<a b=",
        b"</",
        b"<title>",
        b"<meta a=b ",
        b"<meta name=robots content=noai>",
        b"<?",
        b"<a/",
        b"<a =",
        b"<textarea><",
    ],
)
def test_megabytes_of_scraps_are_read_in_time(scrap: bytes) -> None:
    page = (b"noai" + scrap * (4 << 20))[: 4 << 20]
    with Timer(5):
        assert len(page_signals(SITE, {}, page, "text/html")) < 300


@pytest.mark.parametrize(
    "deep", [b"[" * 200_000, b'{"location":' * 100_000, b'[{"location": "/", "x": ' + b"[" * 90_000]
)
def test_json_without_end_is_damaged(deep: bytes) -> None:
    (one,) = site_signals(SITE, {"tdmrep.json": site_file("tdmrep.json", deep)}, "groundup")
    assert one.verdict == "unknown"
    page = b'<script type="application/ld+json">{"license": ' + deep + b"</script>"
    assert page_signals(SITE, {}, page, "text/html") == []


def test_a_header_can_hold_no_second_line() -> None:
    fields = {"Content-Usage": "train-ai=n\r\ntdm-reservation: 0", "X-Robots-Tag": "noai\n\x00"}
    found = page_signals(SITE, fields, b"", "text/html")
    assert [(one.protocol, one.verdict) for one in found] == [("content-usage", "unknown"), ("noai", "refused")]
    assert not any(set("\r\n\x00") & set(one.value) for one in found)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Crawl-delay: 2.5", 2.5),
        ("Request-rate: 1/10", 10.0),
        ("Request-rate: 30/1m\nCrawl-delay: 1", 2.0),
        ("Crawl-delay: 5\nRequest-rate: 1/1", 5.0),
        ("Crawl-delay: soon", 0.0),
        ("Crawl-delay: inf", 0.0),
        ("Request-rate: 0/1", 0.0),
        ("Allow: /", 0.0),
    ],
)
def test_pace_is_the_slowest_that_is_asked_for(said: str, seconds: float) -> None:
    file = site_file("robots.txt", f"User-agent: *\nCrawl-delay: 99\n\nUser-agent: groundup\n{said}\n")
    assert pace(file, "Groundup/1.0").seconds == seconds
    assert pace(file, "other").seconds == 99
    assert pace(site_file("robots.txt", 503), "other").seconds == 0


def test_most_pages_are_told_without_parsing_them() -> None:
    assert not may_hold(b"<p>" + b"The license of the program is free. " * 1000)
    assert may_hold(b"<A HREF=/l REL='nofollow License'>")
    assert may_hold(b'{"license" : 1}')
