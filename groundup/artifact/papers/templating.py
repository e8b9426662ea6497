"""The Jinja environment of the papers that have a template: whatever is filled in is harmless Markdown, or refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import jinja2

from groundup.artifact.papers.page import NOT_RECORDED, Raw, code, markdown
from groundup.artifact.present import duration, energy, flatten, number, value_text
from groundup.base.units import human_bytes

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled in."""
    return tidy(_environment().get_template(template).render(**values))


def tidy(text: str) -> str:
    """Text with single blank lines and one line break at its end."""
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


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
        number=_known(number), duration=duration, energy=energy, size=human_bytes, value=_value, code=code, raw=Raw
    )
    environment.globals.update(flatten=flatten, blank=Raw(NOT_RECORDED))
    return environment


def _finalize(value: object) -> object:
    return value if isinstance(value, Raw) or not isinstance(value, str) else markdown(value)


def _known(show: Any) -> Any:
    return lambda value: Raw(NOT_RECORDED) if value is None else show(value)


def _value(value: object) -> str:
    return Raw("") if value is None else value_text(value)
