"""Withdrawals from a small workspace with planted copies: what is found, made again, left alone, and said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_web import CHAT, COPIES, SPAM, VICTIM, Web, build, write
from typer.testing import CliRunner

from groundup import flow
from groundup.artifact.lineage import trace
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import DataError, GroundupError, RequestError
from groundup.base.progress import Silent
from groundup.cli import app
from groundup.readings import Trained
from groundup.recipe import load
from groundup.rights.reach import Reach
from groundup.rights.register import Register, drafted
from groundup.rights.verbatim import Verbatim
from groundup.text.document import read_rows, tables
from groundup.text.store.store import TokenStore
from groundup.text.tokenizer import Tokenizer
from groundup.withdrawal import marks, rebuild, receipt, withdraw
from groundup.withdrawal.find import checked, hashes_of_excerpt
from groundup.withdrawal.withdraw import Wishes, go_on, pending

MAIN = ["pages", "corpus", "tokenizer", "tokens", "base", "chat", "bundle"]
OTHERS = ["chats", "other-pages", "other-corpus", "other-tokenizer", "other-tokens", "other-base"]
YES = Wishes(lambda _: True)
NO = Wishes(lambda _: False)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Web:
    """The workspace before anything was withdrawn."""
    return build(tmp_path_factory.mktemp("web"))


def copied(web: Web, folder: Path) -> Store:
    shutil.copytree(web.store.workspace, folder / "workspace")
    return Store(folder / "workspace")


@pytest.fixture(scope="module")
def done(web: Web, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, withdraw.Withdrawn]:
    """A copy of it, after the victim's page was withdrawn."""
    store = copied(web, tmp_path_factory.mktemp("done"))
    return store, withdraw.withdraw(store, [drafted("url", VICTIM, "a mail")], YES, Silent())


def rows(artifact: Artifact) -> Iterator[dict[str, Any]]:
    """Every row of text in an artifact, read by hand."""
    names = {"pages": ["pages"], "corpus": ["corpus", "rejects"]}.get(artifact.record.kind, [])
    for name in names:
        for shard in tables(artifact.path, name):
            for row in read_rows(shard):
                text = row["content"].decode() if name == "pages" else row["text"]
                yield {"id": row["id"], "url": row.get("url"), "text": text, "kept": name == "corpus"}
    for kind in ("conversations", "preferences"):
        if artifact.record.kind == kind:
            for line in (artifact.path / f"{kind}.jsonl").read_text().splitlines():
                yield {"id": json.loads(line)["id"], "url": None, "text": line, "kept": True}


def windows(text: str, size: int = 8) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[place : place + size]) for place in range(len(words) - size + 1)}


def planted(web: Web) -> dict[str, dict[str, Any]]:
    """The rows of the victim and its copies, by address."""
    wanted = {VICTIM, *COPIES.values()}
    return {row["url"]: row for row in rows(web.store.find("web/pages")) if row["url"] in wanted}


def decoded(tokens: Artifact, tokenizer: Artifact) -> str:
    """All tokens of a store as text, train and held out."""
    reader = Tokenizer.load(tokenizer.path)
    found = []
    for split in ("train", "held_out"):
        store = TokenStore.open(tokens.path, split)
        found += [reader.decode(np.asarray(store.document(number)).tolist()) for number in range(store.num_documents)]
    return "\n".join(found)


def exposed_by_hand(store: Store, ids: set[str]) -> set[str]:
    """The exposed artifacts by the definition: by passing through all records until nothing changes."""
    records = {one.record.digest: one for one in store.all()}
    holds = {digest: [row for row in rows(one) if row["id"] in ids] for digest, one in records.items()}
    kept = {row["id"] for found in holds.values() for row in found if row["kept"]}
    whole = {digest for digest, found in holds.items() if found}
    essential = {digest for digest, found in holds.items() if any(row["id"] in kept for row in found)}
    while True:
        before = len(whole), len(essential)
        for digest, one in records.items():
            inputs = {link.digest for links in one.record.inputs.values() for link in links}
            if inputs & essential:
                essential.add(digest)
            if inputs & (whole if one.record.kind in ("pages", "corpus") else essential):
                whole.add(digest)
        if before == (len(whole), len(essential)):
            return whole


