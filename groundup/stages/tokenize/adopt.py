"""Make a tokenizer artifact out of a tokenizer of others, or a longer one out of one of ours."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from groundup.artifact.exhibit import Facts, Table
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import DataError
from groundup.base.files import sha256_path
from groundup.stages.tokenize.adopt_config import AdoptConfig
from groundup.stages.tokenize.corpus import read_passes, readings
from groundup.text.adopt.adopt import Adopted, Choices, read, with_tokens
from groundup.text.adopt.check import Checked, check
from groundup.text.adopt.extension import learn_extension
from groundup.text.bpe.byte_level import unspell
from groundup.text.tokenizer import Tokenizer

_SHOWN: Final = (
    "In 1865 na\u00efve fa\u00e7ades cost \u00a312,345.67",
    "if (x == 0) { return; }",
    "\u65e5\u672c\u8a9e \U0001f600",
)


def run(config: AdoptConfig, task: Task) -> Outcome:
    """Read, check against the original library, extend, write the files of a tokenizer."""
    metrics: dict[str, Any] = {}
    terms = Terms()
    if config.files:
        adopted = read([task.files[path] for path in config.files], _choices(config, task))
        tokenizer, checked = adopted.tokenizer, check(adopted)
        metrics = _origin(adopted, checked)
        terms = Terms(sources=tuple(_terms(config, task, path) for path in config.files))
    else:
        tokenizer = Tokenizer.load(task.input("tokenizer").path)
        tokenizer = with_tokens(tokenizer, config.add_tokens)
    metrics["entries_before"] = tokenizer.vocab_size - len(config.add_tokens)
    if config.corpus is not None:
        tokenizer = _learned(tokenizer, task.input("corpus"), config.extra_pieces, task)
    tokenizer.save(task.payload)
    metrics |= {
        "vocab_size": tokenizer.vocab_size,
        "special_tokens": len(tokenizer.special_tokens),
        "added_tokens": list(config.add_tokens),
        "extra_pieces": config.extra_pieces,
        "roles": vars(tokenizer.roles),
    }
    _show(tokenizer, metrics, task)
    return Outcome(metrics=metrics, terms=terms)


def _choices(config: AdoptConfig, task: Task) -> Choices:
    template = None
    if config.chat_template is not None:
        try:
            template = task.files[config.chat_template].read_text(encoding="utf-8")
        except ValueError:
            raise DataError(f"{config.chat_template} is not UTF-8 text") from None
    return Choices(
        split=config.split,
        special_tokens=config.special_tokens,
        add_tokens=config.add_tokens,
        bos=config.bos,
        eos=config.eos,
        pad=config.pad,
        chat_template=template,
    )


def _origin(adopted: Adopted, checked: Checked | None) -> dict[str, Any]:
    """What the record says about where the ids come from, and whether they were found equal."""
    return {
        "format": adopted.kind,
        "originals": {path.name: sha256_path(path) for path in adopted.files},
        "self_check": None if checked is None else {"equal": checked.compared, "left_out": checked.left_out},
    }


def _terms(config: AdoptConfig, task: Task, path: str) -> SourceTerms:
    place = task.files[path]
    name = Path(path).name
    return SourceTerms(
        source=name,
        licence=config.licence.strip(),
        origin=config.origin.strip(),
        sha256=sha256_path(place),
        documents=0,
    )


def _learned(tokenizer: Tokenizer, corpus: Artifact, extra: int, task: Task) -> Tokenizer:
    """The tokenizer with more pieces, learned from the training documents, which are counted in memory."""
    normalizer, splitter = tokenizer.backend.normalizer, tokenizer.backend.pre_tokenizer
    counts: Counter[str] = Counter()
    total, done = readings(corpus), 0
    for rows in read_passes(corpus, "train", ["text"]):
        for row in rows:
            text = row["text"] if normalizer is None else normalizer.normalize_str(row["text"])
            counts.update(word for word, _ in splitter.pre_tokenize_str(text))
        done += len(rows)
        task.progress.update("counting words", done, total, "documents")
    spelled = sorted(counts.items())
    words = pa.table(
        {
            "word": pa.array([unspell(word) for word, _ in spelled], pa.binary()),
            "count": pa.array([count for _, count in spelled], pa.int64()),
        }
    )

    def report(entries: int, wanted: int) -> None:
        task.progress.update("learning pieces", entries, wanted, "entries")

    return learn_extension(tokenizer, words, extra, report=report)


def _show(tokenizer: Tokenizer, metrics: dict[str, Any], task: Task) -> None:
    check_ = metrics.get("self_check")
    compared = "not compared: the original library is not installed"
    if check_:
        compared = f"{check_['equal']} hard strings have the original library's ids"
        compared += f", {check_['left_out']} were left out" if check_["left_out"] else ""
    facts = [
        ("entries", f"{tokenizer.vocab_size:,}", f"{metrics['entries_before']:,} before anything was added"),
        ("special tokens", f"{len(tokenizer.special_tokens):,}", "which no text makes"),
    ]
    if "format" in metrics:
        facts.append(("came as", metrics["format"], compared))
    rows = tuple((text, len(ids := tokenizer.encode(text)), " ".join(map(str, ids[:24]))) for text in _SHOWN)
    task.show(
        Facts(title="The tokenizer in numbers", facts=tuple(facts)),
        Table(title="How it cuts text", columns=("text", "tokens", "ids"), rows=rows),
        Table(title="Roles", columns=("role", "token"), rows=tuple(vars(tokenizer.roles).items())),
    )
