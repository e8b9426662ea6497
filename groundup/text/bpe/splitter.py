"""The pre-tokenizer of a ``tokenizer.json``, compiled: how text is cut into pieces that are encoded one by one.

Known are ``Split``, ``ByteLevel``, ``Digits``, ``Punctuation`` and ``Sequence`` of them, where ``ByteLevel`` comes
last: all there is in byte-level tokenizers of GPT-2, Llama 3, Qwen, DeepSeek, SmolLM, Mistral and their kin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from groundup.text.bpe.automaton import Automaton, build, compile_pattern, side_by_side
from groundup.text.bpe.columns import chunks
from groundup.text.bpe.members import Mask, numeric, punctuation, version
from groundup.text.bpe.pattern import CannotCompileError, Chars, Repeat
from groundup.text.bpe.split_kernels import Split, split_rows

GPT2_SPLIT: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The split of GPT-2 (``encoder.py``), which ``ByteLevel`` has built in."""


@dataclass(frozen=True)
class Stage:
    """An automaton, and whether what it leaves, and what it matches, is dropped."""

    automaton: Automaton
    drops_left: bool = False
    drops_matched: bool = False


class Splitter:
    """Cuts columns of text into pieces, as the library's pre-tokenizer does."""

    def __init__(self, stages: tuple[Stage, ...], prefix_space: bool = False) -> None:
        self.stages = stages
        self.prefix_space = prefix_space
        classes, entries, block, width = side_by_side([stage.automaton for stage in stages])
        drops = np.array([(stage.drops_left, stage.drops_matched) for stage in stages], np.bool_)
        self.split = Split(classes, entries, drops, block, width)

    @classmethod
    def parse(cls, description: Mapping[str, Any] | None) -> Splitter:
        """From what ``tokenizer.json`` has under ``pre_tokenizer``; CannotCompileError says why it can't be."""
        parts = _flat(description)
        if not parts or parts[-1].get("type") != "ByteLevel":
            raise CannotCompileError("a pre-tokenizer that doesn't end with ByteLevel")
        if any(part.get("type") == "ByteLevel" for part in parts[:-1]):
            raise CannotCompileError("ByteLevel before other splits")
        last = parts[-1]
        # With the space in front of each piece that another split cut, pieces would not be text any more.
        prefix_space = bool(last.get("add_prefix_space", True))
        if prefix_space and len(parts) > 1:
            raise CannotCompileError("a space before every piece")
        stages = [_stage(part) for part in parts[:-1]]
        if last.get("use_regex", True):
            stages.append(Stage(compile_pattern(GPT2_SPLIT)))
        if not stages:
            stages.append(Stage(compile_pattern(r"[\s\S]+")))  # the whole text is one piece
        return cls(tuple(stages), prefix_space)

    def prepared(self, texts: Any) -> Any:
        """The column as it is split: with a space in front of each row, if the tokenizer adds one."""
        if not self.prefix_space:
            return texts
        texts = texts.cast(pa.large_string())
        empty, space = pa.scalar("", texts.type), pa.scalar(" ", texts.type)
        has_one = pc.or_(pc.starts_with(texts, " "), pc.equal(texts, empty))
        return pc.binary_join_element_wise(pc.if_else(has_one, empty, space), texts, empty)

    def chain(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The state of the kernels at the beginning of a column: (ends, kept)."""
        return np.zeros(len(self.stages) + 1, np.int64), np.ones(len(self.stages), np.bool_)

    def pieces(self, texts: Any) -> list[list[bytes]]:
        """The pieces of every row, for people and tests: objects, so not fast."""
        rows: list[list[bytes]] = []
        for chunk in chunks(self.prepared(texts)):
            size = int(chunk.offsets[-1] - chunk.offsets[0])
            starts, stops = np.empty(size, np.int64), np.empty(size, np.int64)
            bounds = np.zeros(len(chunk.offsets), np.int64)
            split_rows(chunk, self.split, self.chain(), starts, stops, bounds)
            data = chunk.data.tobytes()
            for first, last in pairwise(bounds.tolist()):
                rows.append([data[starts[i] : stops[i]] for i in range(first, last)])
        return rows


def _flat(description: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The parts of a sequence, or the one that there is."""
    if description is None:
        return []
    if description.get("type") == "Sequence":
        return [part for inner in description["pretokenizers"] for part in _flat(inner)]
    return [description]


def _stage(part: Mapping[str, Any]) -> Stage:
    kind = part.get("type")
    if kind == "Digits":
        return Stage(_of_set("numeric", not part.get("individual_digits", False), version()))
    if kind == "Punctuation":
        behavior = str(part.get("behavior", "Isolated"))
        automaton = _of_set("punctuation", behavior == "Contiguous", version())
        return _behaving(automaton, "Isolated" if behavior == "Contiguous" else behavior, invert=False)
    if kind != "Split":
        raise CannotCompileError(f"the pre-tokenizer {kind}")
    pattern = part["pattern"]
    source = pattern["Regex"] if "Regex" in pattern else "".join(map(_escaped, pattern["String"]))
    if not source:
        raise CannotCompileError("an empty pattern")
    return _behaving(compile_pattern(source), str(part.get("behavior")), invert=bool(part.get("invert", False)))


def _behaving(automaton: Automaton, behavior: str, *, invert: bool) -> Stage:
    """``Isolated``: matches and what is between them are pieces; ``Removed``: matches (``invert``: the others) go."""
    if behavior == "Isolated":
        return Stage(automaton)
    if behavior == "Removed":
        return Stage(automaton, drops_left=invert, drops_matched=not invert)
    raise CannotCompileError(f"the behaviour {behavior}")


def _escaped(character: str) -> str:
    special = character.isascii() and character.isprintable() and not character.isalnum()
    return "\\" + character if special else character


@lru_cache(maxsize=8)
def _of_set(name: str, contiguous: bool, version: str) -> Automaton:
    """The automaton of one character of a set of the library's, or of a run of them; ``version`` is only a key."""
    mask: Mask = numeric() if name == "numeric" else punctuation()
    chars = Chars(name)
    return build(Repeat(chars, 1, None, lazy=False) if contiguous else chars, lambda _: mask)
