"""Personal data and what only looks like it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.stages.curate.redact import LABELS, luhn, redact

KINDS = tuple(LABELS)

FOUND = [
    ("email", "Write to jo.o'hara+x@mail.example.co.uk.", "Write to [email]."),
    ("email", "<a_b@x-y.museum>, c@d.io", "<[email]>, [email]"),
    ("ip", "from 93.184.216.34:80", "from [ip address]:80"),
    ("ip", "ping 8.8.4.4!", "ping [ip address]!"),
    ("ip", "at 2606:4700:4700::1111.", "at [ip address]."),
    ("phone", "+44 20 7946 0958", "[phone number]"),
    ("phone", "+1 (415) 555-2671 now", "[phone number] now"),
    ("phone", "+14155552671", "[phone number]"),
    ("phone", "(415) 555-2671", "[phone number]"),
    ("phone", "1-415-555-2671, 415.555.2671", "[phone number], [phone number]"),
    ("phone", "Tel.: 030 1234 567", "Tel.: [phone number]"),
    ("card", "4111 1111 1111 1111", "[card number]"),
    ("card", "5500-0055-5555-5559", "[card number]"),
    ("card", "Amex 3782 822463 10005.", "Amex [card number]."),
    ("card", "(6011111111111117)", "([card number])"),
    ("card", "4222222222222", "[card number]"),
    ("iban", "GB82 WEST 1234 5698 7654 32 NOW", "[bank account] NOW"),
    ("iban", "DE89370400440532013000", "[bank account]"),
    ("iban", "NO93 8601 1117 947.", "[bank account]."),
    ("ssn", "SSN 123-45-6789.", "SSN [social security number]."),
]


@pytest.mark.parametrize(("kind", "text", "after"), FOUND)
def test_found(kind: str, text: str, after: str) -> None:
    redacted, counts = redact(text, KINDS)
    assert redacted == after
    assert counts == {kind: after.count("[")}
    assert redact(text, [other for other in KINDS if other != kind])[1][kind] == 0


LEFT = [
    "SQLite 3.40.1.0, 3.8.11.1 and 10.15.7.2",  # version numbers
    "127.0.0.1, 10.0.0.1, 192.168.1.99, 224.0.0.1, 255.255.255.255",  # not of one person's machine
    "999.1.1.1 and 1.2.3.4.5 and 93.184.216.340 and v93.184.216.34",
    "std::vector, a::b, 12:34:56, fe80::1, 2001:db8::1",
    "ISBN 978-0-306-40615-7, 0-306-40615-2, 9780306406157",
    "4111 1111 1111 1112",  # fails Luhn's check
    "1234567812345670",  # passes it, but no network's numbers begin so
    "0.4111111111111111 and 4111111111111111.5 and x4111111111111111",
    "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709, e3b0c44298fc1c149afbf4c8996fb924",
    "4111111111111111a and 4611686018427387904",
    "GB82 WEST 1234 5698 7654 33",  # wrong remainder
    "GB82 WEST 1234 5698 7654 3",  # too short for its country
    "ZZ82 WEST 1234 5698 7654 32",
    "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000, 1123-45-6789",
    "2021-06-18 18:36:39, 1999-12-31",
    "Phone: 2021-06-18",
    "x = 3 +1000000 and 212 555 1234 rows",
    "DOI 10.1000/182, arXiv 2406.17557, RFC 9309, 1,234,567,890",
    "911-555-1234, 415-155-1234, 415-555-12345",
    "user@host, @name, a@b, icon@2x.png, @media",
    "https://example.org/1-415-555-2671-x",
]


@pytest.mark.parametrize("text", LEFT)
def test_left_alone(text: str) -> None:
    assert redact(text, KINDS) == (text, {})


def _check_digit(digits: str) -> str:
    """Luhn's, by the table that ISO/IEC 7812 gives: twice each digit is 0 2 4 6 8 1 3 5 7 9."""
    doubled = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    total = sum(doubled[int(d)] if place % 2 == 0 else int(d) for place, d in enumerate(reversed(digits)))
    return str(-total % 10)


@given(st.text("0123456789", min_size=12, max_size=18))
def test_luhn_accepts_the_one_right_digit(digits: str) -> None:
    assert [d for d in "0123456789" if luhn(digits + d)] == [_check_digit(digits)]


def test_precision_and_recall_on_made_sentences() -> None:
    draw = random.Random(3)
    digits = lambda count: "".join(draw.choice("0123456789") for _ in range(count))  # noqa: E731
    planted = missed = 0
    for _ in range(300):
        body = "4" + digits(14)
        numbers = {
            "card": body + _check_digit(body),
            "email": f"u{digits(3)}@mail{digits(2)}.org",
            "ip": f"{draw.randint(64, 99)}.{draw.randint(0, 255)}.{draw.randint(0, 255)}.{draw.randint(0, 255)}",
            "ssn": f"1{digits(2)}-{draw.randint(10, 99)}-{draw.randint(1000, 9999)}",
            "phone": f"+49 {draw.randint(100, 999)} {draw.randint(10**6, 10**7 - 1)}",
        }
        kind, value = draw.choice(sorted(numbers.items()))
        redacted, counts = redact(f"On page {digits(3)} of volume {digits(2)}, it says {value}, twice.", KINDS)
        planted += 1
        missed += counts != {kind: 1} or value in redacted
    assert missed <= planted * 0.02


def test_long_texts_take_no_time() -> None:
    # Patterns that backtrack would take minutes here.
    for piece in ("1 ", "a@", "a.b-", "1.", "+1 ", "A1", "a" * 50 + "@", "2000:" * 3):
        text = piece * (60_000 // len(piece))
        redact(text, KINDS)
