"""What a request means, by hand-written tables; near-duplicates against a plain count."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_web import edited, stories

from groundup.base.errors import RequestError
from groundup.rights.fingerprint import SHINGLE, words
from groundup.rights.register import Kind, drafted
from groundup.withdrawal import near
from groundup.withdrawal.find import Named, checked, hashes_of_excerpt, read_hashes
from groundup.withdrawal.near import CONTAINMENT, FEWEST, SAME, Probe, members
from groundup.withdrawal.texts import Row

PAGE = Row("0123456789abcdef" * 2, False, "https://Blog.Example.org:443/a/b?x=1#part", "Ann Äö; Bob  Writer", "")

MEANT: list[tuple[Kind, str, bool]] = [
    ("url", "https://blog.example.org/a/b?x=1", True),
    ("url", "http://blog.example.org/a/b?x=1#other", True),
    ("url", "blog.example.org/a/b?x=1", True),
    ("url", "https://blog.example.org/a/b", False),
    ("url", "https://blog.example.org/A/b?x=1", False),
    ("url", "https://blog.example.org:8080/a/b?x=1", False),
    ("url", "https://blog.example.org/a/*", True),
    ("url", "https://blog.example.org/a*", True),
    ("url", "https://blog.example.org/*", True),
    ("url", "https://BLOG.exam*", True),
    ("url", "https://blog.example.org/b*", False),
    ("url", "https://example.org/*", False),
    ("signal", "https://blog.example.org/a/b?x=1", True),
    ("signal", "https://blog.example.org/a/*", False),
    ("domain", "example.org", True),
    ("domain", "blog.example.org", True),
    ("domain", "https://Example.ORG./what/ever", True),
    ("domain", "log.example.org", False),
    ("domain", "www.blog.example.org", False),
    ("document", "0123456789abcdef" * 2, True),
    ("document", "01234567", True),
    ("document", "1234567890", False),
    ("author", "bob writer", True),
    ("author", "ANN ÄÖ", True),
    ("author", "Ann Äö; Bob Writer", True),
    ("author", "Bob", False),
]


@pytest.mark.parametrize(("kind", "what", "meant"), MEANT)
def test_requests_mean_what_they_say(kind: Kind, what: str, meant: bool) -> None:
    request = drafted(kind, checked(kind, what))
    assert Named([drafted("url", "https://other.example/"), request]).of(PAGE) == [request] * meant


@pytest.mark.parametrize("kind", ["url", "domain", "author", "signal"])
def test_rows_of_which_nothing_is_known_are_not_meant(kind: Kind) -> None:
    for url in (None, "", "no address", "http://[broken", "file name.txt"):
        assert Named([drafted(kind, "example.org")]).of(Row("a" * 32, True, url, None)) == []


@pytest.mark.parametrize(
    ("kind", "what"),
    [("domain", "org"), ("domain", "*.org"), ("domain", ""), ("url", "*"), ("url", "a"), ("document", "0123456"),
     ("document", "g" * 32), ("document", "0" * 33), ("text", "one two three four five six seven"), ("author", " ")],
)  # fmt: skip
def test_requests_that_mean_too_much_or_nothing_are_refused(kind: Kind, what: str) -> None:
    with pytest.raises(RequestError):
        checked(kind, what)


def test_an_excerpt_is_kept_as_hashes_alone() -> None:
    name, grams, spans = hashes_of_excerpt("The Dog, ran; to the big park and found it")
    again = hashes_of_excerpt("the dog ran to THE big park\nand found it!")
    assert (name, grams, spans) == again and len(grams) == 6 and len(spans) == 3
    assert read_hashes(grams).tolist() == sorted(int(one, 16) for one in grams)
    assert hashes_of_excerpt("the dog ran to the big park and lost it")[0] != name


def plain(text: str) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+", text.lower())
    return {tuple(found[place : place + SHINGLE]) for place in range(len(found) - SHINGLE + 1)}


def search(wanted: dict[str, str], rows: dict[str, str]) -> dict[str, str]:
    probe = Probe({name: words([text]).shingles() for name, text in wanted.items()})
    assert len(list(probe.search(Row(name, True, text=text) for name, text in rows.items()))) == len(rows)
    return {one.id: one.of for one in probe.found() if one.id not in wanted}


@given(st.integers(0, 10**6))
def test_near_duplicates_are_those_of_a_plain_count(seed: int) -> None:
    rng = random.Random(seed)
    make = lambda: " ".join(rng.choice("abcdefghijkl") for _ in range(rng.randint(5, 60)))  # noqa: E731
    wanted = {f"q{number}": make() for number in range(3)}
    rows = {f"d{number}": make() for number in range(6)}
    for number, text in enumerate(wanted.values()):
        cut = text.split()
        rows[f"part{number}"] = " ".join([*cut[: rng.randint(5, len(cut))], *make().split()])
    near_ones = set()
    for name, text in rows.items():
        for other in wanted.values():
            a, b = plain(text), plain(other)
            both = len(a & b)
            if both >= SAME * len(a | b) or (both >= FEWEST and both >= CONTAINMENT * min(len(a), len(b))):
                near_ones.add(name)
    assert set(search(wanted, rows)) == near_ones


def test_edited_copies_are_found_and_no_other_story_is() -> None:
    texts = stories()
    wanted = {"victim": texts[0]}
    rows = {f"copy{share}-{seed}": edited(texts[0], share, seed) for share in (0.05, 0.1, 0.2) for seed in range(20)}
    rows["within"] = f"{texts[5]} {texts[0]} {texts[6]}"
    rows["part"] = " ".join(texts[0].split()[40:70])
    others = {f"story{number}": text for number, text in enumerate(texts[1:])}
    found = search(wanted, {**rows, **others})
    assert set(found) == set(rows)


def test_pages_of_a_site_are_no_copies_for_the_sake_of_their_menus() -> None:
    menu, body = (" ".join(f"{what}{n}" for n in range(60)) for what in ("menu", "body"))
    probe = Probe({"q": words([f"{menu} {body}"]).shingles()})
    other = " ".join(f"other{n}" for n in range(110))
    rows = [Row("copy", False, text=f"{menu} {edited(body, 0.1, 1)}", rough=True),
            Row("site", False, text=f"{menu} {other}", rough=True),
            Row("clean", True, text=f"{menu} {other}")]  # fmt: skip
    assert len(list(probe.search(rows))) == 3
    assert [near.id for near in probe.found()] == ["clean", "copy"]


def test_short_texts_and_common_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert search({"q": "thank you"}, {"a": "Thank you!", "b": "thank", "c": "thank you so much for all"}) == {"a": "q"}
    assert search({"q": ""}, {"a": "", "b": "x"}) == {} and search({}, {"a": "x"}) == {}
    assert members(read_hashes(["1"]), read_hashes([]))[1].tolist() == [False]
    monkeypatch.setattr(near, "COMMON", 5)
    frame = " ".join(f"frame{number}" for number in range(40))
    pages = {f"p{number}": f"{frame} own text of {number}" for number in range(9)}
    assert search({"p0": pages["p0"]}, pages) == {f"p{n}": "p0" for n in range(1, 9)}  # nine tenths are the same
    longer = {name: f"{text} {' '.join(f'{name}x{n}' for n in range(60))}" for name, text in pages.items()}
    assert search({"p0": longer["p0"]}, longer) == {}  # a frame that all pages share makes no copies of them
