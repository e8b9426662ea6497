"""National identifiers of persons: each by its form, its check digits, the date in it, or a word before it.

A check digit alone proves little (one number in ten passes), so a bare number of a common length also needs a word
before it that says what it is; a rare form (letters, a date, two check digits) doesn't. Definitions are those of the
issuing authorities, as collected in Wikipedia's "National identification number" and the standards named at each rule;
the tests compare every check with python-stdnum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from groundup.stages.curate.redaction.checks import is_date, iso7064_mod_11_10, luhn, verhoeff, weighed
from groundup.stages.curate.redaction.scan import DIGITS, TOKEN, Windows
from groundup.stages.curate.redaction.spans import Span, compiled, said_before


class Rule(NamedTuple):
    """An identifier: its name, its form, its check on the form without separators, and words that announce it.

    ``bare``: the form without separators, taken only after the cue; where it is empty, ``form`` never needs a cue.
    ``cued``: whether ``form`` needs the cue too. ``mixed``: whether the digits
    stand apart, between letters.
    """

    name: str
    form: str
    check: Callable[[str], bool]
    cue: str = ""
    bare: str = ""
    cued: bool = False
    mixed: bool = False


def identifiers(text: str, windows: Windows) -> Iterator[Span]:
    """All national identifiers near digits."""
    for anchor, mixed in ((DIGITS, False), (TOKEN, True)):
        for start, end in windows.get(anchor, ()):
            for candidate in compiled(_any_form(mixed)).finditer(text, start, end):
                yield from _at(text, candidate.start(), end, mixed)


def _at(text: str, start: int, end: int, mixed: bool) -> Iterator[Span]:
    """What identifiers begin at this place."""
    for rule in RULES:
        for form, cued in ((rule.form, rule.cued), (rule.bare, True)):
            match = compiled(form + _END).match(text, start, end) if form and rule.mixed == mixed else None
            if match is None:
                continue
            compact = _compact(match[0])
            right = compact.isascii() and rule.check(compact)
            if right and (not cued or said_before(text, start, rule.cue)):
                yield Span(*match.span(), "national_id", rule.name)


def is_identifier(value: str) -> bool:
    """Whether some rule accepts the value or a part of it, whatever stands before it.

    >>> is_identifier("078-05-1120"), is_identifier("000-05-1120")
    (True, False)
    """
    forms = [(form, rule) for rule in RULES for form in (rule.form, rule.bare) if form]
    for start in (match.start() for match in compiled(_START + r"[\dA-Z]").finditer(value)):
        for form, rule in forms:
            match = compiled(form + _END).match(value, start)
            if match is not None and rule.check(_compact(match[0])):
                return True
    return False


@lru_cache(maxsize=2)
def _any_form(mixed: bool) -> str:
    """A pattern for places where some rule's form may begin: separators that must be alike may differ here."""
    forms = {form for rule in RULES for form in (rule.form, rule.bare) if form and rule.mixed == mixed}
    loose = "|".join(form.replace(r"\1", "[ .-]?") for form in sorted(forms))
    return rf"{_START}(?=[\dA-Z])(?=(?:{loose}){_END})"


_START: Final = r"(?<![\w.+-])"
_END: Final = r"(?![\w-]|\.\d)"


def _compact(found: str) -> str:
    return "".join(character for character in found if character.isalnum())


def _us_ssn(digits: str) -> bool:
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def _gb_nhs(digits: str) -> bool:
    rest = 11 - weighed(digits, range(10, 1, -1)) % 11
    return rest % 11 == int(digits[9])


def _es_dni(value: str) -> bool:
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(value[:8]) % 23] == value[8]


def _es_nie(value: str) -> bool:
    return _es_dni(str("XYZ".index(value[0])) + value[1:])


_ITALIAN_ODD: Final = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
"""Values in odd places of A to Z; digits have those of A to J (Decreto ministeriale 23 December 1976)."""


def _it_cf(value: str) -> bool:
    total = 0
    for place, character in enumerate(value[:15]):
        number = int(character) if character.isdigit() else ord(character) - 65
        total += _ITALIAN_ODD[number] if place % 2 == 0 else number
    return chr(65 + total % 26) == value[15]


