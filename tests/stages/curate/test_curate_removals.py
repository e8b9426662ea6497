"""What the report says of removals: counts that add up, the top of long lists, reasons in words, nothing personal."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from groundup.artifact.exhibit import Samples, Table
from groundup.stages.curate.exhibits import show
from groundup.stages.curate.filters.modes import modes
from groundup.stages.curate.reasons import in_words
from groundup.stages.curate.removals import by_origin, by_rule, origins_by_rule, tokens_about
from groundup.stages.curate.summary import Group, Summary

SHORT, OTHER, NEAR = "gopher_quality:too_few_words", "identify:other_language", "near_dedup:near_duplicate"


def _row(number: int, text: str, detail: str = "") -> dict[str, Any]:
    return {"id": f"{number:032x}", "source": "s", "record": f"page {number}", "detail": detail, "text": text}


def _summary(**changed: Any) -> Summary:
    groups = (
        Group("s", "CC0-1.0", "eng_Latn", "best", "", 60, 80_000, 90_000),
        Group("s", "CC0-1.0", "eng_Latn", "best", SHORT, 20, 4_000, 9_000),
        Group("s", "CC-BY-4.0", "deu_Latn", "best", OTHER, 9, 9_000, 9_000),
        Group("s", "CC-BY-4.0", None, None, "extract:no_text", 7, 0, 9_000),
        Group("s", "CC-BY-4.0", "eng_Latn", "best", NEAR, 4, 400, 900),
    )
    domains = Counter[tuple[str, str]]()
    for number in range(12):
        domains[f"h{number:02}.example.org", SHORT] = 20 - number
        domains[f"h{number:02}.example.org", ""] = 5
    domains["kept.example.org", ""] = 30
    samples = {
        SHORT: [_row(n, f"Write to jo{n}@example.com. " + "word " * 300, "37 is below 50") for n in range(3)],
        "extract:no_text": [_row(7, "")],
        NEAR: [_row(8, "<b>twice</b>", "of 1")],
        "": [_row(9, "kept")],
    }
    fields: dict[str, Any] = {
        "groups": groups, "text_bytes": 80_000, "held_out": 3, "redactions": Counter(), "hits": Counter(),
        "domains": domains, "samples": samples, "page": None,
        "together": Counter({(SHORT,): 6, (SHORT, OTHER): 4}), "items": {}, **changed,
    }  # fmt: skip
    return Summary(**fields)


def _rows(table: Table | None) -> list[dict[str, Any]]:
    assert table is not None
    assert all(len(row) == len(table.columns) for row in table.rows)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_each_rule_says_what_it_took() -> None:
    rows = _rows(by_rule(_summary()))
    assert [row["rule"] for row in rows] == [SHORT, OTHER, "extract:no_text", NEAR]
    assert sum(row["documents"] for row in rows) == 40
    assert [row["of all pages"] for row in rows] == ["20.0%", "9.0%", "7.0%", "4.0%"]
    assert [row["tokens (about)"] for row in rows] == [1_000, 2_250, None, 100]
    assert [row["alone"] for row in rows] == ["6 of 10", "0 of 4", "", ""]
    caption = by_rule(_summary()).caption  # type: ignore[union-attr]
    assert "characters divided by 4" in caption
    assert tokens_about(0) == 0


def test_whose_documents_with_the_number_of_those_not_shown() -> None:
    first, second, third, _ = _rows(origins_by_rule(_summary()))
    assert first["domains"] == "h00.example.org 20, h01.example.org 19, h02.example.org 18, 9 more"
    assert (first["languages"], first["licences"]) == ("eng_Latn 20", "CC0-1.0 20")
    assert (second["languages"], second["domains"]) == ("deu_Latn 9", "")
    assert third["languages"] == "unknown 7"


def test_who_lost_what_adds_up() -> None:
    rows = _rows(by_origin(_summary()))
    for by in ("language", "licence"):
        assert sum(row["removed"] for row in rows if row["by"] == by) == 40
        assert sum(row["tokens removed (about)"] for row in rows if row["by"] == by) == tokens_about(13_400)
    language = {row["which"]: row for row in rows if row["by"] == "language"}
    assert list(language) == ["eng_Latn", "deu_Latn", "unknown"]
    assert (language["eng_Latn"]["pages"], language["eng_Latn"]["share"]) == (84, "29%")
    assert language["eng_Latn"]["most often by"] == f"{SHORT} 20"
    domain = [row for row in rows if row["by"] == "domain"]
    assert [row["which"] for row in domain] == [*(f"h{number:02}.example.org" for number in range(8)), "4 more"]
    assert domain[-1]["removed"] == 12 + 11 + 10 + 9 and domain[-1]["pages"] == 42 + 20
    assert all(row["tokens removed (about)"] is None for row in domain)
    assert "kept.example.org" not in {row["which"] for row in domain}


def test_nothing_removed_shows_no_table() -> None:
    kept = (Group("s", "CC0-1.0", "eng_Latn", "best", "", 60, 80_000, 90_000),)
    found = _summary(groups=kept, domains=Counter(), samples={}, together=Counter())
    assert by_rule(found) is origins_by_rule(found) is by_origin(found) is None
    titles = [exhibit.title for exhibit in show(found, ["extract"], {}, "")]
    assert titles == ["From pages to documents", "What is kept of each source"]


def test_samples_of_each_rule_are_folded_under_its_reason() -> None:
    exhibits = show(_summary(), ["extract", "gopher_quality", "near_dedup"], {}, "")
    (dropped,) = (one for one in exhibits if isinstance(one, Samples) and one.title == "Pages that were dropped")
    folds = Counter(sample.fold for sample in dropped.samples)
    assert folds == {
        f"{SHORT}: too few words (20)": 3,
        "extract:no_text: no main text was found on the page (7)": 1,
        f"{NEAR}: nearly the same as a document that stays (4)": 1,
    }
    first = dropped.samples[0]
    assert first.label == "s page 0 (37 is below 50)"
    assert first.parts[0][0].startswith("Write to [email]. word")
    assert "@" not in "".join(text for sample in dropped.samples for text, _ in sample.parts)
    assert [sample.parts for sample in dropped.samples if sample.label == "s page 7"] == [
        (("no text was extracted", "note"),)
    ]


def test_samples_show_nothing_personal_wherever_it_stands() -> None:
    many = "".join(f"jane.doe{n:03}@example.com " for n in range(60))[:1500]
    rows = [
        _row(1, many),
        _row(2, "x " * 492 + "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADAN" * 40),
        {**_row(3, "My name is Ada Lovelace."), "record": "jo@example.com"},
    ]
    found = _summary(samples={SHORT: rows, "": [{**_row(4, "kept"), "record": "letter of al@example.com"}]})
    shown = [sample for one in show(found, [], {}, "") if isinstance(one, Samples) for sample in one.samples]
    everything = "".join(sample.label + text for sample in shown for text, _ in sample.parts)
    assert not any(value in everything for value in ("jane", "@", "MIIE", "Ada"))
    assert {"s: letter of [email]", "s [email]"} <= {sample.label for sample in shown}


def test_benchmark_items_by_shard() -> None:
    shards = Counter({("arc", f"pages/{n:05}.parquet"): n + 1 for n in range(7)})
    shards["other", "pages/00000.parquet"] = 4
    found = _summary(items={"arc": 10, "none": 3, "other": 2}, shards=shards)
    (table,) = (one for one in show(found, [], {}, "") if one.title == "Where benchmark items were found")
    assert isinstance(table, Table)
    assert table.rows[:2] == (("arc", "pages/00006.parquet", 7), ("arc", "pages/00005.parquet", 6))
    assert [row[0] for row in table.rows] == ["arc"] * 5 + ["other"]


def test_the_raw_page_is_shown_without_personal_data() -> None:
    page = {"record": "p", "text": "kept"}
    shown = show(_summary(page=page), [], {}, "<body>mail jo@example.com " + "x " * 5000)
    (samples,) = (one for one in shown if one.title == "A page before and after")
    assert isinstance(samples, Samples)
    assert samples.samples[0].parts[0][0].startswith("<body>mail [email] x x")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("gopher_repetition:top_3_gram", "one run of 3 words makes up too much of it"),
        ("gopher_repetition:duplicated_9_n_grams", "too much of it stands in repeated runs of 9 words"),
        ("decontaminate:arc_easy", "holds an item of the benchmark arc_easy"),
        ("url:banned_domain", "its address is on a list: banned domain"),
        ("toxicity:profane", "above the limit for profane text"),
        ("c4:curly_bracket", "curly bracket"),
        ("redact:card", "holds personal data: card"),
    ],
)
def test_reasons_in_words(reason: str, words: str) -> None:
    assert in_words(reason) == words


def test_no_rule_of_a_filter_is_left_in_signs() -> None:
    from groundup.stages.curate.filters.modes import _FAMILIES

    rules = {f"{f.name}:{rule}" for mode in modes().values() for f in mode.filters
             for named in _FAMILIES[f.name].rules.values() for _, _, rule in named}  # fmt: skip
    assert len(rules) > 40
    for reason in rules:
        words = in_words(reason)
        assert words and "_" not in words and not any(odd in words for odd in ("frac", "gram", "thr"))
