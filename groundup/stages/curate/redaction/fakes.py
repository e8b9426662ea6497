"""Values of the same form that can be nobody's, to stand in for personal data.

They come from what is reserved or published for examples: domains (RFC 2606), Internet addresses (RFC 5737, 3849),
telephone numbers for fiction (NANPA: 555-0100 to 555-0199; Ofcom: 020 7946 0000 to 0999; ARCEP: 06 39 98), test cards
of payment providers, the example accounts of the IBAN registry (ISO 13616). National identifiers are zeros with a
number at the end that no rule accepts. Names and addresses say themselves that they are examples.

Which one a value gets depends on the id of its document and on how many other values came before it there, never on
the value: nothing can be worked back from a fake, and the fakes of one person in two documents have nothing in common.
The pools are small, so that two documents may well show the same fake for two persons. Secrets have no fake.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from groundup.stages.curate.redaction.identifiers import is_identifier
from groundup.stages.curate.redaction.spans import Kind, compiled

_DOMAINS: Final = ("example.com", "example.net", "example.org")
_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")
_AREAS: Final = tuple("201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218".split())  # noqa: SIM905
_CARDS: Final = {
    14: ("30569309025904", "38520000023237"),
    15: ("378282246310005", "371449635398431"),
    16: (
        "4242424242424242", "4111111111111111", "4012888888881881", "5555555555554444", "5105105105105100",
        "2223003122003222", "6011111111111117", "6011000990139424", "3530111333300000", "3566002020360505",
        "6200000000000005",
    ),
}  # fmt: skip
"""By number of digits, as Stripe and PayPal publish them."""
_IBANS: Final = (
    "AT611904300234573201", "BE68539007547034", "CH9300762011623852957", "DE89370400440532013000",
    "DK5000400440116243", "ES9121000418450200051332", "FI2112345600000785", "FR1420041010050500013M02606",
    "GB82WEST12345698765432", "IE29AIBK93115212345678", "IT60X0542811101000000123456", "LU280019400644750000",
    "NL91ABNA0417164300", "NO9386011117947", "PL61109010140000071219812874", "PT50000201231234567890154",
    "SE4550000000058398257466",
)  # fmt: skip
_FIRST_NAMES: Final = (
    "Alex", "Ariel", "Charlie", "Chris", "Dana", "Eden", "Jamie", "Jean", "Jules", "Kim", "Lou", "Morgan", "Noa",
    "Robin", "Sam", "Sasha", "Toni", "Yael",
)  # fmt: skip
_LAST_NAMES: Final = ("Example", "Placeholder", "Sample")

_AREA: Final = f"(?:{'|'.join(_AREAS)})"
_FAKE: Final[dict[Kind, str]] = {
    "email": rf"user\d{{4}}@(?:{'|'.join(map(re.escape, _DOMAINS))})",
    "phone": (
        rf"\+1 {_AREA} 555 01\d\d|\({_AREA}\) 555-01\d\d|{_AREA}-555-01\d\d"
        r"|\+44 20 7946 0\d{3}|020 7946 0\d{3}|\+33 6 39 98 \d\d \d\d"
    ),
    "name": rf"(?:{'|'.join(_FIRST_NAMES)}) (?:{'|'.join(_LAST_NAMES)})",
    "address": r"\d{1,4} Example Street, Exampletown, XX 00000",
}


class Placed(NamedTuple):
    """A place in a text, ``text[start:end]``, where the fake of a value is to stand."""

    start: int
    end: int
    kind: Kind
    value: str


def fill(text: str, placed: Iterable[Placed], document: str) -> str:
    """The text with a fake in each place; what stands there stays where there is no fake, or no other one left."""
    fakes = Fakes(document)
    parts, last = [], 0
    for one in sorted(placed):
        fake = fakes.of(one.kind, one.value)
        parts += [text[last : one.start], text[one.start : one.end] if fake is None else fake]
        last = one.end
    return "".join([*parts, text[last:]])


def is_fake(kind: Kind, value: str) -> bool:
    """Whether a value is one of ours: it may look like what is looked for, and is not taken out again.

    >>> is_fake("email", "user0042@example.org"), is_fake("email", "jo@example.org")
    (True, False)
    """
    compact = _normal(kind, value)
    if kind == "card":
        return compact in _CARDS.get(len(compact), ())
    if kind == "iban":
        return compact in _IBANS
    return kind in _FAKE and compiled(_FAKE[kind]).fullmatch(value) is not None


class Fakes:
    """The fakes of one document: equal values have the same one, different values different ones."""

    def __init__(self, document: str) -> None:
        self._document = document
        self._given: dict[tuple[Kind, str], str | None] = {}
        self._used = Counter[str]()

    def of(self, kind: Kind, value: str) -> str | None:
        """The fake for a value; None for a secret, and where the document holds more values than there are fakes."""
        key = kind, _normal(kind, value)
        if key not in self._given:
            self._given[key] = self._new(kind, value)
        return self._given[key]

    def _new(self, kind: Kind, value: str) -> str | None:
        match kind:
            case "email":
                at = self._next("email", 30_000)
                return None if at is None else f"user{at // 3:04}@{_DOMAINS[at % 3]}"
            case "ip":
                return self._address(value)
            case "phone":
                return self._phone(value)
            case "card":
                return self._card(value)
            case "iban":
                at = self._next("iban", len(_IBANS))
                return None if at is None else _grouped(_IBANS[at], value)
            case "national_id":
                return self._identifier(value)
            case "name":
                at = self._next("name", len(_FIRST_NAMES) * len(_LAST_NAMES))
                return None if at is None else f"{_FIRST_NAMES[at // 3]} {_LAST_NAMES[at % 3]}"
            case "address":
                at = self._next("address", 9_999)
                return None if at is None else f"{at + 1} Example Street, Exampletown, XX 00000"
            case _:
                return None

    def _next(self, pool: str, size: int) -> int | None:
        """A place in a pool of that size: the document's first, then the following ones; None when all are used."""
        used = self._used[pool]
        if used == size:
            return None
        self._used[pool] += 1
        digest = hashlib.blake2b(f"{pool}\0{self._document}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return (int.from_bytes(digest, "big") + used) % size

    def _address(self, value: str) -> str | None:
        if ":" in value:
            at = self._next("ipv6", 0xFFFF)
            return None if at is None else f"2001:db8::{at + 1:x}"
        at = self._next("ipv4", 3 * 254)
        return None if at is None else f"{_NETWORKS[at % 3]}.{at // 3 + 1}"

    def _phone(self, value: str) -> str | None:
        """A number for fiction with or without a calling code, as the value has one; Britain and France keep theirs."""
        abroad = re.match(r"\(?(?:\+|00|011 ?) ?(\d\d?)", value)
        country = abroad[1] if abroad else ""
        if country == "33":
            at = self._next("phone +33", 10_000)
            return None if at is None else f"+33 6 39 98 {at // 100:02} {at % 100:02}"
        if country == "44" or (not abroad and value.lstrip("(").startswith("0")):
            at = self._next("phone +44", 1_000)
            return None if at is None else f"{'+44 20' if abroad else '020'} 7946 0{at:03}"
        at = self._next("phone +1", 100 * len(_AREAS))
        if at is None:
            return None
        area, line = _AREAS[at // 100], f"01{at % 100:02}"
        if abroad:
            return f"+1 {area} 555 {line}"
        return f"({area}) 555-{line}" if value.startswith("(") else f"{area}-555-{line}"

    def _card(self, value: str) -> str | None:
        digits = len(_normal("card", value))
        length = digits if digits in _CARDS else 16
        at = self._next(f"card {length}", len(_CARDS[length]))
        return None if at is None else _grouped(_CARDS[length][at], value)

    def _identifier(self, value: str) -> str | None:
        """Letters as X, digits as 0 but for a number at the end that no rule accepts; None if it has no digits."""
        places = [place for place, character in enumerate(value) if character.isdigit()][-4:]
        size = 10 ** len(places) if places else 0
        form = "".join("0" if character.isdigit() else "X" if character.isalpha() else character for character in value)
        while (at := self._next(f"national_id {form}", size)) is not None:
            characters = list(form)
            for place, digit in zip(places, f"{at:0{len(places)}}", strict=True):
                characters[place] = digit
            if not is_identifier("".join(characters)):
                return "".join(characters)
        return None


def _grouped(compact: str, value: str) -> str:
    """In groups by the value's separator, if it has one: of four, but four, six and the rest on shorter cards."""
    separator = next((character for character in value if character in " -"), "")
    sizes = (4, 6, len(compact) - 10) if len(compact) in _CARDS and len(compact) < 16 else (4,) * 9
    parts, at = [], 0
    for size in sizes:
        parts.append(compact[at : at + size])
        at += size
    return separator.join(part for part in parts if part)


def _normal(kind: Kind, value: str) -> str:
    """What makes two values the same: numbers without their separators, words without regard to case."""
    if kind in ("card", "iban", "national_id", "phone"):
        return "".join(character for character in value if character.isalnum() or character == "+").upper()
    return " ".join(value.split()).casefold()
