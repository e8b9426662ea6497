"""How values look to a person: numbers, times, energy, plain text made safe, docstrings as paragraphs."""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from markupsafe import Markup, escape

NOTHING: Final = "–"
_CONTROLS: Final = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_CLEAN: Final = {**_CONTROLS, 0x7F: 0x2421, **dict.fromkeys(range(128, 160), 65533)}
_SURROGATES: Final = re.compile("[\ud800-\udfff\ufffe\uffff]")
_CODE: Final = re.compile(r"``(.+?)``|`(.+?)`")


def clean(text: str) -> str:
    r"""Text that any parser accepts: control characters become their pictures, lone surrogates the replacement mark.

    >>> clean("a\x00b\r\nc")
    'a␀b\nc'
    """
    return _SURROGATES.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n").translate(_CLEAN))


def number(value: float) -> str:
    """A number at a glance: thousands separated, four significant digits where there is a fraction.

    >>> number(1234567), number(3.14159), number(0.25), number(123456.7), number(0.0000123)
    ('1,234,567', '3.142', '0.25', '123,457', '1.23e-05')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return NOTHING
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """
    >>> duration(0.42), duration(12.34), duration(521), duration(4320)
    ('0.42 s', '12.3 s', '8 min 41 s', '1 h 12 min')
    """
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def energy(joules: float) -> str:
    """
    >>> energy(250), energy(6251), energy(7.2e6)
    ('250 J', '1.74 Wh', '2.00 kWh')
    """
    hours = joules / 3600
    if hours >= 1000:
        return f"{hours / 1000:,.2f} kWh"
    return f"{hours:.2f} Wh" if hours >= 0.1 else f"{joules:.0f} J"


def value_text(value: object) -> str:
    """A recorded value on one line."""
    if value is None or value == "" or value == [] or value == {}:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {value_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        separator = "; " if any(isinstance(item, Mapping) for item in value) else ", "
        return separator.join(value_text(item) for item in value)
    return str(value)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings as dotted names.

    >>> dict(flatten({"a": {"b": 1}, "c": [2]}))
    {'a.b': 1, 'c': [2]}
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def explain(owner: type) -> list[Markup]:
    """The docstring of a class as HTML blocks: paragraphs, ``- `` lists, and indented text as it stands."""
    text = owner.__doc__ and inspect.getdoc(owner)
    blocks = []
    for part in re.split(r"\n\s*\n", text or ""):
        lines = part.splitlines()
        if all(line.startswith("    ") for line in lines):
            blocks.append(Markup("<pre>{}</pre>").format(textwrap.dedent(part)))
        elif lines and lines[0].startswith("- "):
            items = re.split(r"\n- ", part[2:])
            inner = Markup("").join(Markup("<li>{}</li>").format(_code(" ".join(item.split()))) for item in items)
            blocks.append(Markup("<ul>{}</ul>").format(inner))
        else:
            blocks.append(Markup("<p>{}</p>").format(_code(" ".join(part.split()))))
    return blocks


def _code(text: str) -> Markup:
    return Markup(_CODE.sub(lambda match: f"<code>{match[1] or match[2]}</code>", str(escape(text))))


def slug(text: str) -> str:
    """A name as part of an id.

    >>> slug("My model/<b>2")
    'my-model-b-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
