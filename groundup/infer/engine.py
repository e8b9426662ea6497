"""The engine: every sampled token and every score comes from here, through the trainer's own model code.

Shapes: R requests, T positions, V vocabulary. Requests are computed in groups; rows of a group may have different
lengths, for which the cache keeps one length a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.infer.sampling import SamplingParams, sample
from groundup.model.cache import KVCache
from groundup.model.exchange import gguf_read, huggingface
from groundup.model.loss import CHUNK, target_log_probs
from groundup.model.transformer import Transformer
from groundup.text import gguf_vocabulary
from groundup.text.tokenizer import Tokenizer

Request = tuple[Sequence[int], Sequence[int]]
"""A context and the continuation to score, as ids."""

_SCORE_TOKENS: Final = 8192
_GENERATE_ROWS: Final = 32
_SHARED_FROM: Final = 16
"""Contexts shorter than this are computed with each continuation: a plain pass costs less than keeping a cache."""


@dataclass(frozen=True)
class Score:
    """How likely a continuation is: its tokens' natural-log probabilities, and whether each was the likeliest."""

    token_log_probs: tuple[float, ...]
    greedy: bool

    @property
    def log_prob(self) -> float:
        """The sum over tokens, in nats."""
        return sum(self.token_log_probs)


class Engine:
    """Scores and generates with one model, in fp32 on CPU unless the model was moved or cast before."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise RequestError(
                f"the tokenizer has {tokenizer.vocab_size} entries, the model's table {model.config.vocab_size}"
            )
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, path: Path) -> Engine:
        """The engine for a Hugging Face folder, or for a GGUF file with its tokenizer."""
        if path.suffix == ".gguf":
            model, metadata = gguf_read.read(path)
            return cls(model, gguf_vocabulary.from_metadata(metadata))
        return cls(huggingface.load(path), Tokenizer.load(path))

    @property
    def max_seq_len(self) -> int:
        """Positions that the model knows."""
        return self.model.config.max_seq_len

    # -- scoring ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(self, requests: Sequence[Request], progress: Callable[[int, int], None] | None = None) -> list[Score]:
        """The log-probability of each continuation given its context, in the order asked.

        A context shared by several requests is computed once. RequestError if a context or continuation is
        empty, or both together exceed ``max_seq_len + 1`` tokens (the last token is never fed).
        """
        by_context: dict[tuple[object, ...], list[int]] = {}
        for index, (context, continuation) in enumerate(requests):
            if not context or not continuation:
                raise RequestError(f"request {index}: context and continuation need at least one token each")
            if len(context) + len(continuation) - 1 > self.max_seq_len:
                size = len(context) + len(continuation)
                raise RequestError(f"request {index}: {size} tokens exceed the model's {self.max_seq_len}")
            key = tuple(context) if len(context) >= _SHARED_FROM else (index, "alone")
            by_context.setdefault(key, []).append(index)
        scores: dict[int, Score] = {}
        for group in _groups(list(by_context.values()), requests):
            scores |= self._score_group(group, requests)
            if progress is not None:
                progress(len(scores), len(requests))
        return [scores[index] for index in range(len(requests))]

    def _score_group(self, group: list[list[int]], requests: Sequence[Request]) -> dict[int, Score]:
        """Requests by shared context: each inner list has one context, which is computed once."""
        indices = [index for members in group for index in members]
        if len(indices) == len(group):
            return self._score_plain(indices, requests)
        contexts = [requests[members[0]][0] for members in group]
        rows = self._tensor([row for row, members in enumerate(group) for _ in members])
        longest = max(len(requests[index][1]) for index in indices)
        cache = self._new_cache(len(contexts), max(map(len, contexts)) + longest)
        last_RD = self._prefill(contexts, cache)
        shared = cache.repeat(rows)
        ids, kept = self._pad([requests[index][1] for index in indices])
        hidden = self.model(ids[:, :-1], shared) if longest > 1 else last_RD.new_empty(len(rows), 0, last_RD.size(-1))
        hidden = torch.cat([last_RD[rows][:, None], hidden], dim=1)
        return dict(zip(indices, self._collect(hidden, ids, kept), strict=True))

    def _score_plain(self, indices: list[int], requests: Sequence[Request]) -> dict[int, Score]:
        """Requests that share nothing: one pass over context and continuation together."""
        whole = [[*requests[index][0], *requests[index][1]] for index in indices]
        ids, kept = self._pad(whole)
        for row, index in enumerate(indices):
            kept[row, : len(requests[index][0])] = False
        hidden = self.model(ids[:, :-1])
        return dict(zip(indices, self._collect(hidden, ids[:, 1:], kept[:, 1:]), strict=True))

    def _collect(self, hidden_RTD: Tensor, targets_RT: Tensor, kept_RT: Tensor) -> list[Score]:
        weight = self.model.output_weight
        hidden_ND, targets_N = hidden_RTD[kept_RT], targets_RT[kept_RT]
        log_probs, best = [], []
        for start in range(0, len(hidden_ND), CHUNK):
            hidden = hidden_ND[start : start + CHUNK]
            log_probs.append(target_log_probs(hidden, weight, targets_N[start : start + CHUNK]))
            best.append(self.model.logits(hidden).argmax(-1))
        hits_N = torch.cat(best) == targets_N
        sizes = kept_RT.sum(dim=1).tolist()
        return [
            Score(tuple(values.tolist()), bool(hits.all()))
            for values, hits in zip(torch.split(torch.cat(log_probs), sizes), torch.split(hits_N, sizes), strict=True)
        ]

    # -- generating ------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[list[int]]:
        """New ids for each prompt, the stop id left out. Row i is seeded with ``params.seed`` + i.

        RequestError if a prompt is empty or leaves no room for a token.
        """
        outputs: list[list[int]] = []
        for start in range(0, len(prompts), _GENERATE_ROWS):
            batch = prompts[start : start + _GENERATE_ROWS]
            rows: list[list[int]] = [[] for _ in batch]
            for row, token in self._steps(batch, params, start):
                rows[row].append(token)
            outputs += rows
        return outputs

    def stream(self, prompt: Sequence[int], params: SamplingParams) -> Iterator[int]:
        """The new ids of one prompt as they come, the stop id left out."""
        for _, token in self._steps([prompt], params, 0):
            yield token

    @torch.inference_mode()
    def _steps(self, prompts: Sequence[Sequence[int]], params: SamplingParams, first: int) -> Iterator[tuple[int, int]]:
        for index, prompt in enumerate(prompts):
            if not prompt or len(prompt) >= self.max_seq_len:
                raise RequestError(
                    f"prompt {first + index}: {len(prompt)} tokens, must be 1 to {self.max_seq_len - 1} for this model"
                )
        generators = [torch.Generator().manual_seed(params.seed + first + row) for row in range(len(prompts))]
        room = [min(params.max_new_tokens, self.max_seq_len - len(prompt)) for prompt in prompts]
        cache = self._new_cache(len(prompts), min(self.max_seq_len, max(map(len, prompts)) + max(room)))
        hidden_RD = self._prefill(prompts, cache)
        active = list(range(len(prompts)))
        while active:
            logits_RV = self.model.logits(hidden_RD)[:, : self.tokenizer.vocab_size].cpu()  # where the generators are
            tokens = [sample(logits, params, generators[row]) for row, logits in zip(active, logits_RV, strict=True)]
            alive = []
            for place, (row, token) in enumerate(zip(active, tokens, strict=True)):
                if token in self.tokenizer.stop_ids:
                    continue
                yield row, token
                room[row] -= 1
                if room[row] > 0:
                    alive.append(place)
            if not alive:
                return
            if len(alive) < len(active):
                cache = cache.repeat(self._tensor(alive))
                active = [active[place] for place in alive]
            hidden_RD = self.model(self._tensor([[tokens[place]] for place in alive]), cache)[:, -1]
            cache.advance(1)

    def _new_cache(self, rows: int, capacity: int) -> KVCache:
        weight = self.model.output_weight
        return KVCache(self.model.config, rows, capacity, weight.dtype, weight.device)

    def _prefill(self, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
        """Feed whole prompts; returns the hidden state (R, D) at the last id of each."""
        ids, kept = self._pad(prompts)
        lengths = kept.sum(dim=1)
        hidden = self.model(ids, cache)
        cache.advance(lengths)
        last: Tensor = hidden[torch.arange(len(prompts), device=hidden.device), lengths - 1]
        return last

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows padded on the right, int64 (R, T), and which places hold real ids, bool (R, T)."""
        longest = max(map(len, rows))
        ids = self._tensor([[*row, *[self.tokenizer.pad_id] * (longest - len(row))] for row in rows])
        kept = torch.arange(longest, device=ids.device) < self._tensor([len(row) for row in rows])[:, None]
        return ids, kept

    def _tensor(self, values: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(values, device=self.model.output_weight.device)


def _pieces(indices: list[int], requests: Sequence[Request]) -> Iterator[list[int]]:
    """The requests that share one context, by length, in runs within the bound: many documents share a mere start."""
    ranked = sorted(indices, key=lambda index: (len(requests[index][1]), index))
    while ranked:
        context, longest = requests[ranked[-1]]
        rows = max(1, _SCORE_TOKENS // (len(context) + len(longest)))
        yield ranked[-rows:]
        del ranked[-rows:]


def _groups(by_context: list[list[int]], requests: Sequence[Request]) -> Iterator[list[list[int]]]:
    """Contexts of like length together, shared ones apart from unshared ones, up to a bound on padded tokens."""

    def size(indices: list[int]) -> int:
        return len(requests[indices[0]][0]) + max(len(requests[index][1]) for index in indices)

    pieces = [piece for indices in by_context for piece in _pieces(indices, requests)]
    group: list[list[int]] = []
    rows = 0
    for piece in sorted(pieces, key=lambda indices: (len(indices) > 1, size(indices), indices)):
        kind_changes = bool(group) and (len(group[0]) > 1) != (len(piece) > 1)
        if group and (kind_changes or (rows + len(piece)) * size(piece) > _SCORE_TOKENS):
            yield group
            group, rows = [], 0
        group.append(piece)
        rows += len(piece)
    if group:
        yield group
