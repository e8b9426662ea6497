"""Modified Kneser-Ney written as plainly as possible, with dictionaries, straight from Chen & Goodman (1999).

Written to be obviously right, not fast: it is what the vectorised model is compared with.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

Gram = tuple[int, ...]


def split_documents(tokens: Sequence[int], boundary: int) -> list[list[int]]:
    """Documents, each with the boundary before it and (where the data has it) the boundary that closes it."""
    documents: list[list[int]] = [[boundary]]
    for token in tokens:
        documents[-1].append(token)
        if token == boundary:
            documents.append([boundary])
    return [document for document in documents if len(document) > 1]


class ReferenceNgram:
    """``probability(context, token)`` where the context is everything since, and with, the document's boundary."""

    def __init__(self, tokens: Sequence[int], vocab_size: int, boundary: int, order: int) -> None:
        self.vocab_size, self.order = vocab_size, order
        plain: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
        lefts: dict[Gram, set[int]] = defaultdict(set)
        opening: set[Gram] = set()
        for document in split_documents(tokens, boundary):
            for end in range(1, len(document)):
                for n in range(1, min(order, end + 1) + 1):
                    start = end - n + 1
                    gram = tuple(document[start : end + 1])
                    plain[n][gram] += 1
                    if start == 0:
                        opening.add(gram)
                    else:
                        lefts[gram].add(document[start - 1])
        self.counts: list[dict[Gram, int]] = [{}]
        for n in range(1, order + 1):
            if n == order:
                self.counts.append(dict(plain[n]))
            else:
                self.counts.append({g: c if g in opening else len(lefts[g]) for g, c in plain[n].items()})
        self.discounts = [self._discounts(level.values()) for level in self.counts]
        self.following: dict[Gram, list[int]] = defaultdict(list)
        for level in self.counts[1:]:
            for gram, count in level.items():
                self.following[gram[:-1]].append(count)

    @staticmethod
    def _discounts(counts: object) -> tuple[float, float, float, float]:
        of = Counter(counts)  # type: ignore[call-overload]
        n1, n2, n3, n4 = of[1], of[2], of[3], of[4]
        if n1 and n2 and n3 and n4:
            y = n1 / (n1 + 2 * n2)
            d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
            if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3:
                return 0.0, d1, d2, d3
        return 0.0, 0.5, 1.0, 1.5

    def probability(self, context: Sequence[int], token: int) -> float:
        """p(token | context), by recursion from the longest context to none."""
        return self._level(tuple(context)[max(0, len(context) - self.order + 1) :], token)

    def _level(self, context: Gram, token: int) -> float:
        shorter = self._level(context[1:], token) if context else 1 / self.vocab_size
        following = self.following.get(context)
        if not following:
            return shorter
        n = len(context) + 1
        total = sum(following)
        count = self.counts[n].get((*context, token), 0)
        own = (count - self.discounts[n][min(count, 3)]) / total
        gamma = sum(self.discounts[n][min(c, 3)] for c in following) / total
        return own + gamma * shorter

    def log_probs(self, tokens: Sequence[int], boundary: int) -> list[float]:
        """The natural log-probability of each token, documents scored one by one."""
        return [
            math.log(self.probability(document[:end], document[end]))
            for document in split_documents(tokens, boundary)
            for end in range(1, len(document))
        ]