def state(store: Store, names: Iterable[str]) -> dict[str, Any]:
    """Digests, and times of all files, of artifacts by name."""
    found = {}
    for name in names:
        path = store.find(f"web/{name}").path
        files = {str(file.relative_to(path)): file.stat().st_mtime_ns for file in path.rglob("*")}
        found[name] = (path.name, files)
    return found


def test_copies_are_found_with_how_each_was(web: Web, done: tuple[Store, withdraw.Withdrawn]) -> None:
    body = done[1].body
    found = {one["id"]: one for one in body["documents"]}
    want = planted(web)
    assert len(want) == 5 and set(found) == {row["id"] for row in want.values()}
    assert found[want[VICTIM]["id"]]["how"] == [f"url of request {body['requests'][0]['id']}"]
    for url in COPIES.values():
        (how,) = found[want[url]["id"]]["how"]
        assert want[VICTIM]["id"] in how or "cluster of duplicates" in how
    assert body["requests"][0]["what"] == VICTIM and body["requests"][0]["reason"] == "a mail"


def test_nothing_of_them_is_in_what_was_made_again(web: Web, done: tuple[Store, withdraw.Withdrawn]) -> None:
    store, _ = done
    want = planted(web)
    texts = {row["id"]: windows(row["text"]) for row in want.values()}
    others = set().union(*(windows(r["text"]) for r in rows(web.store.find("web/pages")) if r["id"] not in texts))
    for name in ("pages", "corpus"):
        after = list(rows(store.find(f"web/{name}")))
        assert after and not {row["id"] for row in after} & set(texts)
        said = set().union(*(windows(row["text"]) for row in after))
        assert not said & (set().union(*texts.values()) - others)
    for column in ("corpus", "ledger", "rejects"):
        for shard in tables(store.find("web/corpus").path, column):
            assert not set(pq.read_table(shard, columns=["id"])["id"].to_pylist()) & set(texts)
    for at, few in ((store, True), (web.store, False)):
        text = decoded(at.find("web/tokens"), at.find("web/tokenizer"))
        ids = {row["id"] for row in read_rows(at.find("web/tokens").file("documents.parquet"))}
        assert bool(ids & set(texts)) != few
        assert (len(windows(text) & (set().union(*texts.values()) - others)) == 0) == few
    kept = [row for row in rows(web.store.find("web/corpus")) if row["kept"] and row["id"] in texts]
    assert len(kept) >= 2  # or the search over tokens would prove little
    raw = b"".join(file.read_bytes() for file in (store.runs / "web").iterdir())
    assert all(name.encode() not in raw for name in texts)


def test_the_receipt_names_every_exposed_artifact_and_no_other(
    web: Web, done: tuple[Store, withdraw.Withdrawn]
) -> None:
    _, outcome = done
    ids = {row["id"] for row in planted(web).values()}
    by_hand = exposed_by_hand(web.store, ids)
    assert {one["digest"] for one in outcome.body["exposed"]} == by_hand
    assert [one["name"] for one in outcome.body["exposed"]] == MAIN
    assert {one["digest"] for one in outcome.body["rebuilt"]} == by_hand and outcome.body["not_rebuilt"] == []
    found = {one["name"]: one for one in outcome.body["exposed"]}
    table = [row for row in read_rows(web.store.find("web/tokens").file("documents.parquet")) if row["id"] in ids]
    want = [[row["id"], row["split"], row["copy"], row["start"], row["end"]] for row in table]
    assert sorted(found["tokens"]["ranges"]) == sorted(want) and want
    trained = Trained.find(web.store, web.store.find("web/base"))
    steps: dict[int, int] = {}
    for number in range(trained.steps.num_steps):
        for read in trained.step(number).documents:
            if read.id in ids:
                steps[number] = steps.get(number, 0) + read.tokens
    runs = found["base"]["steps"]
    assert [step for first, last in runs for step in range(first, last + 1)] == sorted(steps)
    assert found["base"]["tokens_read"] == sum(steps.values()) > 0


