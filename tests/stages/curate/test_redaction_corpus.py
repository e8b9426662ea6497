"""A templated corpus with gold spans for redaction, and the proof that its values are what they claim to be.

It knows nothing of the product's patterns: values are built from each standard's check digits with python-stdnum and
from phonenumbers' metadata, which are also the oracles. ``HELD_OUT`` templates are for the figures that are reported;
patterns were looked at with ``DEVELOPMENT`` only.
"""

from __future__ import annotations

import ipaddress
import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

stdnum = pytest.importorskip("stdnum")
phonenumbers = pytest.importorskip("phonenumbers")

from stdnum import iban, luhn, verhoeff  # noqa: E402
from stdnum.be import nn  # noqa: E402
from stdnum.br import cpf  # noqa: E402
from stdnum.ch import ssn as ahv  # noqa: E402
from stdnum.cn import ric  # noqa: E402
from stdnum.cz import rc  # noqa: E402
from stdnum.de import idnr  # noqa: E402
from stdnum.es import dni, nie  # noqa: E402
from stdnum.fi import hetu  # noqa: E402
from stdnum.fr import nir  # noqa: E402
from stdnum.in_ import aadhaar  # noqa: E402
from stdnum.it import codicefiscale  # noqa: E402
from stdnum.nl import bsn  # noqa: E402
from stdnum.no import fodselsnummer  # noqa: E402
from stdnum.pl import pesel  # noqa: E402
from stdnum.se import personnummer  # noqa: E402
from stdnum.tr import tckimlik  # noqa: E402
from stdnum.us import ssn  # noqa: E402


class Gold(NamedTuple):
    start: int
    end: int
    kind: str


class Sample(NamedTuple):
    text: str
    gold: tuple[Gold, ...]


Make = Callable[[random.Random], str]

TEMPLATES = json.loads((Path(__file__).parent / "redaction_templates.json").read_text("utf-8"))
FIRST, LAST, DOMAINS = TEMPLATES["first_names"], TEMPLATES["last_names"], TEMPLATES["domains"]
DEVELOPMENT, HELD_OUT, FILLERS = TEMPLATES["development"], TEMPLATES["held_out"], TEMPLATES["fillers"]


def digits(draw: random.Random, number: int) -> str:
    return "".join(draw.choices(string.digits, k=number))


def day(draw: random.Random) -> tuple[str, str, str]:
    return f"{draw.randint(40, 99)}", f"{draw.randint(1, 12):02}", f"{draw.randint(1, 28):02}"


def until(valid: Callable[[str], bool], make: Callable[[], str]) -> str:
    while True:
        value = make()
        if valid(value):
            return value


def name(draw: random.Random) -> str:
    return f"{draw.choice(FIRST)} {draw.choice(LAST)}"


def email(draw: random.Random) -> str:
    first, last = (
        "".join(letter for letter in draw.choice(names).lower() if letter.isascii() and letter.isalpha())
        for names in (FIRST, LAST)
    )
    local = draw.choice(
        [f"{first}.{last}", f"{first[0]}{last}{draw.randint(1, 99)}", f"{first}+news", f"{last}_{first}"]
    )
    return f"{local}@{draw.choice(DOMAINS)}"


def phone(draw: random.Random, region: str, form: int) -> str:
    kind = draw.choice([phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE])
    example = phonenumbers.example_number_for_type(region, kind)

    def make() -> str:
        national = phonenumbers.national_significant_number(example)
        return f"+{example.country_code}{national[:-4]}{digits(draw, 4)}"

    number = until(lambda value: phonenumbers.is_valid_number(phonenumbers.parse(value)), make)
    return str(phonenumbers.format_number(phonenumbers.parse(number), form))


INTERNATIONAL = [
    "DE",
    "FR",
    "GB",
    "ES",
    "IT",
    "NL",
    "PL",
    "BR",
    "IN",
    "SE",
    "FI",
    "NO",
    "DK",
    "BE",
    "CH",
    "AT",
    "JP",
    "KR",
    "ZA",
    "MX",
    "AU",
    "US",
    "CA",
    "PT",
    "IE",
    "CZ",
    "TR",
    "RO",
]
NATIONAL = ["US", "FR", "GB", "DE"]


def international(draw: random.Random) -> str:
    form = draw.choice([phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164])
    return phone(draw, draw.choice(INTERNATIONAL), form)


def national(draw: random.Random) -> str:
    return phone(draw, draw.choice(NATIONAL), phonenumbers.PhoneNumberFormat.NATIONAL)


