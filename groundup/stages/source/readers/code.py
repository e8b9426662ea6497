"""Source-code trees: one page a file, its path the record, its language by its ending or by what follows ``#!``.

Left out and counted: what others wrote (vendored folders), what a build made (folders of output, lock files, minified
files), what is no text, and what is in no known language. The text itself is not judged here: that is curation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Final

from groundup.stages.source.readers.encodings import decode_any
from groundup.stages.source.readers.reading import Page, Reading
from groundup.stages.source.readers.text import MARKDOWN, whole
from groundup.stages.source.unpack import Member

VENDORED: Final = frozenset(
    """node_modules bower_components jspm_packages vendor vendors vendored third_party third-party thirdparty 3rdparty
    extern external site-packages dist-packages Godeps Pods Carthage""".split()  # noqa: SIM905
)
GENERATED: Final = frozenset(
    """dist build out target bin obj __pycache__ .tox .nox .eggs .next .nuxt .gradle .idea .vscode coverage _build
    .mypy_cache .pytest_cache .ruff_cache .venv venv .git .hg .svn .bzr CVS""".split()  # noqa: SIM905
)
_LOCK_FILES: Final = frozenset(
    """package-lock.json yarn.lock pnpm-lock.yaml composer.lock Cargo.lock poetry.lock Pipfile.lock Gemfile.lock go.sum
    flake.lock uv.lock""".split()  # noqa: SIM905
)
_MADE: Final = re.compile(r"\.(min|bundle|chunk)\.(js|css|mjs)$|_pb2(_grpc)?\.pyi?$|\.pb\.(go|cc|h)$|\.g\.dart$")
_SHEBANG: Final = re.compile(rb"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-S[ \t]+)?)?([A-Za-z]+)[\d.]*(?:\s|\Z)")
_INTERPRETERS: Final = {
    "sh": "bash", "bash": "bash", "zsh": "bash", "dash": "bash", "ksh": "bash", "python": "python", "pypy": "python",
    "perl": "perl", "ruby": "ruby", "node": "javascript", "nodejs": "javascript", "php": "php", "lua": "lua",
    "awk": "awk", "gawk": "awk", "tclsh": "tcl", "make": "makefile", "Rscript": "r", "fish": "fish",
}  # fmt: skip
_SAMPLE: Final = 1 << 13


def read_code(member: Member, reading: Reading) -> Iterator[Page]:
    """One file of a tree. Its media type is ``text/x-code; language=python`` and so on, Markdown's its own."""
    path = PurePosixPath(member.name)
    folders = frozenset(path.parts[:-1])
    if folders & VENDORED:
        reading.skip("vendored", member.name)
    elif folders & GENERATED or path.name in _LOCK_FILES or _MADE.search(path.name):
        reading.skip("generated", member.name)
    else:
        start = member.stream.peek(_SAMPLE)[:_SAMPLE]
        language = _language(path, start)
        if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
            reading.skip("binary", member.name)
        elif language is None:
            reading.skip("unknown_ending", member.name)
        else:
            yield from _page(member, language, reading)


def _page(member: Member, language: str, reading: Reading) -> Iterator[Page]:
    content = whole(member, reading)
    if content is None:
        return
    found = decode_any(content)
    if found is None:
        reading.refuse("unknown_encoding", member.name, f"{member.name} is no text, or in an unknown encoding")
        return
    text, encoding = found
    media_type = MARKDOWN if language == "markdown" else f"text/x-code; language={language}"
    if encoding.startswith("utf-8"):
        yield Page(member.name, media_type, "utf-8", None, text.encode())
    else:
        yield Page(member.name, media_type, encoding, None, content)


def _language(path: PurePosixPath, start: bytes) -> str | None:
    known = languages()
    found = known.get(path.name) or known.get(path.suffix) or known.get(path.suffix.lower())
    if found or path.suffix:
        return found
    match = _SHEBANG.match(start)
    return _INTERPRETERS.get(match[1].decode()) if match else None


@cache
def languages() -> dict[str, str]:
    """The language of each ending (with its dot) and of each whole file name."""
    text = resources.files(__package__).joinpath("languages.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {ending: name for name, endings in rows for ending in endings.split()}
