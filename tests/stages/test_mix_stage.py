"""Mixing as a stage: real tables in, a corpus that later stages read, and one line for what can't be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundup.artifact import why
from groundup.artifact.ledger import LEDGER
from groundup.artifact.ledger import write_shards as write_ledger
from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.store import Store
from groundup.artifact.why import stories
from groundup.base.errors import DataError, RequestError
from groundup.base.progress import Silent
from groundup.flow import run
from groundup.recipe import load
from groundup.stages.mix.config import MixConfig
from groundup.text.document import CORPUS, document_id, read_rows, tables, write_shards


def document(source: str, number: int, text: str | None = None, split: str = "train") -> dict[str, Any]:
    text = text if text is not None else f"{source} number {number:03d}: " + "x" * 80
    name = document_id(source, str(number), text.encode())
    terms = {"url": None, "licence": "CC0-1.0", "language": "eng_Latn", "language_score": 1.0}
    return {
        "id": name,
        "text": text,
        "source": source,
        "record": str(number),
        **terms,
        "split": split,
        "chars": len(text),
    }


def corpus(folder: Path, name: str, documents: list[dict[str, Any]]) -> Artifact:
    path = folder / name
    write_shards(path, "corpus", CORPUS, sorted(documents, key=lambda row: row["id"]))
    return Artifact(path, record(name, documents=len(documents)))


def mixed(folder: Path, corpora: list[Artifact], **fields: Any) -> tuple[Path, Outcome]:
    config = MixConfig.parse({"corpora": [one.record.name for one in corpora], **fields}, "artifact 'mix'")
    payload = folder / "payload"
    payload.mkdir(parents=True)
    task = Task("mix", "d" * 64, {"corpora": tuple(corpora)}, {}, payload, folder, Silent())
    return payload, config.run(task)


def record(name: str, **metrics: Any) -> Record:
    make: Any = Record.model_construct  # no more of a record than the stage looks at
    made: Record = make(name=name, kind="corpus", digest=name, metrics=metrics, files={})
    return made


def rows(payload: Path, name: str = "corpus") -> list[dict[str, Any]]:
    return [row for path in tables(payload, name) for row in read_rows(path)]


WEB = [document("web", number) for number in range(90)] + [document("web", 900 + n, split="held_out") for n in range(4)]
BOOKS = [document("books", number) for number in range(10)] + [document("books", 900, split="held_out")]


def test_everything_once_by_default(tmp_path: Path) -> None:
    payload, outcome = mixed(tmp_path, [corpus(tmp_path, "all", WEB + BOOKS)])
    found = rows(payload)
    assert {row["id"] for row in found} == {row["id"] for row in WEB + BOOKS}
    assert {row["copies"] for row in found} == {1}
    assert outcome.metrics["mixture"]["books"]["epochs"] == 1.0
    assert outcome.metrics["documents"] == 105 and outcome.metrics["held_out"] == 5


def test_shares_within_supply(tmp_path: Path) -> None:
    """Half of the mixture from a tenth of the text: the small group stops at its cap, the large one fills up."""
    corpora = [corpus(tmp_path, "general", WEB), corpus(tmp_path, "domain", BOOKS)]
    payload, outcome = mixed(tmp_path, corpora, shares={"books": 0.5}, max_epochs=3)
    times = Counter[str]()
    for row in rows(payload):
        if row["split"] == "train":
            times[row["source"]] += row["copies"]
        else:
            assert row["copies"] == 1
    assert times["books"] == 30  # three epochs of ten
    assert times["web"] == pytest.approx(70, abs=1)  # what is left of a hundred
    got = outcome.metrics["mixture"]
    assert got["books"]["wanted_share"] == 0.5 and got["books"]["epochs"] == 3.0
    assert got["books"]["share"] == pytest.approx(0.3, abs=0.01)


def test_a_larger_mixture_holds_the_smaller_one(tmp_path: Path) -> None:
    source = corpus(tmp_path, "all", WEB)
    small = {row["id"] for row in rows(mixed(tmp_path / "a", [source], length="0.3 epochs")[0])}
    large = {row["id"] for row in rows(mixed(tmp_path / "b", [source], length="0.6 epochs")[0])}
    other = {row["id"] for row in rows(mixed(tmp_path / "c", [source], length="0.3 epochs", seed=2)[0])}
    assert small < large and len(small) == pytest.approx(27 + 4, abs=1)
    assert other != small


def test_a_document_in_two_corpora_is_taken_once(tmp_path: Path) -> None:
    """By id, or by text: and what is held out in the first corpus is not learnt from in the second."""
    leak = document("copy", 1, WEB[90]["text"])
    corpora = [corpus(tmp_path, "general", WEB), corpus(tmp_path, "domain", [*BOOKS, WEB[0], leak])]
    payload, outcome = mixed(tmp_path, corpora)
    found = rows(payload)
    assert len({row["id"] for row in found}) == len(found) == 105
    assert leak["id"] not in {row["id"] for row in found}
    assert outcome.metrics["duplicates"] == 2
    gone = {row["id"]: row for row in rows(payload, "ledger") if row["step"]}
    assert set(gone) == {WEB[0]["id"], leak["id"]} and gone[leak["id"]]["rule"] == "duplicate"


def test_the_ledger_has_every_document(tmp_path: Path) -> None:
    payload, _ = mixed(tmp_path, [corpus(tmp_path, "all", WEB + BOOKS)], shares={"books": 0}, size="5 kB")
    reasons = Counter(row["rule"] for row in rows(payload, "ledger"))
    drawn = len([row for row in rows(payload) if row["split"] == "train"])
    assert reasons == {None: drawn + 4, "not_drawn": 90 - drawn, "left_out": 11}


def with_ledger(made: Artifact, documents: list[dict[str, Any]], more: int = 0) -> Artifact:
    """The corpus with a ledger that has an author for each document, and rows of some that were dropped."""
    rows = [{**row, "author": f"by {row['record']}", "permission": "allowed", "pipeline": "p"} for row in documents]
    gone = [document("gone", number) for number in range(more)]
    rows += [{**row, "step": "c4", "rule": "r", "author": "nobody", "split": None, "pipeline": "p"} for row in gone]
    columns = [{name: value for name, value in row.items() if name in LEDGER.names} for row in rows]
    write_ledger(made.path / "ledger", sorted(columns, key=lambda row: str(row["id"])))
    return made


def test_owners_come_from_the_ledgers_of_the_corpora(tmp_path: Path) -> None:
    corpora = [
        with_ledger(corpus(tmp_path, "web", WEB), WEB, more=50),
        corpus(tmp_path, "books", BOOKS),
        with_ledger(corpus(tmp_path, "again", WEB[:5]), WEB[:5]),
    ]
    payload, _ = mixed(tmp_path / "mix", corpora)
    found = rows(payload, "ledger")
    assert len(found) == len(WEB) + len(BOOKS) + 5
    for row in found:
        known = row["source"] == "web"
        assert row["author"] == (f"by {row['record']}" if known else None)
        assert (row["permission"], row["found_licence"]) == ("allowed" if known else None, None)
    # A mixture can be mixed again: its ledger has the order of its corpus, not that of ids.
    second = Artifact(payload, record("mix", documents=len(rows(payload))))
    again, _ = mixed(tmp_path / "second", [second], max_epochs=1)
    assert {row["id"]: row["author"] for row in rows(again, "ledger")} == {row["id"]: row["author"] for row in found}


def test_a_ledger_that_lacks_a_document_is_refused(tmp_path: Path) -> None:
    for number, documents in enumerate((WEB[1:], WEB[:-1], [*WEB, document("web", 7777)])):
        made = with_ledger(corpus(tmp_path / str(number), "web", WEB), documents)
        with pytest.raises(DataError, match=r"the ledger of 'web' disagrees with its corpus at document [0-9a-f]{12}:"):
            mixed(tmp_path / str(number) / "mix", [made])


@pytest.mark.parametrize("by", ["source", "corpus", "language", "licence"])
def test_groups(tmp_path: Path, by: str) -> None:
    corpora = [corpus(tmp_path, "general", WEB), corpus(tmp_path, "domain", BOOKS)]
    names = {
        "source": ["books", "web"],
        "corpus": ["domain", "general"],
        "language": ["eng_Latn"],
        "licence": ["CC0-1.0"],
    }
    assert sorted(mixed(tmp_path, corpora, by=by)[1].metrics["mixture"]) == names[by]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shares": {"poems": 0.2}}, "shares name poems, of which there is no training text; there are: books, web"),
        ({"shares": {"books": 0.9}, "when_short": "refuse"}, "the mixture needs more than there is: books has"),
        ({"size": "1 B"}, "the mixture holds no training document"),
    ],
)
def test_what_can_not_be_mixed(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises((RequestError, DataError), match=message):
        mixed(tmp_path, [corpus(tmp_path, "all", WEB + BOOKS)], **fields)


STORIES = {"path": "examples/stories.jsonl.gz", "licence": "CDLA-Sharing-1.0", "origin": "TinyStories sample"}
BOOK = {"path": "examples/books.jsonl.gz", "licence": "LicenseRef-public-domain", "origin": "classic books"}
RECIPE: dict[str, Any] = {
    "stories": {"stage": "source", "files": [{**STORIES, "limit": 60}]},
    "novels": {"stage": "source", "files": [{**BOOK, "split_headings": True, "limit": 12}]},
    "general": {"stage": "curate", "pages": ["stories"], "decontaminate": []},
    "domain": {"stage": "curate", "pages": ["novels"], "decontaminate": []},
    "words": {"stage": "tokenizer", "corpus": "general", "vocab_size": 512},
    "mix": {"stage": "mix", "corpora": ["general", "domain"], "by": "corpus", "shares": {"domain": 0.5}},
    "tokens": {"stage": "tokens", "corpus": "mix", "tokenizer": "words", "max_seq_len": 64},
}


def written(folder: Path, **changes: Any) -> str:
    path = folder / "mixed.yaml"
    artifacts = {**RECIPE, "mix": {**RECIPE["mix"], **changes}}
    path.write_text(yaml.safe_dump({"name": "mixed", "artifacts": artifacts}, sort_keys=False))
    return str(path)


def test_from_pages_to_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "workspace")
    done = run(written(tmp_path, tokenizer="words", length="30k tokens"), [], store, Silent())
    records = {step.node.name: step.artifact.record for step in done.steps}
    mixture = records["mix"].metrics["mixture"]
    assert mixture["domain"]["share"] == pytest.approx(0.5, abs=0.15)  # novels are long: half a document counts
    assert records["mix"].metrics["unit"] == "tokens"
    # Tokens were counted from a sample; encoding all of it must come to the same.
    assert records["tokens"].metrics["train_tokens"] == pytest.approx(
        sum(g["amount"] for g in mixture.values()), rel=0.05
    )
    sources = {source["source"] for source in records["mix"].terms.model_dump()["sources"]}
    assert sources == {"stories.jsonl.gz", "books.jsonl.gz"}
    kept = rows(store.find("mixed/mix").path)[0]
    story = stories(store, kept["id"], "mixed/mix")[0]
    assert story.text and "kept" in "\n".join(story.lines())
    for vague in ("", " "):
        with pytest.raises(RequestError, match="name a page by its id"):
            stories(store, vague, None)
    monkeypatch.setattr(why, "_MOST_STORIES", 1)
    with pytest.raises(RequestError, match=r"[0-9]+ pages match"):
        stories(store, kept["id"], None)  # it is in the mixture and in the corpus that it came from
    dropped = next(row for row in rows(store.find("mixed/mix").path, "ledger") if row["step"])
    assert "dropped    by mix: not_drawn" in "\n".join(stories(store, dropped["id"], "mixed/mix")[0].lines())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": {"domain": 0.8, "general": 0.4}}, "the shares add up to 1.2, which is more than 1"),
        ({"shares": {"domain": -0.1}}, "field 'shares' of domain must be a number of 0 or more"),
        ({"shares": {"domains": 0.1}}, "no corpus domains among general, domain"),
        ({"size": "1 MB", "length": "1 epochs"}, "set size or length, not both"),
        ({"length": "1M tokens"}, "a length in tokens needs a tokenizer"),
        ({"length": "10 steps"}, "a mixture has no steps"),
        ({"size": "1 MB", "tokenizer": "words"}, "with a tokenizer, shares are in tokens: give length, not size"),
        ({"corpora": ["general", "general"]}, "a corpus is named twice"),
        ({"temperature": 0.5}, "field 'temperature'"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load(written(tmp_path, **changes))
