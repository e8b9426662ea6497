"""The licence of a page: what it states of itself, and what it only mentions."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.rights.licences.expression import normal
from groundup.rights.licences.found import contradicts, found_licence
from groundup.rights.licences.names import by_name, by_url, by_words
from groundup.rights.licences.pages import may_name_licence, page_statements, stated, text_statements

CC = "https://creativecommons.org/licenses"
PROSE = "<p>Otters hold hands while they sleep, so that none of them drifts away on the tide.</p>"


def rel(path: str) -> str:
    return f'<a rel="license" href="{CC}/{path}">licence</a>'


def link(path: str) -> str:
    return f'<a href="{CC}/{path}">licence</a>'


def data(**fields: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(fields)}</script>'


ZERO = "https://creativecommons.org/publicdomain/zero/1.0/"
MARK = "https://creativecommons.org/publicdomain/mark/1.0/"

GOLD: list[tuple[str, str | None, set[str]]] = [
    # rel=license: versions, conditions and ports told apart.
    (rel("by/4.0/"), "CC-BY-4.0", set()),
    (rel("by/1.0/"), "CC-BY-1.0", set()),
    (rel("by-sa/3.0/"), "CC-BY-SA-3.0", set()),
    (rel("by-nc/2.0/"), "CC-BY-NC-2.0", set()),
    (rel("by-nd/2.5/"), "CC-BY-ND-2.5", set()),
    (rel("by-nc-sa/4.0/deed.fr"), "CC-BY-NC-SA-4.0", set()),
    (rel("by-nc-nd/4.0/legalcode"), "CC-BY-NC-ND-4.0", set()),
    (rel("by-nd-nc/1.0/"), "CC-BY-NC-ND-1.0", set()),
    (rel("by-sa/3.0/de/"), "CC-BY-SA-3.0-DE", set()),
    (rel("by/3.0/us/"), "CC-BY-3.0-US", set()),
    (rel("by/3.0/igo/"), "CC-BY-3.0-IGO", set()),
    (rel("by-sa/2.1/jp/"), "CC-BY-SA-2.1-JP", set()),
    (rel("by/2.0/kr/"), "LicenseRef-CC-BY-2.0-KR", set()),
    (rel("by-sa/4.0/ja"), "CC-BY-SA-4.0", set()),
    (rel("sa/1.0/"), "CC-SA-1.0", set()),
    (rel("nc-sampling+/1.0/"), "LicenseRef-CC-NC-Sampling-1.0", set()),
    (rel("by/"), "LicenseRef-CC-BY", set()),
    (rel("publicdomain/"), "CC-PDDC", set()),
    (f'<a rel="license" href="{ZERO}">0</a>', "CC0-1.0", set()),
    (f'<a rel="license" href="{MARK}">PD</a>', "CC-PDM-1.0", set()),
    (f'<link rel="license" href="{CC}/by/4.0/">', "CC-BY-4.0", set()),
    (f"<link rel=license href={CC}/by/4.0/>", "CC-BY-4.0", set()),
    ("<LINK REL='Cc:License' HREF='//creativecommons.org/licenses/BY/4.0/'>", "CC-BY-4.0", set()),
    (
        '<a rel="noopener license nofollow" href="http://www.creativecommons.org/licenses/by/4.0">x</a>',
        "CC-BY-4.0",
        set(),
    ),
    ('<a rel="license" href="https://www.apache.org/licenses/LICENSE-2.0.html">x</a>', "Apache-2.0", set()),
    ('<a rel="license" href="https://opensource.org/license/mit/">x</a>', "MIT", set()),
    ('<a rel="license" href="https://www.gnu.org/licenses/fdl-1.3.html">x</a>', "GFDL-1.3-only", set()),
    ('<a rel="license" href="https://opendatacommons.org/licenses/odbl/1-0/">x</a>', "ODbL-1.0", set()),
    (
        '<a rel="license" href="https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/">x</a>',
        "OGL-UK-3.0",
        set(),
    ),
    ('<a rel="license" href="https://www.govdata.de/dl-de/by-2-0">x</a>', "DL-DE-BY-2.0", set()),
    # Two of them: both hold.
    (rel("by/4.0/") + rel("by-nc/4.0/"), "CC-BY-4.0 AND CC-BY-NC-4.0", set()),
    (rel("by/4.0/") * 3, "CC-BY-4.0", set()),
    # rel=license to what is no licence, links to what is none.
    ('<a rel="license" href="/terms">our terms</a>', None, set()),
    ('<a rel="license" href="https://creativecommons.org/">CC</a>', None, set()),
    ('<a rel="license" href="https://example.org/?u=creativecommons.org/licenses/by/4.0/">x</a>', None, set()),
    ('<a rel="license" href="https://creativecommons.org.example.org/licenses/by/4.0/">x</a>', None, set()),
    (f'<a rel="license" href="{CC}/by/9.9.9/x/y/z">x</a>', None, set()),
    # A bare link in running text is only a mention.
    (f"<p>Many wikis use {link('by-sa/3.0/')} for what people write.</p>", None, {"CC-BY-SA-3.0"}),
    (f"<p>Photo by Ann, {link('by/2.0/')}.</p>", None, {"CC-BY-2.0"}),
    (f"<p>The icons on this page are licensed under {link('by/3.0/')}.</p>", None, {"CC-BY-3.0"}),
    (f"<p>This software is available under {link('by/3.0/')}.</p>", None, {"CC-BY-3.0"}),
    (f"<p>You should not use {link('by/4.0/')} for your code.</p>", None, {"CC-BY-4.0"}),
    (f"<p>If you publish this text under {link('by/4.0/')}, tell us.</p>", None, {"CC-BY-4.0"}),
    (f"<figure><img><figcaption>Otter, {rel('by/4.0/')}</figcaption></figure>", None, {"CC-BY-4.0"}),
    (f"<blockquote>This page is licensed under {link('by/4.0/')}</blockquote>", None, {"CC-BY-4.0"}),
    ("<pre>This page is licensed under CC BY 4.0</pre>", None, {"CC-BY-4.0"}),
    # Sentences about the page.
    (f"<p>This work is licensed under a {link('by/4.0/')}.</p>", "CC-BY-4.0", set()),
    (f"<p>Except where otherwise noted, content on this site is under {link('by/4.0/')}</p>", "CC-BY-4.0", set()),
    (
        "<p>This work is licensed under a Creative Commons Attribution 4.0 International License.</p>",
        "CC-BY-4.0",
        set(),
    ),
    (
        "<p>Text is available under the Creative Commons Attribution-ShareAlike License; terms may apply.</p>",
        "LicenseRef-CC-BY-SA",
        set(),
    ),
    (
        f"<p>Text is available under the Creative Commons Attribution-ShareAlike License.</p>{rel('by-sa/4.0/')}",
        "CC-BY-SA-4.0",
        set(),
    ),
    ("<p>This article is published under CC BY-NC-ND 4.0.</p>", "CC-BY-NC-ND-4.0", set()),
    (
        "<p>This manual is released under the GNU Free Documentation License, version 1.2 or later.</p>",
        "GFDL-1.2-or-later",
        set(),
    ),
    ("<p>The content of this wiki is available under the terms of the MIT License.</p>", "MIT", set()),
    ("<p>All content on this site is dedicated under CC0 1.0 and may be used.</p>", "CC0-1.0", set()),
    (f"<p>Dieses Werk ist lizenziert unter einer {link('by/3.0/de/')} Lizenz</p>", "CC-BY-3.0-DE", set()),
    (f"<p>Alle Inhalte dieser Website stehen unter {link('by-sa/4.0/')}</p>", "CC-BY-SA-4.0", set()),
    (f"<p>Sauf mention contraire, les contenus de ce site sont sous licence {link('by/4.0/')}</p>", "CC-BY-4.0", set()),
    (f"<p>Esta obra está bajo una licencia {link('by-nc/4.0/')}</p>", "CC-BY-NC-4.0", set()),
    (f"<p>Quest'opera: il testo è disponibile con licenza {link('by-sa/3.0/')}</p>", "CC-BY-SA-3.0", set()),
    # Footers.
    (f"<footer>© 2024 Ann {link('by/4.0/')}</footer>", "CC-BY-4.0", set()),
    (f'<div class="site-footer"><a href="{CC}/by/4.0/"><img></a></div>', "CC-BY-4.0", set()),
    ('<div id="footer">© Ann, CC BY-SA 4.0</div>', "CC-BY-SA-4.0", set()),
    (f"<footer>Photo: Ann, {link('by/4.0/')}</footer>", None, {"CC-BY-4.0"}),
    (
        f"<footer>Ann {link('by/2.0/')}, Bob {link('by-sa/2.0/')}, Cleo {link('by-nd/2.0/')}</footer>",
        None,
        {"CC-BY-2.0", "CC-BY-SA-2.0", "CC-BY-ND-2.0"},
    ),
    # JSON-LD: of the page, and of other things.
    (data(**{"@type": "Article", "license": f"{CC}/by/4.0/"}), "CC-BY-4.0", set()),
    (data(**{"@type": "WebPage", "license": {"@id": f"{CC}/by-nc/4.0/"}}), "CC-BY-NC-4.0", set()),
    (
        data(**{"@graph": [{"@type": "WebSite"}, {"@type": "BlogPosting", "license": [f"{CC}/by/4.0/"]}]}),
        "CC-BY-4.0",
        set(),
    ),
    (data(**{"@type": "CreativeWork", "schema:license": "CC-BY-4.0"}), "CC-BY-4.0", set()),
    (data(**{"@type": "ImageObject", "license": f"{CC}/by/4.0/"}), None, {"CC-BY-4.0"}),
    (data(**{"@type": "Article", "image": {"license": f"{CC}/by-nd/4.0/"}}), None, {"CC-BY-ND-4.0"}),
    (data(**{"@type": "Dataset", "license": ZERO}), None, {"CC0-1.0"}),
    (data(**{"@type": "Article", "license": "https://example.org/our-terms"}), None, set()),
    ('<script type="application/ld+json">{"license": "https://creativecommons.org/licenses/by/4.0/"', None, set()),
    # Meta, microdata, RDFa, comments.
    (f'<meta name="dcterms.license" content="{CC}/by/4.0/">', "CC-BY-4.0", set()),
    ('<meta name="DC.rights" content="Creative Commons Attribution 3.0 Germany">', "CC-BY-3.0-DE", set()),
    ('<meta name="license" content="CC BY-SA 4.0">', "CC-BY-SA-4.0", set()),
    ('<meta name="copyright" content="© Ann 2020, all rights reserved; not licensed under anything">', None, set()),
    (
        f'<div itemscope itemtype="https://schema.org/Article"><a itemprop="license" href="{CC}/by/4.0/">x</a></div>',
        "CC-BY-4.0",
        set(),
    ),
    (
        f'<div itemscope itemtype="https://schema.org/ImageObject"><a itemprop=license href="{CC}/by/4.0/">x</a></div>',
        None,
        {"CC-BY-4.0"},
    ),
    (f'<span property="dct:license" resource="{CC}/by-sa/4.0/"></span>', "CC-BY-SA-4.0", set()),
    ("<!-- SPDX-License-Identifier: CC-BY-SA-4.0 -->", "CC-BY-SA-4.0", set()),
    ("<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->", "Apache-2.0 OR MIT", set()),
    (f"<!-- {rel('by/4.0/')} -->", None, set()),
    (f"<script>var x = '{rel('by/4.0/')}';</script>", None, set()),
    (f"<textarea>{rel('by/4.0/')}</textarea>", None, set()),
    # What every page says is no licence.
    ("<footer>© 2024 Example Ltd. All rights reserved.</footer>", None, set()),
    ("<p>She got her driving licence under the terms of the new law.</p>", None, set()),
    ("<p>I'll cc by noon.</p>", None, {"LicenseRef-CC-BY"}),
]


@pytest.mark.parametrize(("markup", "licence", "mentioned"), GOLD)
def test_gold(markup: str, licence: str | None, mentioned: set[str]) -> None:
    page = f"<!doctype html><html><body>{PROSE}{markup}{PROSE}</body></html>"
    statements = page_statements(page)
    assert stated(statements) == licence
    if licence is None:
        assert {one.licence for one in statements if one.strength == "mentioned"} == mentioned
    assert found_licence(page.encode(), "text/html; charset=utf-8") == licence


def test_gold_is_large_and_each_case_another() -> None:
    assert len({markup for markup, _, _ in GOLD}) == len(GOLD) >= 80
    assert all(licence is None or normal(licence) == licence for _, licence, _ in GOLD)


def test_header_states() -> None:
    headers = json.dumps({"link": f'</next>; rel="next", <{CC}/by/4.0/>; rel="license"; title="x"'})
    assert found_licence(b"<p>hello</p>", "text/html", None, headers) == "CC-BY-4.0"
    assert found_licence(b"<p>hello</p>", "text/html", None, json.dumps({"link": f"<{CC}/by/4.0/>; rel=next"})) is None
    assert found_licence(b"<p>hello</p>", "text/html", None, "no json") is None


def test_place_and_words_are_kept() -> None:
    (one,) = page_statements(rel("by/4.0/"))
    assert (one.place, one.evidence, one.strength) == ("rel=license", f"{CC}/by/4.0/", "stated")


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("# Otters\n\nThis text is licensed under CC BY 4.0.\n", "CC-BY-4.0"),
        (f"This work is licensed under a [licence]({CC}/by-sa/4.0/).\n", "CC-BY-SA-4.0"),
        (f"See also {CC}/by-sa/4.0/ for what that means.\n", None),
        ("<!-- SPDX-License-Identifier: CC0-1.0 -->\n# Otters\n", "CC0-1.0"),
        ("Otters " * 400 + "\nSPDX-License-Identifier: MIT\n", None),
        ("Otters hold hands.\n", None),
    ],
)
def test_plain_text(text: str, licence: str | None) -> None:
    assert found_licence(text.encode(), "text/markdown") == licence
    assert stated(text_statements(text)) == licence


def test_encodings_do_not_matter() -> None:
    page = f"<p>Ä</p>{rel('by/4.0/')}"
    for encoding in ("utf-8", "latin-1", "utf-16"):
        assert found_licence(page.encode(encoding), "text/html", encoding) == (
            "CC-BY-4.0" if encoding != "utf-16" else None
        )
    assert found_licence(page.encode(), "text/html", "no-such-encoding") == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("declared", "found", "expected"),
    [
        ("CC-BY-4.0", "CC-BY-4.0", False),
        ("CC-BY-4.0", "CC-BY-SA-4.0", True),
        ("Apache-2.0 OR MIT", "MIT", False),
        ("MIT", "Apache-2.0 OR MIT", True),
        ("Apache-2.0 AND MIT", "MIT", True),
    ],
)
def test_contradictions(declared: str, found: str, expected: bool) -> None:
    assert contradicts(declared, found) is expected


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("MIT License", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache Software License 2.0", "Apache-2.0"),
        ("BSD 3-Clause License", "BSD-3-Clause"),
        ("GPLv3+", "GPL-3.0-or-later"),
        ("GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
        ("MPL 2.0", None),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("BSD", None),
        ("Apache", None),
        ("see LICENSE", None),
        ("http://opensource.org/licenses/BSD-3-Clause", "BSD-3-Clause"),
        ("CC BY-SA 4.0", "CC-BY-SA-4.0"),
        ("", None),
        ("x" * 1000, None),
    ],
)
def test_names(name: str, licence: str | None) -> None:
    assert by_name(name) == licence


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="<>/=\"'-! abclicensertpofyCBYSA40.:#&;\n", max_size=400))
def test_any_markup_is_read(markup: str) -> None:
    for one in page_statements(f'<a rel="license" href="{CC}/by/4.0/">' + markup):
        assert normal(one.licence) == one.licence


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_name_is_read(name: str) -> None:
    for found in (by_name(name), by_url(f"https://creativecommons.org/licenses/{name}"), by_words(name)):
        assert found is None or normal(found) == found


@pytest.mark.parametrize(
    "unit",
    [
        "<a ", '<a href="', "<!--", "<script>", "<a rel='license' href=", '<a "', "CC BY ", "creative commons ",
        "<footer>", "licensed under the ", "<div class=footer>", "&amp", "this work is ", "<pre>", '{"a":', "-by",
        "attribution ", "<a href='https://creativecommons.org/licenses/by-nc-sa-by-nc", "under the the ",
    ],
)  # fmt: skip
def test_time_is_linear_whatever_stands_there(unit: str) -> None:
    def seconds(size: int) -> float:
        page = "creativecommons" + unit * (size // len(unit))
        start = time.process_time()
        page_statements(page)
        text_statements(page)
        return time.process_time() - start

    small, large = seconds(20_000), seconds(160_000)
    assert large < 40 * max(small, 0.005)  # quadratic: 64 times and seconds
    assert large < 2


def test_numbers_that_are_no_characters_harm_nothing() -> None:
    digits = "&#" + "9" * 5000 + ";"
    page = f'{digits}<a rel="license" title="{digits[:1500]}" href="{CC}/by/4.0/">x</a><p class="{digits}">'
    assert found_licence(page.encode(), "text/html") == "CC-BY-4.0"
    ld = '<script type="application/ld+json">{"license": ' + "9" * 5000 + "}</script>licensed under"
    assert found_licence(ld.encode(), "text/html") is None
    assert found_licence(b"cc-by " + b"\xff" * 10, "text/html", "idna") is None


def test_most_pages_are_not_even_looked_at() -> None:
    assert not may_name_licence(b"<html><p>Otters hold hands.</p><style>a{color:#cc0000}</style></html>")
    assert may_name_licence(b"<A REL=LICENSE HREF=x>")
