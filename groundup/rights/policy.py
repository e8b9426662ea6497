"""What may be used for what: a policy file, and its judgement on a licence, a source and an address.

A policy is a list of rules, read from the top. A rule says one use (``train``, ``evaluate``, ``never``) for licences,
by SPDX id, pattern (``CC-BY-*``) or category, and may hold for certain sources or domains only; without licences it
holds for all of them. What no rule speaks of has the ``default``.

A licence may have several categories (CC-BY-NC-SA is non-commercial and share-alike). Each has the use of the first
rule that fits it, and the most restrictive of these is the licence's: to allow share-alike does not allow what is
non-commercial, too. In an expression, OR leaves the choice, so the most permissive alternative counts; of what AND
holds together the most restrictive does; WITH is a licence of its own, for patterns, with the categories of the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator

import groundup
from groundup.artifact.terms import USES, Use, strictest
from groundup.base.config import Config
from groundup.base.errors import RequestError, nearest
from groundup.base.units import Duration
from groundup.base.yaml_file import read_yaml
from groundup.rights.licences.expression import try_normal, weigh
from groundup.rights.licences.table import CATEGORIES, categories, table

_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class Rule(Config):
    """One use for some licences, everywhere or in some places."""

    use: Use = Field(description="train (and evaluate), evaluate (and never train), or never")
    licences: tuple[str, ...] = Field((), description="SPDX ids, patterns such as CC-BY-*, or categories; all if none")
    sources: tuple[str, ...] = Field((), description="names of sources, or patterns, for which this holds; all if none")
    domains: tuple[str, ...] = Field((), description="hosts, with those below them, for which this holds; all if none")
    because: str = Field("", description="why, for people: shown wherever the rule decides")

    @field_validator("licences")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_licence_name(name) for name in names)

    @field_validator("domains")
    @classmethod
    def _hosts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(name.strip().lower().rstrip(".") for name in names)
        for name in found:
            if not _HOST.fullmatch(name):
                raise ValueError(f"{name!r} is no host: write it like example.org, which has www.example.org in it")
        return tuple(name.removeprefix("*.") for name in found)

    def is_here(self, source: str, host: str) -> bool:
        """Whether the rule holds for a source and a host; one with domains holds for no page without an address."""
        if self.sources and not any(fnmatchcase(source, pattern) for pattern in self.sources):
            return False
        return not self.domains or any(host == name or host.endswith(f".{name}") for name in self.domains)

    def fits(self, licence: str, category: str) -> bool:
        """Whether it speaks of a licence, in so far as it is of this category."""
        if not self.licences:
            return True
        return any(one == category if one in CATEGORIES else fnmatchcase(licence, one) for one in self.licences)

    def __str__(self) -> str:
        where = [f"sources {', '.join(self.sources)}"] if self.sources else []
        where += [f"domains {', '.join(self.domains)}"] if self.domains else []
        what = [", ".join(self.licences)] if self.licences else [] if where else ["everything"]
        return f"{self.use}: {', '.join([*what, *where])}"


class Signals(Config):
    """What a policy wants to know of the signals of crawled pages' owners."""

    recheck_within: Duration | None = Field(
        None, description="age that a look at them may have before training starts, such as '30 days'"
    )


