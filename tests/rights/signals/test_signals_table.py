"""What each signal decides, written by hand from the texts of the protocols."""

from __future__ import annotations

from typing import Any

import pytest
from signal_files import decided

# RFC 9309, 5.1 (simple example) and 5.2 (longest match).
SIMPLE = """User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""
LONGEST = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"
# draft-ietf-aipref-attach-05, 3.4.
AIPREF = """User-Agent: *
Allow: /
Disallow: /never/
Content-Usage: train-ai=n
Content-Usage: /ai-ok/ train-ai=y

User-Agent: ExampleBot
Allow: /
Content-Usage: train-ai=y
"""
# TDMRep, "TDM File on the Origin Server".
TDM = """[
 {"location": "/directory-a/", "tdm-reservation": 1},
 {"location": "/directory-b/html/", "tdm-reservation": 1, "tdm-policy": "https://provider.com/policies/policy.json"},
 {"location": "/directory-b/images/*.jpg", "tdm-reservation": 0}
]"""
SPAWNING = "# Spawning AI\nUser-Agent: *\nDisallow: *.txt\nDisallow: *.html\nAllow: *.pdf\nAllow: /\n"
RESERVED = '<meta name="tdm-reservation" content="1">'
FREE = '<meta name="tdm-reservation" content="0">'
NOAI = '<meta name="robots" content="noai">'


def robots(path: str, text: bytes | str | int | None, agent: str = "Groundup") -> dict[str, Any]:
    return {"path": path, "robots": text, "agent": agent}


def meta(page: str) -> dict[str, Any]:
    return {"page": f"<!doctype html><html><head>{page}</head><body>x</body></html>"}


def header(**fields: str) -> dict[str, Any]:
    return {"headers": {name.replace("_", "-"): value for name, value in fields.items()}}


TABLE: list[tuple[str, dict[str, Any], str, str]] = [
    # -- robots.txt: RFC 9309 ------------------------------------------------------------------------------------------
    ("rfc 5.1 any crawler, gif", robots("/a.gif", SIMPLE), "refused", "robots"),
    ("rfc 5.1 any crawler, gif with query", robots("/a.gif?x", SIMPLE), "allowed", ""),
    ("rfc 5.1 any crawler, example", robots("/example/page.html", SIMPLE), "refused", "robots"),
    ("rfc 5.1 any crawler, publications", robots("/publications/a", SIMPLE), "allowed", ""),
    ("rfc 5.1 foobot, elsewhere", robots("/publications/a", SIMPLE, "foobot"), "refused", "robots"),
    ("rfc 5.1 foobot, its page", robots("/example/page.html", SIMPLE, "FooBot/2.1 (+mailto:a@b)"), "allowed", ""),
    ("rfc 5.1 foobot, its gif", robots("/example/allowed.gif", SIMPLE, "foobot"), "allowed", ""),
    ("rfc 5.1 bazbot shares a group", robots("/example/page.html", SIMPLE, "bazbot"), "refused", "robots"),
    ("rfc 5.1 barbot, elsewhere", robots("/example/", SIMPLE, "barbot"), "allowed", ""),
    ("rfc 5.1 quxbot has an empty group", robots("/example/a.gif", SIMPLE, "quxbot"), "allowed", ""),
    ("rfc 5.2 longest match", robots("/example/page/disallowed.gif", LONGEST, "foobot"), "refused", "robots"),
    ("rfc 5.2 shorter match", robots("/example/page/other", LONGEST, "foobot"), "allowed", ""),
    ("allow wins a tie", robots("/a", "User-agent: *\nDisallow: /a\nAllow: /a"), "allowed", ""),
    ("dollar ends", robots("/a.php", "User-agent: *\nDisallow: /*.php$"), "refused", "robots"),
    ("dollar doesn't reach on", robots("/a.php5", "User-agent: *\nDisallow: /*.php$"), "allowed", ""),
    (
        "star in the middle",
        robots("/this/very/exactly", "User-agent: *\nDisallow: /this/*/exactly"),
        "refused",
        "robots",
    ),
    ("paths have case", robots("/A", "User-agent: *\nDisallow: /a"), "allowed", ""),
    ("names have none", robots("/a", "USER-AGENT: GROUNDUP\nDISALLOW: /a"), "refused", "robots"),
    (
        "encoded as written (2.2.2)",
        robots("/foo/bar?baz=http://foo.bar", "User-agent: *\nDisallow: /foo/bar?baz=http://foo.bar"),
        "refused",
        "robots",
    ),
    (
        "utf-8 in the rule (2.2.2)",
        robots("/foo/bar/%E3%83%84", "User-agent: *\nDisallow: /foo/bar/ツ"),
        "refused",
        "robots",
    ),
    (
        "utf-8 in the address (2.2.2)",
        robots("/foo/bar/ツ", "User-agent: *\nDisallow: /foo/bar/%e3%83%84"),
        "refused",
        "robots",
    ),
    (
        "unreserved need no code (2.2.2)",
        robots("/foo/bar/ab", "User-agent: *\nDisallow: /foo/bar/%61%62"),
        "refused",
        "robots",
    ),
    ("byte order mark", robots("/a", b"\xef\xbb\xbfUser-agent: *\nDisallow: /a"), "refused", "robots"),
    ("utf-16", robots("/a", "User-agent: *\nDisallow: /a".encode("utf-16")), "refused", "robots"),
    ("bare carriage returns", robots("/a", "User-agent: *\rDisallow: /a\r"), "refused", "robots"),
    ("comments", robots("/a", "#User-agent: x\nUser-agent: * # all\nDisallow: /a # b"), "refused", "robots"),
    (
        "two groups of one agent are one",
        robots("/b", "User-agent: groundup\nDisallow: /a\n\nUser-agent: groundup\nDisallow: /b"),
        "refused",
        "robots",
    ),
    (
        "own group, not that for all",
        robots("/a", "User-agent: *\nDisallow: /\nUser-agent: groundup\nDisallow: /b"),
        "allowed",
        "",
    ),
    ("a rule without a group", robots("/a", "Disallow: /a"), "allowed", ""),
    ("empty disallow", robots("/a", "User-agent: *\nDisallow:"), "allowed", ""),
    ("version in the file", robots("/a", "User-agent: Groundup/1.0\nDisallow: /"), "refused", "robots"),
    ("another's longer name", robots("/a", "User-agent: groundup-news\nDisallow: /"), "allowed", ""),
    (
        "sitemap within a group",
        robots("/a", "User-agent: groundup\nSitemap: https://example.org/s\nDisallow: /"),
        "refused",
        "robots",
    ),
    ("not found", robots("/a", 404), "allowed", ""),
    ("gone", robots("/a", 410), "allowed", ""),
    ("forbidden", robots("/a", 403), "allowed", ""),
    ("server error", robots("/a", 503), "refused", "robots"),
    ("too many requests is no answer", robots("/a", 429), "refused", "robots"),
    ("no answer at all", robots("/a", None), "refused", "robots"),
    ("a redirect that leads nowhere", robots("/a", 302), "refused", "robots"),
    ("a page in place of the file", robots("/a", "<!doctype html><p>Disallow: everything"), "allowed", ""),
    # -- groups of AI crawlers ----------------------------------------------------------------------------------------
    ("a training crawler is kept out", robots("/a", "User-agent: GPTBot\nDisallow: /"), "refused", "robots-ai"),
    ("a corpus builder is kept out", robots("/a", "User-agent: ccbot\nDisallow: /"), "refused", "robots-ai"),
    ("a token that is no crawler", robots("/a", "User-agent: Google-Extended\nDisallow: /"), "refused", "robots-ai"),
    ("with its version", robots("/a", "User-agent: ClaudeBot/1.0\nDisallow: /a"), "refused", "robots-ai"),
    ("kept out elsewhere", robots("/a", "User-agent: GPTBot\nDisallow: /b"), "allowed", ""),
    ("kept out but for this", robots("/a", "User-agent: GPTBot\nDisallow: /\nAllow: /a"), "allowed", ""),
    ("a search crawler is kept out", robots("/a", "User-agent: PerplexityBot\nDisallow: /"), "allowed", ""),
    ("an assistant is kept out", robots("/a", "User-agent: ChatGPT-User\nDisallow: /"), "allowed", ""),
    ("a search engine is kept out", robots("/a", "User-agent: Googlebot\nDisallow: /"), "allowed", ""),
    (
        "ours may, a training crawler may not",
        robots("/a", "User-agent: groundup\nAllow: /\nUser-agent: GPTBot\nDisallow: /"),
        "refused",
        "robots-ai",
    ),
    # -- AIPREF -------------------------------------------------------------------------------------------------------
    ("aipref 3.4 test", robots("/test", AIPREF), "refused", "content-usage"),
    ("aipref 3.4 never", robots("/never/test", AIPREF), "refused", "robots"),
    ("aipref 3.4 ai-ok", robots("/ai-ok/test", AIPREF), "allowed", ""),
    ("aipref 3.4 ExampleBot", robots("/test", AIPREF, "ExampleBot"), "allowed", ""),
    ("aipref 1.2 header", header(Content_Usage="train-ai=n"), "refused", "content-usage"),
    ("header allows", header(Content_Usage="train-ai=y"), "allowed", ""),
    ("other categories say nothing", header(Content_Usage="search=n, ai-use=n"), "allowed", ""),
    ("unknown keys are ignored", header(Content_Usage="foo=n, train-ai=y"), "allowed", ""),
    ("parameters are ignored", header(Content_Usage="train-ai=n;because=?1"), "refused", "content-usage"),
    ("the last of a key counts (vocab 6)", header(Content_Usage="train-ai;allow=n, train-ai=y"), "allowed", ""),
    (
        "no token (vocab 6.4.1)",
        header(Content_Usage='train-ai=y, train-ai, search=n, search="n"'),
        "refused",
        "content-usage",
    ),
    ("generative training (vocab-03)", header(Content_Usage="train-genai=n"), "refused", "content-usage"),
    ("generative may not undo training", header(Content_Usage="train-ai=n, train-genai=y"), "refused", "content-usage"),
    ("all processing (vocab-03)", header(Content_Usage="bots=n"), "refused", "content-usage"),
    ("all processing but training (vocab-03)", header(Content_Usage="bots=n, train-ai=y"), "allowed", ""),
    ("keys have case", header(Content_Usage="Train-AI=n"), "refused", "content-usage"),
    ("a token that isn't known", header(Content_Usage="train-ai=no"), "refused", "content-usage"),
    ("no dictionary at all", header(Content_Usage="train-ai=n,"), "refused", "content-usage"),
    (
        "two lines of a field",
        {"headers": [("Content-Usage", "search=y"), ("content-usage", "train-ai=n")]},
        "refused",
        "content-usage",
    ),
    (
        "path that is longest",
        robots("/a/b", "User-agent: *\nContent-Usage: /a train-ai=y\nContent-Usage: /a/b train-ai=n"),
        "refused",
        "content-usage",
    ),
    (
        "equal paths: the strictest",
        robots("/a", "User-agent: *\nContent-Usage: / train-ai=y\nContent-Usage: / train-ai=n"),
        "refused",
        "content-usage",
    ),
    (
        "header and robots: n and y",
        {"robots": "User-agent: *\nContent-Usage: train-ai=y", **header(Content_Usage="train-ai=n")},
        "refused",
        "content-usage",
    ),
    (
        "header and robots: y and n",
        {"robots": "User-agent: *\nContent-Usage: train-ai=n", **header(Content_Usage="train-ai=y")},
        "refused",
        "content-usage",
    ),
    (
        "content-signal",
        robots("/a", "User-agent: *\nContent-Signal: search=yes,ai-train=no\nAllow: /"),
        "refused",
        "content-usage",
    ),
    ("content-signal allows", robots("/a", "User-agent: *\nContent-Signal: ai-train=yes, search=no"), "allowed", ""),
    (
        "content-signal header",
        header(Content_Signal="ai-train=no, search=yes, ai-input=yes"),
        "refused",
        "content-usage",
    ),
    (
        "content-signal in a comment",
        robots("/a", "# Content-Signal: ai-train=no\nUser-agent: *\nAllow: /"),
        "allowed",
        "",
    ),
    # -- TDMRep -------------------------------------------------------------------------------------------------------
    ("tdmrep a", {"path": "/directory-a/x.pdf", "tdm": TDM}, "refused", "tdm"),
    ("tdmrep b with a policy", {"path": "/directory-b/html/x", "tdm": TDM}, "refused", "tdm"),
    ("tdmrep b images", {"path": "/directory-b/images/x.jpg", "tdm": TDM}, "allowed", ""),
    ("tdmrep no rule", {"path": "/directory-c/", "tdm": TDM}, "allowed", ""),
    ("tdmrep all", {"tdm": '[{"location": "/", "tdm-reservation": 1}]'}, "refused", "tdm"),
    (
        "tdmrep: the first that matches",
        {
            "path": "/a/b",
            "tdm": '[{"location": "/a", "tdm-reservation": 0}, {"location": "/a/b", "tdm-reservation": 1}]',
        },
        "allowed",
        "",
    ),
    (
        "tdmrep: verbatim dollar",
        {"path": "/path/foo-$", "tdm": '[{"location": "/path/foo-%24", "tdm-reservation": 1}]'},
        "allowed",
        "",
    ),
    ("tdmrep: a value out of range is unset", {"tdm": '[{"location": "/", "tdm-reservation": 2}]'}, "allowed", ""),
    (
        "tdmrep: a value out of range ends the search",
        {"tdm": '[{"location": "/", "tdm-reservation": 2}, {"location": "/", "tdm-reservation": 1}]'},
        "allowed",
        "",
    ),
    ("tdmrep: one rule without brackets", {"tdm": '{"location": "/", "tdm-reservation": 1}'}, "refused", "tdm"),
    ("tdmrep: damaged", {"tdm": '[{"location": "/", "tdm-res'}, "refused", "tdm"),
    ("tdmrep: a page in its place", {"tdm": "<html>not found"}, "allowed", ""),
    ("tdmrep: server error", {"tdm": 500}, "refused", "tdm"),
    ("tdm header", header(TDM_Reservation="1", tdm_policy="https://provider.com/p.json"), "refused", "tdm"),
    ("tdm header 0", header(tdm_reservation="0"), "allowed", ""),
    ("tdm header out of range", header(tdm_reservation="yes"), "allowed", ""),
    ("tdm meta", meta(RESERVED), "refused", "tdm"),
    ("tdm meta without quotes", meta("<META CONTENT=1 NAME=TDM-Reservation>"), "refused", "tdm"),
    (
        "header supersedes file: free",
        {"tdm": '[{"location": "/", "tdm-reservation": 1}]', **header(tdm_reservation="0")},
        "allowed",
        "",
    ),
    (
        "header supersedes file: reserved",
        {"tdm": '[{"location": "/", "tdm-reservation": 0}]', **header(tdm_reservation="1")},
        "refused",
        "tdm",
    ),
    ("meta supersedes header: free", {**header(tdm_reservation="1"), **meta(FREE)}, "allowed", ""),
    ("meta supersedes header: reserved", {**header(tdm_reservation="0"), **meta(RESERVED)}, "refused", "tdm"),
    (
        "absence resets nothing",
        {"tdm": '[{"location": "/", "tdm-reservation": 1}]', **meta("<meta name=author content=x>")},
        "refused",
        "tdm",
    ),
    # -- ai.txt -------------------------------------------------------------------------------------------------------
    ("ai.txt by type", {"path": "/a.html", "ai": SPAWNING}, "refused", "ai-txt"),
    ("ai.txt an address without an ending is a page", {"path": "/blog/post", "ai": SPAWNING}, "refused", "ai-txt"),
    ("ai.txt a folder is a page", {"path": "/blog/", "ai": SPAWNING}, "refused", "ai-txt"),
    ("ai.txt with a query", {"path": "/a.html?x=1", "ai": SPAWNING}, "refused", "ai-txt"),
    ("ai.txt another type", {"path": "/a.pdf", "ai": SPAWNING}, "allowed", ""),
    ("ai.txt all", {"ai": "User-Agent: *\nDisallow: /"}, "refused", "ai-txt"),
    ("ai.txt pictures only", {"ai": "User-Agent: *\nDisallow: *.jpg\nAllow: *.html\nDisallow: /"}, "allowed", ""),
    ("ai.txt the other kind", {"ai": "# ai.txt\nSpec-Version: 1.0\nTraining: deny"}, "refused", "ai-txt"),
    ("ai.txt prose", {"ai": "# About us\nWe sell chairs."}, "allowed", ""),
    ("ai.txt: a page in its place", {"ai": "<html><pre>\nUser-Agent: *\nDisallow: /\n</pre>"}, "allowed", ""),
    ("ai.txt server error", {"ai": 502}, "refused", "ai-txt"),
    # -- noai ---------------------------------------------------------------------------------------------------------
    ("noai header", header(X_Robots_Tag="noai, noimageai"), "refused", "noai"),
    ("noai to one crawler", header(X_Robots_Tag="googlebot: nofollow, noai"), "refused", "noai"),
    ("noimageai is about pictures", header(X_Robots_Tag="noimageai"), "allowed", ""),
    (
        "noindex is about search",
        header(X_Robots_Tag="noindex, nofollow, unavailable_after: 25 Jun 2010 15:00:00 PST"),
        "allowed",
        "",
    ),
    ("noai meta", meta(NOAI), "refused", "noai"),
    ("noai meta in any case", meta('<Meta Content="NoIndex,NoAI" Name="ROBOTS"/>'), "refused", "noai"),
    ("noai meta to one crawler", meta('<meta name="googlebot" content="noai">'), "refused", "noai"),
    ("noai in another meta", meta('<meta name="description" content="noai">'), "allowed", ""),
    ("noai in a comment", meta(f"<!-- {NOAI} -->"), "allowed", ""),
    ("noai in a script", meta(f"<script>document.write('{NOAI}')</script>"), "allowed", ""),
    (
        "noai in a script in a comment in a script",
        meta(f"<script><!-- <script> </script> {NOAI} --></script>"),
        "allowed",
        "",
    ),
    ("noai behind a comment that ends with a bang", meta(f"<!-- a --!>{NOAI}"), "refused", "noai"),
    ("noai with a character reference", meta("<meta name=robots content='noindex&#44;noai'>"), "refused", "noai"),
    ("the first of two names counts", meta("<meta name=robots name=x content=noai>"), "refused", "noai"),
    ("noai behind a quote that never ends", meta(f'<a title="x {NOAI}'), "allowed", ""),
    ("noai in a style", meta(f"<style>{NOAI}</style>"), "allowed", ""),
    ("noai in a title", meta(f"<title>How to write {NOAI}</title>"), "allowed", ""),
    ("noai in running text", meta("<p>Write noai into your robots meta"), "allowed", ""),
    ("noai escaped in the text", meta("<pre>&lt;meta name=robots content=noai&gt;</pre>"), "allowed", ""),
    ("noai in an attribute", meta(f"<a title='{NOAI}' href=x>x</a>"), "allowed", ""),
    ("noai behind a comment that ends at once", meta(f"<!-->{NOAI}<!-- -->"), "refused", "noai"),
    ("noai in utf-16", {"page": f"<html>{NOAI}".encode("utf-16")}, "refused", "noai"),
    ("markup of what is no page", {"page": NOAI, "media_type": "text/plain"}, "allowed", ""),
    ("header of what is no page", {**header(X_Robots_Tag="noai"), "media_type": "text/plain"}, "refused", "noai"),
    # -- several at once ----------------------------------------------------------------------------------------------
    (
        "one refuses among many that allow",
        {
            "robots": "User-agent: *\nAllow: /\nContent-Usage: train-ai=y",
            "tdm": '[{"location": "/", "tdm-reservation": 0}]',
            "ai": "User-agent: *\nAllow: /",
            **meta(NOAI),
        },
        "refused",
        "noai",
    ),
    (
        "a licence allows nothing that is refused",
        {**header(Link='<https://creativecommons.org/publicdomain/zero/1.0/>; rel="license"', X_Robots_Tag="noai")},
        "refused",
        "noai",
    ),
    (
        "a licence alone refuses nothing",
        meta('<link rel="license" href="https://example.org/all-rights-reserved">'),
        "allowed",
        "",
    ),
    ("nobody says anything", {}, "allowed", ""),
]


@pytest.mark.parametrize(("given", "verdict", "protocol"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_verdict_and_the_protocol_that_decides(given: dict[str, Any], verdict: str, protocol: str) -> None:
    decision = decided(**given)
    assert decision.verdict == verdict
    if protocol:
        assert {one.protocol for one in decision.because} == {protocol}
    assert all(one.protocol != "licence" for one in decision.because)


def test_the_table_has_each_case_once() -> None:
    assert len({row[0] for row in TABLE}) == len(TABLE) >= 60


@pytest.mark.parametrize(
    "name", ["server error", "no answer at all", "tdmrep: damaged", "ai.txt server error", "keys have case"]
)
def test_what_cannot_be_read_is_unknown_where_failing_open(name: str) -> None:
    given = next(row[1] for row in TABLE if row[0] == name)
    decision = decided(**given, fail_closed=False)
    assert decision.verdict == "unknown"
    assert decision.usable
    assert all(one.verdict == "unknown" for one in decision.because)


@pytest.mark.parametrize(
    ("given", "protocol", "place", "value", "evidence"),
    [
        (robots("/x/y", "User-agent: *\nAllow: /\nUser-agent: GPTBot\nUser-agent: CCBot\nDisallow: /x"), "robots-ai",
         "robots.txt", "GPTBot, CCBot: Disallow /x", b"User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /x"),
        (robots("/a", "User-agent: *\nContent-Usage: /a\ttrain-ai=n  # no\n"), "content-usage", "robots.txt",
         "train-ai=n", b"Content-Usage: /a\ttrain-ai=n  # no"),
        (meta(RESERVED + '<meta name="tdm-policy" content="https://e.org/p">'), "tdm", "meta",
         "tdm-reservation=1, tdm-policy=https://e.org/p", RESERVED.encode() + b'\n<meta name="tdm-policy" content="https://e.org/p">'),
        (header(X_Robots_Tag="GoogleBot: NoAI"), "noai", "header", "googlebot: noai", b"x-robots-tag: GoogleBot: NoAI"),
        (meta("<meta name=robots content='noai'>"), "noai", "meta", "noai", b"<meta name=robots content='noai'>"),
        ({"path": "/a/b", "tdm": '[{"location":"/a","tdm-reservation":1}]'}, "tdm", "well-known", "tdm-reservation=1",
         b'{"location":"/a","tdm-reservation":1}'),
        ({"robots": 503}, "robots", "robots.txt", "status 503", b""),
    ],
)  # fmt: skip
def test_evidence_is_what_stands_there(
    given: dict[str, Any], protocol: str, place: str, value: str, evidence: bytes
) -> None:
    (one,) = [one for one in decided(**given).because if one.protocol == protocol]
    assert (one.place, one.value, one.evidence) == (place, value, evidence)


def test_what_search_crawlers_are_told_is_kept_and_decides_nothing() -> None:
    decision = decided("/a", robots="User-agent: PerplexityBot\nUser-agent: OAI-SearchBot\nDisallow: /a")
    told = [one for one in decision.signals if one.protocol == "robots-ai"]
    assert [(one.verdict, one.value) for one in told] == [
        ("allowed", "PerplexityBot, OAI-SearchBot (not for training): Disallow /a")
    ]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (meta('<link rel="license nofollow" href="/l"><a rel=license href="https://e.org/m">m</a>'),
         ["https://example.org/l", "https://e.org/m"]),
        (header(Link='<https://e.org/rsl.xml>; rel="license"; type="application/rsl+xml", </x>; rel=next'),
         ["https://e.org/rsl.xml"]),
        (robots("/a", "License: https://e.org/license.xml\nUser-agent: *\nAllow: /"), ["https://e.org/license.xml"]),
        (meta('<meta name="DC.rights" content="CC BY 4.0"><meta property="cc:license" content="https://e.org/c">'),
         ["CC BY 4.0", "https://e.org/c"]),
        (meta('<script type="application/ld+json">[{"@type": "ImageObject", "license": "https://e.org/picture"},'
              '{"@graph": [{"@type": ["Article"], "license": {"@id": "https://e.org/article"}}]}]</script>'),
         ["https://e.org/article"]),
        (meta('<script>{"license": "MIT"}</script><p>license</p><meta name="keywords" content="license">'), []),
        (meta('<link itemprop="license" href="https://e.org/i">'), ["https://e.org/i"]),
        (meta('<!-- <link rel=license href=x> --><link rel=license href="">'), []),
    ],
)  # fmt: skip
def test_licences_are_told_by_address_or_name(given: dict[str, Any], values: list[str]) -> None:
    decision = decided(**given)
    assert [one.value for one in decision.signals if one.protocol == "licence"] == sorted(values)
    assert decision.verdict == "allowed"
