"""robots.txt (RFC 9309): may our agent fetch a page, and may a known AI crawler, with the lines that say it.

Groups are told apart here, exactly by product token, so that each answer has its evidence and so that no file can make
one group's rules stand in the memory once for each of ten thousand names. Which rule of a group wins is protego's
answer. Status codes, size and byte order mark are our care too, as protego leaves them to its caller.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from groundup.base.errors import missing_extra
from groundup.rights.signals.agents import AI_AGENTS
from groundup.rights.signals.patterns import Pattern, path_of
from groundup.rights.signals.signal import Signal, SiteFile, Verdict

if TYPE_CHECKING:
    from protego import Protego

LIMIT: Final = 500 << 10
"""Bytes of a file that are read (RFC 9309, 2.5), up to the last whole line before them."""

_LINE: Final = re.compile(rb"[^\r\n]++")
_FIELD: Final = re.compile(r"[ \t]*+([A-Za-z][A-Za-z -]{0,30}?)[ \t]*+:[ \t]*+(.*+)", re.S)
_LENIENT: Final = re.compile(r"[ \t]*+(user-agent|disallow|allow|crawl-delay|request-rate)[ \t]++(.++)", re.S | re.I)
_SEPARATORS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_NAMES: Final = {
    "useragent": "user-agent", "user agent": "user-agent", "dissallow": "disallow", "dissalow": "disallow",
    "disalow": "disallow", "diasllow": "disallow", "disallaw": "disallow", "crawl delay": "crawl-delay",
    "request rate": "request-rate",
}  # fmt: skip
_SITE_WIDE: Final = frozenset({"sitemap", "sitemaps", "site-map", "host", "license"})
_RULES: Final = frozenset({"allow", "disallow"})


@dataclass(frozen=True)
class Line:
    """A line that says something: its name in lower case, its value without comment, and its bytes."""

    name: str
    value: str
    raw: bytes


@dataclass(eq=False)
class Group:
    """The rules for some agents (in lower case, ``*`` for all others); ``raw`` are the lines that name them."""

    agents: list[str] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @cached_property
    def rules(self) -> list[tuple[Pattern, Line]]:
        """Allow and Disallow rules that say something: an empty one allows everything, as no rule does."""
        return [(Pattern.of(line.value), line) for line in self.lines if line.name in _RULES and line.value]

    @cached_property
    def judge(self) -> Protego:
        """protego with these rules alone, for one agent."""
        try:
            from protego import Protego
        except ImportError:
            raise missing_extra("protego", "crawl") from None
        said = (f"{line.name}: {line.value}" for line in self.lines if line.name in _JUDGED)
        return Protego.parse("\n".join(("user-agent: *", *said)))


_JUDGED: Final = _RULES | {"crawl-delay", "request-rate"}


@dataclass(frozen=True)
class Pace:
    """How slowly a site wants to be asked: seconds between requests, and (requests, seconds); None if not said."""

    delay: float | None
    rate: tuple[int, int] | None

    @property
    def seconds(self) -> float:
        """The longest time between two requests that either asks for; 0 if neither does."""
        return max(self.delay or 0.0, self.rate[1] / self.rate[0] if self.rate else 0.0)


@dataclass(frozen=True, eq=False)
class Robots:
    """A file that was read: its groups in order, and the lines that belong to no group."""

    groups: tuple[Group, ...]
    loose: tuple[Line, ...]

    @cached_property
    def agents(self) -> dict[str, list[Group]]:
        """The groups that name each agent."""
        named: dict[str, list[Group]] = {}
        for group in self.groups:
            for agent in dict.fromkeys(group.agents):
                named.setdefault(agent, []).append(group)
        return named

    @cached_property
    def _merged(self) -> dict[tuple[int, ...], Group]:
        return {}

    def group(self, agent: str) -> Group | None:
        """The rules for a product token: all groups that name it as one (RFC 9309, 2.2.1), else those for ``*``."""
        found = self.agents.get(product_token(agent)) or self.agents.get("*")
        if found is None or len(found) == 1:
            return found[0] if found else None
        key = tuple(map(id, found))
        if key not in self._merged:
            agents = [name for group in found for name in group.agents]
            raw = [line for group in found for line in group.raw]
            self._merged[key] = Group(agents, raw, [line for group in found for line in group.lines])
        return self._merged[key]


def product_token(agent: str) -> str:
    """What robots.txt calls a crawler: its name in lower case, without version and comment.

    >>> product_token("ExampleBot/1.0 (+https://example.org/bot)"), product_token("Linguee Bot"), product_token(" * ")
    ('examplebot', 'linguee bot', '*')
    """
    return re.split(r"[/(]", agent.strip(), maxsplit=1)[0].strip().lower()


@lru_cache(maxsize=64)
def parse(body: bytes) -> Robots:
    """Read a file; what can't be read is passed over (RFC 9309, 2.2 and 2.3.1.5)."""
    groups: list[Group] = []
    loose: list[Line] = []
    naming = False
    for line in _lines(body):
        if line.name == "user-agent":
            if not naming:
                groups.append(Group())
            naming = True
            if line.value:
                groups[-1].agents.append(product_token(line.value))
                groups[-1].raw.append(line.raw)
        elif line.name in _SITE_WIDE:
            loose.append(line)
        elif groups:
            naming = False
            groups[-1].lines.append(line)
        else:
            loose.append(line)
    return Robots(tuple(groups), tuple(loose))


