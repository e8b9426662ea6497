"""SentencePiece models, BPE and Unigram, as a ``tokenizer.json`` with the same ids (Kudo and Richardson 2018).

What equals what, read off SentencePiece's ``normalizer.cc``, ``bpe_model.cc`` and ``unigram_model.cc``:

- A blank is U+2581. With ``remove_extra_whitespaces``, blanks at both ends go, and so do all but one of a run.
- BPE joins the two neighbours whose concatenation is the best piece: see :mod:`groundup.text.adopt.merges`, and of
  pieces of equal score :mod:`groundup.text.adopt.ties`.
- Unigram takes the path of the highest score; both libraries search alike. A symbol that the trainer was given counts
  a tenth for each of its bytes but the first, whatever score the file has (measured on SentencePiece 0.2.3).
- A character that is no piece becomes its bytes, or one unknown token together with its unknown neighbours.

Where the ids are not equal, and what that is (each a test):

- Two paths of a Unigram model whose scores differ by less than SentencePiece's rounding: it adds in float32 over the
  whole text, so that in very long ones (thousands of pieces) the worse of two close paths may win there.
- A table of characters (``nmt_nfkc`` and its kin) is applied by the steps of :mod:`groundup.text.adopt.charsmap`, which
  lose two unassigned code points. For a table for which they don't hold, none that SentencePiece comes with, graphemes
  of several code points may be normalized otherwise.
- A Unigram model with a given symbol that has a character that is no piece, overlapping in the text with a longer piece
  of very high score: the penalty for that character is larger in the library.
- A BPE model with a dummy prefix and symbols that the trainer was given: of a text that is exactly such a symbol,
  SentencePiece makes the prefix and the symbol, the library the symbol.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from itertools import groupby
from typing import Any, Final

import tokenizers

from groundup.base.errors import DataError
from groundup.text.adopt.charsmap import normalizers
from groundup.text.adopt.description import Description, added_token, describe
from groundup.text.adopt.guard import guard_unigram
from groundup.text.adopt.merges import pairs
from groundup.text.adopt.model_proto import Algorithm, Piece, PieceModel, PieceType
from groundup.text.adopt.ties import check_tied

SPACE: Final = "\u2581"


def describe_pieces(model: PieceModel) -> Description:
    """The description that gives the same ids; DataError for what the library can't do, by name."""
    _check(model)
    symbols = [piece.text for piece in model.pieces if piece.type == PieceType.USER_DEFINED]
    bpe = model.algorithm == Algorithm.BPE
    normalizer = _normalizer(model, symbols if bpe else [])
    added = [
        added_token(index, piece.text)
        for index, piece in enumerate(model.pieces)
        if piece.type in {PieceType.CONTROL, PieceType.UNKNOWN}
    ]
    if bpe:
        added += [
            added_token(index, piece.text, special=False)
            for index, piece in enumerate(model.pieces)
            if piece.type == PieceType.USER_DEFINED
        ]
    described = describe(
        _bpe(model) if bpe else _unigram(model), normalizer=normalizer, decoder=_decoder(model), added=added
    )
    _check_symbols(described, symbols)
    if not bpe:
        never = {PieceType.CONTROL, PieceType.UNKNOWN, PieceType.BYTE}
        given = [index for index, piece in enumerate(model.pieces) if piece.type == PieceType.USER_DEFINED]
        guard_unigram(described, [index for index, piece in enumerate(model.pieces) if piece.type in never], given)
    return described


def _check(model: PieceModel) -> None:
    if model.algorithm not in {Algorithm.BPE, Algorithm.UNIGRAM}:
        raise DataError(
            f"a SentencePiece model of kind {model.algorithm.name.lower()} can't be adopted: only bpe, unigram"
        )
    if model.suffix_spaces:
        raise DataError("a SentencePiece model that puts blanks behind words can't be adopted")
    if not model.escape_whitespaces:
        raise DataError("a SentencePiece model that doesn't write blanks as U+2581 can't be adopted")
    if model.denormalizes:
        raise DataError("a SentencePiece model that rewrites text when decoding can't be adopted")
    unused = next((piece.text for piece in model.pieces if piece.type == PieceType.UNUSED), None)
    if unused is not None:
        raise DataError(f"a SentencePiece model with pieces marked unused ({unused!r}) can't be adopted")
    if [piece.type for piece in model.pieces].count(PieceType.UNKNOWN) != 1:
        raise DataError("a SentencePiece model must have one piece for unknown text")
    if len({piece.text for piece in model.pieces}) != len(model.pieces):
        raise DataError("a piece is there twice")


