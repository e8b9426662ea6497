"""Fakes: reserved or published values only, equal for equal values in a document, unrelated between documents."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import test_curate_stage as stage
import test_redaction_corpus as corpus
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_redaction import HOSTILE

from groundup.stages.curate.redaction import fakes
from groundup.stages.curate.redaction.checks import iban_remainder, luhn
from groundup.stages.curate.redaction.fakes import Fakes, Placed, fill, is_fake
from groundup.stages.curate.redaction.identifiers import RULES
from groundup.stages.curate.redaction.money import _IBAN_LENGTHS
from groundup.stages.curate.redaction.redact import Action, Redact, find, redact
from groundup.stages.curate.redaction.spans import KINDS, LABELS, Kind

FAKE: dict[Kind, Action] = dict.fromkeys(KINDS, "fake")
LABEL: dict[Kind, Action] = dict.fromkeys(KINDS, "label")


def fake(text: str, document: str = "d") -> str:
    return redact(text, FAKE, document)[0]


# -- what a fake is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        ("email", "jo.doe7@mail.example.com", r"user\d{4}@example\.(com|net|org)"),
        ("ip", "8.8.8.8", r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d+"),
        ("ip", "2606:4700:4700::1111", r"2001:db8::[0-9a-f]+"),
        ("phone", "(212) 736-5000", r"\(2\d\d\) 555-01\d\d"),
        ("phone", "212-736-5000", r"2\d\d-555-01\d\d"),
        ("phone", "+1 212 736 5000", r"\+1 2\d\d 555 01\d\d"),
        ("phone", "+44 1865 270000", r"\+44 20 7946 0\d{3}"),
        ("phone", "0044 1865 270000", r"\+44 20 7946 0\d{3}"),
        ("phone", "030 1234567", r"020 7946 0\d{3}"),
        ("phone", "+33 1 42 92 81 00", r"\+33 6 39 98 \d\d \d\d"),
        ("phone", "+49 30 12345678", r"\+1 2\d\d 555 01\d\d"),
        ("card", "4539 1488 0343 6467", r"\d{4}( \d{4}){3}"),
        ("card", "4539148803436467", r"\d{16}"),
        ("card", "3714-496353-98432", r"\d{4}-\d{6}-\d{5}"),
        ("iban", "GB33 BUKB 2020 1555 5555 55", r"[A-Z]{2}\d\d( [A-Z\d]{1,4})+"),
        ("iban", "GB33BUKB20201555555555", r"[A-Z]{2}\d\d[A-Z\d]+"),
        ("national_id", "536-90-4399", r"000-00-\d{4}"),
        ("national_id", "AB 12 34 56 C", r"XX \d\d \d\d \d\d X"),
        ("name", "Ada Lovelace", r"[A-Z][a-z]+ (Example|Sample|Placeholder)"),
        ("address", "12 High Street, Oxford OX1 4AU", r"\d+ Example Street, Exampletown, XX 00000"),
    ],
)
def test_the_form_of_a_fake(kind: Kind, value: str, form: str) -> None:
    for document in ("a", "b", "c"):
        made = Fakes(document).of(kind, value)
        assert made is not None and re.fullmatch(form, made), made
        assert made != value


def test_pools_hold_what_they_say() -> None:
    for length, numbers in fakes._CARDS.items():
        assert all(len(number) == length and luhn(number) for number in numbers)
    for number in fakes._IBANS:
        assert len(number) == _IBAN_LENGTHS[number[:2]] and iban_remainder(number) == 1
    addresses = {Fakes(str(n)).of("ip", ip) for n in range(300) for ip in ("8.8.8.8", "2606:4700::1")}
    assert len(addresses) > 300
    for address in addresses:
        assert address is not None and not ipaddress.ip_address(address).is_global
    values = ("+1 2", "+44 2", "020", "(2", "2")
    phones = {str(Fakes(str(n)).of("phone", value)) for n in range(300) for value in values}
    assert all(re.search(r"555.01\d\d$|7946 0\d{3}$", phone) for phone in phones)


@pytest.mark.parametrize("name", sorted(set(corpus.ORACLES) - {"card"}))
def test_no_identifier_is_valid(name: str) -> None:
    import random

    make, _ = corpus.ORACLES[name]
    draw = random.Random(name)
    for number in range(20):
        value = make(draw)
        made = Fakes(str(number)).of("national_id", value)
        assert made is not None and len(made) == len(value)
        cues = "ssn sin nhs steuer tin bsn personnummer cpr cnp egn oib id identity nif cpf pan aadhaar"
        assert find(f"{cues}: {made}", ("national_id",)) == []
    assert any(rule.name == name for rule in RULES)


def test_secrets_and_what_is_beyond_the_pool_keep_their_labels() -> None:
    key = "AKIA" + "Q3EG7XKZ5PL2VWYM"
    assert fake(f"key {key} here") == "key [secret] here"
    made = Fakes("d")
    given_out = [made.of("iban", f"value {number}") for number in range(len(fakes._IBANS) + 3)]
    assert given_out[-3:] == [None] * 3
    assert len(set(given_out[:-3])) == len(fakes._IBANS)
    places = [Placed(0, 6, "iban", "a"), Placed(7, 15, "secret", "b")]
    assert fill("[iban] [secret]", places, "d").endswith(" [secret]")


# -- which one -----------------------------------------------------------------------------------------------------


def test_equal_values_have_one_fake_and_different_ones_different() -> None:
    text = (
        "jo@a.org, al@a.org, Jo@A.org; 4539 1488 0343 6467 and 4539-1488-0343-6467; "
        "93.184.216.34 and 93.184.216.35, host 93.184.216.34"
    )
    found = re.findall(r"user\d{4}@\S+?(?=[,;])|(?:\d{4}[ -]){3}\d{4}|\d+\.\d+\.\d+\.\d+", fake(text))
    jo, al, jo_again, card, card_again, one, other, one_again = found
    assert jo == jo_again != al
    assert card == card_again
    assert one == one_again != other


def test_documents_have_nothing_in_common() -> None:
    texts = [fake("mail jo@a.org", f"document {number}") for number in range(200)]
    assert len(set(texts)) > 195  # of 30,000; two of 200 may meet
    assert fake("mail jo@a.org", "x") == fake("mail jo@a.org", "x")
    # The first value of a document has the first fake, whatever it is: nothing of the value is in it.
    assert fake("mail jo@a.org", "x") == fake("mail someone.else@b.net", "x")


# -- laws ----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(HOSTILE)
@example("call jo@example.org 5551234")
@example("my name is Ann Lee 8.8.8.8 jo@a.org +49 30 12345678 4539148803436467")
@example("12 rue X, 75001 Paris a.b@c.de key= a.b@c.de")
def test_what_is_found_is_what_is_labelled(text: str) -> None:
    """Where no original is a fake itself, labels in the place of fakes give the labelled text."""
    labelled, counts = redact(text, LABEL)
    values: list[tuple[Kind, str]] = []

    class Spy(Fakes):
        def of(self, kind: Kind, value: str) -> str | None:
            values.append((kind, value))
            return None

    original, fakes.Fakes = fakes.Fakes, Spy  # type: ignore[misc]
    try:
        again, same = redact(text, FAKE, "d")
    finally:
        fakes.Fakes = original  # type: ignore[misc]
    if not any(is_fake(kind, value) for kind, value in values) and "4111111111111111" not in text:
        assert (again, same) == (labelled, counts)
        assert Counter(kind for kind, _ in values) <= counts


def test_no_value_of_the_templates_survives() -> None:
    samples = corpus.corpus(corpus.HELD_OUT, 120, 5)
    seen = Counter[str]()
    for number, sample in enumerate(samples):
        spans = find(sample.text, KINDS)
        done = fake(sample.text, str(number))
        for span in spans:
            value = sample.text[span.start : span.end]
            seen[span.kind] += 1
            assert is_fake(span.kind, value) or value not in done, span.rule
        assert redact(done, FAKE, "another")[0] == done  # redacted again, fakes stay
        assert redact(sample.text, FAKE, str(number))[1] == redact(sample.text, LABEL)[1]
    assert set(seen) == set(KINDS)


def test_a_later_pass_with_labels_finds_those_that_look_like_data() -> None:
    text = (
        "jo@a.org, host 8.8.8.8, +44 1865 270000, card 4539148803436467, GB33BUKB20201555555555, 536-90-4399. "
        "My name is Ada Lovelace."
    )
    done, counts = redact(text, FAKE, "d")
    assert counts == dict.fromkeys(("email", "ip", "phone", "card", "iban", "national_id", "name"), 1)
    again = redact(done, LABEL)[1]
    assert again == dict.fromkeys(("email", "phone", "card", "iban", "name"), 1)


def test_the_operator_goes_by_the_id() -> None:
    texts = ["mail jo@a.org", None, "mail jo@a.org", "mail jo@a.org"]
    columns = {"id": ["a", "b", "c", "a"], "text": pa.array(texts, pa.large_string())}
    operator = Redact(action="fake", actions={"ip": "label"})
    done = operator(pa.RecordBatch.from_pydict(columns))
    first, nothing, second, third = done.column("text").to_pylist()
    assert first == third != second and nothing is None
    assert re.fullmatch(r"mail user\d{4}@example\.\w+", first)
    assert done.column("redactions").to_pylist() == [[("email", 1)], None, [("email", 1)], [("email", 1)]]
    assert operator.spec.reads == ("id", "text")
    assert Redact().spec.reads == ("text",)
    assert LABELS["email"] not in first


def test_fakes_reach_the_corpus(tmp_path: Path) -> None:
    mail = "Write to jo@a.org or jo@a.org, not to al@a.org."
    pages = [stage._page(f"{stage._story(n)}\n{mail} {n}", f"mail {n}") for n in (5, 6)]
    artifact = stage._artifact(tmp_path, "pages", pages)
    outcome, _, corpus_rows, _ = stage._curate(tmp_path / "run", [artifact], stage._config(redaction="fake"))
    found = [re.findall(r"user\d{4}@example\.(?:com|net|org)", row["text"]) for row in corpus_rows]
    assert [len(one) for one in found] == [3, 3]
    assert all(first == second != third for first, second, third in found)
    assert found[0] != found[1]
    assert outcome.metrics["redactions"]["email"] == 6
    assert not any("@a.org" in row["text"] for row in corpus_rows)


@given(st.sampled_from(KINDS), st.text(max_size=30), st.text(max_size=5))
def test_any_value_has_a_fake_or_none(kind: Kind, value: str, document: str) -> None:
    made = Fakes(document).of(kind, value)
    assert made == Fakes(document).of(kind, value)
    assert (made is None) == (kind == "secret" or (kind == "national_id" and not any(map(str.isdigit, value))))
