"""Strings on which tokenizers differ first, and whether an adopted one gives the ids of the library it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from groundup.base.errors import DataError
from groundup.text.adopt.adopt import Adopted

HARD: Final = (
    "",
    " ",
    "   three  blanks, then\ttabs\t\tand\n\nlines\n \n",
    "plain words, 1234567890 digits; don't we'LL I'VE IT\u017f 'S \u212aelvin",
    "caf\u00e9 cafe\u0301 \u0301alone z\u0324\u0307\u0323 \u1e69 s\u0323\u0307 A\u030a\u0301",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \U0001f1eb\U0001f1f7 \u2764\ufe0f",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002\u4e2d\u6587\u5b57\u7b26\uff0c\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u202babc\u202c \u0660\u0661\u0662",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940 \u1780\u17d2\u1798",
    "a\x00b\x01c\x7fd\u0085e\u00a0f\u2028g\u2029h\u3000i\ufeffj\u200bk\ufffdl",
    "\ufb01 \uff21\uff22 \u2460\u00bd\u00b2 \u2126 \u3392 \u01c4 \u0130\u0131 \u1e9e",
    "def f(x):\n    return {'a': [1, 2.5e-3], \"b\": x != 0}  # <tag/>\n",
    "\u2581 \u2581a <s></s><unk><0x41><|endoftext|>[INST] \u0120x",
    "\r\nline\r\n\r\n  \r",
    "\U0010ffff\U000e0001\ue000\uffff\U00020000",
    "x" * 300 + " " * 70 + "\u00fc" * 90 + "!?" * 60,
)
"""Blanks, case and folding, marks, emoji, scripts, both directions, controls, compatibility forms, code, what looks
like special tokens, line ends, the ends of Unicode, and long runs."""

_JOINED: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0e31-\u0e3a"
    "\u0e47-\u0e4e\u1100-\u11ff\u17b4-\u17d3\u200c\u200d\u20d0-\u20ff\ufe00-\ufe0f"
    "\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff\U000e0000-\U000e0fff]|\r\n"
)


@dataclass(frozen=True)
class Checked:
    """How many of the hard strings were compared, and how many left out.

    These hold marks that are joined otherwise, or the text of a token that the library finds and we were told to hide.
    """

    compared: int
    left_out: int


def check(adopted: Adopted) -> Checked | None:
    """Compare on all hard strings; None if the library isn't installed, DataError with the first that differs."""
    if adopted.original is None:
        return None
    texts = [
        text
        for text in HARD
        if not (adopted.folds and _JOINED.search(text)) and not any(name in text for name in adopted.closed)
    ]
    for text, ids in zip(texts, adopted.tokenizer.encode_batch(texts), strict=True):
        if ids != adopted.original(text):
            place = HARD.index(text)
            raise DataError(f"{adopted.kind}: the original library gives other ids for the test string {place}")
    return Checked(len(texts), len(HARD) - len(texts))
