"""SPDX licence expressions (SPDX specification 2.3, annex D; 3.0, annex B): checked, in a normal form, and weighed.

A single known id is looked up in a table; only what is compound brings the license-expression library (0.1 s), which
knows the grammar and the algebra. Ids are checked here, so that an unknown one is told with its nearest neighbour.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from groundup.base.errors import RequestError
from groundup.rights.licences.table import table

LONGEST: Final = 2000
"""Characters of an expression: simplifying one of thousands of ids would take for ever."""

_TOKEN: Final = re.compile(r"\s*([()]|[^\s()]+)", re.ASCII)
_REFERENCE: Final = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]{1,100}:)?LicenseRef-[A-Za-z0-9.-]{1,200}")
_WORDS: Final = ("AND", "OR", "WITH")
_MOST_IDS: Final = 60


@dataclass(frozen=True)
class Expression:
    """An expression in its normal form; ``notes`` say what was changed that a person should know."""

    text: str
    notes: tuple[str, ...] = ()


def normal(text: str) -> str:
    """The normal form of an expression: the ids of today in SPDX's spelling, each once, in a fixed order.

    RequestError of one line for an unknown id (with the nearest known one) and for what is no expression.

    >>> normal("mit"), normal("GPL-2.0+"), normal("LicenseRef-mine"), normal("MIT or (mit AND MIT)")
    ('MIT', 'GPL-2.0-or-later', 'LicenseRef-mine', 'MIT')
    """
    return parse(text).text


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The same, with notes on ids that SPDX has withdrawn."""
    known = table()
    word = text.strip()
    if word in known.licences:
        return Expression(word)
    if len(word) > LONGEST:
        raise RequestError(f"a licence expression of {len(word)} characters is too long")
    tokens, notes = list[str](), list[str]()
    for token in _TOKEN.findall(word):
        if token in "()" or token.upper() in _WORDS:
            tokens.append(token.upper())
            continue
        name = _known(token)
        if name in known.renamed:
            notes.append(f"{name} is called {known.renamed[name]} now")
            name = known.renamed[name]
        tokens += name.split(" ")
    if not tokens:
        raise RequestError("a licence is needed: an SPDX expression, such as CC-BY-4.0 or MIT OR Apache-2.0")
    if len(tokens) > 2 * _MOST_IDS:
        raise RequestError(f"a licence expression of more than {_MOST_IDS} ids is too long")
    _check(tokens, word)
    if len(tokens) == 1:
        return Expression(tokens[0], tuple(notes))
    return Expression(str(_tree(" ".join(tokens)).simplify().render()), tuple(notes))


def try_normal(text: str) -> str | None:
    """The normal form, or None where :func:`normal` would raise: for text that may be anything.

    >>> try_normal("MIT"), try_normal("see the file")
    ('MIT', None)
    """
    if len(text) > LONGEST or any(_look_up(token) is None for token in _ids(text)):
        return None
    try:
        return parse(text).text
    except RequestError:
        return None


def alternatives(text: str) -> tuple[str, ...]:
    """The licences of which an expression in normal form leaves the choice; one if it leaves none.

    >>> alternatives("Apache-2.0 OR MIT"), alternatives("Apache-2.0 AND MIT")
    (('Apache-2.0', 'MIT'), ('Apache-2.0 AND MIT',))
    """
    if " OR " not in text:
        return (text,)
    tree = _tree(text)
    return tuple(part.render() for part in tree.args) if _operator(tree) == "OR" else (text,)


def licences(text: str) -> tuple[str, ...]:
    """Every licence in an expression in normal form, a WITH among them, sorted."""
    return tuple(sorted(set(_leaves(_tree(text))))) if _is_compound(text) else (text,)


def weigh(text: str, value: Callable[[str], int]) -> int:
    """The value of an expression in normal form: the greatest of alternatives, the least of what holds together.

    >>> weigh("CC0-1.0 AND MIT OR ISC", {"CC0-1.0": 0, "MIT": 2, "ISC": 1}.__getitem__)
    1
    """
    return _weigh(_tree(text), value) if _is_compound(text) else value(text)


