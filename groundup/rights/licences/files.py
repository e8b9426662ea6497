"""Which licence a file states, and which one a folder's LICENSE, COPYING or manifest states for all files below it.

A file's own word is its SPDX tags (SPDX specification 2.3, annex E) or the words of a licence's header in its first
lines (``phrases.tsv``); every tag of it holds. A folder's is, in this order: the manifest of its package (package.json,
pyproject.toml, Cargo.toml, METADATA), the full text of a licence file. Several licence files are a choice if their
names say so (LICENSE-MIT beside LICENSE-APACHE), else all hold. The nearest folder above a file speaks for it, and only
if the file itself is silent.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from email.parser import HeaderParser
from functools import lru_cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Final

from groundup.rights.licences.expression import normal, together, try_normal
from groundup.rights.licences.names import by_name
from groundup.rights.licences.texts import licences_in, text_licence

PHRASES: Final = "phrases.tsv"
HEAD_LINES: Final = 50
"""Lines in which a licence is looked for: headers stand at the top, and long ones end there."""
LONGEST_FILE: Final = 1 << 20
_MOST_FOLDERS: Final = 100_000

_SPDX: Final = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n\r]+)")
_EXPRESSION: Final = re.compile(
    r"\(*[A-Za-z0-9][\w.+-]*\)*(?:\s+(?:AND|OR|WITH)\s+\(*[A-Za-z0-9][\w.+-]*\)*)*", re.ASCII
)
_NOT_WORDS: Final = re.compile(r"[^a-z0-9.+]+")
_LICENCE_FILE: Final = re.compile(
    r"(?:un)?licen[sc]es?(?:[-._].*)?|copying(?:[-._].*)?|(?:mit|bsd|apache)-licen[sc]e.*", re.I
)
_CHOICE: Final = re.compile(r"(?:licen[sc]e|copying)[-._](?!(?:txt|md|rst|html?|text)$).+", re.IGNORECASE)
_NOTICE: Final = 3000
"""Characters below which a licence file may be a notice that names a licence and not its text."""
_NO_TEXT: Final = re.compile(r"\.(?:py|js|ts|c|h|cc|cpp|java|go|rs|rb|html?|json|png|svg|ya?ml|css|sh)$", re.I)
MANIFESTS: Final = ("package.json", "pyproject.toml", "Cargo.toml", "METADATA", "PKG-INFO")


def header_licence(text: str) -> str | None:
    """What the tag of a file says, as it stands there, or the id of the licence whose words are in its first lines.

    >>> header_licence("# SPDX-License-Identifier: MIT OR Apache-2.0\\n")
    'MIT OR Apache-2.0'
    """
    head = first_lines(text, HEAD_LINES)
    tag = _SPDX.search(head)
    if tag:
        expression = _EXPRESSION.match(tag[1].strip())
        if expression:
            return expression[0]
    return _by_phrases(head)


def file_licence(text: str) -> str | None:
    """The licence that a source file states, as an expression in normal form; None if it states none that is known.

    >>> file_licence("// SPDX-License-Identifier: GPL-2.0\\n"), file_licence("x = 1\\n")
    ('GPL-2.0-only', None)
    """
    head = first_lines(text, HEAD_LINES)
    tags = [match[0] for tag in _SPDX.findall(head) if (match := _EXPRESSION.match(tag.strip())) is not None]
    known = [one for tag in tags if (one := try_normal(tag)) is not None]
    if tags:
        return together(known) if known else None
    return _by_phrases(head)


def first_lines(text: str, number: int) -> str:
    """The first ``number`` lines of a text, of at most 400 characters each on average."""
    return "\n".join(text[: 400 * number].split("\n", number)[:number])


def is_licence_file(name: str) -> bool:
    """Whether a file is named as one that holds a licence.

    >>> is_licence_file("LICENSE.txt"), is_licence_file("COPYING"), is_licence_file("license.py")
    (True, True, False)
    """
    return _LICENCE_FILE.fullmatch(name) is not None and _NO_TEXT.search(name) is None


def manifest_licence(name: str, text: str) -> str | None:
    """The licence that a package's manifest declares, in normal form; None if it declares none that is known.

    >>> manifest_licence("package.json", '{"license": "MIT"}')
    'MIT'
    """
    try:
        if name == "package.json":
            return _of_package_json(json.loads(text))
        if name == "Cargo.toml":
            data = tomllib.loads(text)
            said = _string(data.get("package") or data.get("workspace", {}).get("package"), "license")
            return try_normal(said.replace("/", " OR ")) if said else None
        if name == "pyproject.toml":
            return _of_pyproject(tomllib.loads(text))
    except (ValueError, RecursionError, AttributeError):
        return None
    return _of_metadata(text) if name in MANIFESTS else None


class Folder:
    """A folder of files, and what the licence files and manifests in it say."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._said: dict[str, str | None] = {}

    def licence_of(self, path: str) -> str | None:
        """What the nearest folder that says anything says for a file; ``path`` is relative, with slashes."""
        parts = PurePosixPath(path).parts[:-1]
        if ".." in parts or PurePosixPath(path).is_absolute():
            return None
        for depth in range(len(parts), -1, -1):
            said = self._of_folder("/".join(parts[:depth]))
            if said is not None:
                return said
        return None

    def _of_folder(self, folder: str) -> str | None:
        if folder not in self._said:
            if len(self._said) >= _MOST_FOLDERS:
                self._said.clear()
            self._said[folder] = folder_licence(self._root / folder)
        return self._said[folder]


