"""Licence expressions have one normal form, that of the library which knows SPDX; what is none is told in one line."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.rights.licences.expression import alternatives, licences, normal, parse, together, try_normal, weigh
from groundup.rights.licences.table import CATEGORIES, categories, table

IDS = ("MIT", "Apache-2.0", "GPL-2.0-only", "GPL-3.0-or-later", "CC-BY-4.0", "CC0-1.0", "LicenseRef-own", "ISC")
WITH = "GPL-2.0-only WITH Classpath-exception-2.0"


@cache
def spdx() -> Any:
    """The library, with its own list of SPDX ids."""
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("MIT", "MIT"),
        ("  mit ", "MIT"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("mit OR apache-2.0", "Apache-2.0 OR MIT"),
        ("apache-2.0 or mit", "Apache-2.0 OR MIT"),
        ("MIT AND MIT", "MIT"),
        ("MIT AND (ISC OR Zlib)", "MIT AND (ISC OR Zlib)"),
        ("MIT OR ISC AND Zlib", "MIT OR (ISC AND Zlib)"),
        ("((MIT))", "MIT"),
        (WITH, WITH),
        ("gpl-2.0-only with classpath-exception-2.0", WITH),
        ("LicenseRef-My.Own-1", "LicenseRef-My.Own-1"),
        ("DocumentRef-doc:LicenseRef-x", "DocumentRef-doc:LicenseRef-x"),
        ("Apache-1.1+", "Apache-1.1+"),
        # Withdrawn ids.
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("LGPL-2.1+ OR MIT", "LGPL-2.1-or-later OR MIT"),
        ("GPL-2.0-with-classpath-exception", WITH),
        ("GPL-2.0-with-classpath-exception OR MIT", f"{WITH} OR MIT"),
    ],
)
def test_normal_form(said: str, expected: str) -> None:
    assert normal(said) == expected
    assert normal(expected) == expected


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("CC-BY-5.0", "did you mean 'CC-BY-4.0'?"),
        ("Apache2.0", "did you mean 'Apache-2.0'?"),
        ("GPL-3.0-olny", "did you mean 'GPL-3.0-only'?"),
        ("all rights reserved", "unknown SPDX licence id 'all'"),
        ("my licence", "LicenseRef-NAME"),
        ("LicenseRef-a b", "unknown SPDX licence id 'b'"),
        ("LicenseRef-ä", "'LicenseRef-' is followed by"),
        ("", "a licence is needed"),
        ("MIT AND", "is not an SPDX expression"),
        ("OR MIT", "is not an SPDX expression"),
        ("MIT MIT", "is not an SPDX expression"),
        ("(MIT", "is not an SPDX expression"),
        ("MIT)", "is not an SPDX expression"),
        ("()", "is not an SPDX expression"),
        ("MIT WITH MIT", "only an exception stands behind WITH"),
        ("Classpath-exception-2.0", "is an exception"),
        (f"{WITH} WITH Bison-exception-2.2", "is not an SPDX expression"),
        ("(MIT OR ISC) WITH Bison-exception-2.2", "is not an SPDX expression"),
        (" OR ".join(["MIT"] * 200), "too long"),
        ("x" * 5000, "too long"),
    ],
)
def test_what_is_no_expression_is_told_in_one_short_line(said: str, told: str) -> None:
    with pytest.raises(RequestError, match=r"^[^\n]{1,250}$") as caught:
        normal(said)
    assert told in str(caught.value)
    assert try_normal(said) is None


def test_withdrawn_ids_are_noted() -> None:
    assert parse("GPL-2.0+ OR LGPL-2.1").notes == (
        "GPL-2.0+ is called GPL-2.0-or-later now",
        "LGPL-2.1 is called LGPL-2.1-only now",
    )
    assert parse("MIT").notes == ()


def test_what_ids_are_called_now_is_known() -> None:
    for name in table().renamed.values():
        assert name in table().exceptions or normal(name) == name
    assert not set(table().renamed) & set(table().licences)


def test_every_id_has_known_categories() -> None:
    assert len(table().licences) > 600
    for name in table().licences:
        assert categories(name) and categories(name) <= set(CATEGORIES) - {"unknown"}


def test_ids_are_those_of_the_library() -> None:
    oracle = spdx()
    ours = {name for name in table().licences if not name.startswith("LicenseRef-")}
    keys = {key for key in oracle.known_symbols if not key.startswith("LicenseRef-")}
    exceptions = {key for key in keys if oracle.known_symbols[key].is_exception}
    assert ours == keys - exceptions - {"NOASSERTION", "NONE"} - set(table().renamed)
    assert table().exceptions == exceptions - set(table().renamed)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC0-1.0", "public-domain"),
        ("Unlicense", "public-domain"),
        ("MIT", "permissive"),
        ("CC-BY-4.0", "permissive"),
        ("CC-BY-3.0-DE", "permissive"),
        ("GPL-3.0-only", "copyleft"),
        ("MPL-2.0", "copyleft"),
        ("CC-BY-SA-3.0", "share-alike"),
        ("CDLA-Sharing-1.0", "share-alike"),
        ("ODbL-1.0", "share-alike"),
        ("CC-BY-NC-4.0", "non-commercial"),
        ("CC-BY-NC-SA-2.0-FR", "non-commercial share-alike"),
        ("CC-BY-NC-ND-4.0", "no-derivatives non-commercial"),
        ("BUSL-1.1", "limited"),
        (WITH, "copyleft"),
        ("Apache-1.1+", "permissive"),
        ("LicenseRef-x", "unknown"),
        ("LicenseRef-public-domain", "public-domain"),
        ("LicenseRef-CC-BY-NC-2.0-KR", "non-commercial"),
        ("LicenseRef-CC-BY-SA", "share-alike"),
        ("LicenseRef-CC-NC-Sampling-1.0", "limited non-commercial"),
        ("LicenseRef-CCTV", "unknown"),
    ],
)
def test_categories(licence: str, expected: str) -> None:
    assert categories(licence) == set(expected.split())


expressions = st.recursive(
    st.sampled_from([*IDS, WITH]),
    lambda inner: st.tuples(st.lists(inner, min_size=2, max_size=3), st.sampled_from([" AND ", " OR "])).map(
        lambda pair: "(" + pair[1].join(pair[0]) + ")"
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_normal_form_means_the_same_to_the_library(text: str) -> None:
    library = spdx()
    ours = normal(text)
    assert library.is_equivalent(ours, text)
    assert ours == library.parse(text).simplify().render()
    assert normal(ours) == ours
    assert set(licences(ours)) <= {*IDS, WITH}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["MIT", "ISC", "AND", "OR", "WITH", "(", ")", "Classpath-exception-2.0", "junk"])))
def test_any_row_of_words_is_taken_or_told(words: list[str]) -> None:
    text = " ".join(words)
    found = try_normal(text)
    if found is None:
        with pytest.raises(RequestError):
            normal(text)
    else:
        assert normal(found) == found


@settings(max_examples=100, deadline=None)
@given(expressions, st.lists(st.integers(0, 2), min_size=9, max_size=9))
def test_choice_is_the_best_and_joint_the_worst(text: str, values: list[int]) -> None:
    value = dict(zip([*IDS, WITH], values, strict=True))

    def brute(tree: Any) -> int:
        if tree.isliteral:
            return value[tree.render()]
        parts = [brute(one) for one in tree.args]
        return max(parts) if tree.operator.strip() == "OR" else min(parts)

    from license_expression import Licensing

    assert weigh(normal(text), value.__getitem__) == brute(Licensing().parse(text))


def test_alternatives_and_together() -> None:
    assert alternatives("MIT") == ("MIT",)
    assert set(alternatives(normal("MIT OR ISC AND Zlib"))) == {"MIT", "ISC AND Zlib"}
    assert alternatives("ISC AND (MIT OR Zlib)") == ("ISC AND (MIT OR Zlib)",)
    for first, second in product(IDS[:3], IDS[:3]):
        assert together([first, second]) == normal(f"{first} AND {second}")
    assert together(["MIT OR ISC", "Zlib"]) == "Zlib AND (ISC OR MIT)"


def test_a_plain_id_does_not_bring_the_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from groundup.rights.licences.expression import normal; normal('CC-BY-4.0'); normal('GPL-2.0'); "
        "sys.exit('license_expression' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
