"""SentencePiece models, BPE and Unigram, from counted words (Kudo and Richardson 2018; Kudo 2018).

SentencePiece reads sentences; a word with its count is a sentence that was seen so often (its "tsv" input). It cuts
sentences at blanks anyway, so BPE learns the same model as from the sentences, and Unigram one as good (it looks for
its first candidates in another way), but for counting, which is done out of core. Words carry the blank before them,
written U+2581 in pieces; runs of blanks are words, so that indentation has pieces.

Nothing is normalized and no text is lost: characters that are no piece are written as bytes. So are line breaks and
tabs, which a table of lines can't hold, and U+2581 itself. SentencePiece can't tell that one from a blank when it
encodes a text, so there, and nowhere else, the ids of the ``.model`` are others than those of
:func:`describe_trained`; both decode these.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from groundup.base.errors import DataError, RequestError, missing_extra
from groundup.text.adopt.description import Description
from groundup.text.adopt.model_proto import PieceType, parse_model
from groundup.text.adopt.sentencepiece import SPACE, describe_pieces

Kind = Literal["bpe", "unigram"]

WORDS: Final = " ?[^\\s\u2581]+| +(?!\\S)| +|[^\\S ]+|\u2581+"
"""How text is cut: words with the blank before them, the other blanks, and what is no part of a word."""

UNKNOWN: Final = "<unk>"
COVERAGE: Final = 0.9995
"""Share of the characters that get a piece, SentencePiece's default; the others are written as bytes."""
BYTES_A_POSITION: Final = 60
BYTES_A_WORD: Final = 250
"""What SentencePiece takes for a byte of the words and a word, for both kinds and with room: measured."""

_MOST_PIECES: Final = 1 << 30
"""No words support as many; SentencePiece's numbers are of 32 bits."""
_MOST_COUNTED: Final = (1 << 31) - 1
"""BPE's counts are scaled down to this sum: some of SentencePiece's sums are of 32 bits."""
MOST_WRITTEN_OUT: Final = 64 << 20
"""Unigram's trainer finds its first pieces in the words written out as often as they count, 21 bytes of memory a
character. So above this many bytes of text, counts are scaled down to it, and words that then count less than half are
left out: as if it learned from a sample of the text of that size, but without the chance in drawing one."""

_LEARNABLE: Final = r"^[^\x{00}-\x{1F}\x{7F}\x{85}\x{2028}\x{2029}\x{2581}]+$"
_compute: Any = pc


def train_sentencepiece(
    words: pa.Table,
    vocab_size: int,
    kind: Kind,
    special_tokens: Sequence[str],
    scratch: Path,
    reserved: Sequence[str] = (),
) -> bytes:
    """A model of ``vocab_size`` pieces: unknown, special tokens (control symbols), 256 bytes, pieces, characters, and
    those in reserve (control symbols).

    ``words`` has a column ``word`` (binary: UTF-8, cut by :data:`WORDS`) and ``count`` (int64), most frequent first.
    ``scratch`` is a folder for SentencePiece's input. DataError if the words don't support so many pieces, RequestError
    if so few have no room for the characters.
    """
    sentencepiece = _library()
    path = scratch / "words.tsv"
    number = _write(path, words, kind, [*special_tokens, *reserved])
    if not number:
        raise DataError("the corpus has no words to learn from")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=str(path),
            input_format="tsv",
            model_writer=model,
            model_type=kind,
            vocab_size=min(vocab_size - len(reserved), _MOST_PIECES),
            unk_id=0,
            unk_piece=UNKNOWN,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            control_symbols=list(special_tokens),
            byte_fallback=True,
            character_coverage=COVERAGE,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=1 << 30,
            num_threads=1,  # Unigram's sums depend on it
            minloglevel=3,
        )
    except (RuntimeError, OSError) as error:
        raise _explained(error, vocab_size, len(special_tokens), len(reserved)) from None
    finally:
        path.unlink(missing_ok=True)
    return model.getvalue() + _behind(reserved, vocab_size)


