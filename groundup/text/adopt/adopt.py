"""Adopting a tokenizer: whatever file it comes in, out comes a ``Tokenizer`` that gives the same ids.

A file that doesn't name something that matters is not guessed at: how text is split, which token ends a text, how a
conversation is written. What was named wrongly is a RequestError, what is in the files and can't be used a DataError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import DataError, RequestError
from groundup.text.adopt.charsmap import normalizers
from groundup.text.adopt.description import Description, append_special, fill_holes, mark_special, numbered
from groundup.text.adopt.files import Found, find, read_config, read_json_file, read_text_file
from groundup.text.adopt.guard import guard_unigram, refuse_leaks
from groundup.text.adopt.model_proto import parse_model
from groundup.text.adopt.originals import Encode, by_sentencepiece, by_tiktoken, by_tokenizers
from groundup.text.adopt.ranks import Ranks, describe_ranks, read_gpt2, read_tekken, read_tiktoken
from groundup.text.adopt.sentencepiece import describe_pieces
from groundup.text.adopt.splits import Split, split_named
from groundup.text.chat.template import CHAT_TEMPLATE, END_OF_TEXT, TURN_END, TURN_START
from groundup.text.tokenizer import FILES, Roles, Tokenizer

NO_TEMPLATE: Final = (
    "{{ raise_exception('this tokenizer has no chat template: name one, or add the tokens of ChatML "
    "(<|im_start|>, <|im_end|>) to it') }}"
)
_STARTS: Final = ("<s>", "<|begin_of_text|>", "<bos>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>")
_ENDS: Final = ("<eos>", "<|eot_id|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", TURN_END)
_PADS: Final = ("<pad>", "<|pad|>", "[PAD]")


@dataclass(frozen=True)
class Choices:
    """What a person says about a tokenizer, where its files don't.

    ``split`` is a name of :data:`~groundup.text.adopt.splits.SPLITS` or a regex. ``special_tokens`` are entries that
    text shall never yield, with their ids where a file of ranks leaves gaps; ``add_tokens`` are new ones, behind all
    others. A tokenizer.json may have added tokens that text does yield (``<think>``, say): they stay so, as the model
    was trained, unless ``special_tokens`` names them. ``bos``, ``eos`` and ``pad`` name the tokens that start a text,
    end it or a turn, and fill up rows.
    """

    split: str | None = None
    special_tokens: Mapping[str, int] | Sequence[str] = ()
    add_tokens: Sequence[str] = ()
    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class Adopted:
    """A tokenizer of others, what kind of ``files`` it came in, and the library it came from, if that is installed.

    ``closed`` are tokens that the library finds in text, and that were made special here. ``folds`` if a table of
    characters is applied to a grapheme at once, so that ids of ordinary text may differ: see
    :mod:`groundup.text.adopt.sentencepiece`.
    """

    tokenizer: Tokenizer
    kind: str
    files: tuple[Path, ...]
    original: Encode | None
    closed: tuple[str, ...] = ()
    folds: bool = False


def adopt(path: Path | Sequence[Path], choices: Choices = Choices()) -> Tokenizer:
    """The tokenizer of a file or folder, or of several files that belong together; errors as ``read``."""
    return read(path, choices).tokenizer


def read(path: Path | Sequence[Path], choices: Choices = Choices()) -> Adopted:
    """The same with where it came from.

    RequestError if something must be named, or was named that isn't there; DataError for files that are damaged, hold
    no tokenizer, or one that can't be had with equal ids.
    """
    found = find([path] if isinstance(path, Path) else list(path))
    part = _READERS[found.kind](found, choices)
    description = part.description
    fill_holes(description)
    open_ = {token["content"] for token in description["added_tokens"] if not token["special"]}
    if not part.numbers_special:
        _mark(description, choices.special_tokens)
    for role in (choices.bos, choices.eos, choices.pad):
        if role is not None and role not in choices.add_tokens:
            mark_special(description, [role])
    known = set(numbered(description).values())
    for role in part.roles.values():
        if role in known:
            mark_special(description, [role])
    append_special(description, choices.add_tokens)
    tokenizer = _finish(description, part, choices)
    closed = sorted(open_ & tokenizer.special_tokens.keys())
    return Adopted(tokenizer, part.kind, found.files, part.original, tuple(closed), part.folds)


def load_or_adopt(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder: as it is if it was written by us, adopted if by others. Errors as ``read``."""
    return Tokenizer.load(folder) if all((folder / name).is_file() for name in FILES) else adopt(folder)


