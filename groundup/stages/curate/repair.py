"""Repair of characters: mojibake and stray entities undone (ftfy, Speer 2019), NFC, one kind of line break.

Quotes, ligatures and full-width forms stay: they are what the author wrote. NFC and never NFKC, which would turn
``x²`` into ``x2``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from groundup.base.errors import missing_extra

_LINE_BREAKS: Final = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_UNSEEN: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ufdd0-\ufdef]")
_TRAILING: Final = re.compile(r"[ \t]+\n")
_MANY_BREAKS: Final = re.compile(r"\n{3,}")


def repair(text: str) -> str:
    """The text as its author meant it, without control characters and blanks at its ends and line ends.

    >>> repair("cafe\\u0301 na\\u00c3\\u00afve\\r\\n\\x00x\\u00b2 ")
    'café naïve\\nx²'
    """
    text = _LINE_BREAKS.sub("\n", text)
    fix_text, settings = _ftfy()
    text = _UNSEEN.sub("", fix_text(text, settings))
    return _MANY_BREAKS.sub("\n\n", _TRAILING.sub("\n", text)).strip()


@lru_cache(maxsize=1)
def _ftfy() -> tuple[Any, Any]:
    try:
        import ftfy
    except ImportError:
        raise missing_extra("ftfy", "curate") from None
    settings = ftfy.TextFixerConfig(
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization="NFC",
        explain=False,
    )
    return ftfy.fix_text, settings
