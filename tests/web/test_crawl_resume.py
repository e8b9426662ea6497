"""A crawl that is killed or stopped goes on, and its budgets are kept."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crawl_cases import SITE_FILES, P, links, page, robots
from crawl_run import AGENT, TERMS, Crawled, config, crawl, started, task
from crawl_web import Reply, Web

from groundup.artifact.stage import Task
from groundup.base.errors import DataError
from groundup.base.progress import Progress, Silent
from groundup.stages.source.config import SourceConfig
from groundup.text.document import read_rows, tables

PAGES = 10


def site(number: int) -> dict[str, Reply]:
    pages = {f"/{n}": page(f"site {number} page {n}", "", wait=0.01) for n in range(PAGES)}
    everything = links(*(f"/{n}" for n in range(PAGES)), "/forbidden")
    return {
        "/robots.txt": robots("User-agent: *\nDisallow: /forbidden\n"),
        "/": page(everything),
        "/forbidden": P,
        **pages,
    }


SITES = {f"site{number}": site(number) for number in range(3)}
WHOLE = 3 * (PAGES + 1)


def job(web: Web, **fields: Any) -> dict[str, Any]:
    return {"seeds": [web.url(name) for name in SITES], "delay": "0.1 s", "timeout": "5 s", **fields}


def until(web: Web, requests: int) -> None:
    end = time.monotonic() + 30
    while len(web.log) < requests:
        assert time.monotonic() < end, f"{len(web.log)} requests"
        time.sleep(0.005)


def what_came(crawled: Crawled) -> object:
    pages = sorted((page["id"], page["record"], page["content"]) for page in crawled.pages)
    return pages, {url: (row["reason"], row["used"], row["decision"]) for url, row in crawled.visits.items()}


@pytest.mark.parametrize("whom", ["parent", "child"])
def test_killed_crawl_goes_on_without_asking_again(tmp_path: Path, whom: str) -> None:
    with Web(SITES) as web:
        process = started(tmp_path, **job(web))
        until(web, 18)
        if whom == "parent":
            process.kill()
        else:
            os.kill(child_of(process.pid), signal.SIGKILL)
        process.wait(20)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.stderr.close()
        assert whom == "parent" or "ended before its time" in said
        asked_before = len(web.log)
        time.sleep(0.3)
        assert len(web.log) <= asked_before + 1, "the orphan goes on asking"
        done = crawl(tmp_path, web, **job(web))
        requests = Counter((one.host, one.path) for one in web.log)
        whole = crawl(tmp_path / "whole", web, **job(web, delay="0.02 s")) if whom == "parent" else done
    assert what_came(done) == what_came(whole)
    assert {count for (_, path), count in requests.items() if path in SITE_FILES} == {1}
    assert max(requests.values()) <= 2
    assert sum(count - 1 for count in requests.values()) <= len(SITES)  # what was under way
    assert len(done.pages) == len({page["url"] for page in done.pages}) == WHOLE
    assert Counter(row["reason"] for row in done.visits.values()) == {None: WHOLE, "refused_robots": 3}
    assert "/forbidden" not in {path for _, path in requests}
    assert done.outcome.metrics["crawl"]["used"] == WHOLE
    assert warc_targets(tmp_path) == sorted(page["url"] for page in done.pages)


def child_of(parent: int) -> int:
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])


def warc_targets(folder: Path) -> list[str]:
    from warcio.archiveiterator import ArchiveIterator

    found = []
    for path in sorted((folder / "payload" / "warc").iterdir()):
        with path.open("rb") as file:
            found += [
                record.rec_headers.get_header("WARC-Target-URI")
                for record in ArchiveIterator(file)
                if record.rec_type == "response"
            ]
    return sorted(found)


def test_interrupt_stops_in_order_and_the_next_run_goes_on(tmp_path: Path) -> None:
    with Web(SITES) as web:
        process = started(tmp_path, **job(web))
        until(web, 18)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert process.stderr is not None
        assert b"KeyboardInterrupt" in process.stderr.read()
        process.stderr.close()
        before = len(web.log)
        done = crawl(tmp_path, web, **job(web))
        requests = Counter((one.host, one.path) for one in web.log)
    assert before < WHOLE
    assert set(requests.values()) == {1}  # what was under way came to its end and counted
    assert len(done.pages) == WHOLE


def test_finished_crawl_is_not_asked_for_again(tmp_path: Path) -> None:
    with Web({"site0": site(0)}) as web:
        fields = {"seeds": [web.url("site0")], "delay": "0.01 s"}
        first = crawl(tmp_path, web, **fields)
        asked = len(web.log)
        again = crawl(tmp_path, web, **fields)
        assert len(web.log) == asked
    assert again.pages == first.pages
    assert again.outcome.metrics == first.outcome.metrics


def test_page_whose_bytes_were_lost_is_asked_for_again(tmp_path: Path) -> None:
    with Web({"site0": site(0)}) as web:
        fields = {"seeds": [web.url("site0")], "delay": "0.01 s"}
        first = crawl(tmp_path, web, **fields)
        warc = tmp_path / "scratch/crawl/warc/00000.warc.gz"
        os.truncate(warc, warc.stat().st_size - 10)
        with sqlite3.connect(tmp_path / "scratch/crawl/frontier.sqlite") as db:
            db.execute("delete from totals where name = 'finished'")
        db.close()
        asked = Counter(one.path for one in web.log)
        again = crawl(tmp_path, web, **fields)
        more = Counter(one.path for one in web.log) - asked
    assert sum(more.values()) == 1
    assert sorted(page["id"] for page in again.pages) == sorted(page["id"] for page in first.pages)


@pytest.mark.parametrize(
    ("fields", "used"),
    [({"pages": 5}, 5), ({"per_host": 2}, 6), ({"follow": False}, 3), ({"pages": 7, "per_host": 2}, 6)],
)
def test_budgets_of_pages_are_kept(tmp_path: Path, fields: dict[str, Any], used: int) -> None:
    with Web(SITES) as web:
        done = crawl(tmp_path, web, **job(web, delay="0.01 s", **fields))
        pages = [one for one in web.log if one.path not in SITE_FILES]
    assert len(done.pages) == used
    assert len(pages) == used
    reasons = {row["reason"] for row in done.visits.values()} - {None}
    assert reasons <= {"budget", "per_host", "refused_robots"}
    assert len(done.visits) == (3 if "follow" in fields else len(done.visits))


def test_budget_of_bytes_is_kept(tmp_path: Path) -> None:
    big = {f"/{n}": page("x" * 20000) for n in range(9)}
    with Web({"big": {"/": page(links(*big)), **big}}) as web:
        done = crawl(tmp_path, web, seeds=[web.url("big")], delay="0.01 s", size="50 kB")
        assert len([one for one in web.log if one.path in big]) == 3
    assert sum(len(page["content"]) for page in done.pages) <= 50_000
    assert Counter(row["reason"] for row in done.visits.values()) == {None: 3, "budget": 7}


def test_budget_of_time_is_kept_over_attempts(tmp_path: Path) -> None:
    with Web(SITES) as web:
        begin = time.monotonic()
        done = crawl(tmp_path, web, **job(web, delay="0.4 s", time="4 s"))
        spent = time.monotonic() - begin
        times = [one.time for one in web.log]
    assert times[-1] - times[0] < 4
    assert spent < 20
    assert 0 < len(done.pages) < WHOLE
    assert "budget" in {row["reason"] for row in done.visits.values()}
    assert done.outcome.metrics["crawl"]["seconds"] <= 6


def test_host_that_wants_to_be_asked_once_a_year_ends_the_crawl_at_once(tmp_path: Path) -> None:
    with Web({"slow": {"/robots.txt": robots("User-agent: *\nCrawl-delay: 31536000\n"), "/": P}}) as web:
        begin = time.monotonic()
        with pytest.raises(DataError, match=r"gave no pages \(left out: 1 budget\)"):
            crawl(tmp_path, web, seeds=[web.url("slow")], time="1 hour")
        assert time.monotonic() - begin < 30
        assert web.asked("slow") == ["/robots.txt"]


def test_site_files_are_asked_for_again_when_they_are_old(tmp_path: Path) -> None:
    with Web({"site0": site(0)}) as web:
        crawl(tmp_path, web, seeds=[web.url("site0")], delay="0.05 s", cache="0.4 s")
        asked = Counter(web.asked("site0"))
    assert asked["/robots.txt"] >= 2
    assert {count for path, count in asked.items() if path not in SITE_FILES} == {1}


def test_files_and_crawl_come_in_together(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("words of a file")
    files = [{"path": "more.txt", "licence": "CC0-1.0", "origin": "made here"}]
    with Web({"a": {"/": P}}) as web:
        both = SourceConfig.parse({"files": files, "crawl": config(seeds=[web.url("a")], delay="0.01 s").crawl}, "a")
        empty = task(tmp_path / "run")
        whole = Task("pages", "d", {}, {"more.txt": tmp_path / "more.txt"}, empty.payload, empty.scratch, Silent())
        outcome_ = both.run(whole)
    assert outcome_.metrics["pages"] == 2
    assert [terms.source for terms in outcome_.terms.sources] == ["crawl", "more.txt"]
    assert json.loads((empty.payload / "left_out.jsonl").read_text() or "{}") == {}


def test_withdrawn_pages_are_in_no_file_of_the_payload(tmp_path: Path) -> None:
    with Web({"site0": site(0)}) as web:
        fields = {"seeds": [web.url("site0")], "delay": "0.01 s"}
        first = crawl(tmp_path, web, **fields)
        gone = next(page for page in first.pages if page["url"].endswith("/3"))
        config(**fields).run(replace(task(tmp_path), withdrawn=frozenset({gone["id"]})))
    left = warc_targets(tmp_path)
    assert gone["url"] not in left
    assert len(left) == PAGES
    for path in (tmp_path / "payload").rglob("*"):
        if path.suffix == ".gz":
            assert b"site 0 page 3" not in gzip.decompress(path.read_bytes())
    rows = [row for table in tables(tmp_path / "payload", "pages") for row in read_rows(table)]
    assert gone["id"] not in {row["id"] for row in rows}
    assert len(rows) == PAGES


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_recipe_crawls_once_and_its_record_tells(tmp_path: Path) -> None:
    from groundup import flow
    from groundup.artifact.store import Store

    hosts = {"site0": site(0), "shut": {"/robots.txt": robots("User-agent: *\nDisallow: /\n")}}
    with Web(hosts) as web:
        seeds = [web.url("site0"), web.url("shut")]
        stage = {"stage": "source", "crawl": {**TERMS, "seeds": seeds, "delay": "0.02 s"}}
        recipe = tmp_path / "my_crawl.yaml"
        recipe.write_text(json.dumps({"name": "my_crawl", "artifacts": {"pages": stage}}))
        said = Terminal()
        made = flow.run(str(recipe), [], Store(tmp_path / "ws"), Progress(stream=said))
        asked = len(web.log)
        again = flow.run(str(recipe), [], Store(tmp_path / "ws"), Silent())
        assert len(web.log) == asked
    assert [step.made for step in (*made.steps, *again.steps)] == [True, False]
    record = made.steps[0].artifact.record
    assert record.metrics["crawl"]["reasons"] == {"refused_robots": 2}
    assert record.metrics["pages"] == PAGES + 1
    assert {"crawl.parquet", "left_out.jsonl", "warc/00000.warc.gz", "signals/00000.parquet"} <= set(record.files)
    assert "2 left out (refused_robots 2)" in said.getvalue()
    assert re.search(r"crawl  \d+/\d+ pages .*hosts \d .*budget \S+ left", said.getvalue())
    assert AGENT in made.report.read_text()


def test_source_without_a_crawl_is_what_it_was() -> None:
    files = [{"path": "a.txt", "licence": "CC0-1.0", "origin": "here"}]
    plain = SourceConfig.parse({"files": files}, "artifact 'pages'")
    assert "crawl" not in plain.identity({"a.txt": "0"})
    crawling = config(seeds=["https://example.org/"], allow_private=False)
    assert crawling.identity({})["crawl"]["seeds"] == ["https://example.org/"]
    assert json.loads(json.dumps(crawling.model_dump(mode="json"))) == crawling.model_dump(mode="json")
    assert SourceConfig.parse(crawling.model_dump(mode="json"), "again") == crawling
