"""Check digits, by their published definitions. All take digits as a string and answer yes or no, or the remainder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_DIHEDRAL: Final = (
    "0123456789123406789523401789563401289567401239567859876043216598710432765982104387659321049876543210"
)
"""Verhoeff's multiplication table of the dihedral group D5, row by row (Verhoeff 1969)."""

_PERMUTATION: Final = "1576283094"
"""The permutation that Verhoeff's scheme applies once more at each place."""


def luhn(digits: str) -> bool:
    """ISO/IEC 7812: every second digit from the right doubled, the digit sum divisible by 10.

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def verhoeff(digits: str) -> bool:
    """Verhoeff 1969, as Aadhaar uses it.

    >>> verhoeff("2363"), verhoeff("2364")
    (True, False)
    """
    state = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(place % 8):
            value = int(_PERMUTATION[value])
        state = int(_DIHEDRAL[10 * state + value])
    return state == 0


def iso7064_mod_11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10 (German Steuer-ID, Croatian OIB)."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (product + int(digits[-1])) % 10 == 1


def weighed(digits: str, weights: Sequence[int]) -> int:
    """The sum of digits times weights; digits beyond the weights don't count."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def iban_remainder(iban: str) -> int:
    """ISO 13616: modulo 97, country and check digits moved to the end, letters as 10 to 35; 1 is right."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97


def is_date(month: str | int, day: str | int) -> bool:
    """Whether some year has this day."""
    month, day = int(month), int(day)
    return 1 <= month <= 12 and 1 <= day <= _DAYS[month - 1]
