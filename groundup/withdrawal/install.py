"""Install the filter for verbatim output: all runs of 8 words of what was withdrawn that no other document has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.progress import Progress
from groundup.rights.fingerprint import SPAN, Hashes, words
from groundup.rights.register import Withdrawal
from groundup.rights.verbatim import Verbatim
from groundup.withdrawal.find import Found, read_hashes
from groundup.withdrawal.near import batches, members
from groundup.withdrawal.texts import pages, texts, watched


@dataclass(frozen=True)
class Installed:
    """What requests added to the filter: ``runs`` of words; ``common`` ones, which other documents have, stay out."""

    runs: int
    common: int
    total: int


def install(store: Store, found: Found, progress: Progress) -> Installed:
    """Add to the workspace's filter what was found. Documents that stay are searched first for the same runs."""
    wanted = _runs(found, progress)
    common = np.zeros(len(wanted), np.bool_)
    if len(wanted):
        for artifact in _once(found.artifacts):
            rows = watched(artifact, texts(artifact, dropped=False), "checking", progress)
            staying = (row for row in rows if row.id not in found.how)
            for batch in batches(staying):
                places, inside = members(words([row.text for row in batch]).runs(SPAN).hashes, wanted)
                common[places[inside]] = True
    before = Verbatim.load(store.workspace)
    after = before.beside(wanted[~common])
    if len(after) != len(before):
        after.save(store.workspace)
    return Installed(int((~common).sum()), int(common.sum()), len(after))


def _once(artifacts: Sequence[Artifact]) -> list[Artifact]:
    return [one for one in artifacts if one.record.kind != "pages"]


def _runs(found: Found, progress: Progress) -> Hashes:
    """The distinct runs of words of all rows that were found and of all excerpts, ascending."""
    known = [_excerpt(one) for one in found.requests]
    covered: set[str] = set()
    for artifact in found.artifacts:
        rows = pages(artifact, covered) if artifact.record.kind == "pages" else texts(artifact)
        passing = watched(artifact, rows, "hashing", progress)
        mine = [row for row in passing if row.id in found.how and row.text]
        if artifact.record.kind != "pages":
            covered.update(row.id for row in mine)
        known += [np.unique(words([row.text for row in batch]).runs(SPAN).hashes) for batch in batches(mine)]
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *known]))


def _excerpt(request: Withdrawal) -> Hashes:
    return read_hashes(request.spans)
