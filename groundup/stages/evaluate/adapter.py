"""Our engine as an lm-eval model: text requests in, log-probabilities and texts out.

Conventions of lm-eval 0.4.13, which published scores follow: spaces that end the context belong to the continuation;
context and continuation are encoded together and cut at the length of the encoded context; an empty context is the
end-of-text token; the last token is never fed; what does not fit loses its oldest tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from groundup.base.errors import DataError
from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.stages.evaluate.windows import windows

Report = Callable[[int, int], None]


class EngineLM(LM):  # type: ignore[misc]  # lm-eval ships no types
    """The three verbs of lm-eval's model interface on an ``Engine``; ``report`` is told (done, total) requests."""

    def __init__(self, engine: Engine, report: Report | None = None) -> None:
        super().__init__()
        self._engine = engine
        self._report = report

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The summed natural log-probability of each continuation, and whether greedy decoding would give it."""
        pairs = self._encode_pairs([request.args for request in requests])
        scores = self._engine.score([self._fit(context, rest) for context, rest in pairs], self._report)
        return [(score.log_prob, score.greedy) for score in scores]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The log-probability of whole texts, each after the end-of-text token, in windows as lm-eval cuts them."""
        engine, size = self._engine, self._engine.max_seq_len
        texts = engine.tokenizer.encode_batch([request.args[0] for request in requests])
        cut = [list(windows(ids, engine.tokenizer.eos_id, size, stride=size)) for ids in texts]
        scores = iter(engine.score([window for one in cut for window in one], self._report))
        return [sum(next(scores).log_prob for _ in one) for one in cut]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Text up to the first of the request's ``until`` strings, greedy unless the request asks for sampling."""
        groups: dict[SamplingParams, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[_sampling(request.args[1])].append(index)
        texts = [""] * len(requests)
        for params, indices in groups.items():
            room = max(1, self._engine.max_seq_len - params.max_new_tokens)
            encoded = self._engine.tokenizer.encode_batch([requests[index].args[0] for index in indices])
            prompts = [[self._engine.tokenizer.eos_id, *ids][-room:] for ids in encoded]
            for index, ids in zip(indices, self._engine.generate(prompts, params), strict=True):
                texts[index] = _cut(self._engine.tokenizer.decode(ids), requests[index].args[1].get("until", ()))
        return texts

    def _encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        tokenizer = self._engine.tokenizer
        moved = []
        for context, continuation in pairs:
            kept = context.rstrip()
            moved.append((kept, context[len(kept) :] + continuation) if kept else ("", context + continuation))
        contexts = tokenizer.encode_batch([context for context, _ in moved])
        wholes = tokenizer.encode_batch([context + rest for context, rest in moved])
        found = []
        for (context, rest), before, whole in zip(moved, contexts, wholes, strict=True):
            after = whole[len(before) :]
            if not after:
                raise DataError(f"nothing is left to score of {rest[:60]!r} after {context[-60:]!r}")
            found.append((before or [tokenizer.eos_id], after))
        return found

    def _fit(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        room = self._engine.max_seq_len + 1 - len(continuation)
        if room < 1:
            raise DataError(f"an answer has {len(continuation)} tokens, the model reads {self._engine.max_seq_len}")
        return context[-room:], continuation


def _sampling(wanted: dict[str, Any]) -> SamplingParams:
    sampled = bool(wanted.get("do_sample", False))
    return SamplingParams(
        max_new_tokens=int(wanted.get("max_gen_toks", 256)),
        temperature=float(wanted.get("temperature", 1.0)) if sampled else 0.0,
        top_p=float(wanted.get("top_p", 1.0)),
        seed=int(wanted.get("seed", 0)),
    )


def _cut(text: str, until: str | Sequence[str]) -> str:
    stops = [until] if isinstance(until, str) else until
    ends = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(ends)] if ends else text
