"""The test web's hosts, and by hand what must become of each of its addresses."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from crawl_web import Reply

TEXT = "text/plain"


def page(text: str = "words", head: str = "", **fields: object) -> Reply:
    html = f"<!doctype html><html><head>{head}</head><body><p>{text}</p></body></html>"
    return Reply(html.encode(), **fields)  # type: ignore[arg-type]


def links(*targets: str) -> str:
    return " ".join(target if target.startswith("<") else f'<a href="{target}">x</a>' for target in targets)


def robots(text: str, **fields: object) -> Reply:
    return Reply(text.encode(), type=TEXT, **fields)  # type: ignore[arg-type]


def to(target: str, status: int = 302) -> Reply:
    return Reply(b"", status, headers=(("Location", target),))


def header(name: str, value: str) -> Reply:
    return page(f"said by {name}", headers=((name, value),))


def meta(name: str, content: str) -> Reply:
    return page(f"said by {name}", f'<meta name="{name}" content="{content}">')


P = page()
HUGE = "User-agent: *\nDisallow: /first\n" + "# padding padding padding padding\n" * 18000 + "Disallow: /beyond\n"

HOSTS: dict[str, dict[str, Reply]] = {
    "open": {
        "/robots.txt": robots("User-agent: *\nDisallow:\n"),
        "/": page(
            links(
                "/linked", "/linked#again", "/style.css", '<a rel="nofollow" href="/nofollow">x</a>', "/missing",
                "http://{outside}/x", "ftp://{outside}/x", "mailto:a@b.org", "http://me:secret@{outside}/",
                "/a/../dots", "/meta-nofollow", "/header-nofollow", "javascript:go()", "//{named}/ok?by=link",
            )
        ),
        "/linked": page(links("/deep")), "/deep": P, "/dots": P, "/style.css": P, "/nofollow": P,
        "/meta-nofollow": page(links("/unseen-1"), '<meta name="robots" content="nofollow">'),
        "/header-nofollow": page(links("/unseen-2"), headers=(("X-Robots-Tag", "nofollow"),)),
        "/unseen-1": P, "/unseen-2": P,
        "/empty": Reply(b"  \n"), "/image": Reply(b"\x89PNG....", type="image/png"),
        "/untyped": Reply(b"<html><body>untyped</body></html>", type=""),
        "/big": page("x" * 70000), "/text": Reply(b"plain words", type=TEXT),
        "/latin": Reply("déjà vu".encode("latin-1"), type="text/plain; charset=iso-8859-1"),
        "/gzip": Reply(gzip.compress(page().body, mtime=0), headers=(("Content-Encoding", "gzip"),)),
        "/bomb": Reply(gzip.compress(b"<html>" + b" x" * 60000, mtime=0), headers=(("Content-Encoding", "gzip"),)),
        "/badgzip": Reply(b"\x1f\x8bnothing", headers=(("Content-Encoding", "gzip"),)),
        "/slow": page(wait=8.0), "/cut": page("cut", claims=5000), "/hangs-up": Reply(hang_up=True),
        "/500": page(status=500), "/410": page(status=410), "/204": Reply(b"", 204, ""),
        "/busy": page(status=503, headers=(("Retry-After", "0"),), then=page("at last")),
        "/away": page(status=429, headers=(("Retry-After", "0"),)),
    },
    "signals": {
        "/robots.txt": robots("User-agent: *\nAllow: /\n"),
        "/noai": meta("robots", "noai"), "/noimageai": meta("robots", "noimageai, noai"),
        "/meta-index": meta("robots", "index, follow"),
        "/x-noai": header("X-Robots-Tag", "noai"), "/x-index": header("X-Robots-Tag", "all"),
        "/tdm-header": header("tdm-reservation", "1"), "/tdm-header-0": header("tdm-reservation", "0"),
        "/tdm-meta": meta("tdm-reservation", "1"),
        "/usage-n": header("Content-Usage", "train-ai=n"), "/usage-y": header("Content-Usage", "train-ai=y"),
        "/contradicts": page("both", '<meta name="robots" content="noai">', headers=(("Content-Usage", "train-ai=y"),)),
        "/contradicts-too": page("both", headers=(("tdm-reservation", "0"), ("X-Robots-Tag", "noai"))),
        "/refused-with-links": page(links("/behind"), '<meta name="robots" content="noai">'), "/behind": P,
    },
    "closed": {"/robots.txt": robots("User-agent: *\nDisallow: /\n"), "/": P, "/x": P},
    "named": {
        "/robots.txt": robots("User-agent: groundup-test\nDisallow: /secret\n\nUser-agent: *\nDisallow: /\n"),
        "/ok": P, "/ok?by=link": P, "/secret/x": P, "/secretary": P,
    },
    "stranger": {"/robots.txt": robots("User-agent: groundup-tester\nDisallow: /\n"), "/": P},
    "aibots": {"/robots.txt": robots("User-agent: GPTBot\nDisallow: /\n"), "/": P},
    "aipart": {"/robots.txt": robots("User-agent: CCBot\nUser-agent: GPTBot\nDisallow: /art/\n"), "/art/1": P, "/b": P},
    "longest": {
        "/robots.txt": robots(
            "User-agent: *\nDisallow: /p\nAllow: /p/ok\nDisallow: /tie\nAllow: /tie\n"
            "Disallow: /*.php$\nDisallow: /q?*id=\n"
        ),
        "/p/no": P, "/p/ok/1": P, "/tie": P, "/x.php": P, "/x.php?y=1": P, "/q?id=1": P, "/q?name=1": P,
    },
    "usage": {
        "/robots.txt": robots("User-agent: *\nContent-Usage: /art/ train-ai=n\nAllow: /\n"), "/art/1": P, "/b": P,
    },
    "norobots": {"/": P},
    "keepout": {"/robots.txt": Reply(b"no", 403), "/": P},
    "failing": {"/robots.txt": Reply(b"oops", 500), "/": P},
    "toobusy": {"/robots.txt": Reply(b"later", 503), "/": P},
    "throttling": {"/robots.txt": Reply(b"later", 429), "/": P},
    "slow": {"/robots.txt": robots("User-agent: *\nAllow: /\n", wait=8.0), "/": P},
    "hangsup": {"/robots.txt": Reply(hang_up=True), "/": P},
    "halved": {"/robots.txt": robots("User-agent: *\nAllow: /\n", claims=900), "/": P},
    "huge": {"/robots.txt": robots(HUGE), "/first": P, "/beyond": P},
    "bom": {"/robots.txt": robots("\ufeffUser-agent: *\nDisallow: /x\n"), "/x": P, "/y": P},
    "webpage": {"/robots.txt": page("not found, sorry"), "/": P},
    "moved": {
        "/robots.txt": to("/rules"), "/rules": robots("User-agent: *\nDisallow: /x\n"), "/x": P, "/y": P,
    },
    "round": {"/robots.txt": to("/robots.txt"), "/": P},
    "elsewhere": {"/robots.txt": to("http://{closed}/robots.txt"), "/": P},
    "faraway": {"/robots.txt": to("http://{outside}/robots.txt"), "/": P},
    "thief": {"/robots.txt": to("http://{closed}/x"), "/": P},
    "tdm": {
        "/.well-known/tdmrep.json": Reply(b'[{"location": "/art/", "tdm-reservation": 1}]', type="application/json"),
        "/art/1": P, "/b": P,
    },
    "tdmfails": {"/.well-known/tdmrep.json": Reply(b"oops", 500), "/": P},
    "tdmmoved": {
        "/.well-known/tdmrep.json": to("/tdm.json"),
        "/tdm.json": Reply(b'[{"location": "/", "tdm-reservation": 1}]', type="application/json"), "/": P,
    },
    "tdmlocked": {
        "/robots.txt": robots("User-agent: *\nDisallow: /.well-known/\n"),
        "/.well-known/tdmrep.json": Reply(b"[]", type="application/json"), "/": P,
    },
    "aitxt": {"/ai.txt": robots("User-Agent: *\nDisallow: /\n"), "/": P},
    "aitxtfails": {"/ai.txt": Reply(b"oops", 502), "/": P},
    "aitxtmoved": {"/ai.txt": to("http://{closed}/x"), "/": P},
    "turns": {
        "/robots.txt": robots("User-agent: *\nDisallow: /forbidden\n"),
        "/one": to("/two", 301), "/two": to("/three", 307), "/three": P, "/forbidden": P,
        "/to-forbidden": to("/forbidden"), "/to-closed": to("http://{closed}/"),
        "/to-outside": to("http://{outside}/"), "/to-file": to("file:///etc/passwd"), "/loop": to("/loop"),
        "/nowhere": Reply(b"", 302), "/to-refused": to("/refused"), "/refused": meta("robots", "noai"),
        **{f"/hop{number}": to(f"/hop{number + 1}") for number in range(12)},
    },
    "olden": {"/robots.txt": robots("User-agent: *\nDisallow: /x\n", claims=-1), "/x": P, "/y": page("y", claims=-1)},
    "packed": {
        "/robots.txt": Reply(
            gzip.compress(b"User-agent: *\nDisallow: /x\n", mtime=0), 200, TEXT, (("Content-Encoding", "gzip"),)
        ),
        "/x": P, "/y": P,
    },
    "scrambled": {"/robots.txt": robots("who knows", headers=(("Content-Encoding", "gzip"),)), "/": P},
    "delayed": {"/robots.txt": robots("User-agent: *\nCrawl-delay: 0.4\n"), **{f"/{n}": P for n in range(4)}},
    "rated": {"/robots.txt": robots("User-agent: *\nRequest-rate: 2/1s\n"), **{f"/{n}": P for n in range(3)}},
    "outside": {"/": P, "/x": P},
}  # fmt: skip
"""What each host answers; whatever is not here is a 404. ``outside`` is on no crawl's list."""


