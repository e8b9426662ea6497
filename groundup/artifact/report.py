"""The run report: one HTML file that opens from disk, drawn from records and exhibits alone.

The report knows no stage by name. It loads nothing (a content security policy in the page forbids it), runs no
script, and every text from outside is escaped by the template engine, so that a sample can't become markup.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from pydantic import BaseModel, ValidationError

from groundup.artifact.charts import BarChart, FunnelStep, LineChart, bar_chart, funnel_steps, line_chart
from groundup.artifact.diagram import Box, flow_diagram
from groundup.artifact.exhibit import Bars, Exhibit, Exhibits, Facts, Funnel, Lines, Sample, Table
from groundup.artifact.lineage import Branch, grow, own_sources
from groundup.artifact.present import NOTHING, clean, duration, energy, explain, flatten, number, slug, value_text
from groundup.artifact.record import LOG_FOLDER, Cost, Record
from groundup.artifact.stage import Artifact, StageConfig
from groundup.base.errors import ArtifactError, missing_extra
from groundup.base.files import read_json
from groundup.base.units import human_bytes

EXHIBITS: Final = LOG_FOLDER + "exhibits.json"
KIND_COLOURS: Final = 10
"""How many kinds of artifact have a colour of their own; the style sheet defines ``.k0`` to ``.k9``."""

_TEMPLATES: Final = Path(__file__).parent / "templates"
_ROLES: Final = ("prompt", "generated", "system", "user", "assistant", "chosen", "rejected", "kept", "dropped", "note")
_TOKEN_COLOURS: Final = 6
_NARROW_COLUMNS: Final = 4


@dataclass(frozen=True)
class View:
    """An exhibit with what is needed to draw it; ``wide`` ones take the whole row."""

    exhibit: Exhibit
    key: str
    wide: bool
    lines: LineChart | None = None
    bars: BarChart | None = None
    funnel: tuple[FunnelStep, ...] = ()
    numeric: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Setting:
    """One field of a configuration; ``chosen`` if it differs from the default."""

    name: str
    value: str
    meaning: str
    chosen: bool


@dataclass(frozen=True)
class Section:
    """One artifact as the report shows it."""

    anchor: str
    record: Record
    colour: int
    lesson: tuple[Markup, ...]
    views: tuple[View, ...]
    settings: tuple[Setting, ...]
    inputs: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Leaf:
    """A place in the lineage tree; ``again`` if the artifact was drawn above, so that it isn't drawn twice."""

    section: Section
    via: str
    again: bool
    sources: tuple[Mapping[str, Any], ...] = ()
    children: tuple[Leaf, ...] = field(default=())


def is_current(report: Path, state: Path, shown: Mapping[str, object]) -> bool:
    """Whether ``report`` is there and, as ``state`` tells, shows just what ``shown`` says."""
    if not report.is_file() or not state.is_file():
        return False
    try:
        found = read_json(state)
    except ValueError:
        return False
    return isinstance(found, dict) and all(found.get(key) == value for key, value in shown.items())


