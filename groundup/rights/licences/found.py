"""The licence that a page of any kind states, as the source stage keeps it beside the declared one."""

from __future__ import annotations

import json
from typing import Final

from groundup.rights.licences.expression import alternatives
from groundup.rights.licences.files import file_licence
from groundup.rights.licences.pages import may_name_licence, page_statements, stated, text_statements
from groundup.rights.licences.texts import text_licence

_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_PROSE: Final = frozenset(
    {"text/plain", "text/markdown", "text/x-markdown", "text/x-web-markdown", "text/x-rst", "text/x-wiki"}
)
_CODE: Final = frozenset(
    {
        "application/javascript", "application/sql", "application/toml", "application/typescript", "application/x-perl",
        "application/x-httpd-php", "application/x-python", "application/x-ruby", "application/x-sh", "application/xml",
        "application/yaml", "text/css", "text/javascript", "text/typescript", "text/xml",
    }
)  # fmt: skip
_CODE_SIGNS: Final = (b"licen", b"LICEN", b"Licen", b"redistribution", b"Redistribution", b"permission", b"Permission")
_HEAD: Final = 20_000
_WHOLE_TEXT: Final = 60_000
"""Bytes up to which a plain text may itself be the text of a licence."""


def found_licence(
    content: bytes, media_type: str, encoding: str | None = None, headers: str | None = None
) -> str | None:
    """What a page states about itself, as an SPDX expression in normal form; None if it states nothing.

    ``headers``: the HTTP response headers as JSON with lower-case names, if there are any.

    >>> found_licence(b'<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">', "text/html")
    'CC-BY-4.0'
    """
    kind = media_type.partition(";")[0].strip().lower()
    if kind in _HTML:
        named = _headers(headers)
        if not may_name_licence(content) and "license" not in named.get("link", ""):
            return None
        return stated(page_statements(_decode(content, encoding), named))
    if kind in _PROSE:
        if not may_name_licence(content):
            return None
        text = _decode(content, encoding)
        found = stated(text_statements(text))
        return found or (text_licence(text, whole=False) if len(content) <= _WHOLE_TEXT else None)
    if is_code(kind) and any(sign in content[:_HEAD] for sign in _CODE_SIGNS):
        return file_licence(_decode(content[:_HEAD], encoding))
    return None


def is_code(media_type: str) -> bool:
    """Whether a media type is one of source code, whose folder speaks for it."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind in _CODE or (kind.startswith("text/x-") and kind not in _PROSE)


def contradicts(declared: str, found: str) -> bool:
    """Whether what a page states is not what was declared for its source, nor one of the choices that this leaves.

    >>> contradicts("CC-BY-4.0", "CC-BY-NC-4.0"), contradicts("Apache-2.0 OR MIT", "MIT")
    (True, False)
    """
    return found != declared and not set(alternatives(found)) <= set(alternatives(declared))


def _decode(content: bytes, encoding: str | None) -> str:
    """The text of a page. Names and addresses of licences are ASCII, so any encoding that holds it will do."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    try:
        return content.decode(encoding or "utf-8", "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")


def _headers(headers: str | None) -> dict[str, str]:
    if not headers:
        return {}
    try:
        found = json.loads(headers)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
