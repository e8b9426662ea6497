"""Keys and secrets: by their issuers' published forms, and assignments of random-looking values to telling names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from groundup.stages.curate.redaction.scan import AT, TOKEN, Windows
from groundup.stages.curate.redaction.spans import Span, compiled

_ISSUED: Final = (
    ("aws_key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    ("github_token", r"gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{22,255}"),
    ("gitlab_token", r"glpat-[A-Za-z0-9_-]{20,}"),
    ("slack_token", r"xox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    ("google_api_key", r"AIza[A-Za-z0-9_-]{35}"),
    ("stripe_key", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,247}"),
    ("openai_key", r"sk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{20,220}"),
    ("huggingface_token", r"hf_[A-Za-z0-9]{34}"),
    ("npm_token", r"npm_[A-Za-z0-9]{36}"),
    ("sendgrid_key", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    ("jwt", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
)
_START: Final = r"(?<![A-Za-z0-9_+/-])"
_END: Final = r"(?![A-Za-z0-9_])"

_PRIVATE_KEY: Final = (
    r"-----BEGIN (?P<label>[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:(?:(?!-----)[A-Za-z0-9+/=\s:,.\\-]){0,16000}-----END (?P=label)-----|[A-Za-z0-9+/=\s\\]{0,16000})"
)
_ASSIGNED: Final = (
    r"(?P<name>(?:api[_-]?key|apikey|secret|token|passw(?:or)?d|pwd|access[_-]?key|auth[_-]?key|"
    r"private[_-]?key|credential|client[_-]?key)[\w-]{0,20})[\"']?\s{0,3}(?::=|=>|=|:)\s{0,3}"
    r"(?:[\"'](?P<quoted>[^\s\"']{8,256})[\"']|(?P<plain>[A-Za-z0-9+/_.~-]{16,256}={0,2})(?![\w(\[.]))"
)
_IN_ADDRESS: Final = r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,64}:(?P<password>[^\s/:@\"'<>]{3,128})@(?=[\w.-])"

_PLACEHOLDER: Final = (
    r"\[[a-z ]+\]|your|example|sample|placeholder|change.?me|dummy|insert|replace|xxx|\*\*\*|<|\$\{|\{\{|%\(|\.\.\.|"
    r"todo|redacted|test.?(?:key|token|secret|password)|my.?(?:key|token|secret|password)|"
    r"^(?:password|secret|token|none|null|true|false)"
)
_ABOUT: Final = r"encrypt|hash|algorithm|type|length|policy|file|path|url|expir|hint|method|mode|name"
"""Names of what is said about a key, not of a key."""

_FEWEST_BITS_A_CHARACTER: Final = 3.0
_HINTS: Final = ("secret", "token", "passw", "pwd", "key", "credential")


def secrets(text: str, windows: Windows) -> Iterator[Span]:
    """Keys by form, private key blocks, passwords in URLs, and values assigned to names that say what they are."""
    for start, end in windows.get(TOKEN, ()):
        for match in compiled(_any_issued()).finditer(text, start, _whole(text, end)):
            if not compiled(_PLACEHOLDER, re.IGNORECASE).search(match[0]):
                yield Span(*match.span(), "secret", match.lastgroup or "")
    if "-----BEGIN" in text:
        for match in compiled(_PRIVATE_KEY).finditer(text):
            yield Span(*match.span(), "secret", "private_key")
    for start, end in windows.get(AT, ()):
        for match in compiled(_IN_ADDRESS).finditer(text, start, end):
            if not compiled(_PLACEHOLDER, re.IGNORECASE).search(match["password"]):
                yield Span(*match.span("password"), "secret", "password_in_url")
    yield from _assigned(text)


def _whole(text: str, end: int) -> int:
    """Tokens with dots go on after the window: to the next blank, but not for ever."""
    match = compiled(r"\S{0,2000}").match(text, end)
    return match.end() if match else end


@lru_cache(maxsize=1)
def _any_issued() -> str:
    """One pattern for all issuers, a group named for each."""
    return _START + "(?:" + "|".join(f"(?P<{rule}>{source})" for rule, source in _ISSUED) + ")" + _END


def _assigned(text: str) -> Iterator[Span]:
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text
    pattern = compiled(_ASSIGNED, re.IGNORECASE)
    seen = 0
    for place in sorted({at for hint in _HINTS for at in _occurrences(lowered, hint)}):
        # A name begins at its hint, or with up to eight characters before it ("private_key").
        tries = (pattern.match(text, start) for start in range(max(seen, place - 8), place + 1))
        match = next((match for match in tries if match), None)
        if match is None:
            continue
        seen = match.end("name")
        group = "quoted" if match["quoted"] else "plain"
        name = match["name"].lower()
        if not compiled(_ABOUT).search(name) and _is_random(match[group], "passw" in name or "pwd" in name):
            yield Span(*match.span(group), "secret", "assigned")


def _occurrences(text: str, word: str) -> Iterator[int]:
    """Where the word stands before an assignment; a sign of one must be near, and most such words have none."""
    at = text.find(word)
    while at >= 0:
        near = text[at : at + len(word) + 24]
        if "=" in near or ":" in near:
            yield at
        at = text.find(word, at + len(word))


def _is_random(value: str, password: bool) -> bool:
    """Whether a value looks drawn, not written: letters and digits, many different ones, and no word for a blank."""
    if compiled(_PLACEHOLDER, re.IGNORECASE).search(value):
        return False
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    bits = entropy(value)
    return mixed and bits >= (2.5 if password else _FEWEST_BITS_A_CHARACTER)


def entropy(value: str) -> float:
    """Shannon's entropy of the characters, in bits a character.

    >>> entropy("aaaa"), entropy("abcd")
    (0.0, 2.0)
    """
    counts = Counter(value).values()
    return sum(count / len(value) * math.log2(len(value) / count) for count in counts)
