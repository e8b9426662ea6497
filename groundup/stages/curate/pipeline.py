"""The operators that every page goes through by itself, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup.stages.curate.config import CurateConfig, UrlFilter
from groundup.stages.curate.duplicates.exact import ExactKey
from groundup.stages.curate.duplicates.minhash import MinHash
from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.engine.pipeline import Pipeline
from groundup.stages.curate.extraction.operator import Extract
from groundup.stages.curate.extraction.repair import Repair
from groundup.stages.curate.filters.modes import chain, modes
from groundup.stages.curate.filters.rules import Decide
from groundup.stages.curate.identification.identify import Identify
from groundup.stages.curate.identification.keep import KeepLanguages
from groundup.stages.curate.identification.thresholds import shipped_thresholds
from groundup.stages.curate.judging.code import Code, DecideCode
from groundup.stages.curate.judging.policy import DecidePolicy
from groundup.stages.curate.judging.quality import quality_operators
from groundup.stages.curate.judging.spam import Spam, decide_spam
from groundup.stages.curate.judging.toxicity import Toxicity, decide_toxicity
from groundup.stages.curate.judging.urls import DecideUrl, UrlLists
from groundup.stages.curate.judging.words import bad_words
from groundup.stages.curate.overlaps import Item, Overlaps
from groundup.stages.curate.passes.clean import KEPT, Chars, Measures
from groundup.stages.curate.prose import CodeLanguage, ForProse
from groundup.stages.curate.redaction.redact import redact_operators


def pipeline(
    config: CurateConfig, items: tuple[Item, ...], files: Mapping[str, Path], quality: Path | None
) -> Pipeline:
    """The pipeline of a configuration.

    ``items`` are the benchmark items to look for; ``files`` says where each path of the configuration lies; ``quality``
    is the folder of the quality model, if it has one.
    """
    operators: list[Operator] = [Measures()]
    if config.policy is not None:
        operators.append(DecidePolicy(config.policy, config.purpose))
    if config.url_lists is not None:
        operators.append(DecideUrl(_url_lists(config.url_lists, files)))
    operators += [Extract(config.extractor), Repair()]
    operators += [ForProse(one) for one in _about_prose(config)]
    operators += [CodeLanguage(), Code(), DecideCode(tuple(sorted(config.code.items())))]
    if quality is not None:
        operators += [ForProse(one) for one in quality_operators(quality, config.quality_threshold)]
    if config.redact:
        operators += redact_operators(config.redact, config.redaction)
    return Pipeline((*operators, *keys(config, items)), keep=tuple(KEPT.names))


def keys(config: CurateConfig, items: tuple[Item, ...]) -> tuple[Operator, ...]:
    """The operators whose columns depend on the finished text: lengths, keys of duplicates, benchmark items."""
    operators: list[Operator] = [Chars(), ExactKey()]
    near = config.near_duplicates
    if near is not None:
        operators.append(MinHash(near.shingle_words, near.bands, near.rows))
    if items:
        operators.append(Overlaps(items))
    return tuple(operators)


def _about_prose(config: CurateConfig) -> list[Operator]:
    operators: list[Operator] = [Identify(config.language_model), _keep_languages(config)]
    bad = bad_words(config.languages[0]) if any(_has_bad_words(name) for name in config.filters) else ()
    for name in config.filters:
        mine = {one.name for one in modes()[name].filters}
        operators += chain(name, {key: limits for key, limits in config.limits.items() if key in mine}, bad)
    if config.toxicity is not None:
        operators += [Toxicity(), decide_toxicity(config.toxicity or None)]
    if config.spam is not None:
        operators += [Spam(), decide_spam(config.spam)]
    return operators


def _has_bad_words(mode: str) -> bool:
    return any("bad_words" in one.limits for one in modes()[mode].filters)


def _url_lists(config: UrlFilter, files: Mapping[str, Path]) -> UrlLists:
    def at(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(files[name]) for name in names)

    return UrlLists(
        domains=at(config.domains),
        urls=at(config.urls),
        banned_words=at(config.banned_words),
        soft_words=at(config.soft_words),
        shipped=config.shipped,
        soft_threshold=config.soft_threshold,
    )


def steps(config: CurateConfig) -> list[str]:
    """The steps that can drop a document, in order."""
    named = ["policy"] if config.policy is not None else []
    named += ["url"] if config.url_lists is not None else []
    named += ["extract", "repair", "identify"]
    named += dict.fromkeys(one.name for name in config.filters for one in modes()[name].filters)
    named += ["toxicity"] if config.toxicity is not None else []
    named += ["spam"] if config.spam is not None else []
    named += ["code"]
    named += ["quality"] if config.quality is not None else []
    named += ["redact"] if config.redaction == "drop" else []
    named += ["exact_dedup"]
    named += ["repeated_text"] if config.repeated_text is not None else []
    named += ["repeated_passages"] if config.repeated_passages is not None else []
    named += ["near_dedup"] if config.near_duplicates is not None else []
    named += ["semantic_dedup"] if config.semantic_duplicates is not None else []
    return [*named, *(["decontaminate"] if config.decontaminate else [])]


def rules(config: CurateConfig, operators: Pipeline) -> list[dict[str, Any]]:
    """The steps that can drop a document, in order, as plain data for the record: which documents each looks at
    (``all``, ``prose`` or ``code``), and its rules in order where it goes by a table of rules, else none.
    """
    shown: dict[str, str] = {"code": "code"}
    named: dict[str, list[str]] = {}
    for operator in operators.operators:
        inner = operator.operator if isinstance(operator, ForProse) else operator
        name = "identify" if isinstance(inner, KeepLanguages) else inner.spec.name
        if isinstance(operator, ForProse):
            shown[name] = "prose"
        if isinstance(inner, Decide):
            named.setdefault(name, []).extend(rule.name for rule in inner.rules)
    return [
        {"step": name, "of": shown.get(name, "all"), "rules": list(dict.fromkeys(named.get(name, ())))}
        for name in steps(config)
    ]


def _keep_languages(config: CurateConfig) -> KeepLanguages:
    if config.min_language_score is not None:
        return KeepLanguages(config.languages, {}, config.min_language_score)
    if config.language_model == "py3langid":
        return KeepLanguages(config.languages, shipped_thresholds())
    return KeepLanguages(config.languages)
