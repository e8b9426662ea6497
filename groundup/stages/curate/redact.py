"""Personal data replaced by a label, so that a model can't learn it: ``write to [email]``.

Patterns alone would strike version numbers, checksums and book numbers, so each kind must also pass its own check:
an address must be public, a card number must satisfy Luhn's check digit (ISO/IEC 7812) and belong to a network, an
IBAN must have its country's length and the remainder 1 modulo 97 (ISO 13616). Where a number could be either, it
stays: a missed number is one in a few, a struck version number is in every manual. Names and addresses are not
found; that takes a model.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

LABELS: Final = {
    "email": "[email]",
    "ip": "[ip address]",
    "phone": "[phone number]",
    "card": "[card number]",
    "iban": "[bank account]",
    "ssn": "[social security number]",
}

_END: Final = r"(?![\w-]|\.\d)"
_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9_][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"(?P<top>[A-Za-z]{2,24})(?![\w-])"
)
_FILE_ENDINGS: Final = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js"})

_IPV4: Final = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d|-)")
_IPV6: Final = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])")
_HOST_WORD: Final = re.compile(r"\b(?:ip|ipv4|address|host|server|ping|gateway|dns|client)\b\W*(?:\w+\W+)?$", re.I)
_VERSION_OCTET: Final = 64

_CARD: Final = re.compile(
    rf"(?<![\w.-])(?:\d{{4}}([ -])\d{{4}}\1\d{{4}}\1\d{{4}}|3\d{{3}}([ -])\d{{6}}\2\d{{5}}|\d{{13,16}}){_END}"
)
_NETWORK: Final = re.compile(
    r"4(?:\d{12}|\d{15})|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)

_SSN: Final = re.compile(rf"(?<![\w.-])(?!000|666|9\d\d)\d{{3}}-(?!00)\d\d-(?!0000)\d{{4}}{_END}")

_IBAN: Final = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_IBAN_TABLE: Final = """
AD:24 AE:23 AL:28 AT:20 BA:20 BE:16 BG:22 BR:29 CH:21 CY:28 CZ:24 DE:22 DK:18 EE:20 ES:24 FI:18 FR:27 GB:22 GE:22 GI:23
GR:27 HR:21 HU:28 IE:22 IL:23 IS:26 IT:27 KW:30 LI:21 LT:20 LU:20 LV:21 MC:27 MD:24 ME:22 MK:19 MT:31 NL:18 NO:15 PK:24
PL:28 PT:25 QA:29 RO:24 RS:22 SA:24 SE:24 SI:19 SK:24 SM:27 TN:24 TR:26 UA:29
"""
_IBAN_LENGTHS: Final = {entry[:2]: int(entry[3:]) for entry in _IBAN_TABLE.split()}

_INTERNATIONAL: Final = re.compile(
    rf"(?<![\w.+-])\+[1-9]\d{{0,2}}(?:[ .-]?\(\d{{1,4}}\))?(?:[ .-]?\d{{2,4}}){{2,6}}{_END}"
)
_NORTH_AMERICAN: Final = re.compile(
    r"(?<![\w.+/(-])(?:1[ .-])?"
    rf"(?:\([2-9](?!11)\d\d\) ?[2-9]\d\d[ .-]\d{{4}}|[2-9](?!11)\d\d([.-])[2-9]\d\d\1\d{{4}}){_END}"
)
_AFTER_CUE: Final = re.compile(
    r"(?P<cue>\b(?:tel|telephone|phone|fax)(?:\.?:|\.| number:?| no\.?:?) ?)(?P<number>\(?\d[\d ().-]{5,18}\d)(?!\w)",
    re.I,
)
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def redact(text: str, kinds: Iterable[str]) -> tuple[str, Counter[str]]:
    """The text with every item of these kinds replaced by its label, and how many of each were.

    >>> redact("SQLite 3.40.1.0, mail jo@example.org, host 93.184.216.34", ("email", "ip"))
    ('SQLite 3.40.1.0, mail [email], host [ip address]', Counter({'email': 1, 'ip': 1}))
    """
    wanted = set(kinds)
    counts: Counter[str] = Counter()
    for kind, (sign, replace) in _STEPS.items():
        if kind in wanted and sign(text):
            text, found = replace(text)
            if found:
                counts[kind] = found
    return text, counts


Check = Callable[[re.Match[str]], str | None]


def _replace(text: str, checks: Iterable[tuple[re.Pattern[str], Check]]) -> tuple[str, int]:
    """Replace what each pattern matches and its check agrees to; a check gives the new text, or None to leave it."""
    found = 0

    def put(match: re.Match[str], check: Check) -> str:
        nonlocal found
        new = check(match)
        found += new is not None
        return match[0] if new is None else new

    for pattern, check in checks:
        text = pattern.sub(partial(put, check=check), text)
    return text, found


def _emails(text: str) -> tuple[str, int]:
    return _replace(text, [(_EMAIL, lambda m: None if m["top"].lower() in _FILE_ENDINGS else LABELS["email"])])


def _addresses(text: str) -> tuple[str, int]:
    def ipv4(match: re.Match[str]) -> str | None:
        octets = match[0].split(".")
        # Four small numbers are a version number unless the words before say otherwise; few addresses look like that.
        small = all(int(octet) < _VERSION_OCTET for octet in octets)
        if small and not _HOST_WORD.search(match.string[max(0, match.start() - 40) : match.start()]):
            return None
        return LABELS["ip"] if _is_public(match[0]) else None

    def ipv6(match: re.Match[str]) -> str | None:
        return LABELS["ip"] if _is_public(match[0].rstrip(":")) else None

    return _replace(text, [(_IPV4, ipv4), (_IPV6, ipv6)])


def _is_public(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_global and not found.is_multicast


def _cards(text: str) -> tuple[str, int]:
    def card(match: re.Match[str]) -> str | None:
        digits = re.sub(r"\D", "", match[0])
        return LABELS["card"] if _NETWORK.fullmatch(digits) and luhn(digits) else None

    return _replace(text, [(_CARD, card)])


def luhn(digits: str) -> bool:
    """Whether the last digit is right: every second digit from the right doubled, the digit sum divisible by 10.

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _ibans(text: str) -> tuple[str, int]:
    def iban(match: re.Match[str]) -> str | None:
        length = _IBAN_LENGTHS.get(match[0][:2], 0)
        taken = 0
        for end, character in enumerate(match[0], 1):
            taken += character != " "
            if length and taken == length:
                rest = match[0][end:]
                compact = match[0][:end].replace(" ", "")
                if (not rest or rest[0] == " ") and _remainder(compact) == 1:
                    return LABELS["iban"] + rest
                return None
        return None

    return _replace(text, [(_IBAN, iban)])