def _normalizer(model: PieceModel, symbols: list[str]) -> dict[str, Any]:
    """The steps before the model: the table of characters, blanks, the dummy prefix.

    The prefix is put before every text but one that is exactly one of the BPE model's ``symbols``: the library
    normalizes such a symbol's own text by the same steps, and then looks for what comes out.
    """
    steps: list[dict[str, Any]] = []
    if model.charsmap:
        plain = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode("ascii")}
        steps += normalizers(model.charsmap) or (plain,)
    if model.remove_extra_whitespaces:
        steps += [_replace(r"\A +", ""), _replace(rf"[ {SPACE}]+\z", ""), _replace(" {2,}", " ")]
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    if model.add_dummy_prefix and symbols:
        either = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True))
        steps.append(_replace(rf"\A(?!(?:{either})\z)(?=[\s\S])", SPACE))
    elif model.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    return {"type": "Sequence", "normalizers": steps}


def _replace(pattern: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}


def _decoder(model: PieceModel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    steps += [{"type": "ByteFallback"}] if model.byte_fallback else []
    steps.append({"type": "Fuse"})
    if model.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _unknown(model: PieceModel) -> int:
    return next(index for index, piece in enumerate(model.pieces) if piece.type == PieceType.UNKNOWN)


def _bpe(model: PieceModel) -> dict[str, Any]:
    ids = {piece.text: index for index, piece in enumerate(model.pieces)}
    normal = {piece.text: piece for piece in model.pieces if piece.type == PieceType.NORMAL}
    longer = [piece for piece in normal.values() if len(piece.text) > 1]
    ranked = sorted(longer, key=lambda piece: (-piece.score, -len(piece.text)))
    for _, tied in groupby(ranked, key=lambda piece: piece.score):
        check_tied([piece.text for piece in tied], ids)
    odd = next((p.text for p in ranked if any(character not in ids for character in p.text)), None)
    if odd is not None:
        raise DataError(f"the piece {odd[:40]!r} has a character that is no piece: the library can't make it")
    halves = {text: ids[text] for text in normal}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.pieces[_unknown(model)].text,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": False,
        "vocab": ids,
        "merges": [[left, right] for left, right in pairs((piece.text for piece in ranked), halves)],
    }


def _unigram(model: PieceModel) -> dict[str, Any]:
    def score(piece: Piece) -> float:
        if piece.type == PieceType.USER_DEFINED:
            return _float32(0.1 * (len(piece.text.encode()) - 1))
        return piece.score

    return {
        "type": "Unigram",
        "unk_id": _unknown(model),
        "vocab": [[piece.text, score(piece)] for piece in model.pieces],
        "byte_fallback": model.byte_fallback,
    }


def _float32(number: float) -> float:
    (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    return float(rounded)


def _check_symbols(description: Description, symbols: list[str]) -> None:
    """DataError for a given symbol that normalizing would change: SentencePiece keeps it, the library can't."""
    if not symbols:
        return
    steps = description["normalizer"]["normalizers"]
    inner = {**description["normalizer"], "normalizers": [step for step in steps if step["type"] != "Prepend"]}
    bare = {**describe({"type": "BPE", "vocab": {}, "merges": []}), "normalizer": inner}
    normalizer = tokenizers.Tokenizer.from_str(json.dumps(bare)).normalizer
    changed = next((symbol for symbol in symbols if normalizer.normalize_str(symbol) != symbol), None)
    if changed is not None:
        raise DataError(f"the symbol {changed!r} would be changed by the model's own normalizing: it can't be kept")
