"""ai.txt in Spawning's form: robots.txt's lines, by types of files, on the use of what they hold for training.

Patterns are those of robots.txt: ``Disallow: *.html``. A page whose address has no ending is taken to be HTML, as it is
the type of the file that the owner means. Other files of that name (guides in Markdown, agents' policies) say nothing
that we read, but for a line ``Training: deny``, which leaves no doubt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from groundup.rights.signals.patterns import path_of
from groundup.rights.signals.robots import LIMIT, Group, Line, parse, product_token
from groundup.rights.signals.signal import Signal, SiteFile, Verdict
from groundup.rights.signals.tdm import is_page

_ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_DENIED: Final = frozenset({"deny", "denied", "disallow", "no", "none"})


def site_signals(url: str, file: SiteFile, agent: str) -> list[Signal]:
    """What ai.txt says of a page."""
    if file.absent or (file.found and is_page(file)):
        return []
    if not file.found or (not file.complete and len(file.body) < LIMIT):
        why = "cut off" if file.found else file.trouble()
        return [Signal("ai-txt", "ai.txt", "unknown", why, b"", file.url)]
    held = parse(file.body)
    signals = [
        Signal("ai-txt", "ai.txt", "refused", f"Training: {line.value}", line.raw, file.url)
        for line in (*held.loose, *(line for group in held.groups for line in group.lines))
        if line.name == "training" and line.value.lower() in _DENIED
    ]
    group = held.group(agent)
    found = _rule(group, names(path_of(url))) if group else None
    if group and found:
        verdict: Verdict = "refused" if found.name == "disallow" else "allowed"
        token = product_token(agent)
        value = f"{token if token in group.agents else '*'}: {found.name.capitalize()} {found.value}"
        evidence = b"\n".join([*group.raw[:4], found.raw])
        signals.append(Signal("ai-txt", "ai.txt", verdict, value, evidence, file.url))
    return signals


def names(path: str) -> list[str]:
    """What a path may be matched as: as it is, and as HTML if it has no ending."""
    bare = path.partition("?")[0]
    if _ENDING.search(bare):
        return [path] if bare == path else [path, bare]
    return [path, bare, bare.rstrip("/") + "/index.html" if bare.endswith("/") else bare + ".html"]


def _rule(group: Group, paths: Sequence[str]) -> Line | None:
    """The longest rule that matches; the one that allows among equals (RFC 9309, 2.2.2)."""
    matching = [
        (pattern.length, line.name == "allow", line)
        for pattern, line in group.rules
        if any(pattern.matches(path) for path in paths)
    ]
    return max(matching, key=lambda one: one[:2])[2] if matching else None
