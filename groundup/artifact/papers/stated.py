"""What only a person knows: a YAML file of facts, which the papers mark as stated by the provider.

Its keys are those of the questions of all papers, so that every blank can be filled in; ``sources`` says of which kind
single sources are.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from groundup.artifact.papers import croissant, data_card, datasheet, eu_documentation, eu_summary, model_card, spdx
from groundup.artifact.papers.kinds import KINDS
from groundup.artifact.papers.page import Question
from groundup.base.errors import RequestError, nearest
from groundup.base.yaml_file import read_yaml

FORMS: Final[tuple[tuple[str, tuple[Question, ...]], ...]] = (
    ("The model card", model_card.QUESTIONS),
    ("The card of data", data_card.QUESTIONS),
    ("The datasheet", datasheet.QUESTIONS),
    ("Croissant", croissant.QUESTIONS),
    ("SPDX", spdx.QUESTIONS),
    ("The public summary of training content (EU)", (*eu_summary.QUESTIONS, *eu_summary.SETTINGS)),
    ("The model documentation form (EU)", eu_documentation.QUESTIONS),
)
KEYS: Final = {question.key for _, questions in FORMS for question in questions}
_SOURCE_FIELDS: Final = ("kind", "link")
_DATES: Final = ("published",)


def load(path: Path) -> dict[str, Any]:
    """The facts in a file, by key; RequestError for a key that no paper asks for, or a value that is no text."""
    found = read_yaml(path)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise RequestError(f"{path}: expected a mapping of facts, got {type(found).__name__}")
    facts: dict[str, Any] = {}
    for key, value in found.items():
        if key == "sources":
            facts["sources"] = _sources(value, path)
        elif key not in KEYS:
            raise RequestError(f"{path}: unknown fact {key!r}{nearest(str(key), KEYS)}")
        elif value is not None:
            facts[str(key)] = _text(value, f"{path}: {key}")
    for key in _DATES:
        _check_date(facts.get(key), f"{path}: {key}")
    return facts


def template() -> str:
    """An empty file of facts: every key once, with the question that it answers first."""
    lines = [
        "# Facts that no record holds. Fill in what you know and delete the rest; the papers mark it as stated by you.",
        "# groundup document NAME --to FOLDER --facts THIS_FILE",
    ]
    seen: set[str] = set()
    for title, questions in FORMS:
        fresh = [question for question in questions if question.key not in seen]
        lines += ["", f"# {title}", ""] if fresh else []
        for question in fresh:
            if question.key not in seen:
                seen.add(question.key)
                lines.append(f"{question.key}:  # {question.group}: {question.text}")
    kinds = "; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items())
    lines += ["", "# Of which kind a source is, by its name; the kinds are", f"# {kinds}"]
    lines += ["sources:", "#  stories.jsonl.gz: {kind: public, link: 'https://example.org/stories'}"]
    return "\n".join(lines) + "\n"


def _sources(value: object, path: Path) -> dict[str, dict[str, str]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RequestError(f"{path}: 'sources' maps the names of sources to their kind and link")
    found: dict[str, dict[str, str]] = {}
    for name, about in value.items():
        where = f"{path}: source {str(name)[:80]!r}"
        if not isinstance(about, Mapping):
            raise RequestError(f"{where}: expected kind and link")
        for field in about:
            if field not in _SOURCE_FIELDS:
                raise RequestError(f"{where}: unknown field {field!r}{nearest(str(field), _SOURCE_FIELDS)}")
        kind = about.get("kind")
        if kind is not None and kind not in KINDS:
            raise RequestError(f"{where}: unknown kind {kind!r}{nearest(str(kind), KINDS)}")
        found[str(name)] = {str(field): _text(one, where) for field, one in about.items() if one is not None}
    return found


def _text(value: object, where: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int, float, datetime.date)):
        return str(value).strip()
    raise RequestError(f"{where}: expected a text, got {type(value).__name__}")


def _check_date(value: str | None, where: str) -> None:
    if not value:
        return
    try:
        datetime.date.fromisoformat(value[:10])
    except ValueError:
        raise RequestError(f"{where}: {value[:40]!r} is not a day such as 2026-12-31") from None