def _fr_nir(value: str) -> bool:
    number = value[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(value[13:])


def _de_idnr(digits: str) -> bool:
    repeats = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    return repeats[-1] in (2, 3) and repeats[:-1].count(1) == len(repeats) - 1 and iso7064_mod_11_10(digits)


def _nl_bsn(digits: str) -> bool:
    total = weighed(digits, range(9, 1, -1)) - int(digits[8])
    return total % 11 == 0 and int(digits) > 0


def _pl_pesel(digits: str) -> bool:
    month = int(digits[2:4]) % 20
    return is_date(month, digits[4:6]) and weighed(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _br_cpf(digits: str) -> bool:
    if len(set(digits)) == 1:
        return False
    return all(weighed(digits, range(n, 1, -1)) * 10 % 11 % 10 == int(digits[n - 1]) for n in (10, 11))


def _cn_ric(value: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    last = "10X98765432"[weighed(value[:17], weights) % 11]
    return is_date(value[10:12], value[12:14]) and last == value[17].upper()


def _se_pnr(digits: str) -> bool:
    digits = digits[-10:]
    # Coordination numbers have 60 added to the day.
    return is_date(digits[2:4], int(digits[4:6]) % 60) and luhn(digits)


def _fi_hetu(value: str) -> bool:
    # The sign of the century may be a letter, or a hyphen that is gone here.
    number = value[:6] + value[-4:-1]
    return is_date(value[2:4], value[:2]) and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number) % 31] == value[-1]


def _no_fnr(digits: str) -> bool:
    first = weighed(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1))
    second = weighed(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))
    # D-numbers have 40 added to the day.
    return is_date(digits[2:4], int(digits[:2]) % 40) and first % 11 == 0 and second % 11 == 0


def _dk_cpr(digits: str) -> bool:
    return is_date(digits[2:4], digits[:2])


def _be_nn(digits: str) -> bool:
    body, check = int(digits[:9]), int(digits[9:])
    dated = is_date(int(digits[2:4]) % 20, digits[4:6])
    return dated and check in (97 - body % 97, 97 - (2_000_000_000 + body) % 97)


def _ch_ahv(digits: str) -> bool:
    return weighed(digits, (1, 3) * 7) % 10 == 0


def _tr_tckn(digits: str) -> bool:
    tenth = (7 * weighed(digits[:9], (1, 0) * 5) - weighed(digits[:9], (0, 1) * 5)) % 10
    return tenth == int(digits[9]) and sum(map(int, digits[:10])) % 10 == int(digits[10])


