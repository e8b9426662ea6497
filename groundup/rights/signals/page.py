"""All that a page says about itself: in the header fields of the answer that it came in, and in its markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urljoin

from groundup.rights.signals import noai, tdm, usage
from groundup.rights.signals.agents import AI_AGENTS
from groundup.rights.signals.licence import META, json_licences, licence_signal, link_targets
from groundup.rights.signals.markup import Element, elements, in_utf8, may_hold
from groundup.rights.signals.signal import Place, Signal, distinct

HEADERS: Final = frozenset({*usage.FIELDS, tdm.RESERVATION, tdm.POLICY, noai.HEADER, "link"})
"""Header fields that can hold a signal, in lower case."""

_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_KNOWN_AGENTS: Final = frozenset(name.lower() for name in AI_AGENTS)
_LICENCE_WORDS: Final = frozenset({"license", "licence"})
_LICENCE_PROPERTIES: Final = META | {"schema:license", "dct:license", "http://creativecommons.org/ns#license"}


def page_signals(
    url: str, headers: Mapping[str, str] | Sequence[tuple[str, str]], content: bytes, media_type: str
) -> list[Signal]:
    """What the header fields of an answer and the markup of the page in it say; headers alone if it is no HTML."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    fields = [(name.strip().lower(), value) for name, value in pairs]
    signals = _header_signals(url, [pair for pair in fields if pair[0] in HEADERS])
    if media_type.partition(";")[0].strip().lower() in _HTML:
        page = in_utf8(content)
        if may_hold(page):
            signals += _markup_signals(url, elements(page))
    return distinct(signals)


def _header_signals(url: str, fields: Sequence[tuple[str, str]]) -> list[Signal]:
    signals = usage.field_signals(url, fields, "header") + tdm.field_signals(url, fields, "header")
    signals += noai.rule_signals(url, [pair for pair in fields if pair[0] == noai.HEADER], "header")
    for name, value in fields:
        if name == "link":
            for target, relations in link_targets(value):
                if relations & _LICENCE_WORDS:
                    signals += _licence(target, "header", f"link: {value}".encode("utf-8", "replace"), url)
    return signals


def _markup_signals(url: str, found: Iterable[Element]) -> list[Signal]:
    signals: list[Signal] = []
    reserved: list[Element] = []
    for element in found:
        if element.name == "meta":
            signals += _meta_signals(url, element)
            if _name(element).replace("tdm:", "tdm-", 1) in (tdm.RESERVATION, tdm.POLICY):
                reserved.append(element)
        if element.name == "script":
            for value in json_licences(element.text.decode("utf-8", "replace")):
                signals += _licence(value, "meta", element.text.strip(), url)
        else:
            signals += _linked_licence(url, element)
    pairs = [(_name(element), element.get("content")) for element in reserved]
    evidence = b"\n".join(element.raw for element in reserved)
    return signals + tdm.field_signals(url, pairs, "meta", evidence)


def _name(element: Element) -> str:
    return (element.get("name") or element.get("property")).strip().lower()


def _meta_signals(url: str, element: Element) -> list[Signal]:
    """What a meta element says, but for reservations, which stand in two of them."""
    name, content, raw = _name(element), element.get("content"), element.raw
    if element.get("http-equiv").strip().lower() == noai.HEADER:
        return noai.rule_signals(url, [(noai.HEADER, content)], "meta", raw)
    if name == "robots" or name in _KNOWN_AGENTS or name.endswith("bot") or "bot-" in name:
        return noai.rule_signals(url, [(name, content)], "meta", raw)
    return _licence(content, "meta", raw, url) if name in META else []


def _linked_licence(url: str, element: Element) -> list[Signal]:
    """rel=license of a link, or a property of RDFa or microdata on any of the elements looked at."""
    target = element.get("href") or element.get("resource")
    if frozenset(element.get("rel").lower().split()) & _LICENCE_WORDS:
        return _licence(target, "link", element.raw, url)
    properties = frozenset(f"{element.get('property')} {element.get('itemprop')}".lower().split())
    if properties & _LICENCE_PROPERTIES and _name(element) not in META:
        return _licence(target or element.get("content"), "link", element.raw, url)
    return []


def _licence(value: str, place: Place, evidence: bytes, url: str) -> list[Signal]:
    value = value.strip()
    if value.startswith(("/", ".", "?")) and url.startswith(("http://", "https://")):
        with suppress(ValueError):
            value = urljoin(url, value)
    one = licence_signal(value, place, evidence, url)
    return [one] if one else []