def _lines(body: bytes) -> Iterable[Line]:
    for match in _LINE.finditer(readable(body)):
        raw = match[0]
        text = _SEPARATORS.sub(" ", raw.decode("utf-8", "replace")).partition("#")[0]
        said = _FIELD.fullmatch(text) or _LENIENT.fullmatch(text)
        if said:
            name = said[1].lower()
            yield Line(_NAMES.get(name, name), said[2].strip(), raw)


def readable(body: bytes) -> bytes:
    """The part of a file that is read, in UTF-8 and without a byte order mark."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        body = body[: 2 * LIMIT].decode("utf-16", "replace").encode("utf-8", "replace")
    body = body.removeprefix(codecs.BOM_UTF8)
    if len(body) > LIMIT:
        cut = body[: LIMIT + 1]
        end = max(cut.rfind(b"\n"), cut.rfind(b"\r"))
        body = body[: max(end, 0)]
    return body


def robots_of(file: SiteFile) -> Robots | None:
    """The rules of a site; none if it has no file, None if that can't be known."""
    if file.absent:
        return Robots((), ())
    if not file.found or (not file.complete and len(file.body) < LIMIT):
        return None
    return parse(file.body)


def robots_signals(url: str, file: SiteFile, agent: str, ai_agents: Sequence[str]) -> list[Signal]:
    """What robots.txt says about a page to our agent, and to those of ``ai_agents`` that it names.

    Other AI crawlers that are known and kept out are told too, and refuse nothing.
    """
    robots = robots_of(file)
    if robots is None:
        why = file.trouble() if not file.found else "cut off"
        return [Signal("robots", "robots.txt", "unknown", why, b"", file.url)]
    token = product_token(agent)
    if file.absent:
        return [Signal("robots", "robots.txt", "allowed", f"no file ({file.trouble()})", b"", file.url)]
    path = path_of(url)
    name = token if token in robots.agents else "*"
    verdict, said, evidence = _judged(robots.group(token), path)
    signals = [Signal("robots", "robots.txt", verdict, f"{name}: {said}", evidence, file.url)]
    return signals + _ai_signals(robots, path, file.url, ai_agents)


def _ai_signals(robots: Robots, path: str, url: str, ai_agents: Sequence[str]) -> list[Signal]:
    refusing = {product_token(name): name for name in ai_agents}
    known = {product_token(name): name for name in AI_AGENTS}
    together: dict[int, tuple[Group, list[str], list[str]]] = {}
    for token in robots.agents:
        if token not in refusing and token not in known:
            continue
        group = robots.group(token)
        assert group is not None
        _, counted, told = together.setdefault(id(group), (group, [], []))
        counted.append(refusing[token]) if token in refusing else told.append(known[token])
    signals = []
    for group, counted, told in together.values():
        verdict, said, evidence = _judged(group, path)
        if counted:
            value = f"{', '.join(counted)}: {said}"
            signals.append(Signal("robots-ai", "robots.txt", verdict, value, evidence, url))
        if told and verdict == "refused":
            value = f"{', '.join(told)} (not for training): {said}"
            signals.append(Signal("robots-ai", "robots.txt", "allowed", value, evidence, url))
    return signals


def _judged(group: Group | None, path: str) -> tuple[Verdict, str, bytes]:
    """(verdict, the rule, the bytes of the lines that make it) of a group on a path."""
    if group is None:
        return "allowed", "no group", b""
    if path == "/robots.txt":
        return "allowed", "always allowed", b""
    verdict: Verdict = "allowed" if group.judge.can_fetch(f"http://host{path}", "*") else "refused"
    wanted = "allow" if verdict == "allowed" else "disallow"
    matching = [
        (pattern.length, line) for pattern, line in group.rules if line.name == wanted and pattern.matches(path)
    ]
    naming = b"\n".join(group.raw)[:2048]
    if matching:
        line = max(matching, key=lambda pair: pair[0])[1]
        return verdict, f"{wanted.capitalize()} {line.value}", naming + b"\n" + line.raw
    said = "no rule" if verdict == "allowed" else "Disallow"
    return verdict, said, b"\n".join([naming, *(line.raw for line in group.lines)])


def pace(file: SiteFile, agent: str) -> Pace:
    """How slowly ``agent`` should ask a site, by Crawl-delay and Request-rate."""
    robots = robots_of(file)
    group = robots.group(agent) if robots else None
    if group is None:
        return Pace(None, None)
    rate = group.judge.request_rate("*")
    return Pace(group.judge.crawl_delay("*"), (rate.requests, rate.seconds) if rate else None)
