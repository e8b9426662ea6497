"""The ledger asked in SQL: every view against the Parquet files in plain Python, and what may not be asked."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from groundup.artifact.sql.ask import Ledger, open_ledger
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, RequestError
from groundup.base.progress import Silent
from groundup.cli import app
from groundup.flow import run
from groundup.readings import Trained
from groundup.text.document import read_rows, tables

ENGLISH = """otter kite river hill moon lantern boat garden baker window forest storm letter bridge apple clock found
lost carried painted watched followed mended borrowed opened laughed walked dreamed little brave quiet golden never
always with that have the and of to be she they her their when where friend morning evening winter under over through"""
WORDS = ENGLISH.split()
PYTHON = "import os\n\n\ndef walk(top):\n    for name in sorted(os.listdir(top)):\n        yield name, len(name)\n"


def story(seed: int) -> str:
    draw = random.Random(seed)
    return "\n".join(f"The {' '.join(draw.choice(WORDS) for _ in range(14))}." for _ in range(12))


def page(seed: int, **more: Any) -> dict[str, Any]:
    return {"text": story(seed), "url": f"https://site{seed % 3}.example/{seed}", **more}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two sources curated, one of them mixed again, made into tokens and read by a tiny model."""
    home = tmp_path_factory.mktemp("ledger")
    web = [page(seed, author=f"Author {seed % 4}" if seed % 2 else None) for seed in range(60)]
    web += [
        {**page(5), "text": story(5).lower()},
        page(90, text="The end of the story and of the moon."),
        page(91, text="Und so weiter. " * 40),
    ]
    books = [page(seed) for seed in range(200, 230)] + [page(201)]
    for name, rows in (("web", web), ("books", books)):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "code").mkdir()
    (home / "code" / "walk.py").write_text(PYTHON * 3)
    files = [
        {"path": str(home / "web.jsonl"), "name": "web", "licence": "CC-BY-4.0", "origin": "it's made here"},
        {"path": str(home / "books.jsonl"), "name": "books", "licence": "CC0-1.0", "origin": "made here"},
        {"path": str(home / "code"), "name": "code", "licence": "MIT", "origin": "made here", "format": "code"},
    ]
    artifacts = {
        "pages": {"stage": "source", "files": files},
        "corpus": {"stage": "curate", "pages": ["pages"], "decontaminate": [], "held_out": 0.1},
        "mix": {"stage": "mix", "corpora": ["corpus"], "shares": {"books": 0.5}, "max_epochs": 3},
        "tokenizer": {"stage": "tokenizer", "corpus": "mix", "vocab_size": 320},
        "tokens": {"stage": "tokens", "corpus": "mix", "tokenizer": "tokenizer", "max_seq_len": 64, "epochs": 2},
        "base": {
            "stage": "pretrain", "tokens": "tokens", "tokenizer": "tokenizer", "depth": 1, "hidden_size": 32,
            "num_heads": 1, "horizon": "30 steps", "batch_tokens": 512,
            "loop": {"precision": "fp32", "dry_run": False, "threads": 1},
        },
    }  # fmt: skip
    (home / "r.yaml").write_text(yaml.safe_dump({"name": "r", "artifacts": artifacts}))
    store = Store(home / "workspace")
    run(str(home / "r.yaml"), [], store, Silent())
    return store


def ask(store: Store, *words: str) -> Any:
    return CliRunner().invoke(app, ["ledger", *words, "-w", str(store.workspace)], catch_exceptions=True)


@pytest.fixture(scope="module")
def opened(made: Store) -> Iterator[Ledger]:
    assert ask(made, "base").exit_code == 0  # which also makes the reads
    with open_ledger(made, made.find("base").record) as found:
        yield found


