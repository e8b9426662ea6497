"""Encoded conversations as rows for the loop: cut to the context, shuffled by key, padded in like lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from groundup.base.errors import RequestError
from groundup.base.files import sha256_json
from groundup.base.seeds import derive
from groundup.base.units import Span
from groundup.text.conversation import Message, as_dicts
from groundup.text.tokenizer import ChatTokens, Tokenizer
from groundup.train.stream import Part, TokenBatch


@dataclass(frozen=True)
class Row:
    """One encoded conversation that has something to learn."""

    id: str
    tokens: ChatTokens


def encode(
    name: str,
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    max_seq_len: int,
    dropped: Counter[str],
    *,
    last_answer_only: bool = False,
) -> Row | None:
    """A conversation as a row of at most ``max_seq_len + 1`` ids; None, and counted, if no answer is left in it.

    A row that is too long is cut at its end.
    """
    chat = tokenizer.encode_chat(as_dicts(messages), last_answer_only=last_answer_only)
    ids, trained = chat.ids, chat.trained
    while trained and not trained[-1]:  # nothing is learned from what follows the last answer
        ids.pop()
        trained.pop()
    limit = max_seq_len + 1
    if not any(trained[:limit]):
        dropped["no answer within the context: dropped"] += 1
        return None
    if len(ids) > limit:
        dropped["longer than the context: cut"] += 1
    return Row(name, ChatTokens(ids[:limit], trained[:limit], chat.note))


def collate(rows: Sequence[ChatTokens], pad_id: int) -> TokenBatch:
    """Rows padded on the right to the longest: inputs and targets int64 (B, T), ``trained`` bool (B, T)."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    trained = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        trained[index, : len(row.trained)] = torch.tensor(row.trained)
    return TokenBatch(ids[:, :-1], ids[:, 1:], trained[:, 1:])


def by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices in groups of like length whose padded size stays within ``max_tokens`` (at least one a group)."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if groups and (len(groups[-1]) + 1) * lengths[index] <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


@dataclass(frozen=True)
class Shuffled:
    """Which rows make up each step. Each epoch is sorted by (seed, epoch, id); rows short of a step are left out."""

    ids: tuple[str, ...]
    rows_per_step: int
    num_steps: int
    seed: int

    @classmethod
    def over(cls, ids: Sequence[str], rows_per_step: int, horizon: Span, seed: int) -> Shuffled:
        """So many epochs or steps over rows; RequestError for a horizon in tokens or shorter than a step."""
        if horizon.unit == "tokens":
            raise RequestError(f"horizon {horizon}: give epochs or steps, such as '2 epochs'")
        rows_per_step = min(rows_per_step, len(ids))
        each = len(ids) // rows_per_step
        num_steps = int(horizon.value) if horizon.unit == "steps" else int(horizon.value * each)
        if num_steps < 1:
            raise RequestError(f"horizon {horizon} is shorter than one step of {rows_per_step} rows")
        return cls(tuple(ids), rows_per_step, num_steps, seed)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the rows' ids and their order."""
        return sha256_json([self.ids, self.rows_per_step, self.seed])

    def step(self, step: int) -> list[int]:
        """The indices of the rows of a step."""
        epoch, place = divmod(step, len(self.ids) // self.rows_per_step)
        return self._epoch(epoch)[place * self.rows_per_step : (place + 1) * self.rows_per_step]

    def _epoch(self, epoch: int) -> list[int]:
        """The order of an epoch; the last one asked for is kept, since all its steps ask for it."""
        if epoch not in self._kept:
            self._kept.clear()
            self._kept[epoch] = sorted(
                range(len(self.ids)), key=lambda i: derive(self.seed, "order", epoch, self.ids[i])
            )
        return self._kept[epoch]

    def heaviest(self, lengths: Sequence[int], max_tokens: int, part: Part, *, rows: int = 1) -> int:
        """The step with the largest micro-batch, padding counted, of items of these lengths in ``by_length`` groups.

        An item's length is in ids, of ``rows`` rows together; of each row, one id is no position.
        """

        def largest(step: int) -> int:
            own = [lengths[index] for index in part.of(self.step(step))]
            groups = by_length(own, max_tokens)
            return max((len(group) * (own[group[-1]] - rows) for group in groups), default=0)

        return max(range(self.num_steps), key=largest)

    @cached_property
    def _kept(self) -> dict[int, list[int]]:
        return {}