def test_names_follow_and_the_recipe_has_nothing_to_make(web: Web, done: tuple[Store, withdraw.Withdrawn]) -> None:
    store, outcome = done
    before = state(store, [*MAIN, *OTHERS])
    recipe = load(str(web.recipe), (), None, Reach.load(store.workspace))
    assert {n.name: n.digest for n in recipe.nodes} == {k.removeprefix("web/"): v for k, v in store.names().items()}
    report = (store.runs / "web" / "report.html").stat().st_mtime_ns
    again = flow.run(str(web.recipe), [], store, Silent())
    assert not any(step.made for step in again.steps)
    assert state(store, [*MAIN, *OTHERS]) == before
    assert (store.runs / "web" / "report.html").stat().st_mtime_ns == report
    now = {one["name"]: one["now"] for one in outcome.body["rebuilt"]}
    assert now == {name: store.names()[f"web/{name}"] for name in MAIN}
    for name in MAIN:  # what was made again is whole, and is linked to what was made again
        record = store.find(f"web/{name}").record
        assert {link.digest for links in record.inputs.values() for link in links} <= set(store.names().values())


def test_untouched_branches_are_left_alone(web: Web, done: tuple[Store, withdraw.Withdrawn]) -> None:
    store, _ = done
    for name in OTHERS:
        assert store.names()[f"web/{name}"] == web.store.names()[f"web/{name}"]
    copies = list(store.artifacts.iterdir())
    assert len(copies) == len(MAIN) * 2 + len(OTHERS)


def test_pages_filtered_are_pages_read_again(web: Web, done: tuple[Store, withdraw.Withdrawn], tmp_path: Path) -> None:
    """The withheld digest means one thing: what the recipe would make of the files that are still there."""
    store = Store(tmp_path / "workspace")
    shutil.copytree(done[0].workspace / "register", store.workspace / "register")
    only = tmp_path / "pages.yaml"
    shutil.copy(web.home / "web.jsonl", tmp_path)
    only.write_text("\n".join(web.recipe.read_text().splitlines()[:4]))
    made = flow.run(str(only), [], store, Silent()).steps[0].artifact.record
    filtered = done[0].find("web/pages").record
    assert (made.digest, made.payload, made.metrics) == (filtered.digest, filtered.payload, filtered.metrics)
    assert made.terms == filtered.terms and made.metrics["sources"]["web.jsonl"]["withdrawn"] == 5


def test_marks_warn_and_the_receipt_can_be_checked(done: tuple[Store, withdraw.Withdrawn], tmp_path: Path) -> None:
    store, outcome = done
    assert outcome.receipt is not None
    assert set(marks.load(store.workspace)) == {one["digest"] for one in outcome.body["exposed"]}
    old = next(one["digest"] for one in outcome.body["exposed"] if one["name"] == "bundle")
    ask = lambda *words: CliRunner().invoke(app, [*words, "-w", str(store.workspace)])  # noqa: E731
    listed = {row["digest"]: row["withdrawals"] for row in json.loads(ask("list", "--json").stdout)}
    assert {digest for digest, receipts in listed.items() if receipts} == set(marks.load(store.workspace))
    assert outcome.body["id"] in ask("show", old[:12]).stdout
    tree = json.loads(ask("lineage", old[:12], "--json").stdout)
    assert tree["withdrawals"] == [outcome.body["id"]] and tree["inputs"][0]["withdrawals"]
    assert "withdrawals" not in json.loads(ask("lineage", "web/bundle", "--json").stdout)
    assert "was made from material that has been withdrawn" in ask("chat", old[:12], "--say", "hello").stderr
    assert "withdrawn" not in ask("chat", "web/bundle", "--say", "hello").stderr
    assert "is whole: 5 documents, 7 artifacts" in ask("withdraw", "--verify", str(outcome.receipt)).stdout
    page = outcome.receipt.with_suffix(".html").read_text()
    for one in outcome.body["exposed"]:
        assert one["digest"][:16] in page
    assert "Vera" not in page
    data = json.loads(outcome.receipt.read_text())
    data["receipt"]["exposed"].pop()
    (tmp_path / "less.json").write_text(json.dumps(data))
    failed = ask("withdraw", "--verify", str(tmp_path / "less.json"))
    assert isinstance(failed.exception, DataError) and "was altered" in str(failed.exception)


