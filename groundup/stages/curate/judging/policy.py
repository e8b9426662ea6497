"""What a recipe's policy says of single documents: of the licence that each page states, and of where it is from.

The licence that the source declares and the one that the page itself states are both judged, and the more restrictive
use counts: whoever declared a whole source may not know of each page, and a page can't free what its source binds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import pyarrow as pa

from groundup.artifact.terms import USES, Use
from groundup.rights.policy import Judgement, Rules, host_of
from groundup.stages.curate.engine.operator import VERDICT, Spec, refuse, staying

STEP: Final = "policy"
_LONGEST: Final = 200
"""Characters of an expression in a reason."""


@dataclass(frozen=True)
class DecidePolicy:
    """The decision ``policy:EXPRESSION`` for what may not be used for ``purpose``: to train, or to evaluate.

    The expression is that of the licence which forbids it: the page's own if that is the stricter, else the declared.
    """

    rules: Rules
    purpose: Use

    @cached_property
    def spec(self) -> Spec:
        """The rules are parameters."""
        parameters = {"rules": self.rules.model_dump(mode="json"), "purpose": self.purpose}
        return Spec(STEP, 1, "decide", ("licence", "found_licence", "source", "url"), VERDICT, parameters)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with verdicts."""
        rows = batch.num_rows
        names = batch.schema.names
        licences, sources = batch.column("licence").to_pylist(), batch.column("source").to_pylist()
        found = batch.column("found_licence").to_pylist() if "found_licence" in names else [None] * rows
        urls = batch.column("url").to_pylist() if "url" in names else [None] * rows
        reasons: list[str | None] = [None] * rows
        details: list[str | None] = [None] * rows
        for row in np.flatnonzero(staying(batch)).tolist():
            host = host_of(urls[row] or "")
            judged = [_judge(self.rules, one, sources[row] or "", host) for one in (licences[row], found[row]) if one]
            worst = min(judged, key=lambda one: USES.index(one.use), default=None)
            if worst is not None and USES.index(worst.use) < USES.index(self.purpose):
                reasons[row] = worst.licence[:_LONGEST]
                details[row] = f"may be used for: {worst.use}; {worst.reason}"
        return refuse(batch, STEP, reasons, details)


@lru_cache(maxsize=4096)
def _judge(rules: Rules, licence: str, source: str, host: str) -> Judgement:
    return rules.judge(licence, source, f"https://{host}/" if host else None)
