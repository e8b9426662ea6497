"""What a ``tokenizer.json`` holds, put together and completed: added tokens, and an id for every number.

The ``tokenizers`` library numbers an added token by its own rules unless the model's vocabulary names it, and a model's
embedding has a row for every number, so an id that nobody has gets a token that is never used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from groundup.base.errors import DataError, RequestError

Description = dict[str, Any]

_MOST_HOLES: Final = 65536


def describe(
    model: Mapping[str, Any],
    *,
    normalizer: Mapping[str, Any] | None = None,
    pre_tokenizer: Mapping[str, Any] | None = None,
    decoder: Mapping[str, Any] | None = None,
    added: Iterable[Mapping[str, Any]] = (),
) -> Description:
    """A whole description; nothing is put around a text, so that its ids are those of the text alone."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: int(token["id"])),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": dict(model),
    }


def added_token(index: int, content: str, *, special: bool = True) -> dict[str, Any]:
    """A token that is matched as a whole: special ones only where a template says so, others in normalized text."""
    return {
        "id": index,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": not special,
        "special": special,
    }


def numbered(description: Mapping[str, Any]) -> dict[int, str]:
    """Every entry by id: the model's pieces and the added tokens."""
    vocab = description["model"]["vocab"]
    pairs = vocab.items() if isinstance(vocab, Mapping) else ((piece[0], index) for index, piece in enumerate(vocab))
    found = {int(index): str(piece) for piece, index in pairs}
    return found | {int(token["id"]): str(token["content"]) for token in description["added_tokens"]}


def fill_holes(description: Description) -> None:
    """Give every id below the highest a token; DataError if two entries share one, or far too many have none.

    Where an id lies below one of the model's own, or among added ones, the library would renumber: then the added
    tokens enter the model's vocabulary under their ids.
    """
    entries = numbered(description)
    if not entries:
        raise DataError("the tokenizer has no entries")
    holes = sorted(set(range(max(entries) + 1)) - entries.keys())
    if len(holes) > _MOST_HOLES:
        raise DataError(f"{len(holes)} ids of {max(entries) + 1} have no token: not a whole tokenizer")
    added = description["added_tokens"]
    added += [added_token(index, _unused(index)) for index in holes]
    added.sort(key=lambda token: int(token["id"]))
    vocab = description["model"]["vocab"]
    if not isinstance(vocab, dict):
        return
    known = {index: piece for piece, index in vocab.items()}
    for token in added:
        if known.get(token["id"], token["content"]) != token["content"]:
            raise DataError(f"two tokens have the id {token['id']}")
    outside = [token for token in added if token["content"] not in vocab]
    if [token["id"] for token in outside] != list(range(len(vocab), len(vocab) + len(outside))):
        vocab.update({token["content"]: token["id"] for token in outside})


def append_special(description: Description, names: Iterable[str]) -> None:
    """Add new special tokens behind all entries. RequestError for one that exists already or is empty."""
    entries = numbered(description)
    known, first = set(entries.values()), max(entries) + 1
    for index, name in enumerate(names, first):
        if not name.strip():
            raise RequestError("a special token must have a name that is not blank")
        if name in known:
            raise RequestError(
                f"the token {name} exists already: add_tokens is for new ones, special_tokens marks others"
            )
        known.add(name)
        description["added_tokens"].append(added_token(index, name))
    fill_holes(description)


def mark_special(description: Description, names: Iterable[str]) -> None:
    """Make entries that are there special ones, which text never yields; RequestError for one that isn't there."""
    entries = {content: index for index, content in numbered(description).items()}
    added = {token["content"]: token for token in description["added_tokens"]}
    for name in names:
        if name not in entries:
            raise RequestError(f"the tokenizer has no token {name}; new ones go to add_tokens")
        if name in added:
            added[name] |= {"special": True, "normalized": False}
        else:
            description["added_tokens"].append(added_token(entries[name], name))
    description["added_tokens"].sort(key=lambda token: int(token["id"]))


def _unused(index: int) -> str:
    return f"<|unused_{index}|>"