def any_national(draw: random.Random) -> str:
    """Only for templates that say that it is a telephone number."""
    return phone(draw, draw.choice(INTERNATIONAL), phonenumbers.PhoneNumberFormat.NATIONAL)


def ip(draw: random.Random) -> str:
    if draw.random() < 0.3:
        groups = ":".join(f"{draw.getrandbits(16):x}" for _ in range(6))
        return until(lambda value: ipaddress.ip_address(value).is_global, lambda: f"2a0{draw.randint(1, 9)}:{groups}:1")

    def make() -> str:
        # Four small numbers are a version as often as an address, by form alone.
        return ".".join(str(draw.randint(64 if place == 1 else 1, 223)) for place in range(4))

    return until(lambda value: ipaddress.ip_address(value).is_global, make)


def card(draw: random.Random) -> str:
    prefix, size = draw.choice(
        [("4", 16), ("52", 16), ("2345", 16), ("37", 15), ("6011", 16), ("3530", 16), ("36", 14)]
    )
    body = prefix + digits(draw, size - len(prefix) - 1)
    number = body + luhn.calc_check_digit(body)
    if size == 16 and draw.random() < 0.6:
        return draw.choice(" -").join(number[at : at + 4] for at in range(0, 16, 4))
    return number


def account(draw: random.Random) -> str:
    country, size, letters = draw.choice(
        [("DE", 18, 0), ("FR", 23, 0), ("GB", 18, 4), ("NL", 14, 4), ("ES", 20, 0), ("PL", 24, 0), ("NO", 11, 0)]
    )
    body = "".join(draw.choices(string.ascii_uppercase, k=letters)) + digits(draw, size - letters)
    number = country + iban.calc_check_digits(f"{country}00{body}") + body
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4)) if draw.random() < 0.6 else number


def us_ssn(draw: random.Random) -> str:
    return until(ssn.is_valid, lambda: f"{digits(draw, 3)}-{digits(draw, 2)}-{digits(draw, 4)}")


def es_dni(draw: random.Random) -> str:
    body = digits(draw, 8)
    return body + dni.calc_check_digit(body)


def es_nie(draw: random.Random) -> str:
    body = draw.choice("XYZ") + digits(draw, 7)
    return body + nie.calc_check_digit(body)


def it_cf(draw: random.Random) -> str:
    year, _, date = day(draw)
    body = (
        "".join(draw.choices("BCDFGLMNPRST", k=6)) + year + draw.choice("ABCDEHLMPRST") + date + f"H{digits(draw, 3)}"
    )
    return body + codicefiscale.calc_check_digit(body)


def fr_nir(draw: random.Random) -> str:
    year, month, _ = day(draw)
    body = draw.choice("12") + year + month + f"{draw.randint(1, 95):02}{digits(draw, 6)}".replace("20", "21", 1)
    body = until(lambda value: nir.is_valid(value + nir.calc_check_digits(value)), lambda: body[:7] + digits(draw, 6))
    number = body + nir.calc_check_digits(body)
    spaced = " ".join([number[0], number[1:3], number[3:5], number[5:7], number[7:10], number[10:13], number[13:]])
    return spaced if draw.random() < 0.5 else number


def de_idnr(draw: random.Random) -> str:
    def make() -> str:
        body = draw.sample(string.digits, 10)
        body[draw.randrange(1, 10)] = body[0]
        draw.shuffle(body)
        number = "".join(body)
        return number + idnr.mod_11_10.calc_check_digit(number)

    number = until(lambda value: value[0] != "0" and idnr.is_valid(value), make)
    return f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"


def nl_bsn(draw: random.Random) -> str:
    return until(bsn.is_valid, lambda: digits(draw, 9))


def pl_pesel(draw: random.Random) -> str:
    body = "".join(day(draw)) + digits(draw, 4)
    return body + pesel.calc_check_digit(body)


def br_cpf(draw: random.Random) -> str:
    return str(cpf.format(until(cpf.is_valid, lambda: (body := digits(draw, 9)) + cpf._calc_check_digits(body))))


def in_aadhaar(draw: random.Random) -> str:
    def make() -> str:
        body = str(draw.randint(2, 9)) + digits(draw, 10)
        return body + verhoeff.calc_check_digit(body)

    number = until(aadhaar.is_valid, make)
    return f"{number[:4]} {number[4:8]} {number[8:]}"


def cn_ric(draw: random.Random) -> str:
    def make() -> str:
        year, month, date = day(draw)
        body = draw.choice(["110101", "310104", "440301"]) + f"19{year}{month}{date}" + digits(draw, 3)
        return body + ric.calc_check_digit(body + "0")

    return until(ric.is_valid, make)


