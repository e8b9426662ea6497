"""The whole stage on small pages: order, counts, determinism, leaks, and what it says when nothing is left."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from groundup.artifact.exhibit import Exhibits, Funnel, Samples
from groundup.artifact.record import Cost, FileEntry, Record
from groundup.artifact.stage import Artifact, Outcome, StageConfig, Task
from groundup.artifact.terms import Terms
from groundup.base.errors import DataError, RequestError, ResourceError
from groundup.base.progress import Silent
from groundup.stages.curate import run as run_module
from groundup.stages.curate import workers
from groundup.stages.curate.config import CurateConfig
from groundup.stages.curate.run import held_out_ids
from groundup.text.benchmark import Benchmark
from groundup.text.document import PAGES, document_id, read_rows, write_rows

ENGLISH = """otter kite river hill moon lantern boat garden baker window forest storm letter bridge apple clock
found lost carried painted watched followed mended borrowed opened laughed walked dreamed little brave quiet golden
never always with that have the and of to be she they her their when where little friend morning evening winter under
over through beside because before after again together slowly happy careful thought wanted remembered promised house
people water bread story music market island mountain teacher children mother father sister brother summer"""
VOCABULARY = ENGLISH.split()


def _story(seed: int, sentences: int = 12) -> str:
    """English words in no order: running text to the filters, and unlike any other story."""
    draw = random.Random(seed)
    return "\n".join(f"The {' '.join(draw.choice(VOCABULARY) for _ in range(14))}." for _ in range(sentences))


def _page(text: str | bytes, record: str, media_type: str = "text/plain", source: str = "s") -> dict[str, Any]:
    content = text if isinstance(text, bytes) else text.encode()
    return {
        "id": document_id(source, record, content),
        "source": source,
        "record": record,
        "media_type": media_type,
        "encoding": None if media_type == "text/html" else "utf-8",
        "url": None,
        "licence": "CC0-1.0",
        "content": content,
    }


ITEM = "A brave little otter swam across the wide cold river to find her lost red kite again."

PAGES_BY_REASON = {
    "extract:no_text": _page("<script>x()</script>", "empty", "text/html"),
    "repair:no_text": _page("\x00\x01", "control"),
    "identify:other_language": _page("Der kleine Otter schwamm über den Fluss und fand den Drachen nicht. " * 9, "de"),
    "gopher_quality:too_few_words": _page("The end of the story and of the moon.", "short"),
    "gopher_repetition:dup_line_frac": _page("\n".join([_story(1)] * 2), "twice"),
    "fineweb:too_few_sentence_lines": _page(_story(2).replace(".", " and"), "endless"),
    "decontaminate:story_endings": _page(f"{_story(3)}\n{ITEM.upper()}", "leak"),
}
KEPT = [_page(_story(seed), f"kept {seed}") for seed in range(100, 130)]
TWIN = _page(_story(100).replace(" ", "  ").lower(), "exact twin")
NEAR = _page(_story(101).replace("The", "Then the", 1) + "\nThe end of it.", "near twin")
ALL = [*PAGES_BY_REASON.values(), *KEPT, TWIN, NEAR]


def _artifact(folder: Path, name: str, pages: list[dict[str, Any]]) -> Artifact:
    path = folder / name
    path.mkdir(parents=True)
    write_rows(path / "pages.parquet", PAGES, pages)
    record = Record(
        format=1, name=name, kind="pages", digest=name, stage="source", stage_version=1, config={}, inputs={},
        code_version="0", environment={}, created="", metrics={}, terms=Terms(), payload="",
        cost=Cost(seconds=0, cpu_seconds=0, peak_memory_bytes=0, energy_joules=0, watts_per_core=0, attempts=1),
        files={"pages.parquet": FileEntry(bytes=0, sha256="")},
    )  # fmt: skip
    return Artifact(path, record)


def _config(**fields: Any) -> CurateConfig:
    benchmark = {"name": "story_endings", "rows": "b.jsonl.gz"}
    return CurateConfig.parse({"pages": ["pages"], "decontaminate": [benchmark], **fields}, "t")


def _curate(
    folder: Path, artifacts: list[Artifact], config: CurateConfig
) -> tuple[Outcome, Task, list[dict[str, Any]], list[dict[str, Any]]]:
    payload = folder / "payload"
    payload.mkdir(parents=True)
    rows = folder / "b.jsonl.gz"
    item = {"id": "i1", "context": ITEM, "endings": ["It flew.", "No.", "No.", "No."], "label": 0}
    rows.write_bytes(gzip.compress(json.dumps(item).encode()))
    task = Task("corpus", "d", {"pages": tuple(artifacts)}, {"b.jsonl.gz": rows}, payload, folder, Silent())
    outcome = config.run(task)
    return outcome, task, list(read_rows(payload / "corpus.parquet")), list(read_rows(payload / "rejects.parquet"))


def test_every_page_is_kept_or_refused_by_name(tmp_path: Path) -> None:
    outcome, task, corpus, rejects = _curate(tmp_path / "run", [_artifact(tmp_path, "pages", ALL)], _config())
    assert {page["id"] for page in KEPT} - {row["id"] for row in corpus} <= {KEPT[0]["id"], KEPT[1]["id"]}
    assert len(corpus) + len(rejects) == len(ALL) == outcome.metrics["documents_in"]
    reasons = {row["record"]: row["reason"] for row in rejects}
    for reason, page in PAGES_BY_REASON.items():
        assert reasons[page["record"]] == reason
    assert outcome.metrics["rejected"] == {
        **dict.fromkeys(PAGES_BY_REASON, 1), "exact_dedup:duplicate": 1, "near_dedup:near_duplicate": 1,
    }  # fmt: skip
    survivors = {row["id"] for row in corpus}
    for row in rejects:
        assert row["reason"].startswith(f"{row['step']}:")
        if row["step"] in ("exact_dedup", "near_dedup"):
            assert row["detail"].split()[1] in survivors
        if row["step"] == "decontaminate":
            assert "item i1" in row["detail"]
    assert [row["id"] for row in corpus] == sorted(survivors)
    assert {row["split"] for row in corpus} == {"train", "held_out"}
    assert all(row["chars"] == len(row["text"]) and row["language"] == "eng_Latn" for row in corpus)
    assert outcome.metrics["contamination"] == {"story_endings": {"items": 1, "documents": 1}}
    assert outcome.metrics["documents"] == outcome.metrics["sources"]["s"]["documents"] == len(corpus)
    assert outcome.metrics["languages"]["deu_Latn"] == 1
    _check_exhibits(task, len(corpus))


def _check_exhibits(task: Task, left: int) -> None:
    exhibits = Exhibits.model_validate_json(Exhibits(exhibits=tuple(task.exhibits)).model_dump_json()).exhibits
    funnel = next(one for one in exhibits if isinstance(one, Funnel))
    assert funnel.steps[0][1] == len(ALL)
    assert funnel.steps[-1][1] == left
    for (_, before, _), (_, after, dropped) in zip(funnel.steps, funnel.steps[1:], strict=False):
        assert before - after == sum(dropped.values())
    samples = [one for one in exhibits if isinstance(one, Samples)]
    assert samples
    assert all(len(text) <= 402 for one in samples for sample in one.samples for text, _ in sample.parts)


def test_the_order_of_inputs_does_not_show(tmp_path: Path) -> None:
    shuffled = ALL.copy()
    random.Random(1).shuffle(shuffled)
    layouts = [
        [_artifact(tmp_path / "1", "pages", ALL)],
        [_artifact(tmp_path / "2", "a", shuffled[:9]), _artifact(tmp_path / "2", "b", shuffled[9:])],
        [_artifact(tmp_path / "3", "b", shuffled[20:]), _artifact(tmp_path / "3", "a", shuffled[:20])],
    ]
    results = []
    for number, layout in enumerate(layouts):
        outcome, task, _, _ = _curate(tmp_path / f"run{number}", layout, _config())
        results.append((outcome, {path.name: path.read_bytes() for path in task.payload.iterdir()}))
    assert results[0] == results[1] == results[2]


def test_the_number_of_workers_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "WORTH_A_POOL", 0)
    monkeypatch.setattr(workers, "BATCH_BYTES", 5000)
    artifact = _artifact(tmp_path, "pages", ALL)
    results = []
    for count in (1, 2):
        config = _config(workers=count)
        outcome, task, _, _ = _curate(tmp_path / f"run{count}", [artifact], config)
        results.append((outcome, {path.name: path.read_bytes() for path in task.payload.iterdir()}))
    assert results[0] == results[1]
    one, two = (_config(workers=count).identity({"b.jsonl.gz": "x"}) for count in (1, 2))
    assert one == two


def test_a_killed_worker_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_start", workers.os._exit)
    from groundup.text.overlap import OverlapIndex

    with pytest.raises(ResourceError, match="set workers to 1"):
        list(workers.process_all(ALL, _config(), OverlapIndex.build([]), 2))


def test_steps_can_be_switched_off(tmp_path: Path) -> None:
    config = _config(filters=[], near_duplicates=None, decontaminate=[], languages=["eng_Latn", "deu_Latn"], redact=[])
    outcome, _, corpus, _ = _curate(tmp_path / "run", [_artifact(tmp_path, "pages", ALL)], config)
    assert set(outcome.metrics["rejected"]) == {"extract:no_text", "repair:no_text", "exact_dedup:duplicate"}
    assert {"short", "de", "leak", "near twin", "endless"} <= {row["record"] for row in corpus}


def test_redaction_reaches_the_corpus(tmp_path: Path) -> None:
    page = _page(_story(5) + "\nWrite to jo@example.org or to al@example.org.", "mail")
    outcome, _, corpus, _ = _curate(tmp_path / "run", [_artifact(tmp_path, "pages", [page])], _config())
    assert corpus[0]["text"].endswith("Write to [email] or to [email].")
    assert outcome.metrics["redactions"]["email"] == 2
    assert corpus[0]["id"] == page["id"]


def test_html_is_shown_before_and_after(tmp_path: Path) -> None:
    html = f"<html><body><nav>Menu</nav><main>{'<p>'.join(_story(6).splitlines())}</main></body></html>"
    page = _page(html, "page.html", "text/html")
    _, task, corpus, _ = _curate(tmp_path / "run", [_artifact(tmp_path, "pages", [page])], _config())
    samples = next(one for one in task.exhibits if isinstance(one, Samples))
    assert samples.samples[0].parts[0][0].startswith("<body>")
    assert corpus[0]["text"].startswith(samples.samples[1].parts[0][0][:50])


def test_nothing_left_names_the_reason(tmp_path: Path) -> None:
    pages = [
        PAGES_BY_REASON["gopher_quality:too_few_words"],
        _page("The story was of the moon and her friends.", "b"),
        PAGES_BY_REASON["extract:no_text"],
    ]
    with pytest.raises(DataError, match=r"no document is left of 3; most \(2\) .* gopher_quality:too_few_words"):
        _curate(tmp_path / "run", [_artifact(tmp_path, "pages", pages)], _config())
    with pytest.raises(DataError, match="no pages"):
        _curate(tmp_path / "run2", [_artifact(tmp_path / "2", "pages", [])], _config())


def test_held_out_is_stable_and_about_right() -> None:
    ids = [f"{number:032x}" for number in range(2000)]
    held = held_out_ids(ids, 0.05, 0)
    assert 60 < len(held) < 140
    assert held_out_ids(ids[:1000], 0.05, 0) == held & set(ids[:1000])
    assert held_out_ids(ids, 0.05, 1) != held
    assert len(held_out_ids(ids[:2], 1e-9, 0)) == 1
    assert held_out_ids(ids[:1], 0.5, 0) <= {ids[0]}
    assert held_out_ids(ids, 0.0, 0) == frozenset()


def test_benchmarks_come_from_the_recipe() -> None:
    class Scores(StageConfig):
        def benchmarks(self) -> tuple[Benchmark, ...]:
            return (Benchmark.parse({"name": "piqa", "rows": "p.jsonl"}, "t"),)

    config = CurateConfig.parse({"pages": ["pages"]}, "t")
    filled = config.fill({"corpus": config, "scores": Scores()})
    assert isinstance(filled, CurateConfig)
    assert filled.decontaminate == (Benchmark.parse({"name": "piqa", "rows": "p.jsonl"}, "t"),)
    assert list(filled.file_paths()) == ["p.jsonl"]
    assert config.fill({}).model_dump()["decontaminate"] == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"languages": ["eng_Latin"]}, r"unknown language 'eng_Latin'; did you mean 'eng_Latn'"),
        ({"languages": []}, "languages"),
        ({"filters": ["gopher"]}, "filters"),
        (
            {"gopher_quality": {"min_words": 3}},
            r"unknown field 'gopher_quality.min_words'; did you mean 'min_doc_words'",
        ),
        ({"near_duplicates": {"min_jaccard": 0}}, "min_jaccard"),
        ({"held_out": 1}, "held_out"),
        ({"page": ["x"]}, "did you mean 'pages'"),
        ({"workers": 0}, "workers"),
    ],
)
def test_bad_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        CurateConfig.parse({"pages": ["pages"], **fields}, "t")