@dataclass(frozen=True)
class Case:
    """An address: whether it may be in the server's log, whether its page is used, and if not, why."""

    host: str
    path: str
    fetched: bool
    reason: str = ""
    seed: bool = True


def used(host: str, *paths: str, seed: bool = True) -> list[Case]:
    return [Case(host, path, True, "", seed) for path in paths]


def out(reason: str, host: str, *paths: str, fetched: bool = True, seed: bool = True) -> list[Case]:
    return [Case(host, path, fetched, reason, seed) for path in paths]


def never(reason: str, host: str, *paths: str, seed: bool = True) -> list[Case]:
    return out(reason, host, *paths, fetched=False, seed=seed)


CASES: list[Case] = [
    *used("open", "/", "/untyped", "/text", "/latin", "/gzip", "/busy"),
    *used("open", "/linked", "/deep", "/dots", "/meta-nofollow", "/header-nofollow", seed=False),
    *never("file_ending", "open", "/style.css", seed=False),
    *never("nofollow", "open", "/nofollow", seed=False),
    *out("http_status", "open", "/missing", seed=False),
    *out("http_status", "open", "/500", "/410", "/204", "/away"),
    *out("empty", "open", "/empty"),
    *out("media_type", "open", "/image"),
    *out("too_large", "open", "/big", "/bomb"),
    *out("content_encoding", "open", "/badgzip"),
    *out("too_slow", "open", "/slow"),
    *out("truncated", "open", "/cut"),
    *out("no_answer", "open", "/hangs-up"),
    *never("outside", "outside", "/x", "/", seed=False),
    *used("signals", "/meta-index", "/x-index", "/tdm-header-0", "/usage-y"),
    *out("refused_noai", "signals", "/noai", "/noimageai", "/x-noai", "/contradicts", "/contradicts-too"),
    *out("refused_noai", "signals", "/refused-with-links"),
    *out("refused_tdm", "signals", "/tdm-header", "/tdm-meta"),
    *out("refused_content_usage", "signals", "/usage-n"),
    *never("refused_robots", "closed", "/"),
    *used("named", "/ok"),
    *used("named", "/ok?by=link", seed=False),
    *never("refused_robots", "named", "/secret/x", "/secretary"),
    *used("stranger", "/"),
    *never("refused_robots_ai", "aibots", "/"),
    *never("refused_robots_ai", "aipart", "/art/1"),
    *used("aipart", "/b"),
    *never("refused_robots", "longest", "/p/no", "/x.php", "/q?id=1"),
    *used("longest", "/p/ok/1", "/tie", "/x.php?y=1", "/q?name=1"),
    *never("refused_content_usage", "usage", "/art/1"),
    *used("usage", "/b"),
    *used("norobots", "/"),
    *used("keepout", "/"),
    *[
        case
        for host in ("failing", "toobusy", "throttling", "slow", "hangsup", "halved", "round", "faraway", "thief")
        for case in never("unknown_robots", host, "/")
    ],
    *never("unknown_robots", "dead", "/"),
    *never("refused_robots", "huge", "/first"),
    *used("huge", "/beyond"),
    *never("refused_robots", "bom", "/x"),
    *used("bom", "/y"),
    *used("webpage", "/"),
    *never("refused_robots", "moved", "/x"),
    *used("moved", "/y"),
    *never("refused_robots", "elsewhere", "/"),
    *never("refused_tdm", "tdm", "/art/1"),
    *used("tdm", "/b"),
    *never("unknown_tdm", "tdmfails", "/"),
    *never("refused_tdm", "tdmmoved", "/"),
    *never("unknown_tdm", "tdmlocked", "/"),
    *never("refused_ai_txt", "aitxt", "/"),
    *never("unknown_ai_txt", "aitxtfails", "/"),
    *never("unknown_ai_txt", "aitxtmoved", "/"),
    *out("redirect", "turns", "/one", "/to-forbidden", "/to-closed", "/to-outside", "/to-file", "/loop", "/to-refused"),
    *out("redirect", "turns", "/two", seed=False),
    *out("http_status", "turns", "/nowhere"),
    *used("turns", "/three", seed=False),
    *out("refused_noai", "turns", "/refused", seed=False),
    *never("refused_robots", "turns", "/forbidden", seed=False),
    *out("redirect", "turns", "/hop0"),
    *out("redirect", "turns", *(f"/hop{number}" for number in range(1, 11)), seed=False),
    *never("too_many_redirects", "turns", "/hop11", seed=False),
    *never("refused_robots", "olden", "/x"),
    *used("olden", "/y"),
    *never("refused_robots", "packed", "/x"),
    *used("packed", "/y"),
    *never("unknown_robots", "scrambled", "/"),
    *used("delayed", *(f"/{n}" for n in range(4))),
    *used("rated", *(f"/{n}" for n in range(3))),
]

SITE_FILES = {"/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"}
MORE = {("moved", "/rules"), ("tdmmoved", "/tdm.json")}
"""Requests that a site's own file leads to."""

ROBOTS_ONLY = {
    "closed", "aibots", "failing", "toobusy", "throttling", "slow", "hangsup", "halved", "round", "elsewhere",
    "faraway", "thief", "scrambled",
}  # fmt: skip
"""Hosts of which nothing but robots.txt may be asked for."""