def _remainder(iban: str) -> int:
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97


def _social_security(text: str) -> tuple[str, int]:
    return _replace(text, [(_SSN, lambda match: LABELS["ssn"])])


def _phones(text: str) -> tuple[str, int]:
    def international(match: re.Match[str]) -> str | None:
        digits = sum(character.isdigit() for character in match[0])
        spaced = any(not character.isdigit() for character in match[0][1:])
        return LABELS["phone"] if (8 if spaced else 10) <= digits <= 15 else None

    def after_cue(match: re.Match[str]) -> str | None:
        digits = sum(character.isdigit() for character in match["number"])
        if not 7 <= digits <= 15 or _ISO_DATE.match(match["number"]):
            return None
        return match["cue"] + LABELS["phone"]

    patterns: list[tuple[re.Pattern[str], Check]] = [
        (_INTERNATIONAL, international),
        (_NORTH_AMERICAN, lambda match: LABELS["phone"]),
        (_AFTER_CUE, after_cue),
    ]
    return _replace(text, patterns)


_DIGITS: Final = re.compile(r"\d.{0,4}\d.{0,4}\d.{0,4}\d")
_STEPS: Final[dict[str, tuple[Callable[[str], object], Callable[[str], tuple[str, int]]]]] = {
    "email": (lambda text: "@" in text, _emails),
    "iban": (_DIGITS.search, _ibans),
    "card": (_DIGITS.search, _cards),
    "ssn": (_DIGITS.search, _social_security),
    "ip": (_DIGITS.search, _addresses),
    "phone": (_DIGITS.search, _phones),
}
"""How each kind is found, in this order (a card number must not be taken for a phone's), and a quick sign of it."""
