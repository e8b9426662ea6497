"""A conversation with a model that keeps itself inside the model's context."""

from __future__ import annotations

from collections.abc import Generator

from groundup.base.errors import RequestError
from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.rights.verbatim import Verbatim
from groundup.serve.answers import Finished, answer, chat_prompt


class ChatSession:
    """Turns of a user and a model.

    ``messages`` are the turns so far, without the system message. ``dropped`` counts the messages that were
    forgotten because the conversation no longer fitted. ``params`` and ``system`` may be changed between turns.
    ``verbatim`` holds what no answer may repeat; ``withheld`` says whether the last one was stopped for that.
    """

    def __init__(
        self, engine: Engine, params: SamplingParams, system: str | None = None, verbatim: Verbatim | None = None
    ) -> None:
        self.engine = engine
        self.params = params
        self.system = system
        self.messages: list[dict[str, str]] = []
        self.dropped = 0
        self.verbatim = verbatim
        self.withheld = False
        self._asked = 0

    def reset(self) -> None:
        """Forget the conversation; the system message stays."""
        self.messages, self.dropped, self._asked = [], 0, 0

    def say(self, text: str) -> Generator[str, None, None]:
        """The model's answer to ``text``, in pieces that never split a character.

        The turn counts once the first piece is asked for; closing the iterator early keeps what was said so far.
        Question n of a conversation (from 0) is answered with seed ``params.seed`` + n. RequestError if the
        message alone, with the system message, leaves no room for an answer.
        """
        prompt = self._fit(text)
        params = self.params.model_copy(update={"seed": self.params.seed + self._asked})
        return self._answer(text, prompt, params)

    def _answer(self, text: str, prompt: list[int], params: SamplingParams) -> Generator[str, None, None]:
        said: list[str] = []
        whole = False
        try:
            for piece in answer(self.engine, prompt, params, verbatim=self.verbatim):
                if isinstance(piece, Finished):
                    whole, self.withheld = True, piece.reason == "content_filter"
                else:
                    said.append(piece)
                    yield piece
        finally:
            # Broken off before its first word, the question was not answered: it is not part of the conversation.
            if whole or said:
                self._asked += 1
                self.messages += [
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": "".join(said)},
                ]

    def _fit(self, text: str) -> list[int]:
        """The prompt for the next answer; the oldest exchanges are dropped until there is room for it.

        Room is ``max_new_tokens``, or a quarter of the context where that is less.
        """
        reserve = min(self.params.max_new_tokens, self.engine.max_seq_len // 4)
        limit = self.engine.max_seq_len - max(1, reserve)
        system = [{"role": "system", "content": self.system}] if self.system else []
        for start in range(0, len(self.messages) + 1, 2):
            turns = [*system, *self.messages[start:], {"role": "user", "content": text}]
            prompt = chat_prompt(self.engine.tokenizer, turns)
            if len(prompt) <= limit:
                del self.messages[:start]
                self.dropped += start
                return prompt
        raise RequestError(
            f"the message takes {len(prompt)} tokens with all that goes around it, and this model has room for "
            f"{limit} beside its answer; say it shorter"
        )
