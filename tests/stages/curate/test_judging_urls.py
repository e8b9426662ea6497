"""URL lists: the rules of FineWeb's URL filter, the forms that lists come in, and their size."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import DataError, RequestError
from groundup.stages.curate.judging import urls
from groundup.stages.curate.judging.urls import DecideUrl, UrlLists


@pytest.fixture
def lists(tmp_path: Path) -> UrlLists:
    (tmp_path / "domains").write_text("# note\nbad.example\n*.worse.example  # why\nBlog.Fine.Example\n10.0.0.1\n")
    (tmp_path / "urls").write_text("fine.example/one/page\nhttp://www.fine.example/q?a=1\n")
    (tmp_path / "banned").write_text("Plum\n")
    (tmp_path / "parts").write_text("sour-pear\n")
    (tmp_path / "soft").write_text("kiwi\nfig\nlime\n")
    names = [(str(tmp_path / name),) for name in ("domains", "urls", "banned", "parts", "soft")]
    return UrlLists(*names, shipped=False)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://bad.example/", "banned_domain"),
        ("HTTPS://WWW.Bad.Example:8080/x", "banned_domain"),
        ("https://a.b.bad.example/x", "banned_domain"),
        ("https://user:pass@bad.example./", "banned_domain"),
        ("bad.example/path", "banned_domain"),
        ("https://notbad.example/", None),
        ("https://bad.example.org/", None),
        ("https://example/", None),
        ("https://worse.example/", "banned_domain"),
        ("https://blog.fine.example/", "banned_domain"),
        ("https://fine.example/", None),
        ("http://10.0.0.1/x", "banned_domain"),
        ("http://9.10.0.0.1.example/x", None),
        ("https://fine.example/one/page/", "banned_url"),
        ("https://www.fine.example/one/page#top", "banned_url"),
        ("https://fine.example/one/page/two", None),
        ("https://fine.example/q?a=1", "banned_url"),
        ("https://fine.example/q?a=2", None),
        ("https://fine.example/buy-PLUM.html", "banned_word"),
        ("https://fine.example/plums", None),
        ("https://fine.example/a_sour_pears", "banned_word"),
        ("https://kiwi.example/fig", "soft_words"),
        ("https://kiwi.example/kiwi", None),
        ("https://[broken/", None),
        ("", None),
        (None, None),
    ],
)
def test_rules(lists: UrlLists, url: str | None, rule: str | None) -> None:
    batch = pa.RecordBatch.from_pydict({"url": pa.array([url], pa.string())})
    done = pickle.loads(pickle.dumps(DecideUrl(lists)))(batch)
    assert done.column("rule").to_pylist() == [rule]
    assert done.column("step").to_pylist() == [rule and "url"]


def test_details_quote_nothing(lists: UrlLists) -> None:
    batch = pa.RecordBatch.from_pydict(
        {"url": ["https://x.bad.example/", "https://fine.example/plum", "https://kiwi.fig/"]}
    )
    details = DecideUrl(lists)(batch).column("detail").to_pylist()
    assert details == ["1 levels above the host", "1 as words", "2 of them; 2 condemn"]


def test_earlier_verdicts_stay(lists: UrlLists) -> None:
    columns = {"url": ["https://bad.example/"], "step": ["read"], "rule": ["empty"], "detail": [None]}
    batch = pa.RecordBatch.from_pydict({name: pa.array(value, pa.string()) for name, value in columns.items()})
    assert DecideUrl(lists)(batch).to_pylist() == batch.to_pylist()


def test_the_shipped_words_condemn_what_they_should() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"url": ["https://free-xxx.example/", "https://casino.example/slots", "https://www.essex.ac.uk/hotels", "https://casino.example/"]}
    )  # fmt: skip
    assert DecideUrl(UrlLists())(batch).column("rule").to_pylist() == ["banned_word", "soft_words", None, None]


def test_forms_of_lists(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_bytes(
        b"\xef\xbb\xbfone.example\r\nTWO.example\r\n\r\nwww.three.example\nhttp://four.example/\n.five.example"
    )
    packed = tmp_path / "list.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    folder = tmp_path / "blacklists"
    for name in ("adult", "gambling"):
        (folder / name).mkdir(parents=True)
    (folder / "adult/domains").write_text("one.example\ntwo.example\nthree.example\n")
    (folder / "gambling/domains.gz").write_bytes(gzip.compress(b"four.example\nfive.example\none.example\n"))
    (folder / "adult/urls").write_text("six.example/a\n")
    expected = np.sort(urls.hash_lines(["one.example", "two.example", "three.example", "four.example", "five.example"]))
    for path in (plain, packed, folder):
        assert urls.load_list(path, "domains").tolist() == expected.tolist()
    assert urls.compile_list([plain, folder], "domains", tmp_path / "all.npy") == 5
    assert urls.load_list(tmp_path / "all.npy", "domains").tolist() == expected.tolist()


def test_bad_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"one.example\n" * 9)[:-6])
    with pytest.raises(DataError, match="gzip"):
        urls.load_list(tmp_path / "cut.gz", "domains")
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="no compiled URL list"):
        urls.load_list(tmp_path / "x.npy", "domains")
    with pytest.raises(RequestError, match="no URL list"):
        urls.load_list(tmp_path / "absent", "domains")
    with pytest.raises(RequestError, match="no files named urls"):
        (tmp_path / "empty").mkdir()
        urls.load_list(tmp_path / "empty", "urls")
    with pytest.raises(RequestError, match="no URL list"):
        _ = DecideUrl(UrlLists(domains=(str(tmp_path / "absent"),))).spec
    with pytest.raises(RequestError, match=r"ends in \.npy"):
        urls.compile_list([], "domains", tmp_path / "out.txt")


def test_pieces_of_a_file_meet_at_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "domains"
    names = [f"site{number}.example" for number in range(200)]
    path.write_text("\n".join(names))
    monkeypatch.setattr(urls, "_CHUNK", 37)
    assert urls.load_list(path, "domains").tolist() == np.sort(urls.hash_lines(names)).tolist()


@given(
    st.lists(st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,3}){1,3}", fullmatch=True), max_size=20),
    st.from_regex(r"([a-c]\.){0,3}[a-z]{1,4}\.[a-z]{1,3}", fullmatch=True),
)
def test_lookup_equals_a_search_by_suffix(listed: list[str], host: str) -> None:  # fmt: skip
    loaded = urls.Loaded(np.unique(urls.hash_lines(listed)), np.zeros(0, np.uint64), frozenset(), None, frozenset())
    expected = any(host == name or host.endswith("." + name) for name in listed)
    assert (loaded.listed([f"https://{host}/"])[0] is not None) is expected


def test_a_million_domains_take_eight_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "domains"
    with path.open("w") as file:
        for start in range(0, 1_000_000, 10_000):
            file.write("".join(f"s{number}.example\n" for number in range(start, start + 10_000)))
    found = urls.load_list(path, "domains")
    assert len(found) == 1_000_000 and found.nbytes == 8_000_000


def test_a_changed_list_changes_the_specification(lists: UrlLists) -> None:
    first = DecideUrl(lists).spec.digest
    Path(lists.soft_words[0]).write_text("kiwi\n")
    assert DecideUrl(lists).spec.digest != first