def test_the_filter_has_all_runs_of_the_withdrawn_and_none_of_the_rest(
    web: Web, done: tuple[Store, withdraw.Withdrawn]
) -> None:
    from groundup.rights.fingerprint import runs_of

    verbatim = Verbatim.load(done[0].workspace)
    rest = [row["text"] for row in rows(done[0].find("web/corpus")) if row["kept"]]
    mine = runs_of(web.story, 8)
    common = np.unique(np.concatenate([runs_of(text, 8) for text in rest]))
    assert all(verbatim.any_of([one]) for one in mine.tolist() if one not in set(common.tolist()))
    assert not np.isin(common, verbatim.hashes).any()
    assert len(verbatim) == done[1].body["filter"]["runs"] > len(mine)
    assert web.story[:40].encode() not in Verbatim.path(done[0].workspace).read_bytes()


def test_again_is_harmless_and_delete_removes_what_was_replaced(
    web: Web, done: tuple[Store, withdraw.Withdrawn], tmp_path: Path
) -> None:
    store = copied(Web(web.home, done[0], web.recipe, web.story), tmp_path)
    old = [one["digest"] for one in done[1].body["exposed"]]
    tokens = next(one["digest"] for one in done[1].body["exposed"] if one["kind"] == "tokens")
    index = store.workspace / "indexes" / tokens[:16]
    index.mkdir(parents=True)
    (index / "hashes").write_bytes(b"x")
    names = store.names()
    again = withdraw.withdraw(store, [drafted("url", VICTIM)], Wishes(lambda _: True, delete=True), Silent())
    assert again.body["indexes"] == [tokens] and sorted(again.body["deleted"]) == sorted(old)
    assert [one["digest"] for one in again.body["exposed"]] == old
    assert store.names() == names and not index.exists()
    assert not any(store.has(digest) for digest in old) and len(list(store.artifacts.iterdir())) == 13
    assert store.open(old[0]).record.digest == store.names()["web/pages"]  # a link to it leads on
    for name in names:
        assert trace(store, store.find(name).record)
    assert not any(step.made for step in flow.run(str(web.recipe), [], store, Silent()).steps)
    assert pending(store) == []


def test_a_conversation_takes_no_base_with_it(web: Web, tmp_path: Path) -> None:
    store = copied(web, tmp_path)
    before = state(store, [*MAIN[:5], *OTHERS[1:]])
    for digit, kind, of in (("a", "model", "chats"), ("b", "model", "base"), ("c", "corpus", "pages")):
        under_way = store.begin(digit * 64)[1].parent / flow.UNDER_WAY
        said = {"name": digit, "kind": kind, "digest": digit * 64, "inputs": [store.names()[f"web/{of}"]]}
        under_way.write_text(json.dumps(said))
    name, grams, spans = hashes_of_excerpt(checked("text", CHAT.upper().replace(" ", "\n  ")))
    outcome = withdraw.withdraw(store, [drafted("text", name, grams=grams, spans=spans)], YES, Silent())
    assert [one["name"] for one in outcome.body["exposed"]] == ["chats", "chat", "bundle"]
    untold = {one["name"]: one["unknown"] for one in outcome.body["exposed"]}
    assert untold == {"chats": "", "chat": "which steps of sft read what of chats is not known", "bundle": ""}
    assert outcome.body["unfinished"] == [{"name": "a", "kind": "model", "digest": "a" * 64}]
    assert sorted(path.name for path in store.partial.iterdir()) == ["b" * 16, "c" * 16]
    assert {one["digest"] for one in outcome.body["exposed"]} == exposed_by_hand(
        web.store, {one["id"] for one in outcome.body["documents"]}
    )
    assert state(store, [*MAIN[:5], *OTHERS[1:]]) == before
    assert "walrus" not in (store.find("web/chats").path / "conversations.jsonl").read_text()
    assert "walrus" not in store.workspace.joinpath("register", "withdrawals.jsonl").read_text()
    assert not any(step.made for step in flow.run(str(web.recipe), [], store, Silent()).steps)


