"""What the report shows of a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundup.artifact.exhibit import Bars, Exhibit, Facts, Table
from groundup.base.units import human_bytes, human_count
from groundup.stages.mix.allot import Part


def exhibits(
    measured: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Part], unit: str, duplicates: int
) -> tuple[Exhibit, ...]:
    """Headline, shares as bars, and a table of what was wanted, what there is and what came of it."""
    text = human_bytes if unit == "bytes" else human_count
    ordered = sorted(measured, key=lambda name: (-measured[name]["share"], name))
    whole = sum(one["amount"] for one in measured.values())
    unique = sum(min(one["amount"], one["supply"]) for one in measured.values())
    most = max(ordered, key=lambda name: measured[name]["epochs"])
    return (
        Facts(
            title="The mixture in numbers",
            facts=(
                ("training text", text(whole), unit),
                ("of it different", text(unique), "the rest is read again"),
                ("most repeated", f"{measured[most]['epochs']:.2f} times", most),
                ("in several corpora", f"{duplicates:,}", "documents, taken once"),
            ),
        ),
        Bars(
            title="Shares of the mixture",
            x_label="share",
            bars=tuple((name, measured[name]["share"], None, None) for name in ordered),
        ),
        Table(
            title="Wanted, there, and taken",
            caption="A share is smaller than wanted where the group's text would have to be read too often.",
            columns=("group", "there is", "share of that", "wanted share", "share", "taken", "times read", "documents"),
            rows=tuple(
                (
                    name,
                    text(measured[name]["supply"]),
                    f"{_of_all(parts, name):.1%}",
                    f"{measured[name]['wanted_share']:.1%}",
                    f"{measured[name]['share']:.1%}",
                    text(measured[name]["amount"]),
                    round(measured[name]["epochs"], 2),
                    measured[name]["documents"],
                )
                for name in ordered
            ),
        ),
    )


def _of_all(parts: Mapping[str, Part], name: str) -> float:
    whole = sum(part.supply for part in parts.values())
    return parts[name].supply / whole if whole else 0.0
