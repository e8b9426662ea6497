"""What the findings mean, in sentences that are computed from them: which is better, and what such a model can do."""

from __future__ import annotations

from groundup.base.units import human_bytes, human_count
from groundup.stages.evaluate.config import BITS_PER_BYTE
from groundup.stages.evaluate.models import CHAT_STAGES
from groundup.stages.evaluate.scores import XZ, Benchmarked, Findings, Measured, compare_bits

WORLD_BYTES = 10**9
"""Below this much training text a model can't have met most facts even once: an encyclopaedia is larger."""


def display(name: str) -> str:
    """A name for people.

    >>> display("kneser_ney_5gram"), display("xz_9e"), display("base")
    ('Kneser-Ney 5-gram', 'xz -9e', 'base')
    """
    if name == XZ:
        return "xz -9e"
    if name.startswith("kneser_ney_"):
        return f"Kneser-Ney {name.removeprefix('kneser_ney_').removesuffix('gram')}-gram"
    return name


def percent(share: float) -> str:
    """
    >>> percent(0.417)
    '42 %'
    """
    return f"{100 * share:.0f} %"


def bits_words(findings: Findings) -> str:
    """For each model, whether it predicts better than the two baselines."""
    assert findings.baselines is not None
    ngram = findings.baselines.ngram_name
    sentences = []
    for model in findings.models:
        value = findings.score(model.name, BITS_PER_BYTE).estimate.value
        parts = []
        for baseline in (ngram, XZ):
            other = findings.score(baseline, BITS_PER_BYTE).estimate.value
            verdict = findings.comparison(BITS_PER_BYTE, baseline, model.name).verdict
            word = {"better": "fewer than", "worse": "more than", "can't tell": "no clear difference from"}[verdict]
            parts.append(f"{word} {display(baseline)} ({other:.3f})")
        sentences.append(f"{model.name} needs {value:.3f} bits a byte: {' and '.join(parts)}.")
    return " ".join(sentences)


def against_chance(findings: Findings, model: Measured, benchmark: Benchmarked) -> str:
    """Whether a model does better on a benchmark than guessing would."""
    estimate = findings.score(model.name, benchmark.name).estimate
    if estimate.low > benchmark.chance:
        verdict = "better than guessing"
    elif estimate.high < benchmark.chance:
        verdict = "worse than guessing"
    else:
        verdict = "not to be told from guessing"
    interval = f"{percent(estimate.low)} to {percent(estimate.high)}"
    return (
        f"{model.name} is right on {percent(estimate.value)} ({interval}) of {benchmark.items:,} items of "
        f"{benchmark.name}, where guessing gives {percent(benchmark.chance)}: {verdict}"
    )


def can_and_cannot(findings: Findings, train_bytes: int, train_tokens: int) -> str:
    """What a model of this size can and can't do, as far as it was measured.

    ``train_bytes`` and ``train_tokens`` describe the text that the base model saw, each passage counted once.
    """
    base, last = findings.models[0], findings.models[-1]
    read = f"{human_bytes(train_bytes)} of text ({human_count(train_tokens)} tokens)"
    passes = base.train_tokens / train_tokens if base.train_tokens else 0
    times = f", gone over {passes:.1f} times" if passes > 1 else ""
    sentences = [f"{base.name} has {human_count(base.parameters)} parameters and learnt from {read}{times}."]
    if findings.baselines is not None:
        sentences += _language(findings, base)
    for benchmark in findings.benchmarks:
        sentences.append(f"{against_chance(findings, last, benchmark)}.")
    if findings.baselines is not None and last is not base:
        sentences.append(_after_training(findings, base, last))
    if train_bytes < WORLD_BYTES:
        sentences.append(
            "So little text holds few facts: expect sentences in the manner of the training documents, and take no "
            "statement in them for true."
        )
    if any(model.stage in CHAT_STAGES for model in findings.models):
        sentences.append("The chat models learnt the form of an answer; that the content is right was not measured.")
    sentences.append("Reasoning, arithmetic, other languages and safety were not measured here either.")
    return " ".join(sentences)


def _language(findings: Findings, base: Measured) -> list[str]:
    assert findings.baselines is not None
    ngram = findings.baselines.ngram_name
    verdict = findings.comparison(BITS_PER_BYTE, ngram, base.name).verdict
    value, other = (findings.score(name, BITS_PER_BYTE).estimate.value for name in (base.name, ngram))
    numbers = f"({value:.3f} against {other:.3f} bits a byte)"
    if verdict == "better":
        return [
            f"On documents that it never saw it predicts better than {display(ngram)}, a model that only counts "
            f"{numbers}: it has learnt something that reaches further than a few tokens."
        ]
    if verdict == "worse":
        return [
            f"On documents that it never saw a model that only counts predicts better {numbers}: it was trained on too "
            "little, too briefly or with unsuitable settings, and its texts can't be expected to hold together."
        ]
    return [f"On documents that it never saw it can't be told from a model that only counts {numbers}."]


def _after_training(findings: Findings, base: Measured, last: Measured) -> str:
    assert findings.held_out is not None and base.bits is not None and last.bits is not None
    before, after = (findings.score(model.name, BITS_PER_BYTE).estimate.value for model in (base, last))
    change = f"{last.name} needs {after:.3f} bits a byte where {base.name} needs {before:.3f}"
    compared = compare_bits(base.name, last.name, base.bits, last.bits, findings.held_out, findings.confidence)
    effect = {
        "worse": "cost some of the skill to continue documents",
        "better": "cost none of the skill to continue documents",
        "can't tell": "changed nothing that can be told about the skill to continue documents",
    }[compared.verdict]
    return f"{change}: learning to answer {effect}."
