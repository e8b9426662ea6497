"""Payment cards (ISO/IEC 7812) and international bank account numbers (ISO 13616)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from groundup.stages.curate.redaction.checks import iban_remainder, luhn
from groundup.stages.curate.redaction.scan import DIGITS, Windows
from groundup.stages.curate.redaction.spans import Span, compiled

_END: Final = r"(?![\w-]|\.\d)"
_CARD: Final = r"(?<![\w.+-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3\d{3}([ -])\d{6}\2\d{4,5}|\d{13,19})" + _END
_NETWORK: Final = (
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
"""Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, by their published ranges."""

_IBAN: Final = r"(?<![^\W_])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}"
_IBAN_TABLE: Final = """
AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DK:18 DO:28 EE:20 EG:29
ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20
LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 MC:27 MD:24 ME:22 MK:19 MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25 QA:29
RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 SM:27 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20
"""
_IBAN_LENGTHS: Final = {entry[:2]: int(entry[3:]) for entry in _IBAN_TABLE.split()}


def cards(text: str, windows: Windows) -> Iterator[Span]:
    """Card numbers, bare or in their usual groups: of a network, with Luhn's check digit."""
    for start, end in windows.get(DIGITS, ()):
        for match in compiled(_CARD).finditer(text, start, end):
            digits = "".join(filter(str.isdigit, match[0]))
            if digits.isascii() and compiled(_NETWORK).fullmatch(digits) and luhn(digits):
                yield Span(*match.span(), "card", "card")


def ibans(text: str, windows: Windows) -> Iterator[Span]:
    """Account numbers: their country's length, and remainder 1 modulo 97."""
    for start, end in windows.get(DIGITS, ()):
        for match in compiled(_IBAN).finditer(text, start, end):
            stop = _iban_end(match[0])
            if stop:
                yield Span(match.start(), match.start() + stop, "iban", "iban")


def _iban_end(candidate: str) -> int:
    """Where the account number ends that the candidate begins with; 0 where it is none."""
    length, taken = _IBAN_LENGTHS.get(candidate[:2], 0), 0
    for end, character in enumerate(candidate, 1):
        taken += character not in " -"
        if length and taken == length:
            rest = candidate[end:]
            compact = candidate[:end].replace(" ", "").replace("-", "")
            return end if (not rest or rest[0] in " -") and iban_remainder(compact) == 1 else 0
    return 0
