"""Where a page says under which licence it is: the address or the name, as it stands; what it means is told elsewhere.

Read are ``Link`` headers and ``link`` or ``a`` elements with ``rel=license`` (RFC 4946 and HTML; also RSL 1.0's),
meta elements of Dublin Core and Creative Commons, schema.org's ``license`` in JSON-LD, and ``License:`` in robots.txt
(RSL 1.0). None of them refuses anything by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from groundup.rights.signals.signal import Place, Signal

META: Final = frozenset({
    "license", "licence", "dc.rights", "dc.rights.license", "dc.license", "dcterms.license", "dcterms.rights",
    "dc:license", "dcterms:license", "dcterms:rights", "dc:rights", "cc:license", "cc.license", "xhtml:license",
    "og:license", "copyright-license",
})  # fmt: skip
"""Names and properties of meta elements, in lower case."""

_JSON_KEYS: Final = frozenset({
    "license", "schema:license", "http://schema.org/license", "https://schema.org/license", "dcterms:license",
    "dct:license", "cc:license", "http://purl.org/dc/terms/license", "http://creativecommons.org/ns#license",
})  # fmt: skip
_OF_PARTS: Final = frozenset({"imageobject", "videoobject", "audioobject", "mediaobject", "softwareapplication"})
"""Types whose licence is not that of the page's text."""
_MAX_JSON: Final = 1 << 20
_MAX_NODES: Final = 20_000
_MAX_FOUND: Final = 8
_TARGET: Final = re.compile(r"\s*+,?\s*+<([^>]*+)>")
_PARAMETER: Final = re.compile(r"\s*+;\s*+([A-Za-z0-9*_-]++)\s*+(?:=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;,\"]*+)))?+")


def licence_signal(value: str, place: Place, evidence: bytes, url: str) -> Signal | None:
    """The signal for an address or name; None if it is empty."""
    said = " ".join(value.split())
    return Signal("licence", place, "allowed", said, evidence, url) if said else None


def link_targets(value: str) -> Iterator[tuple[str, frozenset[str]]]:
    """(address, relations) of a Link header (RFC 8288, 3); what can't be read ends it.

    >>> list(link_targets('<a,b>; rel="license next", <c>;rel=prev'))[0][0]
    'a,b'
    """
    at = 0
    while match := _TARGET.match(value, at):
        at = match.end()
        relations: frozenset[str] = frozenset()
        while parameter := _PARAMETER.match(value, at):
            at = parameter.end()
            if parameter[1].lower() == "rel" and not relations:
                relations = frozenset((parameter[2] or parameter[3] or "").lower().split())
        yield match[1], relations


def json_licences(text: str) -> list[str]:
    """The licences that a JSON-LD document states of the page, at most a few; none if it is damaged.

    >>> json_licences('{"@type": "Article", "license": {"@id": "https://creativecommons.org/licenses/by/4.0/"}}')
    ['https://creativecommons.org/licenses/by/4.0/']
    """
    if len(text) > _MAX_JSON:
        return []
    try:
        held: Any = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    stack, seen = [held], 0
    while stack and seen < _MAX_NODES and len(found) < _MAX_FOUND:
        node = stack.pop()
        seen += 1
        if isinstance(node, list):
            stack += node[::-1]
        elif isinstance(node, dict) and not _is_part(node):
            for key, value in node.items():
                if key.lower() in _JSON_KEYS:
                    found += _addresses(value)
                elif isinstance(value, (dict, list)):
                    stack.append(value)
    return list(dict.fromkeys(found))[:_MAX_FOUND]


def _is_part(node: dict[str, Any]) -> bool:
    kinds = node.get("@type", ())
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    return any(
        isinstance(name, str) and name.rpartition("/")[2].rpartition(":")[2].lower() in _OF_PARTS for name in names
    )


def _addresses(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    found = []
    for one in values[:_MAX_FOUND]:
        if isinstance(one, dict):
            one = one.get("@id") or one.get("url") or one.get("@value") or one.get("name")
        if isinstance(one, str) and one.strip():
            found.append(one.strip())
    return found
