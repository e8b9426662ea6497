"""Which artifacts are exposed to rows that were withdrawn, with the ranges of tokens and the steps of training.

An artifact is exposed if it holds a row's text or was made from something that holds it. What curation dropped goes no
further than pages and corpora: a tokenizer, a store or a model is exposed by what had been kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import GroundupError
from groundup.base.files import read_json
from groundup.flow import UNDER_WAY
from groundup.readings import Trained
from groundup.recipe import CARRIERS, STAGES, stage_class

_DOCUMENTS: Final = "documents.parquet"
Range = tuple[str, str, int, int, int]
"""(document, split, copy, first token, the one behind the last)."""


@dataclass(frozen=True)
class Exposed:
    """An exposed artifact, and why. ``ranges`` are where the rows are in a token store;
    ``steps`` are (first, last) of unbroken runs of steps that read any of the rows; ``unknown`` says why they can't be
    told, where they can't."""

    record: Record
    names: tuple[str, ...]
    holds: int
    via: tuple[str, ...]
    ranges: tuple[Range, ...] = ()
    steps: tuple[tuple[int, int], ...] = ()
    tokens_read: int = 0
    unknown: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain data, for the receipt."""
        one = self.record
        about = {"digest": one.digest, "name": one.name, "kind": one.kind, "stage": one.stage}
        return {
            **about,
            "names": list(self.names),
            "holds": self.holds,
            "via": list(self.via),
            "ranges": [list(one) for one in self.ranges],
            "steps": [list(one) for one in self.steps],
            "tokens_read": self.tokens_read,
            "unknown": self.unknown,
        }


class Walk:
    """Follows links of records from what holds rows to what was made of it."""

    def __init__(self, store: Store, held: Mapping[str, AbstractSet[str]], kept: AbstractSet[str]) -> None:
        self.records = {one.record.digest: one.record for one in store.all()}
        self._standing = store.standing
        self._held, self._kept = held, kept
        self._known: dict[tuple[str, bool], bool] = {}

    def inputs(self, record: Record) -> Iterator[Record]:
        """The records of what an artifact was made from, of what took the place of what is gone, each once."""
        digests = dict.fromkeys(link.digest for links in record.inputs.values() for link in links)
        for digest in digests:
            found = self.records.get(digest) or self.records.get(self._standing(digest))
            if found is not None:
                yield found

    def exposed(self, record: Record) -> bool:
        """Whether the artifact holds a row or was made from one that does."""
        return self._ask(record, essence=record.kind not in CARRIERS)

    def sources(self, record: Record) -> list[Record]:
        """Those of its inputs through which it is exposed."""
        return [one for one in self.inputs(record) if self.through(record.kind, one)]

    def through(self, kind: str, one: Record) -> bool:
        """Whether something of a kind is exposed if it is made of one artifact."""
        return self._through(kind, one, essence=kind not in CARRIERS)

    def _ask(self, record: Record, essence: bool) -> bool:
        place = record.digest, essence
        if place not in self._known:
            self._known[place] = False
            ids = self._held.get(record.digest, frozenset())
            own = bool(ids & self._kept) if essence else bool(ids)
            if not own and not _brings_in(record):
                own = any(self._through(record.kind, one, essence) for one in self.inputs(record))
            self._known[place] = own
        return self._known[place]

    def _through(self, kind: str, one: Record, essence: bool) -> bool:
        reads_all = one.kind == "pages" and kind not in CARRIERS
        return self._ask(one, essence and not reads_all)


def token_ranges(store: Store, ids: AbstractSet[str]) -> dict[str, list[Range]]:
    """Where rows are in the token stores of a workspace, by digest; stores that have none of them are left out."""
    stores = (one for one in store.all() if _DOCUMENTS in one.record.files)
    found = {one.record.digest: _ranges(one, ids) for one in stores}
    return {digest: rows for digest, rows in found.items() if rows}


def exposed(
    store: Store,
    held: Mapping[str, AbstractSet[str]],
    kept: AbstractSet[str],
    ranges: Mapping[str, Sequence[Range]],
) -> tuple[list[Exposed], list[dict[str, str]]]:
    """Every exposed artifact of a workspace, inputs before what is made of them, and what is being made of them.

    ``held`` has the ids of withdrawn rows in each artifact, by digest; ``kept`` those that something is trained on.
    """
    in_tokens = {digest: {row[0] for row in rows} for digest, rows in ranges.items()}
    ids = frozenset().union(*held.values(), *in_tokens.values())
    walk = Walk(store, {**held, **in_tokens}, kept)
    names: dict[str, list[str]] = {}
    for name, digest in store.names().items():
        names.setdefault(digest, []).append(name)
    found = []
    for record in _in_order(walk):
        if walk.exposed(record):
            digest = record.digest
            named = names.get(digest) or names.get(store.standing(digest), [])  # its name may have moved on already
            sources = walk.sources(record)
            read = _steps(store, record, ids) if record.stage == "pretrain" else ((), 0, _untold(record, sources))
            holds = len(held.get(digest, in_tokens.get(digest, ())))
            via = tuple(one.name for one in sources)
            found.append(Exposed(record, tuple(sorted(named)), holds, via, tuple(ranges.get(digest, ())), *read))
    return found, unfinished(store, walk)


def unfinished(store: Store, walk: Walk) -> list[dict[str, str]]:
    """What is being made from exposed artifacts: its checkpoints hold what they hold."""
    found = []
    for path in sorted(store.partial.glob(f"*/{UNDER_WAY}")):
        try:
            about = read_json(path)
            kind, inputs = str(about["kind"]), list(about["inputs"])
            said = {"name": str(about["name"]), "kind": kind, "digest": str(about["digest"])}
        except (ValueError, TypeError, KeyError):
            continue
        records = [walk.records[digest] for digest in inputs if digest in walk.records]
        if any(walk.through(kind, one) for one in records):
            found.append(said)
    return found


def _brings_in(record: Record) -> bool:
    return record.stage in STAGES and stage_class(record.stage, record.name).brings_in


def _in_order(walk: Walk) -> list[Record]:
    done: dict[str, Record] = {}

    def visit(record: Record) -> None:
        if record.digest not in done:
            for one in walk.inputs(record):
                visit(one)
            done[record.digest] = record

    for record in walk.records.values():
        visit(record)
    return list(done.values())


def _ranges(tokens: Artifact, ids: Iterable[str]) -> list[Range]:
    """Where rows are in a token store."""
    found = []
    wanted = pa.array(sorted(ids), pa.string())
    with pq.ParquetFile(tokens.file(_DOCUMENTS)) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["id", "split", "copy", "start", "end"])
            rows = table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist()
            found += [(row["id"], row["split"], row["copy"], row["start"], row["end"]) for row in rows]
    return found


def _steps(store: Store, record: Record, ids: Iterable[str]) -> tuple[tuple[tuple[int, int], ...], int, str]:
    """(runs of steps that read any of the rows, tokens read of them, why that can't be told)."""
    try:
        trained = Trained.find(store, Artifact(store.artifacts / record.digest[:16], record))
        steps = trained.steps
        read: dict[int, int] = {}
        for at, (source, artifact) in enumerate(zip(steps.sources, trained.stores, strict=True)):
            inside = np.zeros(source.store.num_documents + 1, np.bool_)
            inside[_train_rows(artifact, ids)] = True
            starts = np.asarray(source.order.starts)
            segments = np.flatnonzero(inside[source.store.documents_at(starts)])
            lengths = np.asarray(source.order.lengths)[segments]
            numbers = steps.steps_of(at, source.order.row_of(segments))
            for step, length in zip(numbers.tolist(), lengths.tolist(), strict=True):
                if step >= 0:
                    read[step] = read.get(step, 0) + length
        return _unbroken(sorted(read)), sum(read.values()), ""
    except GroundupError as error:
        return (), 0, " ".join(str(error).split())


def _untold(record: Record, sources: Sequence[Record]) -> str:
    """Why the steps of other training can't be told; empty if there was none on rows of ours."""
    read = [one.name for one in sources if one.kind in ("conversations", "preferences", "tokens")]
    trains = record.kind in ("model", "scaling", "ablation")
    return f"which steps of {record.stage} read what of {', '.join(read)} is not known" if read and trains else ""


def _train_rows(tokens: Artifact, ids: Iterable[str]) -> Sequence[int]:
    """The numbers of rows in the training split, which comes first."""
    table = pq.read_table(tokens.file(_DOCUMENTS), columns=["id", "split"])
    inside = pc.is_in(table["id"], value_set=pa.array(sorted(ids), pa.string())).to_numpy()
    return [int(row) for row in np.flatnonzero(inside & (table["split"].to_numpy() == "train"))]


def _unbroken(steps: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as runs of them.

    >>> _unbroken([1, 2, 3, 7])
    ((1, 3), (7, 7))
    """
    runs: list[tuple[int, int]] = []
    for step in steps:
        if runs and runs[-1][1] == step - 1:
            runs[-1] = runs[-1][0], step
        else:
            runs.append((step, step))
    return tuple(runs)
