"""Make a tokenizer artifact out of a tokenizer of others, or a longer one out of one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from groundup.artifact.exhibit import Facts, Sample, Samples, Table
from groundup.artifact.stage import Outcome, Task
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.files import sha256_path
from groundup.stages.tokenize.adopt_config import AdoptConfig
from groundup.stages.tokenize.choose import Limits
from groundup.stages.tokenize.config import TokenizerConfig
from groundup.stages.tokenize.corpus import read_documents
from groundup.stages.tokenize.corpus_words import corpus_words
from groundup.stages.tokenize.exhibits import tokenizer_exhibits
from groundup.stages.tokenize.train_tokenizer import LEARNING_BYTES
from groundup.text.adopt.adopt import Adopted, Choices, read, with_tokens
from groundup.text.adopt.check import Checked, check
from groundup.text.adopt.extension import learn_extension, splitting
from groundup.text.adopt.files import read_text_file
from groundup.text.bpe.learn import BYTES_A_POSITION, BYTES_A_WORD
from groundup.text.show import as_parts, show_text
from groundup.text.tokenizer import Tokenizer

_SHOWN: Final = (
    ("numbers and accents", "In 1865 na\u00efve fa\u00e7ades cost \u00a312,345.67"),
    ("code", "if (x == 0) { return; }"),
    ("other scripts", "\u65e5\u672c\u8a9e \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \U0001f600"),
)
_LIMITS: Final = Limits(1 << 62, LEARNING_BYTES, BYTES_A_WORD, BYTES_A_POSITION)
_NAMED: Final = 8


def run(config: AdoptConfig, task: Task) -> Outcome:
    """Read, check against the original library, extend, write the files of a tokenizer."""
    metrics: dict[str, Any] = {}
    terms = Terms()
    task.progress.update("reading the tokenizer", 0, 1, "tokenizers")
    if config.files:
        adopted = read([task.files[path] for path in config.files], _choices(config, task))
        tokenizer, checked = adopted.tokenizer, check(adopted)
        metrics = _origin(adopted, checked)
        terms = Terms(sources=tuple(_terms(config, task, path) for path in config.files))
    else:
        tokenizer = Tokenizer.load(task.input("tokenizer").path)
        tokenizer = with_tokens(tokenizer, config.add_tokens)
    metrics["entries_before"] = tokenizer.vocab_size - len(config.add_tokens)
    others = {}
    if config.extra_pieces:
        others["before the new pieces"] = tokenizer
        tokenizer = _learned(tokenizer, config, task)
    tokenizer.save(task.payload)
    if config.corpus is not None:
        samples = read_documents(task.input("corpus"), "held_out", ["text", "source", "language"])
        exhibits, measured = tokenizer_exhibits(tokenizer, samples, others=others)
        task.show(*exhibits)
        metrics |= measured
    else:
        task.show(_cut(tokenizer))
    metrics |= {
        "vocab_size": tokenizer.vocab_size,
        "special_tokens": len(tokenizer.special_tokens),
        "added_tokens": list(config.add_tokens),
        "extra_pieces": config.extra_pieces,
        "roles": vars(tokenizer.roles),
        "open_tokens": (opened := _open(tokenizer)),
        "open_tokens_in_template": [name for name in opened if name in tokenizer.template.source],
    }
    task.show(*_about(tokenizer, metrics))
    return Outcome(metrics=metrics, terms=terms)


def _choices(config: AdoptConfig, task: Task) -> Choices:
    template = None
    if config.chat_template is not None:
        template = read_text_file(task.files[config.chat_template])
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


def _learned(tokenizer: Tokenizer, config: AdoptConfig, task: Task) -> Tokenizer:
    """The tokenizer with more pieces, learned from the training documents: their words are counted on disk."""
    pre_tokenizer, nfc = splitting(tokenizer)
    assert config.corpus is not None
    counting = TokenizerConfig(corpus=config.corpus, workers=config.workers, executor=config.executor)
    found = corpus_words(counting, task, pre_tokenizer, nfc, _LIMITS)

    def report(entries: int, wanted: int) -> None:
        task.progress.update("learning pieces", entries, wanted, "entries")

    return learn_extension(tokenizer, found.words, config.extra_pieces, report=report)


def _open(tokenizer: Tokenizer) -> list[str]:
    """Added tokens that text makes, since the files don't say that they are special."""
    added = tokenizer.backend.get_added_tokens_decoder()
    return [token.content for _, token in sorted(added.items()) if not token.special]


def _cut(tokenizer: Tokenizer) -> Samples:
    samples = tuple(Sample(label=label, parts=as_parts(show_text(tokenizer, text).pieces)) for label, text in _SHOWN)
    return Samples(title="How it cuts text", caption="Each colour change is a new token.", samples=samples)


def _about(tokenizer: Tokenizer, metrics: dict[str, Any]) -> tuple[Facts, Table]:
    """Where its entries come from, and what special ones are for."""
    facts = [
        ("entries", f"{tokenizer.vocab_size:,}", f"{metrics['entries_before']:,} before anything was added"),
        ("special tokens", f"{len(tokenizer.special_tokens):,}", "which no text makes"),
    ]
    for key, what, note in (
        ("open_tokens", "added tokens that text makes", "as in the original library"),
        ("open_tokens_in_template", "of them in the chat template", "which people can fake: see special_tokens"),
    ):
        if names := metrics[key]:
            facts.append((what, f"{len(names):,}", f"{', '.join(names[:_NAMED])}: {note}"))
    if "format" in metrics:
        compared = "not compared: the original library is not installed"
        if checked := metrics["self_check"]:
            compared = f"{checked['equal']} hard strings have the original library's ids"
            compared += f", {checked['left_out']} were left out" if checked["left_out"] else ""
        facts.append(("came as", metrics["format"], compared))
    return (
        Facts(title="Where it comes from", facts=tuple(facts)),
        Table(title="Roles", columns=("role", "token"), rows=tuple(vars(tokenizer.roles).items())),
    )
