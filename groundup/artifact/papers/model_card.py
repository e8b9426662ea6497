"""The model card, after Mitchell et al. 2019 ("Model Cards for Model Reporting"), written from records only.

What the records don't hold is visibly blank (*not recorded*), never filled in. The card holds nothing that differs
from one making to the next, so that the same model has the same card; times and energy have a page of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from groundup.artifact.lineage import Branch, own_sources
from groundup.artifact.papers import facts
from groundup.artifact.papers.annexes import LICENCES_FILE
from groundup.artifact.papers.facts import Fact
from groundup.artifact.papers.hub import language_code, licence_fields, one_line
from groundup.artifact.papers.page import STATED, Paper, Question, Raw
from groundup.artifact.papers.subject import Subject
from groundup.artifact.papers.templating import render
from groundup.artifact.record import Record
from groundup.artifact.terms import SourceTerms

QUESTIONS: Final = (
    Question("primary_uses", "Intended use", "primary uses and users"),
    Question("out_of_scope_uses", "Intended use", "uses that are out of scope"),
    Question("factors", "Factors", "groups, instruments and environments that matter"),
    Question("beyond_scores", "Evaluation", "evaluation beyond the scores above"),
    Question("safety_evaluation", "Evaluation", "safety evaluation"),
    Question("bias_evaluation", "Evaluation", "bias evaluation"),
    Question("human_evaluation", "Evaluation", "evaluation by people"),
    Question("ethical_considerations", "Ethical considerations", "risks, harms and what was done about them"),
    Question("caveats", "Caveats and recommendations", "caveats and recommendations"),
    Question("model_licence", "Details", "licence of the model itself"),
    Question("citation", "Details", "how to cite it"),
    Question("contact", "Details", "contact"),
)


@dataclass(frozen=True)
class SourceRow:
    """One source file: its terms, the artifact that read it, and what curation kept of it (None: not recorded)."""

    terms: SourceTerms
    read_by: str
    kept: int | None


@dataclass(frozen=True)
class ScoreRow:
    """One score; ``low`` and ``high`` are its interval, None where there is none."""

    name: str
    value: float
    low: float | None
    high: float | None
    this: bool


@dataclass(frozen=True)
class ScoreTable:
    """The scores of all models on one task, with what to hold them against."""

    task: str
    about: Mapping[str, Any]
    rows: tuple[ScoreRow, ...]


def render_card(
    model: Record,
    lineage: Branch,
    scores: Record | None,
    stated: Mapping[str, Any] | None = None,
    beside: Sequence[tuple[str, str]] = (),
    annexes: bool = True,
) -> str:
    """The model card: Markdown with the front matter of the Hugging Face Hub.

    ``lineage`` is that of ``model``; ``scores`` is the record of an artifact of kind ``scores``, which counts only if
    this very model is among its inputs. ``stated`` is what a person stated by the keys of QUESTIONS; ``beside`` are
    (file, what it is) of other papers in the same folder, to which the card points; ``annexes`` says whether the list
    of licences, the lineage and the cost lie there too, as they do in a bundle.
    """
    records = [branch.record for branch in lineage.walk()]
    models = [record for record in records if record.kind == "model"]
    corpora = [record for record in records if record.kind == "corpus"]
    measured = scores if scores is not None and _measured(model, scores) else None
    return render(
        "card.md.j2",
        front=Raw(_front_matter(model, corpora, LICENCES_FILE if annexes else None)),
        model=model,
        models=models,
        corpora=corpora,
        records=records,
        chat=any(record.kind == "conversations" for record in records),
        languages=_languages(corpora),
        sources=list(_sources(lineage, corpora)),
        scores=list(_score_tables(model, measured)) if measured else [],
        confidence=measured.config.get("confidence") if measured else None,
        parameters=model.metrics.get("parameters"),
        questions=QUESTIONS,
        said={key: value for key, value in (stated or {}).items() if value not in (None, "")},
        mark=Raw(STATED),
        beside=beside,
        annexes=annexes,
    )


def model_card(subject: Subject, beside: Sequence[tuple[str, str]]) -> Paper:
    """``README.md`` of a model with its facts."""
    model = subject.model.record
    branch = next(one for one in subject.lineage.walk() if one.record.digest == model.digest)
    text = render_card(model, branch, subject.scores, subject.stated, beside, annexes=False)
    return Paper("README.md", text, tuple(_card_facts(subject, branch)))


def _card_facts(subject: Subject, branch: Branch) -> Iterator[Fact]:
    """Every fact that the card tells."""
    model = subject.model.record
    records = [one.record for one in branch.walk()]
    for record in records:
        yield from filter(None, (facts.at(record, "digest"), facts.at(record, "name"), facts.at(record, "stage")))
        if record.kind in ("model", "corpus"):
            yield from (fact for _, fact in [*facts.measured(record), *facts.settings(record)])
    yield from filter(None, [facts.at(model, "code_version"), facts.at(model, "metrics", "parameters")])
    for source in facts.sources(subject):
        yield from source.terms.values()
        yield from filter(None, [source.kept])
    if subject.scores is not None and _measured(model, subject.scores):
        yield from (fact for _, fact in facts.measured(subject.scores))
        yield from filter(None, [facts.at(subject.scores, "config", "confidence")])
    yield from filter(None, (facts.stated(subject, question.key) for question in QUESTIONS))


# -- what the card says ------------------------------------------------------------------------------------------------


def _measured(model: Record, scores: Record) -> bool:
    return any(link.digest == model.digest for links in scores.inputs.values() for link in links)


def _front_matter(model: Record, corpora: Sequence[Record], link: str | None) -> str:
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = ["groundup", one_line(model.stage)]
    languages = _languages(corpora)
    if languages:
        front["language"] = languages
    front |= licence_fields(model.terms.licences, link)
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _languages(corpora: Sequence[Record]) -> list[str]:
    """The languages that curation was told to keep, as the Hub writes them."""
    named = [str(name) for corpus in corpora for name in corpus.config.get("languages") or ()]
    return sorted({language_code(name) for name in named})


def _sources(lineage: Branch, corpora: Sequence[Record]) -> Iterator[SourceRow]:
    counts: dict[str, int] = {}
    # A mixture says what came of the corpora that it was made of: they don't count again.
    mixed = {link.digest for corpus in corpora for links in corpus.inputs.values() for link in links}
    for corpus in (one for one in corpora if one.digest not in mixed):
        for source, found in (corpus.metrics.get("sources") or {}).items():
            if isinstance(found, Mapping) and isinstance(found.get("documents"), int):
                counts[source] = counts.get(source, 0) + found["documents"]
    for branch in lineage.walk():
        for source in own_sources(branch):
            terms = SourceTerms.model_validate(source)
            yield SourceRow(terms, branch.record.name, counts.get(terms.source))


def _score_tables(model: Record, scores: Record) -> Iterator[ScoreTable]:
    """One table for each task of ``metrics[model]``: a key is a task if its interval stands beside it."""
    own = scores.metrics.get(model.name, {})
    benchmarks = scores.metrics.get("benchmarks", {})
    for task in own:
        if f"{task}_low" not in own:
            continue
        rows = [
            ScoreRow(name, found[task], found[f"{task}_low"], found[f"{task}_high"], name == model.name)
            for name, found in scores.metrics.items()
            if isinstance(found, Mapping) and f"{task}_low" in found
        ]
        if task not in benchmarks:
            baselines = scores.metrics.get("baselines", {})
            rows += [ScoreRow(name, value, None, None, False) for name, value in baselines.items()]
        yield ScoreTable(task, benchmarks.get(task, {}), tuple(rows))
