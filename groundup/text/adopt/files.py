"""Which files a tokenizer is in: told by what they hold, since ``tokenizer.model`` may be any of three formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import DataError, RequestError
from groundup.text.adopt.ranks import looks_like_ranks

_IN_FOLDERS: Final = ("tokenizer.json", "tekken.json", "tokenizer.model", "encoder.json", "vocab.json")
_ENDINGS: Final = (".model", ".tiktoken")
_MERGES: Final = ("vocab.bpe", "merges.txt")
_HEAD: Final = 4096


@dataclass(frozen=True)
class Found:
    """A kind of tokenizer, and its files, the main one first."""

    kind: str
    files: tuple[Path, ...]

    @property
    def main(self) -> Path:
        """The file with the vocabulary."""
        return self.files[0]


@dataclass(frozen=True)
class TokenizerConfig:
    """What lies beside a tokenizer for transformers: tokens by role (bos, eos, pad), and the chat template."""

    roles: Mapping[str, str] = field(default_factory=dict)
    chat_template: str | None = None


def find(paths: Sequence[Path]) -> Found:
    """The tokenizer in a file, a folder, or the two files of GPT-2; DataError if there is none or it is unclear."""
    if len(paths) == 1 and paths[0].is_dir():
        return _in_folder(paths[0])
    encoders = [path for path in paths if path.suffix == ".json"]
    merges = [path for path in paths if path.suffix != ".json"]
    if len(paths) == 2 and len(encoders) == 1:
        return Found("gpt2", (encoders[0], merges[0]))
    if len(paths) != 1:
        raise RequestError("give one file or folder, or the two files of GPT-2 (encoder.json and vocab.bpe)")
    return _by_content(paths[0])


def _in_folder(folder: Path) -> Found:
    for name in _IN_FOLDERS:
        if (folder / name).is_file():
            return _by_content(folder / name)
    others = sorted(path for path in folder.iterdir() if any(end in path.suffixes for end in _ENDINGS))
    if len(others) == 1:
        return _by_content(others[0])
    if others:
        raise DataError(f"{folder} holds several tokenizers ({', '.join(p.name for p in others)}): name the file")
    raise DataError(f"{folder} holds no tokenizer: no {', '.join(_IN_FOLDERS)}, or file ending in .model or .tiktoken")


def _by_content(path: Path) -> Found:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DataError(f"{path.name} can't be read: {error.strerror}") from None
    if head.lstrip()[:1] == b"{":
        return _of_json(path)
    if looks_like_ranks(head):
        return Found("tiktoken", (path,))
    if head[:1] == b"\n":  # the first field of a SentencePiece model, a piece
        return Found("sentencepiece", (path,))
    raise DataError(f"{path.name} is no tokenizer that is known: tokenizer.json, SentencePiece, tiktoken ranks, tekken")


def _of_json(path: Path) -> Found:
    data = read_json_file(path)
    if isinstance(data, Mapping) and isinstance(data.get("model"), Mapping):  # "model" is a piece of GPT-2's, too
        return Found("tokenizer.json", (path,))
    if isinstance(data, Mapping) and isinstance(data.get("vocab"), list) and "config" in data:
        return Found("tekken", (path,))
    if isinstance(data, Mapping) and data and all(isinstance(value, int) for value in data.values()):
        beside = [path.parent / name for name in _MERGES if (path.parent / name).is_file()]
        if len(beside) == 1:
            return Found("gpt2", (path, beside[0]))
        raise DataError(f"{path.name} is a vocabulary without its merges: give both files (vocab.bpe or merges.txt)")
    raise DataError(f"{path.name} is JSON, but no tokenizer")


def read_config(folder: Path) -> TokenizerConfig:
    """The roles and the chat template beside a tokenizer, as far as files say it; DataError if damaged."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            data = read_json_file(path)
            if not isinstance(data, Mapping):
                raise DataError(f"{name} holds no object")
            config |= {key: value for key, value in data.items() if value is not None}
    named = {role: _content(config.get(f"{role}_token")) for role in ("bos", "eos", "pad")}
    roles = {role: name for role, name in named.items() if name}
    return TokenizerConfig(roles, _chat_template(folder, config.get("chat_template")))


def _chat_template(folder: Path, said: Any) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read_text_file(path)
    old = folder / "chat_template.json"
    if said is None and old.is_file():
        said = read_json_file(old)
        said = said.get("chat_template") if isinstance(said, Mapping) else None
    if isinstance(said, list):  # several by name
        named = {str(one.get("name")): one.get("template") for one in said if isinstance(one, Mapping)}
        said = named.get("default")
    return said if isinstance(said, str) else None


def read_json_file(path: Path) -> Any:
    """A JSON file; DataError if it can't be read."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path.name} is not readable JSON: {error}") from None


def read_text_file(path: Path) -> str:
    """A text file; DataError if it can't be read or is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except ValueError:
        raise DataError(f"{path.name} is not UTF-8 text") from None
    except OSError as error:
        raise DataError(f"{path.name} can't be read: {error.strerror}") from None


def _content(token: Any) -> str | None:
    found = token.get("content") if isinstance(token, Mapping) else token
    return found if isinstance(found, str) else None
