"""Files of ranks: tiktoken's, Mistral's tekken, and GPT-2's pair of files. Every byte is a piece; a rank is an id.

- ``.tiktoken`` (also Llama 3's ``tokenizer.model``): a line a piece, its bytes in base64, and its rank.
- tekken: JSON with the same pieces, the pattern, and how many special tokens stand before them.
- GPT-2: ``encoder.json`` from pieces in visible characters to ids, ``vocab.bpe`` with a merge a line.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundup.base.errors import DataError, RequestError
from groundup.text.adopt.description import Description, added_token, describe, fill_holes
from groundup.text.adopt.merges import pairs
from groundup.text.adopt.splits import Split, byte_level
from groundup.text.bpe.byte_level import ALPHABET, spell, unspell


@dataclass(frozen=True)
class Ranks:
    """Pieces as bytes with their ranks; ``special`` tokens by id; ``pattern`` where the file names it.

    A piece's id is its rank plus ``offset``. ``merges`` where the file lists them (GPT-2); else any two pieces whose
    concatenation has a rank are joined.
    """

    ranks: Mapping[bytes, int]
    special: Mapping[str, int]
    pattern: str | None = None
    offset: int = 0
    merges: Sequence[tuple[str, str]] | None = None


def read_tiktoken(data: bytes) -> Ranks:
    """A ``.tiktoken`` file's content; DataError with the line that can't be read."""
    found: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            spelled, rank = line.split()
            piece = base64.b64decode(spelled, validate=True)
            found[_new(piece, found)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise DataError(f"line {number} is not a piece in base64 and its rank ({error})") from None
    return _checked(found, {})


def read_tekken(data: Mapping[str, Any]) -> Ranks:
    """A tekken file's JSON: only the first ``default_vocab_size`` entries count, special ones before the pieces."""
    try:
        config = data["config"]
        num_special = int(config["default_num_special_tokens"])
        size = int(config["default_vocab_size"]) - num_special
        special = {str(entry["token_str"]): int(entry["rank"]) for entry in data.get("special_tokens") or ()}
        if not special:
            special = _tekken_special()
        special |= {f"<SPECIAL_{i}>": i for i in range(num_special) if i not in set(special.values())}
        found: dict[bytes, int] = {}
        for entry in data["vocab"][:size]:
            found[_new(base64.b64decode(entry["token_bytes"], validate=True), found)] = int(entry["rank"])
        pattern = str(config["pattern"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DataError(f"not a readable tekken file: {error!r}") from None
    ranks = _checked(found, special)
    return Ranks(ranks.ranks, special, pattern, num_special)


def _tekken_special() -> dict[str, int]:
    """Files before version v7 don't list theirs: the names and places that Mistral's first instruction models have."""
    names = (
        "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] "
        "[TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] "
        "[TOOL_CONTENT]"
    )
    return {name: index for index, name in enumerate(names.split())}


def read_gpt2(encoder: Any, merges: str) -> Ranks:
    """GPT-2's two files: the vocabulary as JSON says it, and the merges.

    Entries that are neither bytes nor made by a merge are special tokens.
    """
    lines = [line for line in merges.split("\n") if line and not line.startswith("#version")]
    pairs_ = [tuple(line.split(" ")) for line in lines]
    if any(len(pair) != 2 for pair in pairs_):
        bad = next(line for line in lines if len(line.split(" ")) != 2)
        raise DataError(f"a merge must be two pieces with a blank between them, not {bad[:40]!r}")
    if not isinstance(encoder, Mapping) or not all(isinstance(index, int) for index in encoder.values()):
        raise DataError("the vocabulary must be a JSON object of pieces and their ids")
    listed = [(left, right) for left, right in pairs_]
    made = {left + right for left, right in listed} | set(ALPHABET)
    lost = next((piece for piece in made if piece not in encoder), None)
    if lost is not None:
        raise DataError(f"the piece {lost[:40]!r} has no id: the two files don't belong together")
    found = {_bytes_of(piece): encoder[piece] for piece in made}
    special = {piece: index for piece, index in encoder.items() if piece not in made}
    ranks = _checked(found, special)
    return Ranks(ranks.ranks, special, merges=listed)


def describe_ranks(ranks: Ranks, split: Split, special: Mapping[str, int] | Sequence[str]) -> Description:
    """The description that gives the same ids; ``special`` tokens that the file doesn't name are given an id or follow.

    RequestError for a special token that exists already or has an id that is taken.
    """
    vocab = {spell(piece): rank + ranks.offset for piece, rank in ranks.ranks.items()}
    named = _numbered(special, vocab, ranks.special)
    if ranks.merges is not None:
        merges = [list(pair) for pair in ranks.merges]
    else:
        ranked = sorted(ranks.ranks, key=lambda piece: ranks.ranks[piece])
        merges = [[spell(left), spell(right)] for left, right in pairs(ranked, ranks.ranks)]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        # tiktoken takes a piece of text that has a rank as it is, whatever the merges would give.
        "ignore_merges": ranks.merges is None,
        "vocab": vocab,
        "merges": merges,
    }
    description = describe(
        model,
        normalizer=split.normalizer(),
        pre_tokenizer=split.pre_tokenizer(),
        decoder=byte_level(split_words=True),
        added=[added_token(index, name) for name, index in named.items()],
    )
    fill_holes(description)
    return description


def _numbered(
    wanted: Mapping[str, int] | Sequence[str], vocab: Mapping[str, int], known: Mapping[str, int]
) -> dict[str, int]:
    """Special tokens with their ids, those without one behind all others."""
    named = dict(known)
    taken = {index: piece for piece, index in vocab.items()} | {index: name for name, index in known.items()}
    following = max(taken) + 1
    pairs_ = wanted.items() if isinstance(wanted, Mapping) else ((name, None) for name in wanted)
    for name, index in pairs_:
        if name in named and index in (None, named[name]):
            continue
        if name in named or name in vocab:
            raise RequestError(f"special_tokens: {name} exists already, as entry {named.get(name, vocab.get(name))}")
        if index is None:
            index, following = following, following + 1
        if index in taken:
            raise RequestError(f"special_tokens: {name} can't be entry {index}, which is {taken[index]!r}")
        taken[index] = name
        named[name] = index
        following = max(following, index + 1)
    clash = next((name for name in named if name in vocab), None)
    if clash is not None:
        raise DataError(
            f"the special token {clash} is spelled like a piece of the vocabulary: they can't be told apart"
        )
    return named


def _new(piece: bytes, found: Mapping[bytes, int]) -> bytes:
    if not piece:
        raise ValueError("an empty piece")
    if piece in found:
        raise ValueError("the piece is there twice")
    return piece


def _bytes_of(piece: str) -> bytes:
    found = unspell(piece)
    if found is None:
        raise DataError(f"the piece {piece[:40]!r} is not spelled in GPT-2's characters for bytes")
    return found


def _checked(ranks: dict[bytes, int], special: Mapping[str, int]) -> Ranks:
    """DataError unless all bytes are there and no rank is there twice."""
    missing = next((byte for byte in range(256) if bytes([byte]) not in ranks), None)
    if missing is not None:
        raise DataError(f"the byte {missing:#04x} is no piece: the file is cut off, or holds no byte-level vocabulary")
    if len(set(ranks.values())) != len(ranks):
        raise DataError("two pieces have the same rank")
    if min(ranks.values()) < 0:
        raise DataError("a rank is negative")
    return Ranks(ranks, special)


def looks_like_ranks(data: bytes) -> bool:
    """Whether a file's first line is a piece in base64 and a rank, whatever the file is called."""
    spelled, _, rank = data.partition(b"\n")[0].strip().partition(b" ")
    try:
        return bool(base64.b64decode(spelled, validate=True)) and rank.isdigit()
    except (ValueError, binascii.Error):
        return False
