"""Text from people never makes a special token: what a vocabulary would allow is closed, and what is left is refused.

A Unigram model of the ``tokenizers`` library finds every entry of its vocabulary in text, so ``<s>`` or ``<0x41>``
typed by somebody becomes the control or byte token; SentencePiece looks for normal pieces only. Such an entry gets a
score below that of its characters one by one, so that a best path never takes it. That needs all its characters to be
pieces; where some are not, the text is cut beside such a character, which no piece spans anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import tokenizers

from groundup.base.errors import DataError
from groundup.text.adopt.description import Description


def guard_unigram(description: Description, never: Iterable[int], symbols: Iterable[int] = ()) -> None:
    """Let the entries ``never`` not be found in text; the ids of everything else stay as they are.

    ``symbols`` are entries that a person gave, which may have characters that are no pieces: where one of them competes
    with a path that has fewer of its characters, the lower penalty for those counts (see SentencePiece's module).

    DataError for a vocabulary in which that can't be had: a piece of several characters one of which is no piece (the
    penalty for unknown characters, which depends on the lowest score, would count), or a hidden entry of one character.
    """
    model = description["model"]
    vocab: list[list[Any]] = model["vocab"]
    hidden = sorted({index for index in never if vocab[index][0]})
    if not hidden:
        return
    normal = [(piece, score) for index, (piece, score) in enumerate(vocab) if index not in set(hidden)]
    scores = {piece: score for piece, score in normal if len(piece) == 1}
    given = {vocab[index][0] for index in symbols}
    odd = next(
        (piece for piece, _ in normal if piece not in given and any(character not in scores for character in piece)),
        None,
    )
    if odd is not None:
        raise DataError(f"the piece {odd[:40]!r} has a character that is no piece: its ids can't be kept equal")
    lowest = [min((score for _, score in normal), default=0.0)]
    cuts = []
    for index in hidden:
        piece = vocab[index][0]
        unknown = [character not in scores for character in piece]
        if len(piece) == 1:
            raise DataError(f"the entry {piece!r} is a single character: people's text would make it")
        if not any(unknown):
            lowest.append(sum(scores[character] for character in piece))
        elif model.get("byte_fallback") or unknown != [True] * len(piece):
            place = _cut(unknown)
            cuts.append(f"{re.escape(piece[:place])}(?={re.escape(piece[place:])})")
        else:
            # All unknown: they are one unknown token together, as its first character alone is.
            _append(description, "normalizer", "normalizers", _replace(piece, piece[0]))
    score = min(lowest) - 1
    for index in hidden:
        vocab[index][1] = score
    if cuts:
        pattern = "|".join(sorted(cuts, key=len, reverse=True))
        step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "MergedWithPrevious", "invert": False}
        _append(description, "pre_tokenizer", "pretokenizers", step)


def _cut(unknown: Sequence[bool]) -> int:
    """A place beside an unknown character, between it and a known one where there is such a place."""
    found = [at for at in range(1, len(unknown)) if unknown[at - 1] != unknown[at]]
    return found[0] if found else 1


def _replace(what: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": what}, "content": by}


def _append(description: Description, field: str, inner: str, step: dict[str, Any]) -> None:
    """Put a step behind those that a normalizer or pre-tokenizer has."""
    now = description[field]
    steps = [] if now is None else now[inner] if now.get("type") == "Sequence" else [now]
    description[field] = {"type": "Sequence", inner: [*steps, step]}


def refuse_leaks(backend: tokenizers.Tokenizer, exempt: Iterable[int] = ()) -> None:
    """DataError with the first special token that text spelled like it yields; ``exempt`` are ids for unknown text.

    Tried alone, between letters, and behind a blank, for each special token.
    """
    backend.encode_special_tokens = True
    special = {index: token.content for index, token in backend.get_added_tokens_decoder().items() if token.special}
    wanted = special.keys() - set(exempt)
    names = sorted(special.values())
    texts = [text for name in names for text in (name, f"x{name}y", f" {name} ", name + name)]
    for text, encoding in zip(texts, backend.encode_batch(texts, add_special_tokens=False), strict=True):
        made = next((index for index in encoding.ids if index in wanted), None)
        if made is not None:
            raise DataError(f"the text {text!r} would make the special token {special[made]}: it can't be told apart")
