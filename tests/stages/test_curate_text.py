"""Extraction, repair and language identification."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.stages.curate.extract import decode_html, extract
from groundup.stages.curate.identify import identify
from groundup.stages.curate.languages import LABELS
from groundup.stages.curate.repair import repair

PAGE = """<!doctype html><html><head><title>T</title><script>var secret = 1;</script><style>p{}</style></head><body>
<nav><a href="/">Home</a> <a href="/x">About us</a></nav>
<main><h1>Otters</h1><p>Otters hold hands while they sleep, so that they do not drift apart.</p>
<p>They eat crabs.</p><pre>if x:
    dive()
</pre></main><footer>Copyright</footer></body></html>"""


def test_main_text_is_kept_and_the_rest_is_not() -> None:
    text = extract(PAGE.encode(), "text/html", None)
    assert "Otters hold hands" in text
    assert "They eat crabs." in text
    assert "if x:\n    dive()" in text  # code keeps its shape
    assert not any(word in text for word in ("secret", "p{}", "About us"))


def test_text_passes_as_it_is() -> None:
    assert extract("a <b> café\r\n".encode(), "text/markdown", "utf-8") == "a <b> café\r\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('<meta charset="windows-1251">Привет'.encode("cp1251"), "Привет"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=shift_jis">日本'.encode("shift_jis"), "日本"),
        ("\ufeff<p>café".encode("utf-16"), "café"),
        ("<p>café".encode("utf-8-sig"), "café"),
        (("<p>" + "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 9).encode("koi8-r"), "французских"),
        (b'<meta charset="utf-8">caf\xe9', "café"),  # says UTF-8 and is not: Windows-1252 as in browsers
        (b'<meta charset="x-user-defined">plain', "plain"),
        (b'<meta charset="no-such-thing">plain', "plain"),
        (b"\xff\xfe\x00", ""),
    ],
)
def test_encodings_are_detected(content: bytes, expected: str) -> None:
    assert expected in decode_html(content)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_way_to_text(content: bytes) -> None:
    text = repair(extract(b"<p>" + content, "text/html", None))
    text.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\n\t" for c in text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("l\u00e2\u20ac\u2122heure", "l\u2019heure"),  # UTF-8 read as Windows-1252
        ("e\u0301", "\u00e9"),  # NFC
        ("x\u00b2 \ufb01 \uff21 \u201cq\u201d", "x\u00b2 \ufb01 \uff21 \u201cq\u201d"),  # not NFKC, quotes stay
        ("a\r\nb\rc\u2028d\u0085e\x0cf", "a\nb\nc\nd\ne\nf"),
        ("a\x00b\x1bc\x7fd\ufeffe", "abcde"),
        ("a\tb  \n\n\n\n  c\n", "a\tb\n\n  c"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\ud800b", "a\ufffdb"),
        ("", ""),
    ],
)
def test_repair(before: str, after: str) -> None:
    assert repair(before) == after


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_repair_is_safe_to_store(text: str) -> None:
    repaired = repair(text)
    repaired.encode("utf-8")
    assert repaired == repaired.strip()
    assert "\r" not in repaired


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The little otter swam across the river to find her red kite, and she was very happy.", "eng_Latn"),
        ("Der kleine Otter schwamm über den Fluss, um seinen roten Drachen zu finden.", "deu_Latn"),
        ("Маленькая выдра переплыла реку, чтобы найти своего красного змея.", "rus_Cyrl"),
        ("小さなカワウソは赤い凧を見つけるために川を泳いで渡りました。", "jpn_Jpan"),
    ],
)
def test_languages(text: str, label: str) -> None:
    found, score = identify(text * 5)
    assert found == label
    assert 0.3 <= score <= 1


def test_every_label_of_the_model_has_a_name() -> None:
    from py3langid import langid

    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    assert set(identifier.labels) == set(LABELS)
    assert len(set(LABELS.values())) == len(LABELS)
    assert all(len(label) == 8 and label[3] == "_" and label[4].isupper() for label in LABELS.values())


def test_real_english_scores_above_the_default_threshold() -> None:
    from groundup.stages.curate.config import CurateConfig

    path = Path(__file__).parents[2] / "examples" / "stories.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        texts = [json.loads(line)["text"] for line in handle][:200]
    least = CurateConfig(pages=("x",)).min_language_score
    assert sum(identify(text)[0] == "eng_Latn" and identify(text)[1] >= least for text in texts) >= 199
