"""One resolved decision for a URL at a time, and the table in which it is kept with its evidence.

Within a protocol its own rule holds (``RULES``); across protocols the most restrictive wins. A signal that could not be
read is ``unknown``, and counts as a refusal unless the caller says otherwise (``fail_closed``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import pyarrow as pa

from groundup.rights.signals.signal import Signal, Verdict, strictest

_STRING: Final = pa.string()


def _column(name: str, kind: pa.DataType = _STRING) -> pa.Field[pa.DataType]:
    return pa.field(name, kind, nullable=False)


SIGNALS: Final = pa.schema(
    [
        *(_column(name) for name in ("url", "at", "decision", "protocol", "place", "verdict", "value")),
        _column("decided", pa.bool_()),
        _column("document"),
        _column("evidence", pa.binary()),
    ]
)
"""Every signal seen, not only those that decided: a row for each, the signals of a decision one after the other.

``at`` is ISO 8601 (UTC); ``decision`` the verdict on the URL, ``verdict`` that of the signal; ``decided`` says whether
the decision rests on it; ``document`` is where ``evidence`` stands.
"""


@dataclass(frozen=True)
class Decision:
    """The verdict on a URL at a time (ISO 8601, UTC), all ``signals`` seen and those it rests on (``because``)."""

    url: str
    at: str
    verdict: Verdict
    signals: tuple[Signal, ...]
    because: tuple[Signal, ...]

    @property
    def usable(self) -> bool:
        """Whether the page may be used: nothing refuses it, and what is unknown was said not to matter."""
        return self.verdict != "refused"

    @property
    def why(self) -> str:
        """For people: the statements it rests on."""
        return "; ".join(dict.fromkeys(f"{one.protocol} ({one.place}): {one.value}" for one in self.because))


def decide(url: str, at: str, signals: Iterable[Signal], *, fail_closed: bool = True) -> Decision:
    """Resolve ``signals``, in any order; the verdict is ``unknown`` only if ``fail_closed`` is False.

    Without any signal a page is allowed: nobody said anything against it.
    """
    seen = tuple(sorted(set(signals)))
    counted = [one for group in _by_protocol(seen).values() for one in group]
    verdict = strictest([one.verdict for one in counted])
    because = tuple(one for one in counted if one.verdict == verdict)
    if verdict == "unknown" and fail_closed:
        verdict = "refused"
    return Decision(url, at, verdict, seen, because)


def _by_protocol(signals: Sequence[Signal]) -> dict[str, list[Signal]]:
    """The signals that count, protocol by protocol."""
    groups: dict[str, list[Signal]] = {}
    for one in signals:
        groups.setdefault(one.protocol, []).append(one)
    return {protocol: RULES.get(protocol, _all)(group) for protocol, group in groups.items()}


def _all(signals: list[Signal]) -> list[Signal]:
    """The most restrictive wins: all of them count."""
    return signals


def _first_place(*order: str) -> Callable[[list[Signal]], list[Signal]]:
    """Only the signals of the first place of ``order`` that says anything count."""

    def counted(signals: list[Signal]) -> list[Signal]:
        first = min(signals, key=lambda one: order.index(one.place)).place
        return [one for one in signals if one.place == first]

    return counted


def _none(signals: list[Signal]) -> list[Signal]:
    """None counts: what a licence allows is not told by its being there."""
    return []


RULES: Final[Mapping[str, Callable[[list[Signal]], list[Signal]]]] = {
    # TDMRep, "Processing priority": what a page says supersedes its header, and that the file of the site.
    "tdm": _first_place("meta", "header", "well-known"),
    "licence": _none,
}
"""How the signals of a protocol are resolved, where it isn't that the most restrictive wins."""


def rows(decision: Decision) -> list[dict[str, Any]]:
    """The rows of SIGNALS for a decision; none if there was no signal."""
    because = set(decision.because)
    return [
        {
            "url": decision.url, "at": decision.at, "decision": decision.verdict,
            "protocol": one.protocol, "place": one.place, "verdict": one.verdict, "value": one.value,
            "decided": one in because, "document": one.url, "evidence": one.evidence,
        }
        for one in decision.signals
    ]  # fmt: skip


def decisions(table_rows: Iterable[Mapping[str, Any]]) -> Iterator[Decision]:
    """The decisions that ``rows`` made into rows, which must stand together as they were written."""
    for (url, at, verdict), group in groupby(table_rows, key=lambda row: (row["url"], row["at"], row["decision"])):
        held = [
            (Signal(*(row[name] for name in ("protocol", "place", "verdict", "value", "evidence", "document"))), row)
            for row in group
        ]
        because = tuple(one for one, row in held if row["decided"])
        yield Decision(url, at, verdict, tuple(one for one, _ in held), because)
