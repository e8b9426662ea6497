"""All that the files of a site say about one of its pages: robots.txt, tdmrep.json and ai.txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from groundup.rights.signals import ai_txt, tdm, usage
from groundup.rights.signals.agents import TRAINING_AGENTS
from groundup.rights.signals.licence import licence_signal
from groundup.rights.signals.robots import robots_of, robots_signals
from groundup.rights.signals.signal import Signal, SiteFile, distinct

SITE_FILES: Final[Mapping[str, str]] = {
    "robots.txt": "/robots.txt",
    "tdmrep.json": "/.well-known/tdmrep.json",
    "ai.txt": "/ai.txt",
}
"""Where the files of a site lie, below its scheme, host and port."""


def site_signals(
    url: str, files: Mapping[str, SiteFile], agent: str, ai_agents: Sequence[str] = TRAINING_AGENTS
) -> list[Signal]:
    """What the files of a site say about one of its pages, before it is asked for.

    ``files`` has any of the keys of SITE_FILES; one that is missing was not asked for, and says nothing. ``agent`` is
    our name in robots.txt; ``ai_agents`` are those whose groups refuse us. RequestError if protego is not installed.
    """
    signals: list[Signal] = []
    if robots_file := files.get("robots.txt"):
        signals += robots_signals(url, robots_file, agent, ai_agents)
        robots = robots_of(robots_file)
        if robots is not None:
            # A page that may not be fetched has no usage preferences (draft-ietf-aipref-attach-05, "Semantics").
            if signals[0].verdict == "allowed":
                signals += usage.robots_usage(url, robots, agent, robots_file.url)
            for line in robots.loose:
                if line.name == "license" and (
                    one := licence_signal(line.value, "robots.txt", line.raw, robots_file.url)
                ):
                    signals.append(one)
    if tdm_file := files.get("tdmrep.json"):
        signals += tdm.site_signals(url, tdm_file)
    if ai_file := files.get("ai.txt"):
        signals += ai_txt.site_signals(url, ai_file, agent)
    return distinct(signals)
