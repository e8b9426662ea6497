"""Extending a tokenizer: more entries behind the old ones, whose ids keep their meaning.

``learn_extension`` gives a language pieces of its own: byte-level BPE (Sennrich et al. 2016) goes on from the
tokenizer's pieces on counted words, so that its merges come after all old ones, as if the first training had seen more.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from groundup.base.errors import DataError, RequestError
from groundup.text.adopt.adopt import rebuilt
from groundup.text.adopt.description import fill_holes, numbered
from groundup.text.bpe.byte_level import spell, unspell
from groundup.text.bpe.learn import Learner
from groundup.text.bpe.pattern import CannotCompileError
from groundup.text.bpe.splitter import Splitter
from groundup.text.tokenizer import Tokenizer

Report = Callable[[int, int], None]

_AT_ONCE: Final = 1 << 14
"""Words that are Python objects at a time."""


def learn_extension(
    tokenizer: Tokenizer,
    words: pa.Table,
    extra: int,
    *,
    min_frequency: int = 0,
    max_token_length: int | None = None,
    report: Report | None = None,
) -> Tokenizer:
    """The tokenizer with ``extra`` more pieces, learned from counted words.

    ``words`` has a column ``word`` (binary: UTF-8, as ``splitting`` says) and ``count`` (int64). Words that hold
    the text of an added token are left out, so that no piece is spelled like one. DataError if the words don't support
    so many pieces, RequestError for a tokenizer that isn't byte-level BPE.
    """
    description = tokenizer.describe()
    _refuse_others(description)
    if extra < 1:
        raise RequestError("extra must be at least one piece")
    entries = numbered(description)
    special = {token["content"] for token in description["added_tokens"]}
    pieces = [None if entries[i] in special else unspell(entries[i]) for i in range(len(entries))]
    ids, offsets, counts = _segmented(tokenizer, words, special)
    learner = Learner.of_pieces(ids, offsets, counts, pieces)
    try:
        learner.run(len(pieces) + extra, min_frequency, max_token_length, report)
    except DataError:
        number = len(learner.vocabulary().pieces) - len(pieces)
        raise DataError(f"the words hold only {number:,} more pieces of {extra:,}; ask for fewer") from None
    learned = learner.vocabulary()
    _append(description, entries, learned.pieces[len(pieces) :], learned.merges)
    return rebuilt(tokenizer, description)


def splitting(tokenizer: Tokenizer) -> tuple[Mapping[str, Any], bool]:
    """How words are cut for ``learn_extension``: a pre-tokenizer that Splitter compiles, and whether text is composed
    (NFC) first. RequestError for a tokenizer that can't learn more pieces."""
    description = tokenizer.describe()
    _refuse_others(description)
    normalizer = description["normalizer"]
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    if steps not in ([], [{"type": "NFC"}]):
        kinds = ", ".join(str(step["type"]) for step in steps)
        raise RequestError(f"more pieces are learned only where text is kept or composed (NFC), not by {kinds}")
    pre_tokenizer: Mapping[str, Any] = description["pre_tokenizer"] or {}
    try:
        Splitter.parse(pre_tokenizer)
    except CannotCompileError as error:
        raise RequestError(f"this tokenizer's split can't be compiled, so no pieces are learned: {error}") from None
    return pre_tokenizer, bool(steps)


def _refuse_others(description: Mapping[str, Any]) -> None:
    if not is_byte_level(description):
        raise RequestError("only a byte-level BPE tokenizer can learn more pieces")


def is_byte_level(description: Mapping[str, Any]) -> bool:
    """Whether a tokenizer spells bytes as characters and merges them."""
    decoder = description.get("decoder") or {}
    return description["model"]["type"] == "BPE" and decoder.get("type") == "ByteLevel"


def _segmented(tokenizer: Tokenizer, words: pa.Table, special: Iterable[str]) -> tuple[Any, Any, Any]:
    """Words as the tokenizer's pieces: ids int32, where each word starts and ends int64 (words + 1,), counts int64."""
    model = tokenizer.backend.model
    hidden = re.compile(b"|".join(re.escape(content.encode()) for content in sorted(special) if content) or b"(?!)")
    ids, offsets, counts = array("i"), array("q", [0]), array("q")
    for batch in words.to_batches(max_chunksize=_AT_ONCE):
        pairs: Iterator[tuple[Any, Any]] = zip(batch["word"].to_pylist(), batch["count"].to_pylist(), strict=True)
        for word, count in pairs:
            if not word or hidden.search(word):
                continue
            ids.extend(token.id for token in model.tokenize(spell(word)))
            offsets.append(len(ids))
            counts.append(count)
    if not counts:
        raise DataError("there are no words to learn from")
    return np.array(ids, np.int32), np.array(offsets, np.int64), np.array(counts, np.int64)


