"""How much of each group a mixture takes: shares, and what the supply makes of them.

Shares that are not set go by size to the power 1 / temperature (Conneau et al. 2019, section 3.1, with the exponent
0.7 or 0.3; Raffel et al. 2020, section 3.5.2, call its inverse the temperature). No group is read more often than its
cap; what it can't take is given to the others in proportion to their shares, which at an infinite temperature is
UniMax (Chung et al. 2023, algorithm 1). Up to four epochs are worth nearly as much as new text (Muennighoff et al.
2023, figure 5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from groundup.base.errors import RequestError

Short = Literal["redistribute", "shrink", "refuse"]


@dataclass(frozen=True)
class Part:
    """What one group gives, in the unit of its supply (bytes or tokens).

    ``wanted`` is its share before the supply had a say, ``share`` the one that it has in the mixture.
    """

    supply: float
    wanted: float
    share: float
    amount: float

    @property
    def epochs(self) -> float:
        """How often the group is read."""
        return self.amount / self.supply if self.supply else 0.0


def shares(supply: Mapping[str, float], named: Mapping[str, float], temperature: float) -> dict[str, float]:
    """The share of each group: as named; what is left is split among the others by size**(1 / temperature).

    If all groups are named, or nothing is left, the shares are scaled to add up to 1. RequestError if none is above 0,
    or a named group has no text.

    >>> shares({"web": 8.0, "books": 2.0}, {}, 1.0)
    {'web': 0.8, 'books': 0.2}
    >>> shares({"web": 8.0, "books": 2.0}, {"books": 0.5}, 1.0)
    {'web': 0.5, 'books': 0.5}
    >>> shares({"web": 16.0, "books": 1.0}, {}, 4.0)
    {'web': 0.6666666666666666, 'books': 0.3333333333333333}
    """
    unknown = sorted(set(named) - {name for name, size in supply.items() if size})
    if unknown:
        there = ", ".join(sorted(name for name, size in supply.items() if size))
        raise RequestError(f"shares name {', '.join(unknown)}, of which there is no training text; there are: {there}")
    left = max(0.0, 1.0 - math.fsum(named.values()))
    sizes = {name: size ** (1 / temperature) for name, size in supply.items() if name not in named and size > 0}
    whole = math.fsum(sizes.values())
    found = {name: named.get(name, left * sizes.get(name, 0.0) / whole if whole else 0.0) for name in supply}
    total = math.fsum(found.values())
    if not total:
        raise RequestError("no group of the mixture has a share above 0")
    return {name: share / total for name, share in found.items()}


def allot(
    supply: Mapping[str, float],
    wanted: Mapping[str, float],
    caps: Mapping[str, float],
    total: float,
    when_short: Short = "redistribute",
) -> dict[str, Part]:
    """Split ``total`` into parts by ``wanted`` shares, no part above ``caps`` times the group's supply.

    Where a group falls short: ``redistribute`` gives what it lacks to the others, and the mixture is smaller than
    ``total`` only if all are at their caps; ``shrink`` keeps the shares and makes the mixture smaller; ``refuse`` is a
    RequestError.

    >>> parts = allot({"web": 100.0, "books": 10.0}, {"web": 0.5, "books": 0.5}, {"web": 1.0, "books": 4.0}, 110.0)
    >>> {name: (part.amount, part.epochs) for name, part in parts.items()}
    {'web': (70.0, 0.7), 'books': (40.0, 4.0)}
    """
    most = {name: caps[name] * size for name, size in supply.items()}
    short = sorted(name for name, share in wanted.items() if share * total > most[name] * (1 + 1e-9))
    if short and when_short == "refuse":
        told = "; ".join(
            f"{name} has {supply[name]:,.0f}, and {wanted[name]:.1%} of {total:,.0f} are "
            f"{wanted[name] * total / supply[name]:.1f} epochs (at most {caps[name]:g})"
            for name in short
        )
        raise RequestError(
            f"the mixture needs more than there is: {told}; lower the share or the size, or raise the cap"
        )
    if short and when_short == "shrink":
        total = min(most[name] / share for name, share in wanted.items() if share)
    amounts = _filled(wanted, most, total)
    whole = math.fsum(amounts.values())
    return {
        name: Part(size, wanted[name], amounts[name] / whole if whole else 0.0, amounts[name])
        for name, size in supply.items()
    }


def _filled(wanted: Mapping[str, float], most: Mapping[str, float], total: float) -> dict[str, float]:
    """Amounts in proportion to ``wanted`` that add up to ``total``, each at most ``most``: fill, cap, share the rest.

    The groups that reach their caps first are those with the least room for their share.
    """
    amounts = dict.fromkeys(wanted, 0.0)
    left = total
    ordered = sorted((name for name in wanted if wanted[name] > 0), key=lambda name: most[name] / wanted[name])
    weights = [wanted[name] for name in ordered]
    for place, name in enumerate(ordered):
        amounts[name] = min(most[name], left * wanted[name] / math.fsum(weights[place:]))
        left -= amounts[name]
    return amounts
