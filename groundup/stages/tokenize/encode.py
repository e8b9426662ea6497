"""Make a token store: documents as ids, their ranges, and the order in which they will be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from groundup.artifact.exhibit import Bars, Facts, Table
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import DataError
from groundup.base.files import sha256_file, sha256_path, write_json
from groundup.base.machine import cores
from groundup.base.runner.crew import Crew
from groundup.base.runner.jobs import Done, Job, Work
from groundup.base.runner.units import cut
from groundup.base.units import human_count
from groundup.stages.tokenize.encode_job import Encode
from groundup.stages.tokenize.gather import Split, gather
from groundup.stages.tokenize.take_job import Take
from groundup.stages.tokenize.tokens_config import TokensConfig
from groundup.text.document import tables
from groundup.text.store import order
from groundup.text.store.megatron import token_dtype
from groundup.text.store.packing import Packed, Waste, waste
from groundup.text.store.store import ABOUT, SPLITS, About
from groundup.text.tokenizer import Tokenizer

_UNIT_BYTES: Final = 32 << 20
"""Of corpus in a job. Whatever the number of workers, so that a finished job stays one."""


def run(config: TokensConfig, task: Task) -> Outcome:
    """Encode both splits in jobs, or take them over; put them together, write ranges and order."""
    folder = task.input("tokenizer").path
    tokenizer, sha256 = Tokenizer.load(folder), sha256_file(folder / "tokenizer.json")
    work: Work = Encode(folder, sha256, config.language_tokens)
    terms = Terms()
    if config.corpus is None:
        work = Take(folder, sha256, config.licence.strip(), config.held_out)
        jobs, terms = _folders(config, task)
        made_of = f"the files {', '.join(config.files)} have"
    else:
        jobs, made_of = _units(task.input("corpus")), f"the corpus {task.input('corpus').record.name!r} has"
    splits = _gathered(_done(config, jobs, work, task), made_of, tokenizer, task)
    about = About(tokenizer=sha256, vocab_size=tokenizer.vocab_size, eos_id=tokenizer.eos_id)
    write_json(task.payload / ABOUT, about.model_dump())
    train, held_out = splits["train"], splits["held_out"]
    costs, rows = _write_order(config, train, task)
    task.show(*_exhibits(config, train, held_out, costs, rows))
    return Outcome(
        metrics={
            "train_tokens": train.tokens,
            "held_out_tokens": held_out.tokens,
            "train_documents": train.documents,
            "held_out_documents": held_out.documents,
            "train_bytes": train.bytes,
            "epochs": config.epochs,
            "max_seq_len": config.max_seq_len,
            "rows": rows,
            "vocab_size": tokenizer.vocab_size,
            "padding": round(costs.padding / costs.positions, 6),
            "documents_cut": round(costs.cut / costs.documents, 6),
            "tokens_left_over": costs.left_over,
            "tokens_by_source": dict(sorted(train.by_source.items())),
        },
        terms=terms,
    )


def _units(corpus: Artifact) -> list[Job]:
    """The jobs of a corpus, in its order."""
    known = {
        path: corpus.record.files.get(str(path.relative_to(corpus.path))) for path in tables(corpus.path, "corpus")
    }
    hashes = {path: sha256_file(path) if entry is None else entry.sha256 for path, entry in known.items()}
    units = [unit for path, sha256 in hashes.items() for unit in cut([(path, sha256)], _UNIT_BYTES)]
    return [Job(unit.identity, unit.rows, unit) for unit in units]


def _folders(config: TokensConfig, task: Task) -> tuple[list[Job], Terms]:
    """A job for each folder of files, and on what terms they are here."""
    found = [(Path(path).name, task.files[path], sha256_path(task.files[path])) for path in config.files]
    terms = [
        SourceTerms(
            source=name, licence=config.licence.strip(), origin=config.origin.strip(), sha256=sha256, documents=0
        )
        for name, _, sha256 in found
    ]
    jobs = [Job({"folder": name, "sha256": sha256}, 1, path) for name, path, sha256 in found]
    return jobs, Terms(sources=tuple(terms))


def _done(config: TokensConfig, jobs: list[Job], work: Work, task: Task) -> list[Done]:
    """The results of all jobs, in their order."""
    workers = max(1, min(config.workers or cores(), len(jobs)))
    crew = Crew(task.scratch / "jobs", task.progress, workers, config.executor)
    return crew.do("encoding", work, jobs, "folders" if config.files else "documents")


def _gathered(jobs: list[Done], made_of: str, tokenizer: Tokenizer, task: Task) -> dict[str, Split]:
    total = sum(int(done.facts["documents"][split]) for done in jobs for split in SPLITS)
    finished = 0

    def report(documents: int) -> None:
        nonlocal finished
        finished += documents
        task.progress.update("putting together", finished, max(total, finished), "documents")

    for split in SPLITS:
        if not any(done.facts["documents"][split] for done in jobs):
            raise DataError(f"{made_of} no documents in the split {split!r}")
    return gather(jobs, task.payload, token_dtype(tokenizer.vocab_size), tokenizer.vocab_size, report)


def _write_order(config: TokensConfig, train: Split, task: Task) -> tuple[Waste, int]:
    """Write the order; what packing costs in the first epoch, and how many rows that has."""
    seq_len, offsets = config.max_seq_len, train.offsets
    if train.tokens < seq_len:
        raise DataError(f"{train.tokens} training tokens don't fill one row of {seq_len}; add documents")
    chunk = config.chunk or seq_len
    epochs = order.epochs_of(
        offsets, train.keys, seq_len=seq_len, epochs=config.epochs, seed=config.seed, packing=config.packing,
        chunk=chunk,
    )  # fmt: skip
    costs: list[tuple[Waste, int]] = []

    def counted() -> Iterator[Packed]:
        for number, packed in enumerate(epochs):
            if not costs:
                costs.append((waste(packed, offsets, seq_len), packed.num_rows))
            task.progress.update("ordering", number + 1, config.epochs, "epochs")
            yield packed

    order.write(task.payload, counted(), seq_len, config.packing, {"seed": config.seed, "chunk": chunk})
    return costs[0]


def _exhibits(
    config: TokensConfig, train: Split, held_out: Split, costs: Waste, rows: int
) -> tuple[Facts, Table, Bars]:
    return (
        Facts(
            title="The token store in numbers",
            facts=(
                ("training tokens", human_count(train.tokens), f"in {train.documents:,} documents"),
                ("held-out tokens", human_count(held_out.tokens), f"in {held_out.documents:,} documents"),
                ("bytes a token", f"{train.bytes / train.tokens:.2f}", "on the training documents"),
                ("rows", f"{rows:,}", f"of {config.max_seq_len} tokens, shuffled anew each epoch"),
            ),
        ),
        Table(
            title="What packing costs",
            caption=f"In the first epoch, packed by {config.packing}. Padding is computed and not trained on; a "
            "document cut in two is read without its beginning the second time; what doesn't fill an epoch's last row "
            "is left over, and another epoch leaves over something else.",
            columns=(
                "padding",
                "documents cut though a row could hold them",
                "documents longer than a row",
                "tokens left over",
            ),
            rows=(
                (
                    f"{costs.padding / costs.positions:.2%}",
                    f"{costs.cut / costs.documents:.1%}",
                    f"{costs.long / costs.documents:.1%}",
                    f"{costs.left_over:,}",
                ),
            ),
        ),
        Bars(
            title="Training tokens by source",
            x_label="tokens",
            bars=tuple((source, float(count), None, None) for source, count in sorted(train.by_source.items())),
        ),
    )
