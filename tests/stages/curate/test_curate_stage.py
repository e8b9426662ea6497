"""The whole stage on small pages: order, counts, determinism, leaks, and what it says when nothing is left."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groundup.artifact.exhibit import Exhibits, Funnel, Samples
from groundup.artifact.ledger import cluster
from groundup.artifact.ledger import find as ledger_of
from groundup.artifact.record import Cost, FileEntry, Record
from groundup.artifact.stage import Artifact, Node, Outcome, StageConfig, Task
from groundup.artifact.terms import Terms
from groundup.base.errors import DataError, RequestError
from groundup.base.files import sha256_file
from groundup.base.progress import Silent
from groundup.stages.curate import run as run_module
from groundup.stages.curate.config import CurateConfig
from groundup.text.benchmark import Benchmark
from groundup.text.document import PAGES, document_id, read_rows, tables, write_shards

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
        "date": None,
        "headers": None,
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
    write_shards(path, "pages", PAGES, pages)
    files = {f"pages/{table.name}": FileEntry(bytes=0, sha256=sha256_file(table)) for table in tables(path, "pages")}
    return Artifact(path, _record(name, "pages", files))


def _record(name: str, kind: str, files: dict[str, FileEntry]) -> Record:
    return Record(
        format=1, name=name, kind=kind, digest=name, stage="source", stage_version=1, config={}, inputs={},
        code_version="0", environment={}, created="", metrics={}, terms=Terms(), payload="", files=files,
        cost=Cost(seconds=0, cpu_seconds=0, peak_memory_bytes=0, energy_joules=0, watts_per_core=0, attempts=1),
    )  # fmt: skip


def _config(**fields: Any) -> CurateConfig:
    benchmark = {"name": "story_endings", "rows": "b.jsonl.gz"}
    return CurateConfig.parse({"pages": ["pages"], "decontaminate": [benchmark], **fields}, "t")


def _curate(
    folder: Path,
    artifacts: list[Artifact],
    config: CurateConfig,
    files: dict[str, Path] | None = None,
    inputs: dict[str, tuple[Artifact, ...]] | None = None,
) -> tuple[Outcome, Task, list[dict[str, Any]], list[dict[str, Any]]]:
    payload = folder / "payload"
    payload.mkdir(parents=True)
    rows = folder / "b.jsonl.gz"
    item = {"id": "i1", "context": ITEM, "endings": ["It flew.", "No.", "No.", "No."], "label": 0}
    rows.write_bytes(gzip.compress(json.dumps(item).encode()))
    task = Task(
        "corpus",
        "d",
        {"pages": tuple(artifacts), **(inputs or {})},
        {"b.jsonl.gz": rows, **(files or {})},
        payload,
        folder,
        Silent(),
    )
    outcome = config.run(task)
    return outcome, task, _rows(payload, "corpus"), _rows(payload, "rejects")


def _rows(payload: Path, name: str) -> list[dict[str, Any]]:
    return [row for table in tables(payload, name) for row in read_rows(table)]


def _bytes(payload: Path) -> dict[str, bytes]:
    return {str(path.relative_to(payload)): path.read_bytes() for path in payload.rglob("*.parquet")}


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
    (leak,) = _rows(task.payload, "contamination")
    assert (leak["benchmark"], leak["item"], leak["record"], leak["whole"]) == ("story_endings", "i1", "leak", True)
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
    assert all(len(text) <= 702 for one in samples for sample in one.samples for text, _ in sample.parts)


def test_the_order_of_inputs_does_not_show(tmp_path: Path) -> None:
    shuffled = ALL.copy()
    random.Random(1).shuffle(shuffled)
    layouts = [
        [_artifact(tmp_path / "1", "pages", ALL)],
        [_artifact(tmp_path / "2", "a", shuffled[:9]), _artifact(tmp_path / "2", "b", shuffled[9:])],
        [_artifact(tmp_path / "3", "b", shuffled[20:]), _artifact(tmp_path / "3", "a", shuffled[:20])],
    ]
    results, shards = [], []
    for number, layout in enumerate(layouts):
        outcome, task, _, _ = _curate(tmp_path / f"run{number}", layout, _config())
        leaks = _rows(task.payload, "contamination")
        shards.append([leak.pop("shard") for leak in leaks])  # which shard a page is in is what differs
        tables = {name: data for name, data in _bytes(task.payload).items() if not name.startswith("contamination/")}
        results.append((outcome, tables, leaks))
    assert results[0] == results[1] == results[2]
    assert shards[0] == ["pages/00000.parquet"]
    assert set(shards[1] + shards[2]) <= {"a/00000.parquet", "b/00000.parquet"}


def test_the_shard_of_a_leak_is_the_digest_of_its_artifact_and_the_file(tmp_path: Path) -> None:
    leak = PAGES_BY_REASON["decontaminate:story_endings"]
    artifacts = [
        _artifact(tmp_path / "z", "web", [*KEPT[:4], leak]),
        _artifact(tmp_path / "y", "books", KEPT[4:6]),
        _artifact(tmp_path / "x", "more", [*KEPT[:4], leak]),  # the same table again: named by the lesser digest
    ]
    renamed = [replace(one, record=one.record.model_copy(update={"name": "of another recipe"})) for one in artifacts]
    for number, order in enumerate((artifacts, artifacts[::-1], renamed)):
        outcome, task, *_ = _curate(tmp_path / f"run{number}", order, _config())
        assert [row["shard"] for row in _rows(task.payload, "contamination")] == ["more/00000.parquet"]
        assert outcome.metrics["contamination"]["story_endings"]["documents"] == 1


def test_the_number_of_workers_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "WORTH_A_POOL", 0)
    monkeypatch.setattr(run_module, "UNIT_BYTES", 1)
    monkeypatch.setattr(run_module, "PARTITION_BYTES", 1000)
    artifact = _artifact(tmp_path, "pages", ALL)
    results = []
    for count in (1, 2):
        config = _config(workers=count)
        outcome, task, _, _ = _curate(tmp_path / f"run{count}", [artifact], config)
        results.append((outcome, _bytes(task.payload)))
    assert results[0] == results[1]
    one, two = (_config(workers=count).identity({"b.jsonl.gz": "x"}) for count in (1, 2))
    assert one == two


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
    samples = next(one for one in task.exhibits if one.title == "A page before and after")
    assert isinstance(samples, Samples)
    assert samples.samples[0].parts[0][0].startswith("<body>")
    assert corpus[0]["text"].startswith(samples.samples[1].parts[0][0][:50])


def test_the_process_that_parses_pages_ends_with_its_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def children() -> set[str]:
        return {child for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()}

    seen: list[set[str]] = []
    exact = run_module.Passes.exact

    def look(passes: run_module.Passes, cleaned: Any) -> Any:
        seen.append(children())
        return exact(passes, cleaned)

    monkeypatch.setattr(run_module.Passes, "exact", look)
    before = children()
    page = _page(f"<main>{'<p>'.join(_story(6).splitlines())}</main>", "page.html", "text/html")
    _curate(tmp_path / "run", [_artifact(tmp_path, "pages", [page])], _config())
    assert seen[0] <= before


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
        ({"extractor": "lynx"}, "extractor"),
        ({"redact": ["mail"]}, "redact"),
        ({"near_duplicates": {"min_jaccard": 0}}, "min_jaccard"),
        ({"held_out": 1}, "held_out"),
        ({"page": ["x"]}, "did you mean 'pages'"),
        ({"workers": 0}, "workers"),
        ({"executor": "spark"}, "executor"),
    ],
)
def test_bad_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        CurateConfig.parse({"pages": ["pages"], **fields}, "t")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filters": ["gopher"]}, "no set of filters 'gopher'; known: |no set of filters 'gopher'; did you mean"),
        ({"limits": {"gopher_qualty": {}}}, r"'gopher_qualty', which is none of the filters; did you mean"),
        ({"limits": {"gopher_quality": {"min_words": 3}}}, r"no limit 'min_words'; did you mean 'min_doc_words'"),
    ],
)
def test_unknown_filters_and_limits_are_refused(fields: dict[str, Any], message: str) -> None:
    config = CurateConfig.parse({"pages": ["pages"], **fields}, "t")
    with pytest.raises(RequestError, match=message):
        config.check(Node("corpus", config, {}, {}, "d"))


def test_limits_change_what_is_kept(tmp_path: Path) -> None:
    pages = [_page(_story(7, sentences=3), "45 words"), *KEPT[:3]]
    counts = []
    for number, limits in enumerate(({}, {"gopher_quality": {"min_doc_words": 40}})):
        artifact = _artifact(tmp_path / f"in{number}", "pages", pages)
        outcome, *_ = _curate(tmp_path / f"run{number}", [artifact], _config(limits=limits))
        counts.append(outcome.metrics["documents"])
    assert counts == [3, 4]


def test_the_names_in_the_configuration_are_those_of_the_operators() -> None:
    from typing import get_args

    from groundup.stages.curate import config
    from groundup.stages.curate.extraction import extractors
    from groundup.stages.curate.identification import identify
    from groundup.stages.curate.redaction import redact, spans

    assert set(get_args(config.Extractor)) == set(extractors.MODES)
    assert get_args(config.LanguageModel) == get_args(identify.Model)
    assert set(get_args(config.Kind)) == set(spans.KINDS)
    assert get_args(config.Action) == redact.ACTIONS
    assert config.DEFAULT_KINDS == redact.DEFAULT_KINDS


def test_the_ledger_tells_what_happened_to_every_page(tmp_path: Path) -> None:
    _, task, corpus, rejects = _curate(tmp_path / "run", [_artifact(tmp_path, "pages", [*ALL, ALL[0]])], _config())
    ledger = {row["id"]: row for row in _rows(task.payload, "ledger")}
    assert set(ledger) == {page["id"] for page in ALL}
    assert {row["id"] for row in corpus} == {name for name, row in ledger.items() if row["step"] is None}
    for row in rejects:
        entry = ledger[row["id"]]
        assert row["reason"] == f"{entry['step']}:{entry['rule']}"
        assert entry["page_bytes"] > 0
    twin = ledger[next(row["id"] for row in rejects if row["step"] == "near_dedup")]
    assert twin["similarity"] > 0.75
    found = ledger_of(task.payload / "ledger", twin["id"][:12])
    assert [row["id"] for row in found] == [twin["id"]]
    assert [row["id"] for row in cluster(task.payload / "ledger", twin["survivor"])] == [twin["id"]]
    assert {row["split"] for row in ledger.values()} == {"train", "held_out", None}


def test_what_owners_say_is_in_the_ledger_and_changes_nothing_else(tmp_path: Path) -> None:
    owners = [("Ada", "MIT", "allowed"), (None, "CC-BY-4.0", None), ("Bob", None, "allowed")]
    said = [
        {**page, "author": author, "found_licence": licence, "permission": permission}
        for page, (author, licence, permission) in zip(ALL, owners * len(ALL), strict=False)
    ]
    plain = _curate(tmp_path / "plain", [_artifact(tmp_path, "a", ALL)], _config())[1].payload
    payload = _curate(tmp_path / "said", [_artifact(tmp_path, "b", said)], _config())[1].payload
    names = ("id", "author", "found_licence", "permission")
    ledger = _rows(payload, "ledger")
    want = sorted(([page[name] for name in names] for page in said), key=lambda row: str(row[0]))
    assert [[row[name] for name in names] for row in ledger] == want
    assert [{**row, **dict.fromkeys(names[1:])} for row in ledger] == _rows(plain, "ledger")
    for name in ("corpus", "rejects"):
        assert _rows(payload, name) == _rows(plain, name)


def test_an_interrupted_curation_goes_on_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "UNIT_BYTES", 1)
    artifact = _artifact(tmp_path, "pages", ALL)
    _, task, *_ = _curate(tmp_path / "whole", [artifact], _config())

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module.Passes, "finish", cut)
        with pytest.raises(KeyboardInterrupt):
            _curate(tmp_path / "cut", [artifact], _config())
    done = {path.name for path in (tmp_path / "cut" / "jobs").iterdir()}
    assert done
    shutil.rmtree(tmp_path / "cut" / "payload")
    _, again, *_ = _curate(tmp_path / "cut", [artifact], _config())
    assert _bytes(again.payload) == _bytes(task.payload)


def test_what_no_pass_needs_any_more_is_freed_and_made_again_if_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "UNIT_BYTES", 1)
    config = _config(repeated_text={}, repeated_passages={})
    layout = [_artifact(tmp_path / "in", f"part{number}", ALL[number::3]) for number in range(3)]
    _, whole, *_ = _curate(tmp_path / "whole", layout, config)
    jobs = tmp_path / "cut" / "jobs"

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    def manifests() -> dict[Path, dict[str, Any]]:
        return {path.parent: json.loads(path.read_text()) for path in jobs.glob("*/manifest.json")}

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_collect", cut)
        with pytest.raises(KeyboardInterrupt):
            _curate(tmp_path / "cut", layout, config)
    left = {path.name for path in jobs.glob("*/*")}
    gone = {"kept.parquet", "dropped.parquet", "pieces.arrow", "prints.arrow", "windows.arrow", "bands.arrow"}
    assert not left & {*gone, "values.npy", "members.npy"}
    assert {"documents.arrow", "corpus.parquet"} <= left
    before = manifests()
    with monkeypatch.context() as patch:  # all is found: no page is looked at again
        patch.setattr(run_module, "_collect", cut)
        patch.setattr("groundup.stages.curate.passes.clean.Clean.__call__", cut)
        shutil.rmtree(tmp_path / "cut" / "payload")
        with pytest.raises(KeyboardInterrupt):
            _curate(tmp_path / "cut", layout, config)
    assert manifests() == before
    damaged = next(folder for folder, manifest in before.items() if "documents.arrow" in manifest["files"])
    (damaged / "documents.arrow").write_bytes(b"")
    shutil.rmtree(tmp_path / "cut" / "payload")
    _, again, *_ = _curate(tmp_path / "cut", layout, config)
    assert _bytes(again.payload) == _bytes(whole.payload)