def together(expressions: list[str]) -> str:
    """One expression of all of them, in normal form: whoever uses the material has to keep to each.

    >>> together(["MIT", "Apache-2.0", "MIT"])
    'Apache-2.0 AND MIT'
    """
    distinct = sorted(set(expressions))
    return distinct[0] if len(distinct) == 1 else normal(" AND ".join(f"({one})" for one in distinct))


def _ids(text: str) -> Iterator[str]:
    return (token for token in _TOKEN.findall(text) if token not in ("(", ")") and token.upper() not in _WORDS)


def _look_up(token: str) -> str | None:
    """The id as SPDX writes it; None for what is none."""
    known = table()
    name = known.spelling.get(token.lower())
    if name is not None:
        return name
    base = known.spelling.get(token.removesuffix("+").lower())
    if token.endswith("+") and base in known.licences:
        return f"{base}+"
    return token if _REFERENCE.fullmatch(token) else None


def _known(token: str) -> str:
    """The same; RequestError with the nearest id for what is none."""
    found, known = _look_up(token), table()
    if found is not None:
        return found
    shown = _short(token)
    if "licenseref-" in token.lower():
        raise RequestError(f"{shown!r}: 'LicenseRef-' is followed by letters, digits, dots and hyphens")
    spelling = {one: name for one, name in known.spelling.items() if name not in known.renamed}
    close = difflib.get_close_matches(token[:60].lower(), spelling, n=1, cutoff=0.7)
    hint = f"did you mean {spelling[close[0]]!r}?" if close else "a licence of your own is written LicenseRef-NAME"
    raise RequestError(f"unknown SPDX licence id {shown!r}; {hint}")


def _check(tokens: list[str], said: str) -> None:
    """RequestError unless the tokens are an expression: the library takes some that are not."""
    exceptions, depth, wanted = table().exceptions, 0, "licence"
    for at, token in enumerate([*tokens, ""]):
        is_id = bool(token) and token not in ("(", ")", *_WORDS)
        if wanted == "exception" and is_id:
            if token not in exceptions and "LicenseRef-" not in token:
                raise RequestError(f"{token!r} is a licence: only an exception stands behind WITH")
            wanted = "operator"
        elif wanted == "licence" and is_id:
            if token in exceptions:
                raise RequestError(f"{token!r} is an exception: it stands behind a licence, LICENCE WITH {token}")
            wanted = "operator"
        elif wanted == "licence" and token == "(":
            depth += 1
        elif wanted == "operator" and token == ")" and depth:
            depth -= 1
        elif wanted == "operator" and token in ("AND", "OR"):
            wanted = "licence"
        elif wanted == "operator" and token == "WITH" and _may_have_exception(tokens, at):
            wanted = "exception"
        elif token or wanted != "operator" or depth:
            raise RequestError(f"{_short(said)!r} is not an SPDX expression: licences with AND, OR, WITH and brackets")


def _may_have_exception(tokens: list[str], at: int) -> bool:
    return tokens[at - 1] != ")" and (at < 2 or tokens[at - 2] != "WITH")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"


def _is_compound(text: str) -> bool:
    return " AND " in text or " OR " in text


def _tree(text: str) -> Any:
    return _licensing().parse(text)


@lru_cache(maxsize=1)
def _licensing() -> Any:
    from license_expression import Licensing  # type: ignore[import-untyped]

    return Licensing()


def _operator(tree: Any) -> str:
    """AND, OR, or nothing for a single licence."""
    return str(getattr(tree, "operator", "")).strip()


def _leaves(tree: Any) -> Iterator[str]:
    if not _operator(tree):
        yield str(tree.render())
    else:
        for part in tree.args:
            yield from _leaves(part)


def _weigh(tree: Any, value: Callable[[str], int]) -> int:
    operator = _operator(tree)
    if not operator:
        return value(str(tree.render()))
    values = [_weigh(part, value) for part in tree.args]
    return max(values) if operator == "OR" else min(values)