def describe_trained(model: bytes) -> Description:
    """The ``tokenizer.json`` of a model that was trained here, with the same ids.

    Its pieces have blanks where those of SentencePiece have U+2581, so that U+2581 in a text is told from a blank.
    """
    described = describe_pieces(parse_model(model))
    part = described["model"]
    if isinstance(part["vocab"], dict):
        part["vocab"] = {piece.replace(SPACE, " "): index for piece, index in part["vocab"].items()}
        part["merges"] = [[half.replace(SPACE, " ") for half in merge] for merge in part["merges"]]
    else:
        part["vocab"] = [[piece.replace(SPACE, " "), score] for piece, score in part["vocab"]]
    described["normalizer"] = None
    described["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
    return described


def _behind(reserved: Sequence[str], vocab_size: int) -> bytes:
    """What makes control symbols of ``reserved`` behind all pieces when it is put behind a model.

    In protobuf's wire format, messages one behind the other are one: what is repeated goes on (field 1, the pieces),
    and of other fields the last one counts (field 2, the trainer's: 4 is the size).
    """
    if not reserved:
        return b""
    pieces = [_field(1, token.encode()) + bytes([3 << 3, PieceType.CONTROL]) for token in reserved]
    size = bytes([4 << 3]) + _varint(vocab_size)
    return b"".join(_field(1, piece) for piece in pieces) + _field(2, size)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Seven bits a byte, least first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _write(path: Path, words: pa.Table, kind: Kind, special_tokens: Sequence[str]) -> int:
    """Write the words that a line can hold and text can be spelt with, and their counts; how many."""
    text = words.column("word").cast(pa.large_string())
    wanted = _compute.match_substring_regex(text, _LEARNABLE)
    if special_tokens:
        spelled = _compute.match_substring_regex(text, "|".join(map(re.escape, special_tokens)))
        wanted = _compute.and_not(wanted, spelled)
    table = pa.table({"word": text, "count": words.column("count")}).filter(wanted)
    counts = _scaled(table, kind)
    table = pa.table({"word": table.column("word"), "count": counts}).filter(pa.array(counts > 0))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for batch in table.to_batches(max_chunksize=1 << 16):
            lines: Any = zip(batch["word"].to_pylist(), batch["count"].to_pylist(), strict=True)
            file.writelines(f"{word}\t{count}\n" for word, count in lines)
    return int(table.num_rows)


def _scaled(table: pa.Table, kind: Kind) -> NDArray[np.int64]:
    """The counts as they can be learned from; 0 for a word that is left out."""
    counts: NDArray[np.int64] = table.column("count").to_numpy()
    if kind == "bpe":
        return np.maximum(1, counts // max(1, -(-int(counts.sum()) // _MOST_COUNTED)))
    sizes = _compute.binary_length(table.column("word")).to_numpy() + 1
    total = float(np.dot(counts.astype(np.float64), sizes))
    if total <= MOST_WRITTEN_OUT:
        return counts
    scaled: NDArray[np.int64] = np.floor(counts * (MOST_WRITTEN_OUT / total) + 0.5).astype(np.int64)
    return scaled


def _explained(error: Exception, vocab_size: int, special: int, reserved: int) -> DataError | RequestError:
    """SentencePiece's complaint, which knows nothing of those in reserve, in our words."""
    text = str(error)
    if found := re.search(r"value <= (\d+)", text):
        most = int(found[1]) + reserved
        return DataError(f"the corpus supports only {most} vocabulary entries of {vocab_size}; lower vocab_size")
    if found := re.search(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)", text):
        least = int(found[1]) + reserved
        return RequestError(f"vocab_size is {vocab_size}; the characters of the corpus and special tokens need {least}")
    if "vocab_size" in text and "<=" in text:
        return RequestError(
            f"vocab_size is {vocab_size}; {special + reserved} special tokens and 256 bytes leave no room for pieces"
        )
    return DataError(
        f"SentencePiece can't learn from the corpus: {text.splitlines()[0] if text else 'no reason given'}"
    )


def _library() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise missing_extra("sentencepiece", "tokenize") from None
    return sentencepiece
