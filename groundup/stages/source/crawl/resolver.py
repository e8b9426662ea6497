"""Names of hosts to addresses, without those of private networks: decided on the answer that is then connected to.

A name that anybody can register may point to this machine, to its neighbours, or to the service from which a cloud's
machines fetch their keys. Such addresses are taken out of every answer, so that no connection to one is ever tried.
"""

from __future__ import annotations

from typing import Any, Self

from scrapy.crawler import Crawler
from scrapy.resolver import CachingHostnameResolver
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from zope.interface import implementer, provider  # type: ignore[import-untyped, unused-ignore]

from groundup.base.public import is_public
from groundup.stages.source.urls import literal

ALLOW_PRIVATE = "GROUNDUP_ALLOW_PRIVATE"
"""The setting that lets private addresses through."""

private_names: set[str] = set()
"""Names whose answers held private addresses, for the reason that is given."""


@implementer(IHostnameResolver)
class PublicResolver(CachingHostnameResolver):
    """Scrapy's caching resolver, whose answers are public addresses unless private ones are allowed."""

    allow_private = False

    @classmethod
    def from_crawler(cls, crawler: Crawler, reactor: Any) -> Self:
        made = super().from_crawler(crawler, reactor)
        made.allow_private = crawler.settings.getbool(ALLOW_PRIVATE)
        return made

    def resolveHostName(  # noqa: N802  (Twisted's interface)
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        receiver: Any = resolutionReceiver if self.allow_private else _Public(resolutionReceiver, hostName)
        return super().resolveHostName(receiver, hostName, portNumber, addressTypes, transportSemantics)


@provider(IResolutionReceiver)
class _Public:
    """Passes public addresses on."""

    def __init__(self, receiver: Any, name: str) -> None:
        self._receiver = receiver
        self._name = name

    def resolutionBegan(self, resolution: Any) -> None:  # noqa: N802
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: Any) -> None:  # noqa: N802
        found = literal(str(address.host).partition("%")[0])
        if found is not None and is_public(found):
            self._receiver.addressResolved(address)
        else:
            private_names.add(self._name)

    def resolutionComplete(self) -> None:  # noqa: N802
        self._receiver.resolutionComplete()