def folder_licence(folder: Path) -> str | None:
    """The licence that a folder's manifest, or else its licence files, state for what lies in it."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    except OSError:
        return None
    for name in MANIFESTS:
        if name in names and (found := manifest_licence(name, _read(folder / name))) is not None:
            return found
    texts = {name: _read(folder / name) for name in names if is_licence_file(name)}
    return licence_files({name: licence_file(text) for name, text in texts.items()})


def licence_file(text: str) -> str | None:
    """What a LICENSE file says: full texts of licences, or else a short notice that names one."""
    found = text_licence(text)
    return found or (file_licence(text) if len(text) < _NOTICE and not licences_in(text) else None)


def licence_files(found: Mapping[str, str | None]) -> str | None:
    """What several licence files (name to licence) say together; None if one of them can't be told.

    >>> licence_files({"LICENSE-MIT": "MIT", "LICENSE-APACHE": "Apache-2.0"}), licence_files({"LICENSE": None})
    ('Apache-2.0 OR MIT', None)
    """
    choices = {licence for name, licence in found.items() if _CHOICE.fullmatch(name)}
    if len(choices) > 1 and None not in choices:
        # The plain LICENSE beside them tells that one may choose.
        return normal(" OR ".join(f"({one})" for one in sorted(filter(None, choices))))
    known = sorted({one for one in found.values() if one is not None})
    return together(known) if known and None not in found.values() else None


def _by_phrases(head: str) -> str | None:
    # Dots stay within versions and names, and go at the end of a word.
    plain = (" " + _NOT_WORDS.sub(" ", head.lower()) + " ").replace(". ", " ")
    for licence, phrases in _licences():
        if all(phrase in plain for phrase in phrases):
            return licence
    return None


def _of_package_json(data: Any) -> str | None:
    said = data.get("license")
    if isinstance(said, dict):
        said = said.get("type")
    if isinstance(said, str):
        return by_name(said)
    several = [one.get("type") for one in data.get("licenses") or () if isinstance(one, dict)]
    found = [by_name(one) for one in several if isinstance(one, str)]
    return normal(" OR ".join(f"({one})" for one in found)) if found and None not in found else None


def _of_pyproject(data: Any) -> str | None:
    project = data.get("project") or data.get("tool", {}).get("poetry") or {}
    said = project.get("license")
    text = _string(said, "text") if isinstance(said, dict) else said
    found = (by_name(text) if len(text) < 300 else text_licence(text)) if isinstance(text, str) else None
    return found or _by_classifiers(project.get("classifiers") or ())


def _of_metadata(text: str) -> str | None:
    fields = HeaderParser().parsestr(text.partition("\n\n")[0] + "\n\n")
    expression = fields.get("License-Expression")
    if expression:
        return try_normal(str(expression))
    said = str(fields.get("License") or "")
    found = by_name(said) if len(said) < 300 else text_licence(said)
    return found or _by_classifiers([str(one) for one in fields.get_all("Classifier") or ()])


def _by_classifiers(classifiers: Any) -> str | None:
    """Trove classifiers; of several each holds, as packages list the licences of all that is in them."""
    names = [one.rpartition(" :: ")[2] for one in classifiers if isinstance(one, str) and one.startswith("License ::")]
    found = {by_name(name) for name in names} - {None}
    return together([one for one in found if one is not None]) if found and len(found) == len(set(names)) else None


def _string(data: Any, name: str) -> str:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _licences() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(SPDX id, phrases that must all be there), the more particular first."""
    found = []
    for line in resources.files(__package__).joinpath(PHRASES).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            licence, phrases = line.split("\t")
            # Phrases of whole words: the spaces around keep "gpl" out of "lgpl".
            found.append((licence, tuple(f" {phrase} " for phrase in phrases.split(" | "))))
    return tuple(found)