def rows_of(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    return [row for path in tables(artifact.path, name) for row in read_rows(path)]


def same(found: Any, want: Any) -> None:
    key = lambda row: json.dumps(row, sort_keys=True, default=str)  # noqa: E731
    assert sorted(found, key=key) == sorted(want, key=key)


# -- the views ---------------------------------------------------------------------------------------------------


def test_documents_are_the_rows_of_all_ledgers(made: Store, opened: Ledger) -> None:
    want = [
        {
            "corpus": name,
            "digest": made.find(name).record.digest[:16],
            **row,
            "redactions": dict(row["redactions"] or ()),
        }
        for name in ("corpus", "mix")
        for row in rows_of(made.find(name), "ledger")
    ]
    found = [{**row, "redactions": row["redactions"] or {}} for row in opened.ask("FROM documents").as_dicts()]
    same(found, want)
    assert len(found) > 150


def test_owners_follow_their_pages_into_every_ledger(made: Store, opened: Ledger) -> None:
    pages = {row["id"]: row["author"] for row in rows_of(made.find("pages"), "pages")}
    found = list(opened.ask("SELECT corpus, id, author FROM documents").rows)
    assert all(pages[name] == author for _, name, author in found)
    assert {author for _, _, author in found} == {None, "Author 1", "Author 3"}
    assert {corpus for corpus, _, author in found if author} == {"corpus", "mix"}


def test_tokens_are_the_ranges_of_the_store(made: Store, opened: Ledger) -> None:
    tokens = made.find("tokens")
    want = [
        {"store": "tokens", "digest": tokens.record.digest[:16], "place": place, "first": row.pop("start"),
         "last": (end := row.pop("end")) - 1, "shard": f"{row['split']}.bin", **row, "tokens": None, "until": end}
        for place, row in enumerate(read_rows(tokens.path / "documents.parquet"))
    ]  # fmt: skip
    for row in want:
        row["tokens"] = row.pop("until") - row["first"]
    same(opened.ask("FROM tokens").as_dicts(), want)
    assert any(row["copy"] for row in want)


def test_reads_are_what_every_step_read(made: Store, opened: Ledger) -> None:
    trained = Trained.find(made, made.find("base"))
    want = Counter[tuple[str, int]]()
    for step in range(30):
        for read in trained.step(step).documents:
            want[read.id, step] += read.tokens
    found = Counter[tuple[str, int]]()
    for row in opened.ask("FROM reads").as_dicts():
        assert (row["model"], row["store"]) == ("base", "tokens") and row["epoch"] in (0, 1)
        found[row["document"], row["step"]] += row["tokens"]
    assert found == want
    split = opened.ask("SELECT DISTINCT split FROM reads r JOIN tokens t ON t.id = r.document").rows
    assert list(split) == [("train",)]


def test_terms_artifacts_and_lineage_are_those_of_the_records(made: Store, opened: Ledger) -> None:
    records = {name: made.find(name).record for name in ("pages", "corpus", "mix", "tokenizer", "tokens", "base")}
    terms = opened.ask("SELECT artifact, source, licence, origin, sha256, documents FROM terms").rows
    same(terms, [
        (name, one.source, one.licence, one.origin, one.sha256, one.documents)
        for name, record in records.items() for one in record.terms.sources
    ])  # fmt: skip
    found = opened.ask("SELECT name, kind, digest, steps, licences, bytes FROM artifacts").rows
    same(found, [
        (one.name, one.kind, one.digest[:16], 30 if one.name == "base" else None, list(one.terms.licences),
         sum(file.bytes for file in one.files.values()))
        for one in records.values()
    ])  # fmt: skip
    below = {
        "pages": [], "corpus": ["pages"], "mix": ["corpus", "pages"], "tokenizer": ["mix", "corpus", "pages"],
        "tokens": ["tokenizer", "mix", "corpus", "pages"], "base": ["tokens", "tokenizer", "mix", "corpus", "pages"],
    }  # fmt: skip
    lineage = opened.ask("SELECT name, made_from_name FROM lineage").rows
    same(lineage, [(name, other) for name, others in below.items() for other in others])


def plain_rules(made: Store) -> Iterator[tuple[Any, ...]]:
    """Each rule's verdict on each document, told rule by rule."""
    for name in ("corpus", "mix"):
        corpus = made.find(name)
        steps = corpus.record.metrics.get("steps") or [{"step": "mix", "of": "all", "rules": []}]
        for row in rows_of(corpus, "ledger"):
            is_code = row["language"] == "zxx_Zxxx"
            order = [(step, rule) for step in steps for rule in step["rules"] or [None]]
            for place, (step, rule) in enumerate(order):
                if step["of"] == ("prose" if is_code else "code"):
                    continue
                if row["step"] == step["step"] and rule in (None, row["rule"]):
                    yield name, row["id"], place, step["step"], row["rule"], "failed", row["detail"], row["survivor"]
                    break
                yield name, row["id"], place, step["step"], rule, "passed", None, None


def test_rules_are_passed_up_to_the_one_that_a_document_fails(made: Store, opened: Ledger) -> None:
    found = opened.ask("SELECT corpus, document, place, step, rule, verdict, detail, survivor FROM rules").rows
    want = list(plain_rules(made))
    same(found, want)
    failed = {(row[0], row[3]) for row in want if row[5] == "failed"}
    assert {("corpus", "gopher_quality"), ("corpus", "identify"), ("corpus", "exact_dedup"), ("mix", "mix")} <= failed
    dropped = opened.ask("SELECT count(*) FROM documents WHERE step IS NOT NULL").rows
    assert next(dropped) == (sum(row[5] == "failed" for row in want),)
    code = opened.ask(
        "SELECT DISTINCT rules.step FROM rules JOIN documents d ON d.id = document WHERE d.source = 'code'"
    )
    assert "code" in (steps := {step for (step,) in code.rows}) and "gopher_quality" not in steps


def test_a_record_that_does_not_tell_its_rules_gives_the_failures(made: Store, tmp_path: Path) -> None:
    store = Store(shutil.copytree(made.workspace, tmp_path / "w"))
    path = made.find("corpus").path.relative_to(made.workspace) / "record.json"
    record = json.loads((store.workspace / path).read_text())
    del record["metrics"]["steps"]
    (store.workspace / path).write_text(json.dumps(record))
    with open_ledger(store, store.find("corpus", verify=False).record) as found:
        rows = found.ask("SELECT document, step, rule, verdict FROM rules").rows
        same(rows, [
            (row["id"], row["step"], row["rule"], "failed")
            for row in rows_of(made.find("corpus"), "ledger") if row["step"]
        ])  # fmt: skip


def test_signals_and_withdrawals(made: Store, tmp_path: Path) -> None:
    from groundup.artifact.sql.views import SIGNALS as VIEWED
    from groundup.rights.signals.decision import SIGNALS

    assert [(one.name, one.type) for one in SIGNALS] == [(one.name, one.type) for one in VIEWED]
    store = Store(shutil.copytree(made.workspace, tmp_path / "w"))
    pages = store.find("pages").path
    row = {"url": "https://a.example/", "at": "2026-01-01T00:00:00Z", "decision": "refused", "protocol": "tdm",
           "place": "header", "verdict": "refused", "value": "tdm-reservation: 1", "decided": True,
           "document": "https://a.example/", "evidence": b"TDM-Reservation: 1\xff"}  # fmt: skip
    (pages / "signals").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row], schema=SIGNALS), pages / "signals" / "00000.parquet")
    entry = {"id": "w1", "at": "2026-01-02", "kind": "url", "what": "https://a.example/", "reason": ""}
    (store.workspace / "register").mkdir()
    text = f"{json.dumps({**entry, 'grams': ['a']})}\n" + '{"id": "torn'
    (store.workspace / "register" / "withdrawals.jsonl").write_text(text)
    with open_ledger(store, store.find("corpus", verify=False).record) as found:
        assert list(found.ask("FROM signals").as_dicts()) == [
            {"pages": "pages", "digest": pages.name, **row}
        ]  # fmt: skip
        assert list(found.ask("FROM withdrawals").as_dicts()) == [entry]
    shown = json.loads(ask(store, "corpus", "--json", "--sql", "SELECT evidence FROM signals").stdout)
    assert shown == [{"evidence": "TDM-Reservation: 1\\xff"}]
    (store.workspace / "register" / "withdrawals.jsonl").write_text("no entry\n")
    with pytest.raises(ArtifactError, match=r"withdrawals\.jsonl is damaged at line 1"):
        open_ledger(store)


