"""What may be said about a crawl."""

from __future__ import annotations

import re
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from groundup.artifact.terms import Use
from groundup.base.config import Config, later
from groundup.base.public import is_public
from groundup.base.units import ByteSize, Duration
from groundup.rights.licences.field import Licence
from groundup.stages.source.urls import Hosts, host_of, literal, normal

_AGENT: Final = re.compile(r"(?P<token>[A-Za-z_-]+)(/[\w.+-]+)?\s+\S.*")
_CONTACT: Final = re.compile(r"https?://[^\s()]+\.[^\s()]+|[^\s()@:]+@[^\s()@]+\.[^\s()@]+")
_DAY: Final = 86400.0


class Crawl(Config):
    """Pages asked for over the network, politely.

    Each site's robots.txt, tdmrep.json and ai.txt are read before any of its pages is asked for, and each page's own
    headers and meta elements before it is used. What its owner refuses is not used, and what can't be known isn't
    either. The evidence of every decision is kept.
    """

    seeds: tuple[str, ...] = Field(min_length=1, description="addresses to start from, such as https://example.org/")
    allow: tuple[str, ...] = Field(
        (), description="hosts that may be visited: example.org, *.example.org, example.org:8080; by default the seeds'"
    )
    follow: bool = Field(True, description="follow the links of pages to other pages on these hosts")
    agent: str = Field(
        description="who asks, with an address at which a person answers: my-crawler/1.0 (+https://example.org/crawler)"
    )
    licence: Licence = Field(min_length=1, description="licence of the pages, as an SPDX expression or LicenseRef-NAME")
    origin: str = Field(min_length=1, description="what was crawled and why that was allowed, for people")
    terms: str = later("", description="terms of service that hold beside the licence: their address or name")
    use: Use = later("train", description="what it may be used for: train, evaluate (and never train), or never")
    name: str = Field("crawl", min_length=1, description="name of the source in records and reports")
    pages: int = Field(1000, ge=1, description="pages to keep at most")
    size: ByteSize = Field(ByteSize.parse("1 GiB"), description="bytes of bodies to receive at most")
    time: Duration = Field(
        Duration.parse("1 hour"), description="time to spend at most, all attempts together, such as '2 hours'"
    )
    per_host: int | None = Field(None, ge=1, description="pages of one host to keep at most; no limit by default")
    delay: Duration = Field(
        Duration.parse("1 s"),
        description="time between two requests to a host; its own Crawl-delay or Request-rate counts if it is slower",
    )
    timeout: Duration = Field(Duration.parse("30 s"), description="time that one answer may take")
    max_page_size: ByteSize = Field(ByteSize.parse("8 MiB"), description="a longer page is left out and counted")
    fail_closed: bool = Field(True, description="a page whose permission can't be read is refused")
    ai_agents: tuple[str, ...] | None = Field(
        None, description="crawlers of AI companies whose groups in robots.txt count as meant for us; a list by default"
    )
    cache: Duration = Field(
        Duration.parse("24 hours"), description="time for which a site's robots.txt, tdmrep.json and ai.txt are kept"
    )
    allow_private: bool = Field(
        False, description="also ask hosts in private networks and on this machine, as in tests and in an intranet"
    )

    @property
    def token(self) -> str:
        """The product token that robots.txt knows the agent by (RFC 9309, 2.2.1)."""
        return _AGENT.fullmatch(self.agent)["token"]  # type: ignore[index]  # the validator has matched it

    @property
    def hosts(self) -> Hosts:
        """The hosts that may be visited."""
        return Hosts.of(self.allow or tuple(sorted({_host_pattern(seed) for seed in self.seeds})))

    @field_validator("seeds")
    @classmethod
    def _addresses(cls, seeds: tuple[str, ...]) -> tuple[str, ...]:
        found = []
        for seed in seeds:
            url = normal(seed)
            if url is None:
                raise ValueError(f"{seed!r} is no address to start from; it must begin with http:// or https://")
            found.append(url)
        return tuple(dict.fromkeys(found))

    @field_validator("allow")
    @classmethod
    def _patterns(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        return Hosts.of(allow).patterns

    @field_validator("agent")
    @classmethod
    def _true_agent(cls, agent: str) -> str:
        agent = agent.strip()
        if not agent.isascii() or not agent.isprintable():
            raise ValueError("must be plain ASCII on one line")
        match = _AGENT.fullmatch(agent)
        if match is None or not _CONTACT.search(agent[match.end("token") :]):
            raise ValueError(
                "must be a name (letters, - and _) with an address at which a person answers, "
                "such as 'my-crawler/1.0 (+https://example.org/crawler)' or 'my-crawler (me@example.org)'"
            )
        return agent

    @field_validator("licence", "origin", "name")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must say something: material without a known licence and origin can't be used")
        return value.strip()

    @field_validator("size", "max_page_size", "time", "timeout")
    @classmethod
    def _positive(cls, value: ByteSize | Duration) -> ByteSize | Duration:
        if value <= 0:
            raise ValueError("must be above zero")
        return value

    @field_validator("cache")
    @classmethod
    def _a_day(cls, value: Duration) -> Duration:
        if value > _DAY:
            raise ValueError("must be 24 hours at most (RFC 9309, 2.4): owners change their minds")
        return value

    @model_validator(mode="after")
    def _within(self) -> Self:
        hosts = self.hosts
        for seed in self.seeds:
            if not hosts.has(seed):
                raise ValueError(f"the seed {seed} is on none of the hosts in 'allow' ({', '.join(hosts.patterns)})")
            address = literal(host_of(seed))
            if address is not None and not self.allow_private and not is_public(address):
                raise ValueError(f"the seed {seed} is a private address; 'allow_private: true' if you mean it")
        return self


def _host_pattern(seed: str) -> str:
    host = host_of(seed)
    return f"[{host}]" if ":" in host else host
