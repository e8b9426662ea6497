"""Of which kind a source is in the forms of the European Union: recorded, stated by a person, or not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from groundup.artifact.papers import facts
from groundup.artifact.papers.facts import Fact, Place, Source
from groundup.artifact.papers.subject import Subject

KINDS: Final = {
    "public": "publicly available data set",
    "licensed": "licensed commercially by right holders",
    "private": "private data set of another third party",
    "crawled": "crawled or scraped from the web by the provider",
    "user": "data of users of the provider's services",
    "synthetic": "made by a model by or for the provider",
    "other": "anything else",
}
_RECORDED: Final = {"crawl": "crawled", "hub": "public"}


def kind_of(subject: Subject, source: Source) -> str | None:
    """The kind that a person stated, else the one that the record tells (a crawl, the Hugging Face Hub), else None."""
    stated = _stated(subject, source).get("kind")
    return str(stated) if stated else _RECORDED.get(source.how)


def of_kind(subject: Subject, kind: str | None) -> list[Source]:
    """The sources of a kind; for None those of which no kind is known."""
    return [source for source in facts.sources(subject) if kind_of(subject, source) == kind]


def link(subject: Subject, source: Source) -> Fact | None:
    """The address of a source, where a person stated it."""
    value = _stated(subject, source).get("link")
    return Fact(value, Place("stated", "", "", ("sources", source.name, "link"))) if value else None


def _stated(subject: Subject, source: Source) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (subject.stated.get("sources") or {}).get(source.name) or {}
    return found