def test_an_empty_workspace_has_all_views_and_no_rows(tmp_path: Path) -> None:
    with open_ledger(Store(tmp_path)) as found:
        names = {name for (name,) in found.ask("SHOW TABLES").rows}
        assert names >= {"documents", "terms", "signals", "tokens", "reads", "rules", "artifacts", "lineage"}
        for name in names:
            assert list(found.ask(f"FROM {name}").rows) == []
    assert "holds no documents" in ask(Store(tmp_path)).stdout


# -- what may be asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT x FROM documents", 'Referenced column "x" not found'),
        ("SELECT * FROM documnts", "documnts does not exist"),
        ("", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("CREATE TABLE x AS SELECT 1", "one SELECT"),
        ("DROP VIEW documents", "one SELECT"),
        ("INSERT INTO terms (source) VALUES ('x')", "one SELECT"),
        ("SET threads = 8", "one SELECT"),
        ("SELECT * FROM read_text('{outside}')", "file system operations are disabled"),
        ("SELECT * FROM read_csv('{outside}')", "file system operations are disabled"),
        ("SELECT * FROM glob('/*')", "file system operations are disabled"),
        ("SELECT * FROM read_parquet('https://example.org/x.parquet')", "disabled|does not exist|not .*loaded"),
        ("COPY documents TO '{outside}'", "one SELECT"),
        ("COPY (SELECT 1) TO '{inside}'", "one SELECT"),
        ("ATTACH '{outside}' AS other", "one SELECT"),
        ("INSTALL httpfs", "one SELECT"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{inside}'", "one SELECT"),
        ("SELECT * FROM query('COPY (SELECT 1) TO ''{inside}''')", "SELECT"),
        ("SELECT 1 / length(column_that) FROM (SELECT 'a' AS column_that) WHERE error('stop') IS NULL", "stop"),
    ],
)
def test_what_may_not_be_asked(made: Store, opened: Ledger, tmp_path: Path, query: str, message: str) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    inside = tables(made.find("corpus").path, "ledger")[0]
    before = inside.read_bytes()
    with pytest.raises(RequestError, match=message) as told:
        list(opened.ask(query.format(outside=outside, inside=inside)).rows)
    assert "\n" not in str(told.value) and len(str(told.value)) < 400 and "secret\n" not in str(told.value)
    assert (outside.read_text(), inside.read_bytes()) == ("secret", before)