@dataclass(frozen=True)
class _Part:
    """What reading the files gives: a description, and what they say about roles and conversations."""

    description: Description
    kind: str
    original: Encode | None
    roles: Mapping[str, str] = field(default_factory=dict)
    chat_template: str | None = None
    numbers_special: bool = False
    folds: bool = False


def _finish(description: Description, part: _Part, choices: Choices) -> Tokenizer:
    special = [token["content"] for token in description["added_tokens"] if token["special"]]
    template = choices.chat_template or part.chat_template
    named = {role: getattr(choices, role) or part.roles.get(role) for role in ("bos", "eos", "pad")}
    if template is None and {TURN_START, TURN_END} <= set(special):
        named["eos"] = choices.eos or TURN_END
    for role, usual in (("bos", _STARTS), ("eos", _ENDS), ("pad", _PADS)):
        if named[role] not in special:
            named[role] = next((name for name in usual if name in special), None)
    try:
        roles = Roles.derive(special, named["bos"], named["eos"], named["pad"])
    except DataError:
        raise RequestError(
            "the files don't say which token ends a text: set 'eos', or add one with add_tokens"
        ) from None
    if template is None:
        template = _template(special)
    tokenizer = Tokenizer.parse(description, template, roles)
    _check_numbers(tokenizer, description)
    return _guarded(tokenizer, description, template, roles)


def _template(special: Sequence[str]) -> str:
    """ChatML where its tokens are; else one that says what is missing."""
    if not {TURN_START, TURN_END} <= set(special):
        return NO_TEMPLATE
    return CHAT_TEMPLATE if END_OF_TEXT in special else CHAT_TEMPLATE.replace(f"'{END_OF_TEXT}'", "bos_token")


def _guarded(tokenizer: Tokenizer, description: Description, template: str, roles: Roles) -> Tokenizer:
    """The tokenizer, if no text makes a special token; a Unigram one after its special entries were hidden."""
    unknown = unknown_id(description)
    exempt = [] if unknown is None else [unknown]
    try:
        refuse_leaks(tokenizer.backend, exempt)
        return tokenizer
    except DataError:
        if description["model"]["type"] != "Unigram":
            raise
    vocab = description["model"]["vocab"]
    inside = [i for name, i in tokenizer.special_tokens.items() if i < len(vocab) and vocab[i][0] == name]
    guard_unigram(description, inside)
    guarded = Tokenizer.parse(description, template, roles)
    refuse_leaks(guarded.backend, exempt)
    return guarded


def unknown_id(description: Description) -> int | None:
    """The id of the token for unknown text, None if there is none."""
    model = description["model"]
    if model["type"] == "Unigram":
        return None if model.get("unk_id") is None else int(model["unk_id"])
    name = model.get("unk_token")
    index = model["vocab"].get(name) if name is not None else None
    return None if index is None else int(index)


def _check_numbers(tokenizer: Tokenizer, description: Description) -> None:
    """DataError unless the library gives every entry the number that the file gives it."""
    said = {content: index for index, content in numbered(description).items()}
    made = tokenizer.backend.get_vocab(with_added_tokens=True)
    if said != made:
        name = next(name for name in {**said, **made} if said.get(name) != made.get(name))
        raise DataError(
            f"the entry {name[:40]!r} is number {said.get(name)} in the file and {made.get(name)} when read"
        )


def _mark(description: Description, special: Mapping[str, int] | Sequence[str]) -> None:
    """Make named entries special; RequestError if one isn't there, or under another number than was said."""
    if isinstance(special, Mapping):
        ids = {content: index for index, content in numbered(description).items()}
        wrong = next((name for name, index in special.items() if ids.get(name, index) != index), None)
        if wrong is not None:
            raise RequestError(f"special_tokens: {wrong} is entry {ids[wrong]}, not {special[wrong]}")
    mark_special(description, special)


