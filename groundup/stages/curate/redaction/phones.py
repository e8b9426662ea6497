"""Telephone numbers: international by the table of calling codes, national by form, any form after a word that says so.

A number that is only digits is never taken without such a word: most are something else. Seven digits and more in
groups that begin with a trunk zero, North America's ten, and the usual mobile forms of some countries are taken by
form; thousands in groups of three are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Final

from groundup.stages.curate.redaction.scan import DIGITS, Windows
from groundup.stages.curate.redaction.spans import Span, compiled, said_before

_SPACE: Final = "[ \u00a0\u2011-]"
_END: Final = r"(?![\w-]|[.,:]\d)"
_INTERNATIONAL: Final = (
    r"(?<![\w.+-])(?P<plus>\+ ?|00 ?|011 )(?P<number>[1-9](?:[ \u00a0.()/\u2011-]{0,3}\d){6,16})" + _END
)
_NORTH_AMERICAN: Final = (
    r"(?<![\w.+/-])(?<!\d )(?:\+?1[ .-])?"
    r"(?:\([2-9](?!11)\d\d\)[ -]?[2-9]\d\d[ .-]\d{4}|[2-9](?!11)\d\d([.-])[2-9]\d\d\1\d{4})"
    r"(?: ?(?:x|ext\.?) ?\d{1,5})?" + _END
)
_TRUNK: Final = (
    r"(?<![\w.,+/:-])(?<!\d )(?:\(0[1-9]\d{0,4}\)[ ]?|0[1-9]\d{0,4}(?P<sep>[ ./\u00a0-]| / | - ))"
    r"\d{2,8}(?:[ .\u00a0-]\d{2,6}){0,4}" + _END
)
_BY_COUNTRY: Final = (
    r"(?<![\w.,+/:-])(?<!\d )(?:"
    r"\(\d\d\) ?9?\d{4}-\d{4}"  # Brazil
    r"|[6-9]\d{4}[ -]\d{5}"  # India, mobile
    r"|1[3-9]\d[ -]\d{4}[ -]\d{4}"  # China, mobile
    r"|[67]\d\d[ -]\d\d[ -]\d\d[ -]\d\d"  # Spain, mobile
    r"|8[ -]?\(?\d{3,4}\)?[ -]\d{2,3}-\d\d-\d\d"  # Russia
    r"|3\d\d[ -]\d{7}|3\d\d[ -]\d{3}[ -]\d{4}"  # Italy, mobile
    r")" + _END
)
_CUE: Final = (
    r"(?P<cue>(?:(?<![^\W_])(?<!\[)(?:tel|telephone|phone|mobile|cell|fax|call|text|dial|whatsapp|ring|hotline|helpline|telefon|"
    r"telefono|teléfono|telefone|téléphone|tél|móvil|celular|handy|mobil|mobiel|portable|gsm|puhelin|puh|tlf|tfn|"
    r"телефон|тел|моб|cellulare|telefoonnummer|bel|appelez|llame|ligue|rufen sie|chiama|電話|电话|手机|전화)"
    r"|☎|📞)(?:[. ]{0,2}(?:number|no|nr|num|us|me|him|her|at|on|is|au|al|para|unter|an|anytime)\b\.?){0,3}"
    r"[\s:：.#=-]{0,4})(?P<number>\+?\(?\d[\d ().\u00a0/-]{4,18}\d)(?![\w-]|[.,:]\d)"
)
_ISO_DATE: Final = r"(?:19|20)\d\d[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./](?:19|20)\d\d"
_NOT_A_PHONE: Final = (
    r"\b(?:isbn(?:-1[03])?|issn|doi|order|invoice|ref(?:erence)?|ticket|tracking|part|serial|sku|ean|upc|patent|"
    r"version|section|chapter|fig(?:ure)?|table|coordinates?|lat(?:itude)?|lon(?:gitude)?|commit|id|pages?|pp|artikel|"
    r"commande|pedido|bestellung|rechnung|facture|factura|art)\b\W*(?:(?:number|no|nr|num|n°|id)\b)?\W*$"
)


def phones(text: str, windows: Windows) -> Iterator[Span]:
    """Telephone numbers near digits."""
    for start, end in windows.get(DIGITS, ()):
        yield from _international(text, start, end)
        for rule, source in (("north_american", _NORTH_AMERICAN), ("trunk", _TRUNK), ("national", _BY_COUNTRY)):
            for match in compiled(source).finditer(text, start, end):
                if _is_national(match[0], rule) and not _is_other(text, match.start(), match[0]):
                    yield Span(*match.span(), "phone", rule)
        for match in compiled(_CUE, re.IGNORECASE).finditer(text, start, end):
            digits = sum(map(str.isdigit, match["number"]))
            if 7 <= digits <= 15 and not compiled(_ISO_DATE).match(match["number"]):
                yield Span(match.start("number"), match.end("number"), "phone", "after_cue")


def _is_national(number: str, rule: str) -> bool:
    digits = sum(map(str.isdigit, number))
    return 9 <= digits <= 12 if rule == "trunk" else True


def _is_other(text: str, start: int, number: str) -> bool:
    """A date, or a number that the words before call something else."""
    return compiled(_ISO_DATE).match(number) is not None or said_before(text, start, _NOT_A_PHONE, 28)


def _international(text: str, start: int, end: int) -> Iterator[Span]:
    for match in compiled(_INTERNATIONAL).finditer(text, start, end):
        number = match["number"]
        grouped = not number.isdigit()
        if match["plus"][0] == "0" and not (grouped or said_before(text, match.start(), r"tel|phone|call|fax", 16)):
            continue
        size = _national_end(number)
        if size and not _is_other(text, match.start(), number):
            yield Span(match.start(), match.start("number") + size, "phone", "international")


def _national_end(number: str) -> int:
    """Where a number after + ends: the longest run of its groups that the calling code allows; 0 where none does.

    >>> _national_end("44 20 7946 0958"), _national_end("999 123 456 789")
    (15, 0)
    """
    without_trunk = number.replace("(0)", "   ")
    places = [place for place, character in enumerate(without_trunk) if character.isdigit()]
    digits = "".join(without_trunk[place] for place in places)
    lengths = next((_codes()[digits[:size]] for size in (1, 2, 3) if digits[:size] in _codes()), None)
    if lengths is None:
        return 0
    code = next(size for size in (1, 2, 3) if digits[:size] in _codes())
    for count in range(len(digits), 6, -1):
        stop = places[count - 1] + 1
        whole_groups = stop == len(number) or not number[stop].isdigit()
        national = count - code
        trunk = digits[code] == "0" and national - 1 in lengths
        if whole_groups and (national in lengths or trunk):
            return stop
    return 0


@lru_cache(maxsize=1)
def _codes() -> dict[str, frozenset[int]]:
    """Each calling code's lengths of national numbers."""
    written = resources.files(__package__).joinpath("calling_codes.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in written.splitlines() if not line.startswith("#")]
    return {code: frozenset(map(int, lengths.split())) for code, lengths in rows}
