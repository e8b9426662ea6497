"""Tokenizers over the ``tokenizers`` library, with special tokens that people's text can't make.

On disk: ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``, as transformers reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import ArtifactError, DataError, missing_extra
from groundup.base.files import read_json, write_json, write_text
from groundup.text.bpe.encoded import Encoded
from groundup.text.chat.template import (
    CHAT_TEMPLATE,
    END_OF_TEXT,
    PAD,
    TURN_END,
    ChatMessage,
    ChatTemplate,
    Rendered,
)
from groundup.text.chat.tokens import ChatEncoder
from groundup.text.chat.tokens import ChatTokens as ChatTokens
from groundup.text.column_encoder import ColumnEncoder
from groundup.text.spelling import Spelling
from groundup.text.well_formed import well_formed

try:
    import tokenizers
except ImportError as error:
    raise missing_extra("tokenizers", "train") from error

FILES: Final = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

# The split of Llama 3 and GPT-4: contractions, words with one leading mark, up to three digits, punctuation,
# line breaks, spaces. llama.cpp knows it too, so that exported models tokenize alike.
LLAMA3_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


_ENDS_OF_TEXT: Final = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<\uff5cend\u2581of\u2581sentence\uff5c>")


@dataclass(frozen=True)
class Roles:
    """Which special token starts a text, ends a text, ends a turn of a conversation, and fills up rows."""

    start: str = END_OF_TEXT
    end_of_text: str = END_OF_TEXT
    turn_end: str = TURN_END
    pad: str = PAD

    @classmethod
    def derive(cls, special_tokens: Iterable[str], bos: str | None, eos: str | None, pad: str | None) -> Roles:
        """The roles in a tokenizer of others, who name the first, the last and the padding token only.

        DataError if it has no token that could end a text.
        """
        known = set(special_tokens)
        end_of_text = next((token for token in _ENDS_OF_TEXT if token in known), eos)
        if end_of_text is None:
            raise DataError("the tokenizer has no token that ends a text")
        return cls(bos or end_of_text, end_of_text, eos or end_of_text, pad or end_of_text)


class Tokenizer:
    """Encodes and decodes. Text given to ``encode`` never yields a special token; only the chat template does."""

    def __init__(
        self, backend: tokenizers.Tokenizer, chat_template: str = CHAT_TEMPLATE, roles: Roles | None = None
    ) -> None:
        backend.encode_special_tokens = True
        self._backend = backend
        self.roles = roles or Roles()
        added = backend.get_added_tokens_decoder()
        self.special_tokens = {token.content: index for index, token in sorted(added.items()) if token.special}
        for name in (self.roles.start, self.roles.end_of_text, self.roles.pad, self.roles.turn_end):
            if name not in self.special_tokens:
                raise DataError(f"the tokenizer lacks the special token {name}")
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self.start_id = self.special_tokens[self.roles.start]
        self.eos_id = self.special_tokens[self.roles.end_of_text]
        self.pad_id = self.special_tokens[self.roles.pad]
        self.stop_ids = frozenset({self.eos_id, self.special_tokens[self.roles.turn_end]})
        names = {"bos_token": self.roles.start, "eos_token": self.roles.turn_end, "pad_token": self.roles.pad}
        self.template = ChatTemplate(chat_template, list(self.special_tokens), names)
        self._chat = ChatEncoder(backend, self.special_tokens)
        self._columns = ColumnEncoder(backend)

    @property
    def backend(self) -> tokenizers.Tokenizer:
        """The library's tokenizer that this one stands on."""
        return self._backend

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read the three files of a folder; ArtifactError if they can't be read."""
        try:
            backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
            config = read_json(folder / "tokenizer_config.json")
            named = [_content(config.get(f"{role}_token")) for role in ("bos", "eos", "pad")]
        except Exception as error:  # the library raises bare Exception for whatever it can't parse
            raise ArtifactError(f"no readable tokenizer in {folder}: {error}") from error
        special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
        return cls(backend, template, Roles.derive(special, *named))

    @classmethod
    def parse(cls, description: Mapping[str, Any], chat_template: str, roles: Roles) -> Tokenizer:
        """From what a ``tokenizer.json`` holds; DataError if the library can't make a tokenizer of it."""
        try:
            backend = tokenizers.Tokenizer.from_str(json.dumps(description))
        except Exception as error:  # as above
            raise DataError(f"the tokenizer can't be used: {error}") from error
        return cls(backend, chat_template, roles)

    def describe(self) -> dict[str, Any]:
        """What ``tokenizer.json`` holds."""
        description: dict[str, Any] = json.loads(self._backend.to_str())
        return description

    def save(self, folder: Path, max_seq_len: int | None = None) -> None:
        """Write the files that ``load`` and transformers read."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "tokenizer.json", json.dumps(self.describe(), ensure_ascii=False))
        write_text(folder / "chat_template.jinja", self.template.source)
        named = {self.roles.start, self.roles.turn_end, self.roles.pad}
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.roles.start,
            "eos_token": self.roles.turn_end,
            "pad_token": self.roles.pad,
            "additional_special_tokens": [t for t in self.special_tokens if t not in named],
            "clean_up_tokenization_spaces": False,
            "chat_template": self.template.source,
        }
        if max_seq_len is not None:
            config["model_max_length"] = max_seq_len
        write_json(folder / "tokenizer_config.json", config)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, none of them special; lone surrogates become U+FFFD."""
        ids: list[int] = self._backend.encode(well_formed(text), add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, as ``encode`` gives them."""
        return self._columns.batch(texts)

    def encode_column(self, texts: Any) -> Encoded:
        """The ids of a column of strings (an Arrow Array or ChunkedArray; nulls are empty), as ``encode`` gives them.

        Byte-level BPE is encoded by a compiled encoder, made at the first use, on one core; the rest by the library.
        """
        return self._columns.column(texts)

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids for any bytes: those of ``encode`` for UTF-8; what is no UTF-8 is written byte by byte.

        ``decode_bytes`` gives the bytes back, unless the tokenizer normalises text. DataError if it has no byte tokens.
        """
        return self._spelling.encode(data, self.encode)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids; special tokens are left out. DataError if it isn't known how they are spelled."""
        return self._spelling.decode(ids)

    @property
    def pieces(self) -> Mapping[int, bytes]:
        """The bytes that each id stands for; special tokens for none. DataError as of :meth:`decode_bytes`."""
        return self._spelling.pieces

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.parse(self.describe())

    def encode_chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        last_answer_only: bool = False,
    ) -> ChatTokens:
        """Render and encode a conversation with what is trained on in it: the assistant's turns, or the last of them.

        With a generation prompt it is one to be answered: nothing in it is trained. DataError if the template can't
        be trained on, or if the conversation has nothing to train on.
        """
        if add_generation_prompt:
            return self._chat.encode(self.template.prompt(messages, tools=tools, documents=documents))
        rendered = self.template.render(messages, tools=tools, documents=documents, last_answer_only=last_answer_only)
        chat = self._chat.encode(rendered)
        if not any(chat.trained):
            has_answer = any(message.get("role") == "assistant" for message in messages)
            why = "the chat template writes nothing for the assistant" if has_answer else "it has no assistant's turn"
            raise DataError(f"there is nothing to train on in a conversation: {why}")
        return chat

    def encode_rendered(self, rendered: Rendered) -> ChatTokens:
        """The ids of what a chat template rendered, and which of them are trained, if any."""
        return self._chat.encode(rendered)

    def chat_places(self, rendered: Rendered) -> Iterator[tuple[int, bool, int, int, bool]]:
        """(id, special or not, start, end, trained or not) of each token of a rendered conversation."""
        return self._chat.places(rendered)

    def encode_spans(self, text: str) -> list[tuple[int, int, int]]:
        """The ids of a text, each with the characters [start, end) of the text that it is made of.

        Tokens that hold a part of a character's bytes each have the whole character. Lone surrogates become U+FFFD; a
        pair of them is one character.
        """
        encoding = self._backend.encode(well_formed(text), add_special_tokens=False)
        return [(token, start, end) for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out, incomplete UTF-8 becomes U+FFFD."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text

    def decode_visibly(self, ids: Sequence[int]) -> str:
        """The text of ids with special tokens written out, for people to look at."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=False)
        return text


def _content(token: Any) -> str | None:
    """A token's text in ``tokenizer_config.json``, where it may stand alone or among its properties."""
    text: str | None = token["content"] if isinstance(token, dict) else token
    return text