def _append(
    description: dict[str, Any],
    entries: Mapping[int, str],
    pieces: Iterable[bytes | None],
    merges: Iterable[tuple[int, int, int]],
) -> None:
    """Put learned pieces and merges behind the old ones."""
    vocab, first = description["model"]["vocab"], len(entries)
    spelled = dict(entries)
    for index, piece in enumerate(pieces, first):
        assert piece is not None
        spelled[index] = spell(piece)
        vocab[spelled[index]] = index
    # A way to make a piece that was there already is a merge of its own; it comes last as well.
    description["model"]["merges"] += [[spelled[left], spelled[right]] for left, right, _ in merges]
    fill_holes(description)


@dataclass(frozen=True)
class NewEntry:
    """An entry that the extended tokenizer has and the old one hasn't: the old pieces that its text was made of.

    ``special`` ones have no text, so no pieces.
    """

    id: int
    name: str
    special: bool
    pieces: tuple[int, ...]


def new_entries(old: Tokenizer, new: Tokenizer) -> list[NewEntry]:
    """What an extension adds, by id; DataError with the first id that differs if it is no extension.

    Every entry of the old one must be the same in the new one, and text must be normalized, split and written out
    alike: then an old id means what it meant.
    """
    before, after = old.describe(), new.describe()
    _check_ids(before, after)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if before[part] != after[part]:
            raise DataError(f"the tokenizers don't cut text alike (their {part} differs): one doesn't extend the other")
    if before["model"]["type"] != after["model"]["type"]:
        raise DataError(f"a {after['model']['type']} tokenizer can't extend one of {before['model']['type']}")
    _check_model(before, after)
    entries = numbered(after)
    first = max(numbered(before)) + 1
    added = {token["id"]: token for token in after["added_tokens"]}
    return [_entry(old, index, entries[index], added.get(index), before) for index in range(first, max(entries) + 1)]


def _check_ids(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    old, new = numbered(before), numbered(after)
    special = [{t["id"]: bool(t["special"]) for t in one["added_tokens"]} for one in (before, after)]
    for index in range(max(old) + 1):
        was, now = old.get(index), new.get(index)
        if was != now:
            raise DataError(f"the tokenizer is no extension: id {index} was {_shown(was)} and is {_shown(now)}")
        if special[0].get(index) != special[1].get(index):
            raise DataError(f"the tokenizer is no extension: id {index} ({_shown(was)}) is special in one of them only")


def _check_model(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """DataError unless the old merges come first, in their order, or the old pieces have their scores."""
    old, new = before["model"], after["model"]
    odd = next((key for key in old if key not in {"vocab", "merges"} and old[key] != new.get(key)), None)
    if odd is None and old.get("merges", []) != new.get("merges", [])[: len(old.get("merges", []))]:
        odd = "merges"
    if odd is None and isinstance(old["vocab"], list):
        hidden = {token["id"] for token in before["added_tokens"] if token["special"]}
        scores = zip(old["vocab"], new["vocab"], strict=False)
        if any(was != now for index, (was, now) in enumerate(scores) if index not in hidden):
            odd = "scores"
    if odd is not None:
        raise DataError(f"the tokenizers don't cut text alike (their {odd} differs): one doesn't extend the other")


def _shown(entry: str | None) -> str:
    return "nothing" if entry is None else repr(entry[:40])


def _entry(
    old: Tokenizer, index: int, name: str, added: Mapping[str, Any] | None, before: Mapping[str, Any]
) -> NewEntry:
    if added is not None and added["special"]:
        return NewEntry(index, name, True, ())
    if added is not None:  # text that is matched as a whole
        text = spell(name.encode()) if is_byte_level(before) else name
    else:
        text = name  # spelled as the model spells it
    return NewEntry(index, name, False, tuple(token.id for token in old.backend.model.tokenize(text)))