def test_a_page_that_was_dropped_takes_pages_and_corpus_only(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied(web, tmp_path)
    before = state(store, [*MAIN[2:], *OTHERS])
    outcome = withdraw.withdraw(store, [drafted("url", SPAM)], YES, Silent())
    assert [one["name"] for one in outcome.body["exposed"]] == ["pages", "corpus"]
    assert [one["kept"] for one in outcome.body["documents"]] == [False]
    assert state(store, [*MAIN[2:], *OTHERS]) == before
    assert SPAM not in {row["url"] for row in rows(store.find("web/pages"))}
    assert not any(step.made for step in flow.run(str(web.recipe), [], store, Silent()).steps)
    assert trace(store, store.find("web/bundle").record)
    # A second request, for a page of the same material that was kept: digests are followed through the first one.
    second = withdraw.withdraw(
        store, [drafted("url", "https://site2.example/2")], Wishes(lambda _: True, delete=True), Silent()
    )
    assert [one["name"] for one in second.body["rebuilt"]].count("tokens") == 1
    assert not second.body["not_rebuilt"] or {one["why"] for one in second.body["not_rebuilt"]} == {
        "no recipe's name leads to it any more"
    }
    assert not any(step.made for step in flow.run(str(web.recipe), [], store, Silent()).steps)
    assert pending(store) == []
    urls = {row["url"] for row in rows(store.find("web/pages"))}
    assert SPAM not in urls and "https://site2.example/2" not in urls and VICTIM in urls


def test_dropped_rows_that_had_an_effect_count_as_kept(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied(web, tmp_path)
    plain, asked = rebuild._check_corpus, []

    def odd(before: Any, after: Any, node: Any, held: set[str], reach: Reach) -> None:
        asked.append(before.name)
        plain(before, after, node, held, reach)
        if held - reach.kept:
            raise rebuild.KeptAfterAllError(frozenset(held) - reach.kept)

    made: list[str] = []
    really = rebuild.make
    monkeypatch.setattr(rebuild, "_check_corpus", odd)
    monkeypatch.setattr(rebuild, "make", lambda node, *rest: (made.append(node.name), really(node, *rest))[1])
    outcome = withdraw.withdraw(store, [drafted("url", SPAM)], YES, Silent())
    assert [one["name"] for one in outcome.body["exposed"]] == MAIN
    assert made == MAIN and asked[0] == "pages"
    assert not any(step.made for step in flow.run(str(web.recipe), [], store, Silent()).steps)


class Killed(BaseException):
    """A kill that the test outlives."""


def test_a_kill_at_any_point_changes_nothing_in_the_end(
    web: Web, done: tuple[Store, withdraw.Withdrawn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied(web, tmp_path)
    script = (
        "import os, signal, sys\n"
        "from groundup.withdrawal import rebuild\n"
        "from groundup.cli import main\n"
        "really, calls = rebuild.make, []\n"
        "def make(*given):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return really(*given)\n"
        "rebuild.make = make\n"
        f"sys.argv = ['groundup', 'withdraw', '--url', {VICTIM!r}, '--delete', '-w', {str(store.workspace)!r}]\n"
        "main()\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -9, killed.stderr
    assert [one.what for one in pending(store)] == [VICTIM]
    points: list[tuple[Any, str, Callable[..., Any]]] = [
        (withdraw, "install", withdraw.install),
        (rebuild, "know_essence", rebuild.know_essence),
        (withdraw, "renew_reports", withdraw.renew_reports),
        (receipt, "sign", receipt.sign),
        (marks, "add", marks.add),
        (withdraw, "_delete", withdraw._delete),
    ]
    for module, name, _ in points:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, _kill)
            with pytest.raises(Killed):
                go_on(store, NO, Silent())
    outcome = go_on(store, YES, Silent())
    assert outcome is not None and outcome.receipt is not None and outcome.receipt.is_file()
    assert store.names() == done[0].names()
    plain = done[1].body
    assert outcome.body["rebuilt"] == plain["rebuilt"]
    assert [one["digest"] for one in outcome.body["exposed"]] == [one["digest"] for one in plain["exposed"]]
    assert sorted(outcome.body["deleted"]) == sorted(one["digest"] for one in plain["exposed"])
    for name, digest in store.names().items():
        assert store.open(digest).record.payload == done[0].open(digest).record.payload, name
    assert go_on(store, YES, Silent()) is None and pending(store) == []


def _kill(*_: Any) -> None:
    raise Killed


def test_much_at_once_is_asked_for_and_nothing_is_changed_before(web: Web, tmp_path: Path) -> None:
    store = copied(web, tmp_path)
    files = sorted(str(path) for path in store.workspace.rglob("*"))
    wide = drafted("url", "https://site*")
    with pytest.raises(RequestError, match=r"this withdraws \d\d% of 'corpus' \(\d+ documents\): say --yes"):
        withdraw.withdraw(store, [wide], NO, Silent())
    dry = withdraw.withdraw(store, [wide], Wishes(lambda _: False, dry_run=True), Silent())
    assert dry.receipt is None and len(dry.body["documents"]) > 80
    none = withdraw.withdraw(store, [drafted("url", "https://nobody.example/")], NO, Silent())
    assert none.body["documents"] == [] and none.receipt is None
    left = sorted(str(path) for path in store.workspace.rglob("*") if path.name != "lock")
    assert left == [path for path in files if not path.endswith("/lock")]


def test_without_rebuilding_the_recipe_makes_it_later(web: Web, tmp_path: Path) -> None:
    store = copied(web, tmp_path)
    outcome = withdraw.withdraw(
        store, [drafted("author", "vera  VICTIM")], Wishes(lambda _: True, rebuild=False), Silent()
    )
    assert {one["why"] for one in outcome.body["not_rebuilt"]} == {"not asked for"}
    assert store.names() == web.store.names() and outcome.receipt is not None
    plan = json.loads(CliRunner().invoke(app, ["plan", str(web.recipe), "--json", "-w", str(store.workspace)]).stdout)
    assert [row["name"] for row in plan["artifacts"] if not row["made"]] == MAIN


def test_what_cannot_be_made_again_is_said_and_the_rest_is_made(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groundup.stages.tokenize.config import TokenizerConfig

    store = copied(web, tmp_path)
    monkeypatch.setattr(TokenizerConfig, "version", TokenizerConfig.version + 1)
    outcome = withdraw.withdraw(store, [drafted("url", VICTIM)], Wishes(lambda _: True, delete=True), Silent())
    assert [one["name"] for one in outcome.body["rebuilt"]] == ["pages", "corpus"]
    why = {one["name"]: one["why"] for one in outcome.body["not_rebuilt"]}
    assert list(why) == MAIN[2:] and "which is" in why["tokenizer"] and "run its recipe again" in why["tokenizer"]
    assert all(text.endswith("from which it is made, can't be made again") for text in list(why.values())[1:])
    assert [store.names()[f"web/{name}"] for name in MAIN[2:]] == [
        web.store.names()[f"web/{name}"] for name in MAIN[2:]
    ]
    assert sorted(outcome.body["deleted"]) == sorted(one["digest"] for one in outcome.body["rebuilt"])
    assert trace(store, store.find("web/bundle").record) and not (store.runs / "web" / "report.html").exists()
    assert set(marks.load(store.workspace)) == {one["digest"] for one in outcome.body["exposed"]}


def test_nothing_left_of_a_source_is_said(web: Web, tmp_path: Path) -> None:
    store = copied(web, tmp_path)
    everything = [drafted("document", row["id"]) for row in rows(store.find("web/other-pages"))]
    outcome = withdraw.withdraw(store, everything, YES, Silent())
    why = {one["name"]: one["why"] for one in outcome.body["not_rebuilt"]}
    assert list(why) == OTHERS[1:] and "no pages are left: all of them were withdrawn" in why["other-pages"]
    assert outcome.body["rebuilt"] == [] and set(store.names()) == set(web.store.names())


def test_a_ledger_that_disagrees_is_one_line(web: Web, tmp_path: Path) -> None:
    from groundup.artifact.store import scan

    store = copied(web, tmp_path)
    corpus = store.find("web/corpus")
    (shard,) = tables(corpus.path, "ledger")
    table = pq.read_table(shard)
    pq.write_table(table.slice(0, table.num_rows - 30), shard)
    record = json.loads((corpus.path / "record.json").read_text())
    files = {name: one.model_dump() for name, one in scan(corpus.path).items() if name != "record.json"}
    (corpus.path / "record.json").write_text(json.dumps({**record, "files": files}))
    with pytest.raises(
        DataError, match=r"the ledger of 'corpus' disagrees with its corpus in \d+ documents \([0-9a-f]{8} "
    ):
        withdraw.withdraw(store, [drafted("url", VICTIM)], YES, Silent())
    shard.write_bytes(b"damaged")
    with pytest.raises(GroundupError, match="was altered"):
        withdraw.withdraw(store, [drafted("url", VICTIM)], YES, Silent())
    assert not (store.workspace / "register").exists()


def test_the_command_line(web: Web, tmp_path: Path) -> None:
    store = copied(web, tmp_path)

    def ask(*words: str) -> Any:
        return CliRunner().invoke(app, ["withdraw", *words, "-w", str(store.workspace)])

    for words, message in (
        ((), "say what to withdraw"),
        (("--url", "https://a.example/", "--pending"), "say what to withdraw"),
        (("--url", "*"), "must be an address"),
        (("--domain", "example"), "must be a host such as"),
        (("--document", "xyz"), "must be an id"),
        (("--text", "far too few words"), "at least 8 words"),
        (("--text-file", "nothing.txt"), "can't be read"),
        (("--verify", "nothing.json"), "can't be read"),
        (("--url", "https://site*"), "say --yes"),
        (("--url", "https://nobody.example/1"), "nothing in this workspace is meant"),
        (("--url", "https://nobody.example/2", "--register"), "it is in the register"),
    ):
        failed = ask(*words)
        assert isinstance(failed.exception, GroundupError) and message in str(failed.exception), words
        assert "\n" not in str(failed.exception)
    assert [one.what for one in Register(store.workspace).entries()] == ["https://nobody.example/2"]
    assert "nothing is pending" in ask("--pending").stdout
    shown = ask("--domain", "FAR.example.", "--dry-run")
    assert "exposed: 7 artifacts" in shown.stdout and "would be made again" in shown.stdout
    data = json.loads(ask("--list", "--json").stdout)
    assert data["receipts"] == [] and not data["requests"][0]["pending"]


def test_material_that_comes_later_is_searched(web: Web, tmp_path: Path) -> None:
    store = Store(tmp_path / "workspace")
    shutil.copy(web.home / "other.jsonl", tmp_path / "web.jsonl")
    recipe = tmp_path / "later.yaml"
    recipe.write_text("\n".join(web.recipe.read_text().splitlines()[:4]))
    Register(store.workspace).add("signal", "https://o.example/3", "robots.txt now refuses")
    flow.run(str(recipe), [], store, Silent())
    whole = tmp_path / "whole.yaml"
    whole.write_text("\n".join(web.recipe.read_text().splitlines()[:5]))
    with pytest.raises(
        RequestError, match="not looked for in pages: run 'groundup withdraw --pending', then this again"
    ):
        flow.run(str(whole), [], store, Silent())
    assert [one.kind for one in pending(store)] == ["signal"]
    outcome = go_on(store, YES, Silent())
    assert outcome is not None and [one["name"] for one in outcome.body["rebuilt"]] == ["pages"]
    assert "https://o.example/3" not in {row["url"] for row in rows(store.find("web/pages"))}
    assert pending(store) == [] and not flow.run(str(recipe), [], store, Silent()).steps[0].made
    assert [step.made for step in flow.run(str(whole), [], store, Silent()).steps] == [False, True]


def test_copies_are_found_in_material_that_comes_when_the_text_is_gone(web: Web, tmp_path: Path) -> None:
    store = Store(tmp_path / "workspace")
    lines = (web.home / "web.jsonl").read_text().splitlines()
    far = [line for line in lines if COPIES[0.2] in line]
    (tmp_path / "web.jsonl").write_text("\n".join(line for line in lines if line not in far))
    recipe = tmp_path / "pages.yaml"
    recipe.write_text("\n".join(web.recipe.read_text().splitlines()[:4]))
    flow.run(str(recipe), [], store, Silent())
    first = withdraw.withdraw(store, [drafted("url", VICTIM)], Wishes(lambda _: True, delete=True), Silent())
    assert len(first.body["documents"]) == 4 and len(first.body["deleted"]) == 1
    write(
        tmp_path / "web.jsonl", [{**json.loads(far[0]), "url": "https://new.example/"}, *map(json.loads, lines[60:70])]
    )
    flow.run(str(recipe), [], store, Silent())
    second = go_on(store, Wishes(lambda _: True), Silent())
    assert second is not None and "https://new.example/" not in {row["url"] for row in rows(store.find("web/pages"))}
    (how,) = [one["how"][0] for one in second.body["documents"] if one["id"] not in str(first.body["documents"])]
    assert re.fullmatch(r"shares \d\d% of its runs of 5 words with [0-9a-f]{32}", how)
    hashes = store.workspace / "register" / "texts"
    assert len(list(hashes.iterdir())) == 1 and b"Once upon" not in next(hashes.iterdir()).read_bytes()
