"""A token store opened: its documents, and rows to train on.

A folder holds ``train.bin``/``train.idx`` and ``held_out.bin``/``held_out.idx`` (``megatron.py``; each document ends
with the end-of-text id), ``order/`` of the training split (``order.py``), and ``store.json``, which says of which
tokenizer the ids are. It lies on this machine, where it is memory-mapped, or at an address that fsspec knows, from
which ids are fetched as they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from groundup.base.errors import ArtifactError, RequestError
from groundup.text.store.megatron import Ids, Offsets, read_index
from groundup.text.store.order import FOLDER, Numbers, Order, ranges
from groundup.text.store.places import AnyIds, Place, place_of

ABOUT: Final = "store.json"
SPLITS: Final = ("train", "held_out")
_LONG: Final = 256
"""Tokens a segment from which copying slices is faster than picking single ids."""


class About(BaseModel):
    """``store.json``. ``tokenizer`` is the SHA-256 of the ``tokenizer.json`` that made the ids."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    tokenizer: str
    vocab_size: int
    eos_id: int


@dataclass(frozen=True)
class Rows:
    """Rows of T positions. ``inputs`` and ``targets`` (R, T) in the store's type: the ids, and those that follow.

    ``trained`` bool (R, T) says which targets count: all but padding, None if there is none. ``documents`` int64 (R, T)
    numbers what must not see each other.
    """

    inputs: Ids
    targets: Ids
    trained: npt.NDArray[np.bool_] | None = None
    documents: Numbers | None = None