def test_variables_of_the_program_are_no_tables(opened: Ledger) -> None:
    secret = pa.table({"a": [1]})
    with pytest.raises(RequestError, match="secret does not exist"):
        opened.ask("SELECT * FROM secret")
    assert secret.num_rows == 1


def test_two_answers_can_be_read_at_once(opened: Ledger) -> None:
    one, other = opened.ask("SELECT * FROM range(3000)"), opened.ask("SELECT -range FROM range(3000)")
    assert [(a + b) for (a,), (b,) in zip(one.rows, other.rows, strict=True)] == [0] * 3000
    assert list(opened.ask("SELECT id FROM documents WHERE id = ?", ["' OR true --"]).rows) == []


def test_settings_are_bounded_and_locked(opened: Ledger) -> None:
    found = dict(opened.ask("SELECT name, value FROM duckdb_settings()").rows)
    assert (found["memory_limit"], found["threads"]) == ("1.2 GiB", "2")
    assert (found["enable_external_access"], found["lock_configuration"]) == ("false", "true")
    spill = Path(found["temp_directory"])
    assert spill.is_dir()


def test_what_is_put_on_disk_goes_with_the_ledger(made: Store) -> None:
    with open_ledger(made) as found:
        (spill,) = next(found.ask("SELECT value FROM duckdb_settings() WHERE name = 'temp_directory'").rows)
    assert not Path(spill).exists()


