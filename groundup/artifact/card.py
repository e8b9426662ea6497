"""The papers of a model, written from records only: the model card, the list of licences, and what it cost.

What the records don't hold is visibly blank (*not recorded*), never filled in. The card holds nothing that differs
from one making to the next, so that the same model has the same card; times and energy have a page of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml

from groundup.artifact.lineage import Branch, own_sources
from groundup.artifact.present import clean, duration, energy, flatten, number, value_text
from groundup.artifact.record import Record
from groundup.artifact.terms import SourceTerms
from groundup.base.units import human_bytes

NOT_RECORDED: Final = "*not recorded*"
LICENCES_FILE: Final = "LICENSES.md"
COST_FILE: Final = "log/cost.md"
_TEMPLATES: Final = Path(__file__).parent / "templates"

# Identifiers that the Hugging Face Hub accepts in `license`; each is an SPDX identifier in lower case.
_HUB_LICENCES: Final = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "epl-1.0", "epl-2.0",
    "eupl-1.1", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ncsa", "ofl-1.1", "osl-3.0",
    "pddl-1.0", "postgresql", "unlicense", "wtfpl", "zlib",
}  # fmt: skip
# ISO 639-3 to the two-letter codes that the Hub shows; a language that has none keeps three letters.
_TWO_LETTERS: Final = {
    "ara": "ar", "arb": "ar", "bul": "bg", "ces": "cs", "cmn": "zh", "dan": "da", "deu": "de", "ell": "el",
    "eng": "en", "fin": "fi", "fra": "fr", "heb": "he", "hin": "hi", "hun": "hu", "ind": "id", "ita": "it",
    "jpn": "ja", "kor": "ko", "nld": "nl", "nob": "no", "pes": "fa", "pol": "pl", "por": "pt", "ron": "ro",
    "rus": "ru", "spa": "es", "swe": "sv", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip


class Raw(str):
    """Text that is Markdown already and must not be escaped."""


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


def render_card(model: Record, lineage: Branch, scores: Record | None) -> str:
    """The model card: Markdown with the front matter of the Hugging Face Hub.

    ``lineage`` is that of ``model``; ``scores`` is the record of an artifact of kind ``scores``, which counts only if
    this very model is among its inputs.
    """
    records = [branch.record for branch in lineage.walk()]
    models = [record for record in records if record.kind == "model"]
    corpora = [record for record in records if record.kind == "corpus"]
    measured = scores if scores is not None and _measured(model, scores) else None
    text = (
        _environment()
        .get_template("card.md.j2")
        .render(
            front=Raw(_front_matter(model, corpora)),
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
        )
    )
    return _tidy(text)


def render_licences(model: Record) -> str:
    """Every source with its licence and origin, grouped by licence: Markdown."""
    sources = model.terms.sources
    groups = [(name, [one for one in sources if one.licence == name]) for name in model.terms.licences]
    return _tidy(_environment().get_template("licences.md.j2").render(model=model, groups=groups))


def render_cost(lineage: Branch) -> str:
    """What making each artifact of the lineage took, and on which machine: Markdown."""
    records = [branch.record for branch in lineage.walk()]
    total = {
        "seconds": sum(record.cost.seconds for record in records),
        "cpu_seconds": sum(record.cost.cpu_seconds for record in records),
        "energy_joules": sum(record.cost.energy_joules for record in records),
        "peak_memory_bytes": max(record.cost.peak_memory_bytes for record in records),
    }
    machines: list[dict[str, str]] = []
    for record in records:
        machines += [record.environment] if record.environment not in machines else []
    watts = sorted({record.cost.watts_per_core for record in records})
    template = _environment().get_template("cost.md.j2")
    return _tidy(template.render(records=records, total=total, machines=machines, watts=watts, model=lineage.record))


def markdown(text: str) -> str:
    r"""Text as Markdown shows it literally, on one line: nothing in it can become markup.

    >>> markdown("a|b <b>*c*</b>\n# d_e")
    'a\\|b &lt;b&gt;\\*c\\*&lt;/b&gt; \\# d\\_e'
    """
    flat = re.sub(r"\s+", " ", clean(text))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", flat)


# -- what the card says ------------------------------------------------------------------------------------------------


def _measured(model: Record, scores: Record) -> bool:
    return any(link.digest == model.digest for links in scores.inputs.values() for link in links)


def _front_matter(model: Record, corpora: Sequence[Record]) -> str:
    licences = list(model.terms.licences)
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = ["groundup", _one_line(model.stage)]
    languages = _languages(corpora)
    if languages:
        front["language"] = languages
    hub = re.sub(r"-(only|or-later)$", "", licences[0].lower()) if len(licences) == 1 else ""
    if not licences:
        front["license"] = "unknown"
    elif hub in _HUB_LICENCES:
        front["license"] = hub
    else:
        front |= {
            "license": "other",
            "license_name": "mixed" if len(licences) > 1 else re.sub(r"[^a-z0-9.]+", "-", licences[0].lower()),
            "license_link": LICENCES_FILE,
            "source_licenses": [_one_line(licence) for licence in licences],
        }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _languages(corpora: Sequence[Record]) -> list[str]:
    """The languages that curation was told to keep, as the Hub writes them."""
    named = [str(name) for corpus in corpora for name in corpus.config.get("languages") or ()]
    codes = [name.partition("_")[0] for name in named]
    return sorted({_TWO_LETTERS.get(code, code) for code in codes})


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


# -- how it is written -------------------------------------------------------------------------------------------------


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=False,  # Markdown: what is filled in goes through `markdown` instead
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_known(number), duration=duration, energy=energy, size=human_bytes, value=_value, code=_code, raw=Raw
    )
    environment.globals.update(flatten=flatten, blank=Raw(NOT_RECORDED))
    return environment


def _finalize(value: object) -> object:
    return value if isinstance(value, Raw) or not isinstance(value, str) else markdown(value)


def _known(show: Any) -> Any:
    return lambda value: Raw(NOT_RECORDED) if value is None else show(value)


def _value(value: object) -> str:
    return Raw("") if value is None else value_text(value)


def _code(text: str) -> Raw:
    """A name in code style; backticks would end it and line breaks the table."""
    return Raw("`" + _one_line(text).replace("`", "'").replace("|", "\\|") + "`")


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _tidy(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