class Rules(Config):
    """The part of a policy that decides on documents: it belongs to what defines a corpus that was made under it."""

    default: Use = Field("never", description="the use of what no rule speaks of")
    rules: tuple[Rule, ...] = Field((), description="from the top, the first that fits decides")

    def judge(self, licence: str, source: str = "", url: str | None = None) -> Judgement:
        """What material under a licence may be used for, and the rule that decided.

        ``licence`` is an SPDX expression; what is none is judged as unknown.
        """
        host = host_of(url) if url else ""
        here = [(number, rule) for number, rule in enumerate(self.rules, 1) if rule.is_here(source, host)]
        expression = try_normal(licence) or "LicenseRef-unknown"
        decided: dict[str, Judgement] = {}

        def value(one: str) -> int:
            decided[one] = self._of_licence(one, here)
            return USES.index(decided[one].use)

        use = USES[weigh(expression, value)]
        reason = next(one.reason for one in decided.values() if one.use == use)
        return Judgement(use, expression, reason)

    def best(self, licence: str, source: str) -> Judgement:
        """The most that any page of a source may be used for, wherever it is from: rules for domains may allow more."""
        domains = sorted({name for rule in self.rules for name in rule.domains})
        judgements = [self.judge(licence, source, f"https://{name}/" if name else None) for name in ("", *domains)]
        return max(judgements, key=lambda one: USES.index(one.use))

    def _of_licence(self, licence: str, here: list[tuple[int, Rule]]) -> Judgement:
        found = []
        for category in sorted(categories(licence)):
            number, rule = next(((n, rule) for n, rule in here if rule.fits(licence, category)), (0, None))
            if rule is None:
                found.append(Judgement(self.default, licence, f"default: {self.default}"))
            else:
                reason = f"rule {number}, {rule}" + (f" ({rule.because})" if rule.because else "")
                found.append(Judgement(rule.use, licence, reason))
        use = strictest(one.use for one in found)
        return next(one for one in found if one.use == use)


class Policy(Rules):
    """A policy file: rules on documents, and what it wants of signals."""

    name: str = Field("", description="name in messages; by default that of the file")
    description: str = Field("", description="what the policy is for, for people")
    signals: Signals = Field(Signals(), description="how fresh the look at owners' signals must be")

    @classmethod
    def load(cls, reference: str, folder: Path | None = None) -> Policy:
        """The policy by path (relative to ``folder``, or to where we are) or packaged name; RequestError otherwise."""
        path = locate(reference, folder)
        data = read_yaml(path)
        if not isinstance(data, dict):
            raise RequestError(f"policy {path} must be a mapping with 'default' and 'rules'")
        policy = cls.parse({"name": path.stem, **data}, f"policy {path.name}")
        if policy.default == "never" and all(rule.use == "never" for rule in policy.rules):
            raise RequestError(
                f"policy {policy.name!r} excludes everything: no rule allows any use, nor does its default"
            )
        return policy

    @cached_property
    def on_documents(self) -> Rules:
        """Its rules alone."""
        return Rules(default=self.default, rules=self.rules)


@dataclass(frozen=True)
class Judgement:
    """A use, the expression that was judged, and the rule that decided, in words."""

    use: Use
    licence: str
    reason: str


def packaged() -> dict[str, Path]:
    """The policies that come with groundup, by name."""
    return {path.stem: path for path in sorted((Path(groundup.__file__).parent / "policies").glob("*.yaml"))}


def locate(reference: str, folder: Path | None = None) -> Path:
    """The file of a policy."""
    known = packaged()
    if reference in known:
        return known[reference]
    for path in _places(reference, folder):
        if path.is_file():
            return path.resolve()
    if Path(reference).suffix in {".yaml", ".yml"}:
        raise RequestError(f"policy file {reference!r} does not exist")
    raise RequestError(f"no policy {reference!r}{nearest(reference, known)}")


def host_of(url: str) -> str:
    """The host of an address in small letters; empty if it has none.

    >>> host_of("https://WWW.Example.org:8080/a"), host_of("no address")
    ('www.example.org', '')
    """
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _places(reference: str, folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder / reference
    yield Path(reference)


def _licence_name(name: str) -> str:
    """A category, a pattern, or an id as SPDX spells it; ValueError for what can't fit anything."""
    plain = name.strip()
    if plain.lower() in CATEGORIES:
        return plain.lower()
    known = table()
    if any(sign in plain for sign in "*?["):
        names = (*known.licences, "LicenseRef-", "LicenseRef-CC-BY", "LicenseRef-public-domain")
        if plain.startswith("LicenseRef-") or " WITH " in plain or any(fnmatchcase(one, plain) for one in names):
            return plain
        raise ValueError(f"no SPDX id fits the pattern {plain!r}")
    found = try_normal(plain)
    if found is None or " AND " in found or " OR " in found:
        hint = nearest(plain, (*CATEGORIES, *known.licences))
        raise ValueError(f"{plain!r} is no SPDX id, pattern or category{hint if hint.startswith('; did') else ''}")
    return found
