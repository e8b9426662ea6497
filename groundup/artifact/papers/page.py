"""A paper in Markdown, written from facts: it remembers each fact that it tells, and shows what is missing as blank."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from groundup.artifact.papers.facts import Fact
from groundup.artifact.present import clean, number, value_text

NOT_RECORDED: Final = "*not recorded*"
STATED: Final = "*(stated by the provider)*"
_LONGEST: Final = 400


class Raw(str):
    """Text that is Markdown already and must not be escaped."""


Part = str | Fact | None
"""Our own words (Markdown), a fact, or None for what is not recorded."""


@dataclass(frozen=True)
class Table:
    """A table: ``head`` are our own words."""

    head: tuple[str, ...]
    rows: tuple[tuple[Part, ...], ...]


Block = Table | tuple[Part, ...]


@dataclass(frozen=True)
class Question:
    """A field of a form. ``key`` is its name in the file in which a person states facts."""

    key: str
    group: str
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Paper:
    """A finished paper and every fact in it."""

    file: str
    text: str
    facts: tuple[Fact, ...]


@dataclass
class Page:
    """Collects Markdown and the facts in it."""

    parts: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def add(self, text: str) -> None:
        """A block of our own words."""
        self.parts.append(text)

    def say(self, *parts: Part) -> None:
        """A paragraph."""
        self.add(self._join(parts))

    def table(self, table: Table) -> None:
        """A table; blank if it has no rows."""
        if not table.rows:
            self.add(NOT_RECORDED)
            return
        lines = [table.head, tuple("---" for _ in table.head)]
        lines += [tuple(self.show(cell) for cell in row) for row in table.rows]
        self.add("\n".join("| " + " | ".join(line) + " |" for line in lines))

    def blocks(self, blocks: Sequence[Block]) -> None:
        """Paragraphs and tables; blank if there are none."""
        for block in blocks or [(None,)]:
            self.table(block) if isinstance(block, Table) else self.say(*block)

    def show(self, part: Part) -> str:
        """A part as Markdown."""
        if part is None:
            return NOT_RECORDED
        if not isinstance(part, Fact):
            return part
        self.facts.append(part)
        return f"{shown(part)} {STATED}" if part.is_stated else shown(part)

    def paper(self, file: str) -> Paper:
        """The finished paper."""
        return Paper(file, re.sub(r"\n{3,}", "\n\n", "\n\n".join(self.parts)).strip() + "\n", tuple(self.facts))

    def _join(self, parts: Sequence[Part]) -> str:
        return "".join(self.show(part) for part in parts)


def fill(
    page: Page,
    questions: Sequence[Question],
    answers: Mapping[str, Sequence[Block]],
    stated: Callable[[str], Fact | None],
) -> None:
    """Every question with its answer from records, then what a person stated; blank where there is neither."""
    group = ""
    for question in questions:
        if question.group != group:
            group = question.group
            page.add(f"## {group}")
        page.add(f"### {question.text}")
        said = stated(question.key)
        blocks = list(answers.get(question.key, ()))
        page.blocks([*blocks, (said,)] if said else blocks)


def shown(fact: Fact) -> str:
    """A fact's value as Markdown on one line: numbers readable, text harmless and not endless."""
    value = fact.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = value_text(value)
        return markdown(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
    return f"{value:,}" if isinstance(value, int) else number(value)


def markdown(text: str) -> str:
    r"""Text as Markdown shows it literally, on one line: nothing in it can become markup.

    >>> markdown("a|b <b>*c*</b>\n# d_e")
    'a\\|b &lt;b&gt;\\*c\\*&lt;/b&gt; \\# d\\_e'
    """
    flat = re.sub(r"\s+", " ", clean(text))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", flat)


def table_of(rows: Sequence[tuple[str, Fact]], head: tuple[str, str]) -> Table:
    """Names and values; the names come from records too, so they are made harmless."""
    return Table(head, tuple((code(name), fact) for name, fact in rows))


def code(text: str) -> Raw:
    """A name in code style; backticks would end it and line breaks the table."""
    flat = " ".join(clean(text).split())
    flat = flat if len(flat) <= _LONGEST else flat[:_LONGEST] + "…"
    return Raw("`" + flat.replace("`", "'").replace("|", "\\|") + "`")


class Teller:
    """Takes values out of facts for papers that programs read, and remembers the facts."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def __call__(self, fact: Fact | None) -> Any:
        """The value; None if it is not recorded."""
        if fact is None:
            return None
        self.facts.append(fact)
        return clean(fact.value) if isinstance(fact.value, str) else fact.value
