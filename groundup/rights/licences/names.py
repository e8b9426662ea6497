"""What people call a licence, as an SPDX expression: its address, its name in words, its name in package metadata.

Creative Commons' addresses are ``creativecommons.org/licenses/CONDITIONS/VERSION[/PORT]`` and
``/publicdomain/(zero|mark)/1.0`` (creativecommons.org/licenses/list.en). SPDX has ids for some ports only: the others
become LicenseRef-CC-…, which keeps port and conditions apart from the international licence, and so do names without a
version. SPDX's annex on headers (2.3, annex E) and OSI's addresses are read by rule too, the others from ``urls.tsv``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import Final
from urllib.parse import unquote

from groundup.rights.licences.expression import try_normal
from groundup.rights.licences.table import table

LONGEST_NAME: Final = 300
_SCHEME: Final = re.compile(r"(?:https?:)?//(?:www\d?\.)?")
_CC_URL: Final = re.compile(
    r"(?:[a-z]{2}\.)?creativecommons\.org/licen[sc]es?/(?P<conditions>[a-z+-]+)(?:/(?P<version>\d\.\d))?(?:/(?P<port>[a-z]{2,3}))?"
    r"(?:/(?:deed|legalcode|rdf)?[\w.-]*)?/?"
)
_CC_PUBLIC: Final = re.compile(
    r"(?:[a-z]{2}\.)?creativecommons\.org/(?:publicdomain/(zero|mark)|licenses/(publicdomain))(?:/|$)"
)
_OSI_URL: Final = re.compile(
    r"(?:opensource\.org/licen[sc]es?|spdx\.org/licenses|choosealicense\.com/licenses)/([\w.+-]+?)(?:\.(?:php|html?|txt|json))?/?"
)
_CONDITIONS: Final = {"by": "BY", "nc": "NC", "nd": "ND", "sa": "SA"}
_ORDER: Final = ("BY", "NC", "ND", "SA")
_LANGUAGES: Final = frozenset({"en", "es", "it", "ja", "ko", "nl", "pt", "ru", "sv", "zh"})
"""Codes of languages that stand where a port does, as in /4.0/ja: version 4.0 has no ports."""
_OSI_NAMES: Final = {
    "mit-license": "MIT", "bsd-license": "BSD-2-Clause", "gpl-license": "GPL-2.0-only", "lgpl-license": "LGPL-2.1-only",
    "apache2.0": "Apache-2.0", "isc-license": "ISC", "mpl": "MPL-2.0",
    "osl": "OSL-3.0", "zlib-license": "Zlib", "artistic-license-2.0": "Artistic-2.0", "gpl-2-0": "GPL-2.0-only",
    "gpl-3-0": "GPL-3.0-only",
    "apache-2-0": "Apache-2.0", "mpl-2-0": "MPL-2.0", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause",
    "lgpl-2-1": "LGPL-2.1-only", "lgpl-3-0": "LGPL-3.0-only", "isc-license-txt": "ISC", "agpl-v3": "AGPL-3.0-only",
}  # fmt: skip

_CC_WORDS: Final = re.compile(
    r"(?:creative\s+commons|\bcc\b|\bcc(?=0))[\s-]*(?P<zero>zero\b|0\b|(?:public\s+domain\s+(?P<mark>mark|dedication)))?"
    r"(?P<terms>(?:[\s,/()-]*(?:\(?\bcc[- ]|\bby\b|\bnc\b|\bnd\b|\bsa\b|attribution|non-?\s?commercial|no\s?-?deriv\w*"
    r"|share\s?-?\s?alike))*)[\s)(]*(?:licen[sc]e)?[\s,(]*(?:version\s+|v\.?\s?)?(?P<version>[1-4]\.[0-9])?"
    r"(?P<port>[\s(]+(?:germany|deutschland|austria|united\s+states|us|unported|international|generic|igo)\b)?",
    re.IGNORECASE,
)
_TERMS: Final = (
    ("BY", re.compile(r"attribution|\bby\b", re.IGNORECASE)),
    ("NC", re.compile(r"non-?\s?commercial|\bnc\b", re.IGNORECASE)),
    ("ND", re.compile(r"no\s?-?deriv|\bnd\b", re.IGNORECASE)),
    ("SA", re.compile(r"share\s?-?\s?alike|\bsa\b", re.IGNORECASE)),
)
_PORTS: Final = {"germany": "DE", "deutschland": "DE", "austria": "AT", "united states": "US", "us": "US", "igo": "IGO"}


def by_url(address: str) -> str | None:
    """The licence that an address stands for; None for any other address.

    >>> by_url("https://creativecommons.org/licenses/by-nc-sa/3.0/de/"), by_url("http://opensource.org/licenses/MIT")
    ('CC-BY-NC-SA-3.0-DE', 'MIT')
    >>> by_url("https://creativecommons.org/licenses/by/3.0/fr/deed.fr"), by_url("https://creativecommons.org/")
    ('LicenseRef-CC-BY-3.0-FR', None)
    """
    if len(address) > LONGEST_NAME:
        return None
    plain = unquote(address).strip().lower()
    scheme = _SCHEME.match(plain)
    if scheme is None and not plain.startswith("creativecommons.org/"):
        return None
    plain = re.split(r"[?#]", plain[scheme.end() if scheme else 0 :])[0]
    if "creativecommons.org" in plain:
        return _creative_commons(plain)
    named = _OSI_URL.fullmatch(plain)
    if named is not None:
        return _OSI_NAMES.get(named[1]) or _id(named[1])
    plain = plain.rstrip("/")
    for start, whole, licence in _addresses():
        if plain == start or (not whole and plain.startswith(start)):
            return licence
    return None


def by_words(text: str) -> str | None:
    """The licence of Creative Commons that a text names first; None if it names none, or none of its conditions.

    >>> by_words("under a Creative Commons Attribution-ShareAlike 4.0 International License"), by_words("CC BY-NC 3.0")
    ('CC-BY-SA-4.0', 'CC-BY-NC-3.0')
    >>> by_words("CC BY"), by_words("Creative Commons is an organisation")
    ('LicenseRef-CC-BY', None)
    """
    for match in _CC_WORDS.finditer(text):
        zero = (match["zero"] or "").lower()
        if zero:
            return "CC-PDM-1.0" if (match["mark"] or "").lower() == "mark" else "CC0-1.0"
        found = [name for name, pattern in _TERMS if pattern.search(match["terms"])]
        if found:
            port = " ".join((match["port"] or "").lower().strip(" (").split())
            return _cc_id(found, match["version"], _PORTS.get(port, ""))
    return None


def by_name(name: str) -> str | None:
    """The licence that metadata names: an expression, an address, a name in words; None if it can't be told.

    >>> by_name("Apache License, Version 2.0"), by_name("MIT License"), by_name("BSD"), by_name("mit/apache-2.0")
    ('Apache-2.0', 'MIT', None, None)
    """
    plain = " ".join(name.split())
    if not plain or len(plain) > LONGEST_NAME:
        return None
    return try_normal(plain) or by_url(plain) or _names().get(_plain(plain)) or by_words(plain)


def name_at(text: str) -> str | None:
    """The licence whose name a text begins with; of several the longest name counts.

    >>> name_at("GNU Free Documentation License, version 1.2 or later; see"), name_at("GNU things")
    ('GFDL-1.2-or-later', None)
    """
    words = _plain(text[:200]).split()[:14]
    for number in range(len(words), 0, -1):
        name = " ".join(words[:number]).rstrip(".")
        found = _names().get(name) or (_id(name) if number == 1 and len(name) > 4 else None)
        if found is not None and (number > 1 or len(name) > 4):
            return found
    return None


def _plain(text: str) -> str:
    words = re.sub(r"[^a-z0-9.+]+", " ", text.lower().replace("licence", "license")).strip()
    return re.sub(r"\.(?=\s|$)", "", words).removeprefix("the ")


def _creative_commons(plain: str) -> str | None:
    public = _CC_PUBLIC.match(plain)
    if public is not None:
        return {"zero": "CC0-1.0", "mark": "CC-PDM-1.0", None: "CC-PDDC"}[public[1]]
    match = _CC_URL.fullmatch(plain)
    if match is None:
        return None
    conditions = match["conditions"].strip("-").split("-")
    if any(part.startswith(("sampling", "devnations")) for part in conditions):
        version = f"-{match['version']}" if match["version"] else ""
        names = [
            {"sampling+": "Sampling", "sampling": "Sampling", "devnations": "DevNations"}.get(one) for one in conditions
        ]
        return (
            "LicenseRef-CC-" + "-".join([*("NC" for one in conditions if one == "nc"), *filter(None, names)]) + version
        )
    if not all(part in _CONDITIONS for part in conditions):
        return None
    port = (match["port"] or "").upper()
    if port.lower() in _LANGUAGES and match["version"] == "4.0":
        port = ""
    return _cc_id([_CONDITIONS[part] for part in conditions], match["version"], port)


def _cc_id(conditions: list[str], version: str | None, port: str) -> str:
    """The id of a licence with these conditions; a reference if SPDX has none for them."""
    named = "-".join(["CC", *sorted(set(conditions), key=_ORDER.index)])
    name = f"{named}-{version}" if version else named
    whole = f"{name}-{port}" if port else name
    return whole if whole in table().licences else f"LicenseRef-{whole}"


def _id(word: str) -> str | None:
    name = table().spelling.get(word.lower())
    return None if name is None or name in table().exceptions else table().renamed.get(name, name)


@lru_cache(maxsize=1)
def _addresses() -> tuple[tuple[str, bool, str], ...]:
    """(address or its beginning, whether it is whole, licence)."""
    rows = []
    for line in resources.files(__package__).joinpath("urls.tsv").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            address, licence = line.split("\t")
            rows.append((address.rstrip("*"), not address.endswith("*"), licence))
    return tuple(rows)


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Names in small letters without signs, as metadata of packages writes them."""
    rows: dict[str, str] = {}
    for line in resources.files(__package__).joinpath("names.tsv").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            licence, names = line.split("\t")
            rows |= dict.fromkeys((_plain(name) for name in names.split(" | ")), licence)
    return rows
