"""The tokens stage run by hand on a corpus made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiny import tiny_tokenizer

from groundup.artifact.record import FORMAT, Cost, Record
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.terms import Terms
from groundup.base.progress import Silent
from groundup.stages.tokenize.encode import run
from groundup.stages.tokenize.tokens_config import TokensConfig
from groundup.text.document import COPIES, CORPUS, MIXED, write_shards
from groundup.text.tokenizer import Tokenizer


def record(kind: str, **fields: Any) -> Record:
    """The record of an artifact that nothing is known of."""
    cost = Cost(seconds=0, cpu_seconds=0, peak_memory_bytes=0, energy_joules=0, watts_per_core=6, attempts=1)
    plain = {
        "format": FORMAT, "name": kind, "kind": kind, "digest": "0" * 64, "stage": kind, "stage_version": 1,
        "config": {}, "inputs": {}, "code_version": "0", "environment": {}, "created": "", "cost": cost, "metrics": {},
        "terms": Terms(), "files": {}, "payload": "",
    }  # fmt: skip
    return Record(**{**plain, **fields})


def corpus(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Artifact:
    """A corpus of these documents, in their order; a mixture if they have copies."""
    common = {"record": "", "licence": "CC0", "language": "eng_Latn", "language_score": 1.0, "chars": 1}
    whole = [{**common, "url": f"https://example.org/{row['id']}", **row} for row in rows]
    write_shards(folder / "corpus", "corpus", MIXED if COPIES in rows[0] else CORPUS, whole)
    return Artifact(folder / "corpus", record("corpus"))


def run_stage(
    folder: Path, source: Artifact, tokenizer: Tokenizer | None = None, **fields: Any
) -> tuple[Path, Outcome]:
    """Run the stage into ``folder``; its payload and what it handed back. A second run finds the first one's jobs."""
    made = tokenizer or tiny_tokenizer()
    made.save(folder / "tokenizer")
    payload, scratch = folder / "payload", folder / "scratch"
    if payload.exists():
        for path in sorted(payload.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    payload.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    inputs = {"corpus": (source,), "tokenizer": (Artifact(folder / "tokenizer", record("tokenizer")),)}
    config = TokensConfig(corpus="corpus", tokenizer="tokenizer", **{"max_seq_len": 32, "epochs": 2, **fields})
    return payload, run(config, Task("tokens", "0" * 64, inputs, {}, payload, scratch, Silent()))