@dataclass(frozen=True)
class TokenStore:
    """Documents of token ids. ``ids`` is flat; document i is ids[offsets[i]:offsets[i+1]].

    ``order`` is None for a store that isn't trained on, ``about`` for one of another program.
    """

    ids: AnyIds
    offsets: Offsets
    order: Order | None
    about: About | None = None

    @classmethod
    def open(cls, folder: Path | str, split: str = "train") -> TokenStore:
        """Open a split of a folder, or of an address such as ``s3://bucket/tokens``.

        ArtifactError if the files are damaged, or made by an older version.
        """
        place = place_of(folder)
        try:
            index = read_index(place.read(f"{split}.idx"), f"{place}/{split}.idx")
            ids = place.ids(f"{split}.bin", index.dtype)
            about = _about(place)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"the token store in {place} can't be read: {error}") from None
        if len(ids) != index.num_tokens:
            raise ArtifactError(f"{place}/{split}.bin holds {len(ids)} tokens, its index says {index.num_tokens}")
        order = _order(place, index.num_tokens) if split == "train" else None
        return cls(ids, index.offsets, order, about)

    @property
    def num_tokens(self) -> int:
        """Tokens in the split, end-of-text ids included."""
        return len(self.ids)

    @property
    def num_documents(self) -> int:
        """Documents in the split."""
        return len(self.offsets) - 1

    def document(self, index: int) -> Ids:
        """The ids of one document, its closing end-of-text id included."""
        found: Ids = self.ids[int(self.offsets[index]) : int(self.offsets[index + 1])]
        return found

    def check_tokenizer(self, digest: str, vocab_size: int, name: str) -> None:
        """ArtifactError unless the ids are of the tokenizer whose ``tokenizer.json`` has this SHA-256."""
        if self.about is not None and (self.about.tokenizer, self.about.vocab_size) != (digest, vocab_size):
            raise ArtifactError(
                f"the token store {name!r} was made with tokenizer {self.about.tokenizer[:12]} of "
                f"{self.about.vocab_size} entries, not with {digest[:12]} of {vocab_size}: make it again with this one"
            )

    def need_order(self, name: str = "") -> Order:
        """The order of a store to train on; RequestError if it has none."""
        if self.order is None:
            which = f" {name!r}" if name else ""
            raise RequestError(f"the token store{which} has no order of rows: it is not one to train on")
        return self.order

    def rows(self, numbers: Numbers, *, documents: bool = False) -> Rows:
        """The rows with these numbers (R,), counted through all epochs, with ``documents`` numbered if wanted.

        A target is the id that follows in the store, wherever a piece was cut.
        """
        order = self.need_order()
        seq_len, count = order.seq_len, len(numbers)
        segments, row = order.segments(numbers)
        starts, lengths = np.asarray(order.starts[segments]), order.lengths[segments].astype(np.int64)
        body, following = self._take(starts, lengths)

        before = np.cumsum(lengths) - lengths
        heads = np.searchsorted(row, np.arange(count))
        first = row * seq_len + before - before[heads][row]
        full = len(body) == count * seq_len
        filled = slice(None) if full else ranges(first, lengths)
        inputs = body
        if not full:
            inputs = np.zeros(count * seq_len, body.dtype)
            inputs[filled] = body
        targets = np.zeros_like(inputs)
        targets[:-1] = inputs[1:]
        targets[first + lengths - 1] = following
        trained = None
        if not full:
            trained = np.zeros(count * seq_len, bool)
            trained[filled] = True
        shape = (count, seq_len)
        return Rows(
            inputs.reshape(shape),
            targets.reshape(shape),
            None if trained is None else trained.reshape(shape),
            self._numbered(starts, lengths, row, heads, filled, shape) if documents else None,
        )

    def training_tokens(self, seen: int) -> Ids:
        """The ids that a run of ``seen`` tokens has read, each once, in the order of its first epoch or the store."""
        if self.order is None:
            return self.ids[:]
        rows = np.arange(self.order.rows_in_epoch)
        segments, _ = self.order.segments(rows)
        starts, lengths = np.asarray(self.order.starts[segments]), self.order.lengths[segments].astype(np.int64)
        ends = np.cumsum(lengths)
        if not len(ends) or seen >= ends[-1]:
            return self.ids[:]
        count = int(np.searchsorted(ends, seen)) + 1
        read, _ = self._take(starts[:count], lengths[:count])
        return read[:seen]

    def _take(self, starts: Numbers, lengths: Numbers) -> tuple[Ids, Ids]:
        """The ids of segments, back to back, and the one behind each. Place -1 is that of the store's last id."""
        if not isinstance(self.ids, np.ndarray):
            return self.ids.take(starts, lengths)
        if len(starts) and lengths.sum() // len(starts) >= _LONG and starts.min() >= 0:
            slices = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
            body = np.concatenate([self.ids[a:b] for a, b in slices])
        else:
            body = np.take(self.ids, ranges(starts, lengths))
        return body, self.ids[starts + lengths]

    def _numbered(
        self, starts: Numbers, lengths: Numbers, row: Numbers, heads: Numbers, filled: Any, shape: tuple[int, int]
    ) -> Numbers:
        """Documents numbered from 0 within each row, int64 (R, T): pieces that were not neighbours count as several.

        Padding has a number of its own behind the last one.
        """
        begins = starts + 1 == self.offsets[self.documents_at(starts)]
        goes_on = np.zeros(len(row), bool)
        goes_on[1:] = (row[1:] == row[:-1]) & (starts[1:] == starts[:-1] + lengths[:-1]) & ~begins[1:]
        number = np.cumsum(~goes_on)
        number -= number[heads][row]
        found = np.repeat(np.bincount(row, ~goes_on, minlength=shape[0]).astype(np.int64), shape[1])
        found[filled] = np.repeat(number, lengths)
        return found.reshape(shape)

    def documents_at(self, starts: Numbers) -> Numbers:
        """The document of each segment that begins at ``starts``: that of its first target."""
        found: Numbers = np.searchsorted(self.offsets, starts + 1, side="right") - 1
        return found


def _about(place: Place) -> About | None:
    if not place.has(ABOUT):
        return None
    try:
        return About.model_validate_json(place.read(ABOUT))
    except ValidationError:
        raise ArtifactError(f"{place}/{ABOUT} is damaged; make the token store again") from None


def _order(place: Place, num_tokens: int) -> Order | None:
    if not place.has(f"{FOLDER}/order.json"):
        if place.has("order.npy") or place.has(FOLDER):
            raise ArtifactError(f"the order of {place} was made by an older version: make it again")
        return None
    order = Order.open(lambda name: place.load(f"{FOLDER}/{name}"), str(place))
    # The rest of the segments is looked at as it is read; a store of other documents shows at its ends.
    for at in (0, -1):
        if len(order.starts) and not -1 <= order.starts[at] < order.starts[at] + order.lengths[at] < num_tokens:
            raise ArtifactError(f"the order of {place} is one of other documents: make the store again")
    return order