# -- the kinds of files ------------------------------------------------------------------------------------------


def _read_json(found: Found, choices: Choices) -> _Part:
    _no_split(choices, "tokenizer.json")
    path = found.main
    data = read_json_file(path)
    model = data.get("model")
    if not isinstance(model, Mapping) or "type" not in model:
        raise DataError(f"{path.name} has no model with a type: it was written by a version too old; save it again")
    try:
        original = by_tokenizers(path)
    except Exception as error:  # the library raises bare Exception for whatever it can't parse
        raise DataError(f"{path.name} can't be read by the tokenizers library: {error}") from None
    # Texts are never cut or filled up when they are encoded.
    description = {**data, "truncation": None, "padding": None, "added_tokens": list(data.get("added_tokens") or ())}
    config = read_config(path.parent)
    return _Part(description, "tokenizer.json", original, config.roles, config.chat_template)


def _read_sentencepiece(found: Found, choices: Choices) -> _Part:
    _no_split(choices, "a SentencePiece model")
    data = found.main.read_bytes()
    model = parse_model(data)
    ids = {"bos": model.bos_id, "eos": model.eos_id, "pad": model.pad_id}
    roles = {role: name for role, index in ids.items() if (name := model.role(index)) is not None}
    kind = f"SentencePiece {model.algorithm.name}"
    config = read_config(found.main.parent)
    return _Part(
        describe_pieces(model),
        kind,
        by_sentencepiece(data),
        roles,
        config.chat_template,
        folds=bool(model.charsmap) and normalizers(model.charsmap) is None,
    )


def _read_tiktoken(found: Found, choices: Choices) -> _Part:
    split = split_named(choices.split)
    return _of_ranks(read_tiktoken(found.main.read_bytes()), split, "tiktoken ranks", found, choices)


def _read_gpt2(found: Found, choices: Choices) -> _Part:
    split = split_named(choices.split)
    encoder, merges = found.files
    ranks = read_gpt2(read_json_file(encoder), read_text_file(merges))
    return _of_ranks(ranks, split, "GPT-2 files", found, choices)


def _read_tekken(found: Found, choices: Choices) -> _Part:
    ranks = read_tekken(read_json_file(found.main))
    if choices.split is not None and split_named(choices.split).pattern != ranks.pattern:
        raise RequestError("a tekken file says itself how text is split: leave 'split' out")
    return _of_ranks(ranks, Split("tekken", ranks.pattern or ""), "tekken", found, choices)


def _of_ranks(ranks: Ranks, split: Split, kind: str, found: Found, choices: Choices) -> _Part:
    config = read_config(found.main.parent)
    return _Part(
        describe_ranks(ranks, split, choices.special_tokens),
        kind,
        by_tiktoken(ranks, split),
        config.roles,
        config.chat_template,
        numbers_special=True,
    )


def _no_split(choices: Choices, what: str) -> None:
    if choices.split is not None:
        raise RequestError(f"{what} says itself how text is split: leave 'split' out")


_READERS: Final[Mapping[str, Any]] = {
    "tokenizer.json": _read_json,
    "sentencepiece": _read_sentencepiece,
    "tiktoken": _read_tiktoken,
    "gpt2": _read_gpt2,
    "tekken": _read_tekken,
}


def with_tokens(tokenizer: Tokenizer, names: Sequence[str]) -> Tokenizer:
    """A tokenizer with new special tokens behind all its entries; RequestError for one that is there already.

    ChatML's tokens bring ChatML with them, if there was no chat template.
    """
    description = tokenizer.describe()
    append_special(description, names)
    return rebuilt(tokenizer, description)


def rebuilt(tokenizer: Tokenizer, description: Description) -> Tokenizer:
    """A tokenizer with the same roles and chat template and another description; DataError if text could now make a
    special token, or the library numbers otherwise."""
    special = [token["content"] for token in description["added_tokens"] if token["special"]]
    template, roles = tokenizer.template.source, tokenizer.roles
    if template == NO_TEMPLATE and (template := _template(special)) != NO_TEMPLATE:
        roles = replace(roles, turn_end=TURN_END)
    made = Tokenizer.parse(description, template, roles)
    _check_numbers(made, description)
    return _guarded(made, description, template, roles)
