"""Preference pairs for the loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from groundup.artifact.stage import Artifact
from groundup.stages.posttrain.rows import Row, Shuffled, by_length, collate, encode
from groundup.text.conversation import Message, read_preferences
from groundup.text.tokenizer import Tokenizer
from groundup.train.stream import WHOLE, PairBatch, Part, TokenBatch


@dataclass(frozen=True)
class Pair:
    """Both answers to one prompt, encoded."""

    id: str
    chosen: Row
    rejected: Row

    @property
    def length(self) -> int:
        """Ids of the longer answer with its prompt."""
        return max(len(self.chosen.tokens.ids), len(self.rejected.tokens.ids))


@dataclass(frozen=True)
class PairSteps:
    """Pairs for the loop; ``references`` fp64 (number of pairs, 2)."""

    pairs: Sequence[Pair]
    references: Tensor
    order: Shuffled
    max_tokens: int
    pad_id: int

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all."""
        return self.order.num_steps

    @property
    def fingerprint(self) -> str:
        """A hash of the rows and their order."""
        return self.order.fingerprint

    def batches(self, step: int, part: Part = WHOLE) -> list[PairBatch]:
        """The micro-batches of a step."""
        return self.group(part.of(self.order.step(step)))

    def heaviest(self, part: Part = WHOLE) -> int:
        """The step with the largest micro-batch."""
        return self.order.heaviest([2 * pair.length for pair in self.pairs], self.max_tokens, part, rows=2)

    def group(self, chosen: Sequence[int]) -> list[PairBatch]:
        """The pairs of these indices in micro-batches of like length."""
        lengths = [2 * self.pairs[index].length for index in chosen]
        return [self._batch([chosen[place] for place in group]) for group in by_length(lengths, self.max_tokens)]

    def _batch(self, indices: Sequence[int]) -> PairBatch:
        tokens = collate_pairs([self.pairs[index] for index in indices], self.pad_id)
        return PairBatch(tokens, self.references[list(indices)].flatten())


def collate_pairs(pairs: Sequence[Pair], pad_id: int) -> TokenBatch:
    """Both rows of each pair, chosen before rejected, padded to the longest."""
    return collate([row.tokens for pair in pairs for row in (pair.chosen, pair.rejected)], pad_id)


def read_pairs(
    artifacts: Sequence[Artifact], split: str, tokenizer: Tokenizer, max_seq_len: int, dropped: Counter[str]
) -> list[Pair]:
    """The pairs of a split of which something of both answers fits into the context; the others are counted.

    Only the last turn is judged; earlier answers belong to the prompt. Answers that are equal once cut teach
    nothing and are dropped.
    """
    found = []
    for artifact in artifacts:
        for pair in read_preferences(artifact.file("preferences.jsonl"), split):
            rows = [
                encode(
                    pair.id,
                    (*pair.prompt, Message("assistant", text)),
                    tokenizer,
                    max_seq_len,
                    dropped,
                    last_answer_only=True,
                )
                for text in (pair.chosen, pair.rejected)
            ]
            chosen, rejected = rows
            if chosen is None or rejected is None:
                continue
            if chosen.tokens.ids == rejected.tokens.ids:
                dropped["answers equal within the context: dropped"] += 1
                continue
            found.append(Pair(pair.id, chosen, rejected))
    return found