def gb_nino(draw: random.Random) -> str:
    prefix, suffix = draw.choice(["AB", "JK", "SE", "WM"]), draw.choice("ABCD")
    return f"{prefix} {digits(draw, 2)} {digits(draw, 2)} {digits(draw, 2)} {suffix}"


def se_pnr(draw: random.Random) -> str:
    body = "".join(day(draw)) + digits(draw, 3)
    return f"{body[:6]}-{body[6:]}{luhn.calc_check_digit(body)}"


def fi_hetu(draw: random.Random) -> str:
    year, month, date = day(draw)
    middle = f"{draw.randint(2, 899):03}"
    return f"{date}{month}{year}-{middle}{hetu._calc_checksum(date + month + year + middle)}"


def no_fnr(draw: random.Random) -> str:
    year, month, date = day(draw)

    def make() -> str:
        body = f"{date}{month}{year}{draw.randint(0, 499):03}"
        first = fodselsnummer.calc_check_digit1(body)
        return body + first + fodselsnummer.calc_check_digit2(body + first)

    return until(fodselsnummer.is_valid, make)


def be_nn(draw: random.Random) -> str:
    year, month, date = day(draw)
    body = f"{year}{month}{date}{draw.randint(1, 997):03}"
    return str(nn.format(body + f"{97 - int(body) % 97:02}"))


def ch_ahv(draw: random.Random) -> str:
    body = "756" + digits(draw, 9)
    return str(ahv.format(body + ahv.ean.calc_check_digit(body)))


def tr_tckn(draw: random.Random) -> str:
    body = str(draw.randint(1, 9)) + digits(draw, 8)
    return body + tckimlik.calc_check_digits(body)


def cz_rc(draw: random.Random) -> str:
    return until(rc.is_valid, lambda: "".join(day(draw)) + "/" + digits(draw, 4))


ORACLES: dict[str, tuple[Make, Callable[[str], bool]]] = {
    "us_ssn": (us_ssn, ssn.is_valid),
    "es_dni": (es_dni, dni.is_valid),
    "es_nie": (es_nie, nie.is_valid),
    "it_cf": (it_cf, codicefiscale.is_valid),
    "fr_nir": (fr_nir, nir.is_valid),
    "de_idnr": (de_idnr, idnr.is_valid),
    "nl_bsn": (nl_bsn, bsn.is_valid),
    "pl_pesel": (pl_pesel, pesel.is_valid),
    "br_cpf": (br_cpf, cpf.is_valid),
    "in_aadhaar": (in_aadhaar, aadhaar.is_valid),
    "cn_ric": (cn_ric, ric.is_valid),
    "se_pnr": (se_pnr, personnummer.is_valid),
    "fi_hetu": (fi_hetu, hetu.is_valid),
    "no_fnr": (no_fnr, fodselsnummer.is_valid),
    "be_nn": (be_nn, nn.is_valid),
    "ch_ahv": (ch_ahv, ahv.is_valid),
    "tr_tckn": (tr_tckn, tckimlik.is_valid),
    "cz_rc": (cz_rc, rc.is_valid),
    "card": (card, lambda value: luhn.is_valid(value.replace(" ", "").replace("-", ""))),
}


def any_id(draw: random.Random) -> str:
    """An identifier whose form or check digits say enough without a word before it."""
    alone = [us_ssn, es_dni, es_nie, it_cf, fr_nir, pl_pesel, br_cpf, cn_ric, se_pnr, fi_hetu, no_fnr, be_nn, ch_ahv]
    return draw.choice([*alone, tr_tckn, cz_rc, gb_nino, in_aadhaar, de_idnr])(draw)


def secret(draw: random.Random) -> str:
    alnum = string.ascii_letters + string.digits

    def drawn(number: int, letters: str = alnum) -> str:
        return "".join(draw.choices(letters, k=number))

    return draw.choice(
        [
            "AKIA" + drawn(16, string.ascii_uppercase + "234567"),
            "ghp_" + drawn(36),
            f"xoxb-{digits(draw, 11)}-{digits(draw, 12)}-{drawn(24)}",
            "AIza" + drawn(35),
            "sk_live_" + drawn(24),
            "glpat-" + drawn(20),
            f"eyJ{drawn(33)}.eyJ{drawn(60)}.{drawn(43)}",
        ]
    )


def random_value(draw: random.Random) -> str:
    return "".join(draw.choices(string.ascii_letters + string.digits, k=draw.randint(20, 40))) + str(draw.randint(0, 9))