# -- the command -------------------------------------------------------------------------------------------------


def test_the_summary_adds_up(made: Store, opened: Ledger) -> None:
    found = json.loads(ask(made, "base", "--json").stdout)
    record = made.find("corpus").record
    of_corpus = [row for row in found["documents"] if row["corpus"] == "corpus"]
    assert sum(row["documents"] for row in of_corpus) == record.metrics["documents_in"]
    assert sum(row["documents"] for row in of_corpus if row["verdict"] == "kept") == record.metrics["documents"]
    tokens = made.find("tokens").record.metrics
    assert sum(row["tokens"] for row in found["tokens"] if row["split"] == "train") == tokens["train_tokens"]
    assert sum(row["tokens"] for row in found["reads"]) == made.find("base").record.metrics["train_tokens"]
    assert found["withdrawals"] == []
    shown = ask(made, "base").stdout
    for word in ("web", "CC-BY-4.0", "kept", "gopher_quality", "tokens in stores", "what models read"):
        assert word in shown


def test_answers_as_table_json_and_csv(made: Store) -> None:
    query = "SELECT source, count(*) AS n, NULL AS nothing, [1.5, 2] AS list FROM documents GROUP BY ALL ORDER BY ALL"
    as_json = json.loads(ask(made, "corpus", "--sql", query, "--json").stdout)
    counts = Counter(row["source"] for row in rows_of(made.find("corpus"), "ledger"))
    assert as_json == [{"source": k, "n": v, "nothing": None, "list": [1.5, 2]} for k, v in sorted(counts.items())]
    as_csv = list(csv.DictReader(io.StringIO(ask(made, "corpus", "--sql", query, "--csv").stdout)))
    assert [(row["source"], int(row["n"]), row["nothing"]) for row in as_csv] == [
        (row["source"], row["n"], "") for row in as_json
    ]
    table = ask(made, "corpus", "--sql", query).stdout.splitlines()
    assert table[0].split() == ["source", "n", "nothing", "list"] and len(table) == 1 + len(counts)
    assert ask(made, "corpus", "--sql", "SELECT 1 WHERE false", "--json").stdout == "[]\n"
    assert json.loads(ask(made, "--sql", "SELECT 'NaN'::DOUBLE AS x, DATE '2026-01-02' AS y", "--json").stdout) == [
        {"x": None, "y": "2026-01-02"}
    ]
    assert "\x1b" not in ask(made, "--sql", "SELECT chr(27) || '[31m' AS x").stdout


def test_the_questions_of_the_help(made: Store, opened: Ledger) -> None:
    text = ask(made, "--help").stdout
    for question in ("Which licences are in this model?", "Which models saw this site?", "Why was this page dropped?"):
        assert question.split()[0] in text
    licences = ask(made, "base", "--sql", "SELECT licence, sum(tokens) AS n FROM reads GROUP BY ALL", "--json").stdout
    assert {row["licence"] for row in json.loads(licences)} == {"CC-BY-4.0", "CC0-1.0", "MIT"} - (
        set() if any(row["source"] == "code" for row in rows_of(made.find("mix"), "corpus")) else {"MIT"}
    )
    saw = ("SELECT DISTINCT r.model FROM reads r JOIN documents d ON d.id = r.document "
           "WHERE d.url LIKE 'https://site{}.example/%'")  # fmt: skip
    assert json.loads(ask(made, "--sql", saw.format(1), "--json").stdout) == [{"model": "base"}]
    assert json.loads(ask(made, "--sql", saw.format(9), "--json").stdout) == []
    why = "SELECT step, rule, detail FROM documents WHERE url = 'https://site0.example/90'"
    (told,) = json.loads(ask(made, "corpus", "--sql", why, "--json").stdout)
    assert (told["step"], told["rule"]) == ("gopher_quality", "too_few_words") and "is below" in told["detail"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody",), "no artifact 'nobody'"),
        (("base", "--json", "--csv"), "--json or --csv"),
        (("base", "--csv"), "--csv goes with --sql"),
        (("base", "--sql", "SELECT"), "SQL: "),
    ],
)
def test_wrong_words(made: Store, words: tuple[str, ...], message: str) -> None:
    error = ask(made, *words).exception
    assert isinstance(error, RequestError) and message in str(error)


