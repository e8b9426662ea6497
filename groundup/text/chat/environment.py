"""The jinja2 in which chat templates run: what open models' templates may use, and nothing that reaches out.

As in transformers: a sandbox in which nothing can be changed, ``trim_blocks`` and ``lstrip_blocks``, ``break`` and
``continue``, ``{% generation %}`` blocks, ``tojson`` that leaves text as it is, ``raise_exception`` and
``strftime_now``. Besides, joined text stays :class:`Traced`, so that a template's logic can look at it.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Mapping
from textwrap import shorten
from typing import Any, Final

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from groundup.base.errors import DataError
from groundup.text.chat.traced import GENERATION_END, GENERATION_START, Shadow, Traced

_FAULTS: Final = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
_LONGEST_REASON: Final = 200


class Program:
    """A compiled template. ``names`` are variables that it may use, such as ``bos_token``.

    DataError if the source isn't valid jinja.
    """

    def __init__(
        self,
        source: str,
        shadow: Shadow,
        names: Mapping[str, str],
        now: Callable[[], datetime.datetime] = datetime.datetime.now,
    ) -> None:
        self._shadow = shadow
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )

        def concat(parts: Iterable[str]) -> str:
            return shadow.trace("".join(parts))

        environment.concat = concat  # type: ignore[method-assign]
        environment.filters |= {"tojson": _tojson(shadow), _TEXT: _text}
        environment.globals.update(names, raise_exception=_refuse, strftime_now=lambda form: now().strftime(form))
        try:
            tree = environment.parse(source)
            self.has_generation = any(_is_mark(data) for data in tree.find_all(nodes.TemplateData))
            self._template = environment.from_string(_Joined().visit(tree))
        except (TemplateError, RecursionError) as error:
            raise DataError(f"the chat template is not valid jinja: {error}") from None

    def fill(self, variables: Mapping[str, Any]) -> str:
        """Run it; DataError if it refuses or fails."""
        try:
            return "".join([self._template.render(variables)])  # the join makes a plain string of it
        except _FAULTS as error:
            # Shown, since a surrogate can't be printed; short, since it may quote people.
            said = shorten(self._shadow.show(str(error)), _LONGEST_REASON, placeholder=" …")
            raise DataError(f"the chat template refused a conversation: {said}") from None


class _Generation(Extension):
    """``{% generation %}`` … ``{% endgeneration %}``: marks what the model says, in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own form

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        marks = [nodes.Output([nodes.TemplateData(mark)]) for mark in (GENERATION_START, GENERATION_END)]
        return nodes.Scope([marks[0], *body, marks[1]]).set_lineno(line)


def _is_mark(data: nodes.TemplateData) -> bool:
    return data.data == GENERATION_START


_TEXT: Final = "groundup_text"


def _text(value: Any) -> str:
    """What ``~`` makes of a value: text that is traced if it was, and never escaped."""
    text = str(value)
    return text if isinstance(text, Traced) else str.__str__(text)


class _Joined(NodeTransformer):
    """``a ~ b`` as a sum of texts, which keeps traced text traced."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the visitor's form
        self.generic_visit(node)
        parts = [nodes.Filter(part, _TEXT, [], [], None, None) for part in node.nodes]
        joined: nodes.Expr = parts[0]
        for part in parts[1:]:
            joined = nodes.Add(joined, part)
        joined.environment = node.environment
        return joined.set_lineno(node.lineno)


def _tojson(shadow: Shadow) -> Callable[..., str]:
    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        bare, theirs = shadow.bare(value)
        text = json.dumps(bare, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        return shadow.hide(text) if theirs else text

    return tojson


def _refuse(message: str) -> None:
    raise TemplateError(message)
