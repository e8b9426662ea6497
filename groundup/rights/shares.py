"""How much of an artifact stands under which licence: documents and, where known, tokens; and what a policy says.

Counted where documents still are documents: in the token stores that an artifact was trained on, else in the corpora it
was made of, else in its pages. What did not come as pages (conversations, preferences, files of other programs) is
counted by its terms alone, and has no share. A licence that pages state themselves counts as theirs, beside the one
that was declared for their source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.artifact.lineage import Branch, own_sources, trace
from groundup.artifact.record import Record
from groundup.artifact.store import Store
from groundup.artifact.terms import Use, strictest
from groundup.base.errors import ArtifactError
from groundup.rights.policy import Policy

Key = tuple[str, str | None]
"""(declared licence, licence that the page states)."""


@dataclass(frozen=True)
class Share:
    """Material under one licence. ``share`` is of the tokens, or of the documents where no tokens are known; None for
    what is known by its terms alone."""

    licence: str
    stated: str | None
    documents: int
    tokens: int | None
    share: float | None
    use: Use | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def shares(store: Store, record: Record, policy: Policy | None = None) -> list[Share]:
    """The licences in an artifact, the largest share first. A policy is asked without regard to single hosts."""
    branch = trace(store, record)
    documents, tokens = _counted(store, branch)
    whole = sum((documents if tokens is None else tokens).values()) or 1
    rows = [(key, count, tokens[key] if tokens is not None else None, True) for key, count in documents.items()]
    rows += [(key, count, None, False) for key, count in _beside(branch).items()]
    found = []
    for (licence, stated), count, many, counted in rows:
        judged = [policy.best(one, "") for one in (licence, stated) if one] if policy else []
        use = strictest(one.use for one in judged) if judged else None
        reason = next((one.reason for one in judged if one.use == use), None)
        share = (many if many is not None else count) / whole if counted else None
        found.append(Share(licence, stated, count, many, share, use, reason))
    return sorted(found, key=lambda one: (-(one.share or 0.0), -one.documents, one.licence, one.stated or ""))


def table(found: list[Share]) -> list[str]:
    """The shares as lines of a table for a terminal."""
    head = ["licence", "stated by the pages", "documents", "tokens", "share"]
    head += ["use", "because"] if any(one.use for one in found) else []
    rows = [head]
    for one in found:
        tokens = f"{one.tokens:,}" if one.tokens is not None else "–"
        share = f"{one.share:.1%}" if one.share is not None else "–"
        row = [one.licence, one.stated or "–", f"{one.documents:,}", tokens, share]
        rows.append([*row, one.use or "", one.reason or ""][: len(head)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    right = {2, 3, 4}
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _counted(store: Store, branch: Branch) -> tuple[Counter[Key], Counter[Key] | None]:
    """Documents and tokens by licence."""
    records = list(_learned(branch))
    for kind in ("tokens", "corpus", "pages"):
        of_kind = [record for record in records if record.kind == kind]
        if kind == "corpus":  # a mixture is made of corpora: what it holds counts, not what they hold
            inputs = {link.digest for one in of_kind for links in one.inputs.values() for link in links}
            of_kind = [one for one in of_kind if one.digest not in inputs]
        if of_kind:
            stated = _stated(store, records) if kind == "tokens" else {}
            return _tables(store, of_kind, kind, stated)
    return Counter(), None


def _beside(branch: Branch) -> Counter[Key]:
    """Documents by licence of the sources that came neither as pages nor as tokens."""
    found = Counter[Key]()
    for one in branch.walk():
        if one.record.kind not in ("pages", "tokens"):
            for source in own_sources(one):
                found[str(source["licence"]), None] += int(source["documents"])
    return found


def _learned(branch: Branch) -> Iterator[Record]:
    """The records of a lineage but for what was only measured on."""
    seen = set[str]()
    stack = [branch]
    while stack:
        one = stack.pop()
        if one.record.digest not in seen:
            seen.add(one.record.digest)
            yield one.record
            stack += [child for child in one.inputs if child.via != "validation"]


def _tables(
    store: Store, records: list[Record], kind: str, stated: dict[str, str]
) -> tuple[Counter[Key], Counter[Key] | None]:
    documents, tokens = Counter[Key](), Counter[Key]()
    for record in records:
        for path in _files(store, record, kind):
            for row in _rows(path, ("id", "licence", "found_licence", "start", "end", "step")):
                if row.get("step") is not None:
                    continue  # of the ledger: dropped in curation
                key = row["licence"], row.get("found_licence") or stated.get(row["id"])
                documents[key] += 1
                if kind == "tokens":
                    tokens[key] += row["end"] - row["start"]
    return documents, tokens if kind == "tokens" else None


def _stated(store: Store, records: list[Record]) -> dict[str, str]:
    """The licence that each page states, by document, of those that state any."""
    found: dict[str, str] = {}
    for record in records:
        if record.kind == "corpus":
            for path in _files(store, record, "corpus"):
                columns = pq.read_schema(path).names
                if "found_licence" in columns:
                    table = pq.read_table(
                        path, columns=["id", "found_licence"], filters=[("found_licence", "!=", "")]
                    ).drop_null()
                    found |= dict(
                        zip(*(table.column(name).to_pylist() for name in ("id", "found_licence")), strict=True)
                    )
    return found


def _files(store: Store, record: Record, kind: str) -> list[Path]:
    folder = store.open(record.digest, verify=False).path
    if kind == "tokens":
        return [folder / "documents.parquet"]
    return sorted((folder / {"corpus": "ledger", "pages": "pages"}[kind]).glob("*.parquet"))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=1 << 14, columns=there):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path} can't be read ({str(error).splitlines()[0]}): make the artifact again") from None