def test_without_duckdb_it_says_what_to_install(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    error = ask(made, "corpus").exception
    assert isinstance(error, RequestError) and "pip install 'groundup[rights]'" in str(error)


def test_a_model_whose_reads_can_not_be_told_costs_a_line(made: Store, tmp_path: Path) -> None:
    store = Store(shutil.copytree(made.workspace, tmp_path / "w"))
    shutil.rmtree(store.workspace / "indexes", ignore_errors=True)
    path = store.find("base").path / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["steps"] = 7
    path.write_text(json.dumps(record))
    found = ask(store, "base", "--json")
    assert "its steps can't be told any more" in found.stderr and json.loads(found.stdout)["reads"] == []


# -- a ledger that disagrees ---------------------------------------------------------------------------------------


def spoilt(made: Store, folder: Path, name: str, change: Any) -> Store:
    """A copy of the workspace in which the rows of a table of the corpus were changed."""
    store = Store(shutil.copytree(made.workspace, folder / "w"))
    path = tables(store.find("corpus", verify=False).path, name)[0]
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)
    return store


def kept(rows: list[dict[str, Any]]) -> list[int]:
    return [at for at, row in enumerate(rows) if row.get("step") is None]


CHANGES: dict[str, tuple[str, Any, str]] = {
    "a row missing": ("ledger", lambda rows: [r for at, r in enumerate(rows) if at != kept(rows)[3]],
                      "1 documents of the corpus are not in it as kept"),
    "another id": ("ledger", lambda rows: [{**r, "id": "0" * 32} if at == kept(rows)[0] else r
                                           for at, r in enumerate(rows)], "such as"),
    "kept there, dropped here": ("ledger", lambda rows: [{**r, "step": "x"} if at == kept(rows)[1] else r
                                                         for at, r in enumerate(rows)], "not in it as kept"),
    "a document missing": ("corpus", lambda rows: rows[:-1], "1 that it has as kept are not in the corpus"),
    "a document twice": ("corpus", lambda rows: [*rows, rows[0]], "it has .* documents as kept, the corpus"),
    "ids that are none": ("corpus", lambda rows: [{**r, "id": r["id"][:9]} for r in rows], "are not in the corpus"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_a_ledger_that_disagrees_is_one_line(made: Store, tmp_path: Path, case: str) -> None:
    name, change, message = CHANGES[case]
    store = spoilt(made, tmp_path, name, change)
    for words in (["ledger", "base"], ["show", "--why", "nothing.html"]):
        error = CliRunner().invoke(app, [*words, "-w", str(store.workspace)], catch_exceptions=True).exception
        assert isinstance(error, ArtifactError), words
        assert str(error).startswith("the ledger of 'corpus' disagrees with its corpus: ") and "\n" not in str(error)
        with pytest.raises(ArtifactError, match=message):
            raise error


def test_order_is_no_disagreement(made: Store, tmp_path: Path) -> None:
    store = spoilt(made, tmp_path, "corpus", lambda rows: rows[::-1])
    with open_ledger(store, store.find("corpus", verify=False).record) as found:
        assert next(found.ask("SELECT count(*) FROM documents").rows)[0] > 0


def test_a_damaged_ledger_is_one_line(made: Store, tmp_path: Path) -> None:
    store = Store(shutil.copytree(made.workspace, tmp_path / "w"))
    tables(store.find("corpus").path, "ledger")[0].write_bytes(b"no parquet")
    error = ask(store, "base").exception
    assert isinstance(error, ArtifactError) and "is damaged" in str(error)