def _ro_cnp(digits: str) -> bool:
    check = weighed(digits, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return is_date(digits[3:5], digits[5:7]) and (1 if check == 10 else check) == int(digits[12])


def _bg_egn(digits: str) -> bool:
    check = weighed(digits, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10
    return is_date(int(digits[2:4]) % 20, digits[4:6]) and check == int(digits[9])


def _cz_rc(digits: str) -> bool:
    # Women have 50 added to the month; 20 more where a day ran out of numbers.
    dated = is_date(int(digits[2:4]) % 50 % 20, digits[4:6])
    return dated and (int(digits) % 11 == 0 or (int(digits[:9]) % 11 == 10 and digits[9] == "0"))


def _za_id(digits: str) -> bool:
    return is_date(digits[2:4], digits[4:6]) and luhn(digits)


def _kr_rrn(digits: str) -> bool:
    return is_date(digits[2:4], digits[4:6])


def _mx_curp(value: str) -> bool:
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(alphabet.index(character) * (18 - place) for place, character in enumerate(value[:17]))
    return is_date(value[6:8], value[8:10]) and str(-total % 10) == value[17]


def _ee_ik(digits: str) -> bool:
    check = weighed(digits, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = weighed(digits, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return is_date(digits[3:5], digits[5:7]) and check == int(digits[10])


def _pt_nif(digits: str) -> bool:
    return max(0, (11 - weighed(digits, range(9, 1, -1)) % 11) % 11) % 10 == int(digits[8])


_NINO: Final = r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
_CF: Final = r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPRST][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]"

RULES: Final = (
    Rule("us_ssn", r"\d{3}-\d\d-\d{4}", _us_ssn, r"\b(?:ssn|social security)\b", r"\d{3} ?\d\d ?\d{4}"),
    Rule("ca_sin", r"\d{3}([ -])\d{3}\1\d{3}", luhn, r"\b(?:sin|social insurance|nas)\b", r"\d{9}", cued=True),
    Rule("gb_nino", _NINO + r"( ?)\d\d\1\d\d\1\d\d\1[A-D]", lambda value: True),
    Rule("gb_nhs", r"\d{3}([ -])\d{3}\1\d{4}", _gb_nhs, r"\bnhs\b", r"\d{10}", cued=True),
    Rule("es_dni", r"\d{8}[ -]?[A-HJ-NP-TV-Z]", _es_dni),
    Rule("es_nie", r"[XYZ][ -]?\d{7}[ -]?[A-HJ-NP-TV-Z]", _es_nie),
    Rule("it_cf", _CF, _it_cf, mixed=True),
    Rule("fr_nir", r"[12]( ?)\d\d\1\d\d\1(?:\d\d|2[AB])\1\d{3}\1\d{3}[ ]?\d\d", _fr_nir),
    Rule("de_idnr", r"[1-9]\d( )\d{3}\1\d{3}\1\d{3}", _de_idnr, r"\b(?:steuer|idnr|tin|tax id)", r"[1-9]\d{10}"),
    Rule("nl_bsn", r"\d{4}[. ]\d\d[. ]\d{3}", _nl_bsn, r"\b(?:bsn|burgerservice|sofi)", r"\d{9}", cued=True),
    Rule("pl_pesel", r"\d{11}", _pl_pesel),
    Rule("br_cpf", r"\d{3}\.\d{3}\.\d{3}-\d\d", _br_cpf, r"\bcpf\b", r"\d{11}"),
    Rule(
        "in_aadhaar",
        r"[2-9]\d{3}([ -])\d{4}\1\d{4}",
        verhoeff,
        r"\b(?:aadhaar|aadhar|uidai|uid)\b|आधार",
        r"[2-9]\d{11}",
    ),
    Rule("in_pan", r"[A-Z]{3}P[A-Z]\d{4}[A-Z]", lambda value: True, r"\bpan\b|permanent account", cued=True),
    Rule("cn_ric", r"[1-8]\d{5}(?:19|20)\d{9}[\dXx]", _cn_ric),
    Rule("se_pnr", r"(?:19|20)?\d{6}[-+]\d{4}", _se_pnr, r"personnummer|personnr|\bpnr\b", r"(?:19|20)?\d{10}"),
    Rule("fi_hetu", r"\d{6}[-+A-FU-Y]\d{3}[\dA-FHJ-NPR-Y]", _fi_hetu),
    Rule("no_fnr", r"\d{6}[ ]?\d{5}", _no_fnr),
    Rule("dk_cpr", r"\d{6}-\d{4}", _dk_cpr, r"\bcpr\b", r"\d{10}", cued=True),
    Rule("be_nn", r"\d\d\.\d\d\.\d\d-\d{3}[.-]\d\d", _be_nn),
    Rule("be_nn", r"\d{11}", _be_nn),
    Rule("ch_ahv", r"756\.?\d{4}\.?\d{4}\.?\d\d", _ch_ahv),
    Rule("tr_tckn", r"[1-9]\d{10}", _tr_tckn),
    Rule("ro_cnp", r"[1-8]\d{12}", _ro_cnp, r"\b(?:cnp|cod numeric)", cued=True),
    Rule("bg_egn", r"\d{10}", _bg_egn, r"\begn\b|егн", cued=True),
    Rule("cz_rc", r"\d{6}/\d{4}", _cz_rc),
    Rule("hr_oib", r"\d{11}", iso7064_mod_11_10, r"\boib\b", cued=True),
    Rule("za_id", r"\d{10}[01]\d\d", _za_id, r"\bid\b|identity", cued=True),
    Rule("kr_rrn", r"\d{6}-[1-8]\d{6}", _kr_rrn),
    Rule("mx_curp", r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{5}[A-Z\d]\d", _mx_curp, mixed=True),
    Rule("ee_ik", r"[1-8]\d{10}", _ee_ik, r"isikukood|asmens kodas|\bpersonal code\b", cued=True),
    Rule("pt_nif", r"\d{3}([ .]?)\d{3}\1\d{3}", _pt_nif, r"\b(?:nif|contribuinte)\b", cued=True),
)
"""Every rule. The order doesn't matter: where two find the same number, it is of the same kind."""
