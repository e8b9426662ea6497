"""The licence ids of SPDX, how they are called now, and the categories that a policy speaks of (``spdx.tsv``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

CATEGORIES: Final = (
    "public-domain", "permissive", "copyleft", "share-alike", "non-commercial", "no-derivatives", "limited", "unknown",
)  # fmt: skip
"""``copyleft``: software licences that bind what is derived, ``share-alike`` those of works and data. ``limited``: may
be used only by some, for some ends, or not at all. ``unknown``: a LicenseRef-* that says nothing by its name."""

_EXCEPTION: Final = "exception"
_CREATIVE_COMMONS: Final = re.compile(r"LicenseRef-CC(?:-(?:BY|NC|ND|SA|Sampling|DevNations))+(?:-[\w.]+)*")
_REFERENCES: Final = {
    "LicenseRef-public-domain": "public-domain",
    "LicenseRef-permissive": "permissive",
    "LicenseRef-proprietary": "limited",
    "LicenseRef-all-rights-reserved": "limited",
}


@dataclass(frozen=True)
class Table:
    """``licences``: id to categories. ``exceptions``: ids that follow WITH. ``renamed``: withdrawn id to expression.

    ``spelling``: any id in small letters to the id.
    """

    licences: dict[str, frozenset[str]]
    exceptions: frozenset[str]
    renamed: dict[str, str]
    spelling: dict[str, str]


@lru_cache(maxsize=1)
def table() -> Table:
    """What ``spdx.tsv`` says; read once, in about a millisecond."""
    licences: dict[str, frozenset[str]] = {}
    exceptions, renamed = set[str](), dict[str, str]()
    for line in resources.files(__package__).joinpath("spdx.tsv").read_text("utf-8").splitlines():
        name, tab, said = line.partition("\t")
        if not tab or line.startswith("#"):
            continue
        if said == _EXCEPTION:
            exceptions.add(name)
        elif said.startswith("= "):
            renamed[name] = said[2:]
        else:
            licences[name] = frozenset(said.split())
    spelling = {name.lower(): name for name in (*licences, *exceptions, *renamed)}
    return Table(licences, frozenset(exceptions), renamed, spelling)


def categories(licence: str) -> frozenset[str]:
    """The categories of one licence, such as ``CC-BY-NC-SA-4.0`` or ``GPL-2.0-only WITH Classpath-exception-2.0``.

    A LicenseRef is ``unknown``, but for those of Creative Commons' conditions and a few whose name says what they are.

    >>> sorted(categories("CC-BY-NC-SA-4.0")), sorted(categories("LicenseRef-mine"))
    (['non-commercial', 'share-alike'], ['unknown'])
    """
    name = licence.partition(" WITH ")[0].removesuffix("+")
    known = table().licences.get(name)
    if known is not None:
        return known
    if _CREATIVE_COMMONS.fullmatch(name):
        parts = name.split("-")
        marks = (("NC", "non-commercial"), ("ND", "no-derivatives"), ("SA", "share-alike"))
        found = {category for mark, category in marks if mark in parts}
        found |= {"limited"} if {"Sampling", "DevNations"} & set(parts) else set()
        return frozenset(found or {"permissive"})
    return frozenset({_REFERENCES.get(name, "unknown")})