def check_ready() -> None:
    """Refuse before the work starts what would only fail after it: RequestError if the charts can't be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise missing_extra("matplotlib", "report")


def render(recipe_name: str, description: str, steps: Sequence[tuple[Artifact, StageConfig]]) -> str:
    """The report of a run as HTML. ``steps`` are in an order in which each comes after its inputs.

    Raises ArtifactError if an artifact's exhibits can't be read, RequestError if matplotlib is missing and needed.
    """
    sections = _sections(steps)
    records = [section.record for section in sections]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, duration=duration, energy=energy, size=human_bytes, value=value_text, cell=_cell, role=_role
    )
    environment.filters["folds"] = _folds
    return environment.get_template("report.html.j2").render(
        name=recipe_name,
        description=description,
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        sections=sections,
        headline=[fact for section in sections for view in section.views for fact in _headline(view.exhibit)],
        total=_total([record.cost for record in records]),
        flow=[flow_diagram(_boxes(sections), upright=upright) for upright in (False, True)],
        lineage=_lineage(sections),
        watts=sorted({record.cost.watts_per_core for record in records}),
        longest=max([record.cost.seconds for record in records], default=0.0) or 1.0,
        environments=_environments(sections),
        versions=sorted({record.code_version for record in records}),
        licences=sorted({licence for record in records for licence in record.terms.licences}),
        flatten=flatten,
        link=_link,
        nothing=NOTHING,
    )


# -- what is shown -----------------------------------------------------------------------------------------------------


def _sections(steps: Sequence[tuple[Artifact, StageConfig]]) -> list[Section]:
    kinds = list(dict.fromkeys(artifact.record.kind for artifact, _ in steps))
    anchors: dict[str, str] = {}
    for index, (artifact, _) in enumerate(steps):
        anchor = f"a-{slug(artifact.record.name)}"
        anchors[artifact.record.digest] = anchor if anchor not in anchors.values() else f"{anchor}-{index}"
    found = []
    for artifact, config in steps:
        record, anchor = artifact.record, anchors[artifact.record.digest]
        found.append(
            Section(
                anchor=anchor,
                record=record,
                colour=kinds.index(record.kind) % KIND_COLOURS,
                lesson=tuple(explain(type(config))),
                views=_views(_read_exhibits(artifact), anchor),
                settings=tuple(_settings(record, config)),
                inputs=tuple(
                    (via, link.name, anchors[link.digest])
                    for via, links in sorted(record.inputs.items())
                    for link in links
                ),
            )
        )
    return found


def _read_exhibits(artifact: Artifact) -> tuple[Exhibit, ...]:
    path = artifact.path / EXHIBITS
    if not path.is_file():
        return ()
    try:
        return Exhibits.model_validate_json(path.read_bytes()).exhibits
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise ArtifactError(f"{path} can't be read ({reason}); delete {artifact.path} and run again") from None


def _views(exhibits: Sequence[Exhibit], anchor: str) -> tuple[View, ...]:
    """The exhibits of one artifact. Two narrow ones that follow each other share a row."""
    paired: set[int] = set()
    for index in range(len(exhibits) - 1):
        if index not in paired and _narrow(exhibits[index]) and _narrow(exhibits[index + 1]):
            paired |= {index, index + 1}
    return tuple(_view(one, f"{anchor}-e{index}", index not in paired) for index, one in enumerate(exhibits))


def _narrow(exhibit: Exhibit) -> bool:
    return isinstance(exhibit, (Lines, Bars)) or (
        isinstance(exhibit, Table) and len(exhibit.columns) <= _NARROW_COLUMNS
    )


def _view(exhibit: Exhibit, key: str, wide: bool) -> View:
    match exhibit:
        case Lines():
            return View(exhibit, key, wide, lines=line_chart(exhibit, key, wide=wide))
        case Bars():
            return View(exhibit, key, wide, bars=bar_chart(exhibit))
        case Funnel():
            return View(exhibit, key, wide, funnel=funnel_steps(exhibit))
        case Table():
            columns = list(zip(*exhibit.rows, strict=False))
            numeric = tuple(all(isinstance(cell, (int, float)) or cell is None for cell in cells) for cells in columns)
            return View(exhibit, key, wide, numeric=numeric or (False,) * len(exhibit.columns))
        case _:
            return View(exhibit, key, wide)


def _headline(exhibit: Exhibit) -> tuple[tuple[str, str, str], ...]:
    return exhibit.facts if isinstance(exhibit, Facts) and exhibit.headline else ()


def _settings(record: Record, config: StageConfig) -> list[Setting]:
    found = []
    for name, value in record.config.items():
        known = type(config).model_fields.get(name)
        default = known.get_default(call_default_factory=True, validated_data={}) if known else None
        chosen = known is None or known.is_required() or _plain(default) != _plain(getattr(config, name))
        meaning = (known.description if known else None) or ""
        found.append(Setting(name, value_text(value), meaning, chosen))
    return found


def _plain(value: object) -> object:
    return value.model_dump() if isinstance(value, BaseModel) else value


def _total(costs: Sequence[Cost]) -> dict[str, float]:
    return {
        "seconds": sum(cost.seconds for cost in costs),
        "cpu_seconds": sum(cost.cpu_seconds for cost in costs),
        "energy_joules": sum(cost.energy_joules for cost in costs),
        "peak_memory_bytes": max([cost.peak_memory_bytes for cost in costs], default=0),
    }


def _boxes(sections: Sequence[Section]) -> list[Box]:
    return [
        Box(
            key=section.anchor,
            name=section.record.name,
            note=_note(section.record),
            href=f"#{section.anchor}",
            colour=section.colour,
            after=tuple(dict.fromkeys(anchor for _, _, anchor in section.inputs)),
        )
        for section in sections
    ]


def _note(record: Record) -> str:
    took = duration(record.cost.seconds).replace(" min ", "m ").replace(" h ", "h ").replace(" min", "m")
    return took if record.stage == record.name else f"{record.stage} · {took}"


def _lineage(sections: Sequence[Section]) -> list[Leaf]:
    """A tree for every artifact that no other one uses; what occurs again is only pointed to."""
    by_digest = {section.record.digest: section for section in sections}
    used = {link.digest for section in sections for links in section.record.inputs.values() for link in links}
    drawn: set[str] = set()

    def leaf(branch: Branch) -> Leaf:
        section = by_digest[branch.record.digest]
        if branch.record.digest in drawn:
            return Leaf(section, branch.via, again=True)
        drawn.add(branch.record.digest)
        sources = tuple(own_sources(branch))
        return Leaf(section, branch.via, False, sources, tuple(leaf(child) for child in branch.inputs))

    tops = [section.record for section in sections if section.record.digest not in used]
    return [leaf(grow(record, lambda digest: by_digest[digest].record)) for record in tops]


def _environments(sections: Sequence[Section]) -> list[tuple[dict[str, str], list[str]]]:
    """The distinct environments, each with the names of the artifacts that were made in it."""
    found: list[tuple[dict[str, str], list[str]]] = []
    for section in sections:
        for environment, names in found:
            if environment == section.record.environment:
                names.append(section.record.name)
                break
        else:
            found.append((section.record.environment, [section.record.name]))
    return found


# -- how a value is shown ----------------------------------------------------------------------------------------------


def _finalize(value: object) -> object:
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _cell(value: object) -> str:
    return NOTHING if value is None else number(value) if isinstance(value, (int, float)) else str(value)


def _folds(samples: Sequence[Sample]) -> list[tuple[str, list[Sample]]]:
    """Samples that follow each other under the same fold, together."""
    return [(fold, list(group)) for fold, group in groupby(samples, key=lambda sample: sample.fold)]


def _role(role: str) -> str:
    """The style of a part of a sample; a role that isn't known has none, so that no text gets into a class name."""
    token = re.fullmatch(r"token([0-9]{1,9})", role)
    if token:
        return f"token{int(token[1]) % _TOKEN_COLOURS}"
    return role if role in _ROLES else "plain"


def _link(text: str) -> Markup | str:
    """An address that a reader may follow; anything that isn't plainly http(s) stays text."""
    if re.fullmatch(r"https?://[^\s\"'<>]+", text):
        return Markup('<a href="{0}" rel="noreferrer noopener">{0}</a>').format(clean(text))
    return text
