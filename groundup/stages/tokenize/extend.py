"""Make a model with a larger vocabulary out of a model and a tokenizer that extends the model's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.artifact.exhibit import Facts, Table
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.dist import threads
from groundup.base.errors import DataError
from groundup.base.files import sha256_path
from groundup.model import count
from groundup.model.exchange import huggingface
from groundup.model.transformer import Transformer
from groundup.stages.tokenize.corpus import read_documents
from groundup.stages.tokenize.extend_config import ExtendConfig
from groundup.stages.tokenize.new_rows import extended
from groundup.text.adopt.adopt import load_or_adopt
from groundup.text.adopt.extension import NewEntry, new_entries
from groundup.text.tokenizer import Tokenizer

_MEASURED_TOKENS: Final = 65536
_LONGEST: Final = 2048
"""Tokens of a document that are measured at most, whatever the model takes."""
_AT_ONCE: Final = 128
"""Tokens whose scores are in memory at a time: each has one for every entry, several times over."""
_SHOWN: Final = 20


def run(config: ExtendConfig, task: Task) -> Outcome:
    """Check that it is an extension, fill the new rows, measure, write a Hugging Face folder."""
    folder = task.files[config.folder] if config.folder is not None else task.input("model").path
    old = Tokenizer.load(folder) if config.folder is None else load_or_adopt(folder)
    new = Tokenizer.load(task.input("tokenizer").path)
    entries = new_entries(old, new)
    if not entries:
        raise DataError("the tokenizer adds no entries to the model's own")
    before = huggingface.load(folder)
    if old.vocab_size > before.config.vocab_size:
        raise DataError(
            f"the tokenizer beside the model has {old.vocab_size} entries, the model {before.config.vocab_size}"
        )
    torch.set_num_threads(threads())
    after = extend_model(before, old.vocab_size, new.vocab_size, entries, config.noise, config.seed)
    measured = {}
    if config.corpus is not None:
        measured = _measured(before, after, old, task.input("corpus"), task)
    huggingface.save(after, task.payload, bos_id=new.start_id, pad_id=new.pad_id, stop_ids=new.stop_ids)
    new.save(task.payload, after.config.max_seq_len)
    special = sum(entry.special for entry in entries)
    metrics = {
        "parameters": count.parameters(after.config),
        "entries_before": old.vocab_size,
        "vocab_size": after.config.vocab_size,
        "new_pieces": len(entries) - special,
        "new_special_tokens": special,
        **measured,
    }
    _show(old, entries, metrics, task)
    return Outcome(metrics=metrics, terms=_terms(config, folder))


def extend_model(
    model: Transformer, old: int, size: int, entries: list[NewEntry], noise: float, seed: int
) -> Transformer:
    """The model with a vocabulary of ``size``, or its own if that is larger; everything else shares its memory.

    The scores of ids below ``old`` are what they were: their rows are copied bit for bit.
    """
    size = max(size, model.config.vocab_size)
    with torch.device("meta"):
        result = Transformer(model.config.model_copy(update={"vocab_size": size}))
    weights = dict(model.state_dict())
    tables = ["embed_tokens.weight"] + ([] if model.lm_head is None else ["lm_head.weight"])
    for name in tables:
        weights[name] = extended(weights[name], old, size, entries, noise, seed)
    result.load_state_dict(weights, assign=True)
    result.fill_tables(model.embed_tokens.weight.device)
    return result.train(model.training)


def _terms(config: ExtendConfig, folder: Path) -> Terms:
    """Those of a folder from outside; a model of the recipe brings its own."""
    if config.folder is None:
        return Terms()
    source = SourceTerms(
        source=Path(config.folder).name,
        licence=config.licence.strip(),
        origin=config.origin.strip(),
        sha256=sha256_path(folder),
        documents=0,
    )
    return Terms(sources=(source,))


def _measured(before: Transformer, after: Transformer, old: Tokenizer, corpus: Artifact, task: Task) -> dict[str, Any]:
    """Perplexity a token of held-out text cut as the old tokenizer cuts it, before and after.

    The new entries take a share of every probability; that share is the whole difference. ``within_old`` is the
    perplexity of the new model among the old entries only, which must be the old one.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    tokens = 0
    for ids in _windows(old, corpus, min(_LONGEST, before.config.max_seq_len)):
        losses = window_losses(before, after, old.vocab_size, ids)
        sums += losses.sum(1)
        tokens += losses.size(1)
        task.progress.update("measuring", tokens, _MEASURED_TOKENS, "tokens")
    if not tokens:
        raise DataError("the corpus has no held-out text to measure on")
    names = ("perplexity_before", "perplexity_after", "perplexity_after_within_old")
    values = [math.exp(float(total) / tokens) for total in sums]
    return {"measured_tokens": tokens, **dict(zip(names, values, strict=True))}


def _windows(old: Tokenizer, corpus: Artifact, limit: int) -> Iterator[Tensor]:
    """Beginnings of held-out documents, each behind an end of text: ids int64 (T,), T at most ``limit`` + 1."""
    tokens = 0
    for row in read_documents(corpus, "held_out", ["text"]):
        ids = [old.eos_id, *old.encode(row["text"])][: limit + 1]
        if len(ids) > 1:
            yield torch.tensor(ids)
        tokens += len(ids)
        if tokens >= _MEASURED_TOKENS:
            return


@torch.inference_mode()
def window_losses(before: Transformer, after: Transformer, old: int, ids: Tensor) -> Tensor:
    """Losses in nats (3, T - 1) of old ids (T,): of the old model over its ``old`` entries, of the new model over all
    entries, and of the new model over the old entries only."""
    inputs, targets = ids[None, :-1], ids[1:]
    split = zip(*(torch.split(part, _AT_ONCE) for part in (before(inputs)[0], after(inputs)[0], targets)), strict=True)
    return torch.cat([torch.stack(list(_losses(before.logits(b), after.logits(a), old, t))) for b, a, t in split], 1)


def _losses(first: Tensor, second: Tensor, old: int, targets: Tensor) -> Iterator[Tensor]:
    """The losses (T,) from the scores (T, V) of both models."""
    for scores in (first[:, :old], second, second[:, :old]):
        yield F.cross_entropy(scores.double(), targets, reduction="none")


def _show(old: Tokenizer, entries: list[NewEntry], metrics: dict[str, Any], task: Task) -> None:
    facts = [
        ("entries", f"{metrics['vocab_size']:,}", f"{metrics['entries_before']:,} before"),
        ("new pieces of text", f"{metrics['new_pieces']:,}", "each the mean of the old pieces of its text"),
        ("new special tokens", f"{metrics['new_special_tokens']:,}", "each the mean of all old entries, and noise"),
    ]
    if "perplexity_before" in metrics:
        note = f"{metrics['perplexity_before']:.4g} before; the rest is what the new entries take"
        facts.append(("perplexity of old text", f"{metrics['perplexity_after']:.4g}", note))
    rows = tuple(
        (entry.name, "special" if entry.special else " | ".join(old.decode_visibly([index]) for index in entry.pieces))
        for entry in entries[:_SHOWN]
    )
    task.show(
        Facts(title="The larger vocabulary in numbers", facts=tuple(facts)),
        Table(title="The first new entries", columns=("entry", "made from"), rows=rows),
    )