def address(draw: random.Random) -> str:
    number = draw.randint(1, 190)
    return draw.choice(
        [
            f"{number} {draw.choice(['Maple', 'Old Mill', 'Washington'])} {draw.choice(['Street', 'Ave', 'Road'])}, "
            f"{draw.choice(['Springfield, IL', 'Austin, TX', 'Salem, OR'])} {digits(draw, 5)}",
            f"{draw.choice(['Hauptstraße', 'Lindenweg', 'Schillerplatz'])} {number}, {digits(draw, 5)} "
            f"{draw.choice(['Berlin', 'Köln', 'Jena'])}",
            f"{number} rue {draw.choice(['de la Paix', 'Victor Hugo', 'des Lilas'])}, {digits(draw, 5)} "
            f"{draw.choice(['Paris', 'Lyon', 'Nantes'])}",
            f"Via {draw.choice(['Garibaldi', 'Roma'])} {number}, {digits(draw, 5)} {draw.choice(['Milano', 'Torino'])}",
            f"{number} {draw.choice(['High', 'Church'])} Street, Leeds LS{draw.randint(1, 9)} 4DB",
        ]
    )


VALUES: dict[str, tuple[str, Make]] = {
    "email": ("email", email),
    "phone": ("phone", international),
    "phone_national": ("phone", national),
    "phone_any": ("phone", any_national),
    "ip": ("ip", ip),
    "card": ("card", card),
    "iban": ("iban", account),
    "id": ("national_id", any_id),
    "bsn": ("national_id", nl_bsn),
    "secret": ("secret", secret),
    "value": ("secret", random_value),
    "name": ("name", name),
    "address": ("address", address),
}

TRAPS: list[str | Make] = [
    *TEMPLATES["traps"],
    lambda draw: f"order {digits(draw, 10)} of {draw.randint(1, 28)}.{draw.randint(1, 12)}.20{digits(draw, 2)}",
    lambda draw: f"hash {draw.getrandbits(160):040x}",
    lambda draw: f"build {digits(draw, 2)}.{digits(draw, 1)}.{digits(draw, 4)}",
    lambda draw: f"article {digits(draw, 8)} in stock",
    lambda draw: f"row {digits(draw, 6)} | {digits(draw, 6)} | {digits(draw, 6)}",
    lambda draw: f"timestamp {1_600_000_000 + draw.randrange(10**8)}",
    lambda draw: f"ticket #{digits(draw, 9)}",
]


def corpus(templates: list[str], number: int, seed: int) -> list[Sample]:
    """Documents of four to eight sentences: data, traps and fillers, with gold spans."""
    draw = random.Random(seed)
    samples = []
    for _ in range(number):
        text, gold = "", []
        for _ in range(draw.randint(4, 8)):
            choice = draw.random()
            if choice < 0.5:
                sentence, spans = fill(draw.choice(templates), draw)
            elif choice < 0.8:
                trap = draw.choice(TRAPS)
                sentence, spans = trap if isinstance(trap, str) else trap(draw), []
            else:
                sentence, spans = draw.choice(FILLERS), []
            gold += [Gold(len(text) + span.start, len(text) + span.end, span.kind) for span in spans]
            text += sentence + draw.choice(["\n", "\n\n"])
        samples.append(Sample(text, tuple(gold)))
    return samples


def fill(template: str, draw: random.Random) -> tuple[str, list[Gold]]:
    text, gold = "", []
    for literal, field, _, _ in string.Formatter().parse(template):
        text += literal
        if field is not None:
            kind, make = VALUES[field]
            value = make(draw)
            gold.append(Gold(len(text), len(text) + len(value), kind))
            text += value
    return text, gold


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_the_generated_identifiers_are_valid(name: str) -> None:
    make, valid = ORACLES[name]
    draw = random.Random(name)
    assert all(valid(make(draw)) for _ in range(50))


def test_the_generated_numbers_are_valid() -> None:
    draw = random.Random(1)
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(international(draw))) for _ in range(50))
    assert all(ipaddress.ip_address(ip(draw)).is_global for _ in range(50))
    # The countries' own digits within the account number aren't built, so only the international check holds.
    assert all(iban.is_valid(account(draw), check_country=False) for _ in range(50))


def test_no_template_is_in_both_sets() -> None:
    assert not set(DEVELOPMENT) & set(HELD_OUT)
    used = {field for text in HELD_OUT for _, field, _, _ in string.Formatter().parse(text) if field}
    assert {VALUES[field][0] for field in used} == {kind for kind, _ in VALUES.values()}
