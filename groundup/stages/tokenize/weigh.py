"""How much the text of each group counts when a vocabulary is learned.

A group is all training text of one source in one language. Its bytes are multiplied by the weights of its language and
its source; then, if the corpus is to be balanced, each language (or source) gets the share that it has now to the power
alpha (Conneau and Lample 2019, section 3.1); then all are scaled so that the text counts as many bytes as before.

Counts stay integers: a word that stands n times in a group of factor f counts floor(n * f * PARTS + 1/2), in parts of
one. So a frequency of 1 in a group that counts for little is not lost, and results don't depend on the order of sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from groundup.base.errors import DataError, RequestError, nearest
from groundup.stages.tokenize.config import Balance

Group = tuple[str, str]
"""A source and a language."""

PARTS = 1024


def factors(size: Mapping[Group, int], weights: Mapping[str, float], balance: Balance | None) -> dict[Group, float]:
    """By how much the counts of each group are multiplied, for their sizes in bytes.

    RequestError for a weight of what isn't there, DataError if nothing is left.

    >>> found = factors({("a", "eng_Latn"): 900, ("a", "fra_Latn"): 100}, {}, Balance(alpha=0.5))
    >>> {language: round(factor, 2) for (_, language), factor in found.items()}
    {'eng_Latn': 0.83, 'fra_Latn': 2.5}
    """
    names = {name for group in size for name in group}
    for name in weights:
        if name not in names:
            raise RequestError(f"weights name {name!r}, of which there is no training text{nearest(name, names)}")
    weighted = {group: size[group] * weights.get(group[0], 1.0) * weights.get(group[1], 1.0) for group in sorted(size)}
    total = math.fsum(weighted.values())
    if not total:
        raise DataError("there is no training text with a weight above 0")
    if balance is not None:
        at = 0 if balance.by == "source" else 1
        shares: dict[str, list[float]] = {}
        for group, part in weighted.items():
            shares.setdefault(group[at], []).append(part / total)
        whole = {name: math.fsum(parts) for name, parts in shares.items()}
        weighted = {
            group: part * whole[group[at]] ** (balance.alpha - 1) if part else 0.0 for group, part in weighted.items()
        }
    scale = sum(size.values()) / math.fsum(weighted.values())
    return {group: weighted[group] * scale / size[group] for group in size if size[group]}
