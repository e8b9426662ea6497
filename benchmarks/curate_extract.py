"""Extraction beside trafilatura and resiliparse: quality and speed on the same pages, tables and code on manuals.

    OMP_NUM_THREADS=1 python benchmarks/curate_extract.py [--quick] [--shared FOLDER]

*F1*: gold pages name strings that must and strings that must not be in a page's text. A wanted string found is a true
positive, missed a false negative; an unwanted one found is a false positive; all strings of all pages together. The
decision on blocks was fitted on one half of the pages, so the other half is what counts; both are printed.

*Speed*: every extractor in turn on one page after the other, decoding included, in this process; ratios over rounds
of pages. What the guard adds is its own line.

*Tables and code*: on three manuals whose main content is an element that is known beforehand. A table's row (with two
cells or more, of a table with no table inside) counts as found if its cells' words stand in the text one after the
other with nothing but signs and white space between; rows weigh by their words. A line of ``<pre>`` counts as found if
the text has it as a line with its indentation; lines weigh by their characters other than white space.

    ... --fit    fit the shipped weights again from the pages of the other half (minutes) and write them

Prints a table, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import statistics
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from groundup.base.machine import cpu_name
from groundup.stages.curate.extraction.encoding import decode
from groundup.stages.curate.extraction.extractors import blocks_of, by_resiliparse, by_trafilatura, extract_html
from groundup.stages.curate.extraction.fit import Example, fit_model
from groundup.stages.curate.extraction.forest import WEIGHTS, Boosting, save
from groundup.stages.curate.extraction.operator import Extract

SHARED = Path(__file__).resolve().parents[2] / "shared"
MANUALS = {
    # The element that holds the main content, and what in it is none (XPath).
    "sqlite_doc": ("//body", ".//div[contains(@class, 'nosearch')] | .//div[contains(@class, 'toc')]"),
    "postgresql_doc": ("//body", ".//div[@class='navheader' or @class='navfooter' or @class='toc']"),
    "debian_handbook": ("//body", ".//ul[contains(@class, 'docnav')] | .//p[@id='title'] | .//div[@class='toc']"),
}
WORD = re.compile(r"\w+")

Gold = dict[str, Any]
Extractor = Callable[[bytes], str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every seventh gold page and fewer manual pages")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with data/extraction and data/html")
    parser.add_argument("--fit", action="store_true", help="fit and write the weights instead")
    options = parser.parse_args()
    if not (options.shared / "data").is_dir():
        sys.exit(f"no test data in {options.shared}; give its folder with --shared")
    try:
        import trafilatura  # noqa: F401
    except ImportError:
        sys.exit("the peer is missing; run: pip install trafilatura==2.3.1 lxml-html-clean")
    pages = gold_pages(options.shared / "data/extraction/trafilatura_eval")
    if options.fit:
        refit([page for page in pages if not held_out(page[0])])
        return
    step = 7 if options.quick else 1
    results = [*quality_and_speed(pages[::step], rounds=2 if options.quick else 4)]
    results.append(guard_cost([content for _, content in pages[::step]], rounds=4))
    for name in MANUALS:
        results += manual(options.shared / "data/html" / name, name, 40 if options.quick else 200)
    common = {"benchmark": "curate_extract", "machine": cpu_name(), "threads": 1}
    print(json.dumps({**common, "results": [{**common, **result} for result in results]}))


def gold_pages(folder: Path) -> list[tuple[Gold, bytes]]:
    """(gold row, HTML bytes) of every page."""
    with gzip.open(folder / "gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        gold = [json.loads(line) for line in lines]
    with tarfile.open(folder / "pages.tar.xz") as packed:
        found = {Path(entry.name).name: packed.extractfile(entry) for entry in packed if entry.isfile()}
        html = {name: data.read() for name, data in found.items() if data}
    return [(row, html[row["file"]]) for row in gold if row["file"] in html]


def held_out(row: Gold) -> bool:
    """Whether a page is of the half that fitting never sees."""
    return hashlib.sha256(row["file"].encode()).digest()[0] % 2 == 0


def refit(pages: Sequence[tuple[Gold, bytes]]) -> None:
    """Fit the weights on these pages and write them."""
    examples = []
    for row, content in pages:
        html = decode(content)
        examples.append(Example(blocks_of(html), row["with"], row["without"], by_trafilatura(html)))
    note = (
        "Apache-2.0, groundup. Fitted by benchmarks/curate_extract.py --fit on half of the 707 gold pages of "
        "trafilatura's evaluation, teacher trafilatura 2.3.1 (Apache-2.0). Numbers only: no text of any page."
    )
    save(fit_model(examples, Boosting(trees=80)), WEIGHTS, note)
    print(f"{len(pages)} pages, {sum(len(example.page.blocks) for example in examples)} blocks: {WEIGHTS}")


def extractors() -> dict[str, Extractor]:
    """All that are compared; ours first."""
    import trafilatura

    return {
        "best": lambda content: extract_html(content, None, "best").text,
        "blocks": lambda content: extract_html(content, None, "blocks").text,
        "resiliparse": lambda content: by_resiliparse(decode(content)),
        "trafilatura standard": lambda content: trafilatura.extract(content) or "",
        "trafilatura fast": lambda content: trafilatura.extract(content, fast=True) or "",
    }


def quality_and_speed(pages: Sequence[tuple[Gold, bytes]], rounds: int) -> Iterator[dict[str, Any]]:
    """F1 of all extractors, and ours beside each by time."""
    known: dict[str, Extractor] = {name: partial(safely, extract) for name, extract in extractors().items()}
    for extract in known.values():
        extract(pages[0][1])  # imports, kernels, caches
    texts: dict[str, list[str]] = {name: [] for name in known}
    spent: dict[str, list[float]] = {name: [0.0] * rounds for name in known}
    names = list(known)
    for at, (_, content) in enumerate(pages):
        for name in names[at % len(names) :] + names[: at % len(names)]:
            start = time.perf_counter()
            texts[name].append(known[name](content))
            spent[name][at % rounds] += time.perf_counter() - start
    half = [held_out(row) for row, _ in pages]
    print(f"{'':<22} {'F1 held out':>12} {'F1 fitted on':>13} {'F1 all':>8} {'P':>7} {'R':>7} {'pages/s':>8}")
    for name, found in texts.items():
        held = score([(row, text) for (row, _), text, out in zip(pages, found, half, strict=True) if out])
        seen = score([(row, text) for (row, _), text, out in zip(pages, found, half, strict=True) if not out])
        every = score([(row, text) for (row, _), text in zip(pages, found, strict=True)])
        rate = len(pages) / sum(spent[name])
        print(
            f"{name:<22} {held[2]:>12.4f} {seen[2]:>13.4f} {every[2]:>8.4f} {every[0]:>7.4f} {every[1]:>7.4f}"
            f" {rate:>8.1f}"
        )
        if name == "best":
            ours = held[2]
        if name.startswith("trafilatura") or name == "resiliparse":
            yield {
                "workload": f"F1 on {sum(half)} held-out gold pages",
                "ours": round(ours, 4),
                "peer": round(held[2], 4),
                "peer_name": name,
                "unit": "F1",
                **spread([ours / held[2]]),
                "target": 1.0,
            }
    for name in names[2:]:
        ratios = [peer / mine for peer, mine in zip(spent[name], spent["best"], strict=True)]
        yield {
            "workload": f"{len(pages)} gold pages, {sum(len(content) for _, content in pages) / 1e6:.1f} MB of HTML",
            "ours": round(len(pages) / sum(spent["best"]), 2),
            "peer": round(len(pages) / sum(spent[name]), 2),
            "peer_name": name,
            "unit": "pages/s",
            **spread(ratios),
            "target": 1.0 if name.startswith("trafilatura") else 0.0,
        }


def guard_cost(contents: Sequence[bytes], rounds: int) -> dict[str, Any]:
    """Time of our default behind its guard beside the same without, batch by batch in turn, the best of the rounds."""
    batches = [batch_of(contents[at : at + 50]) for at in range(0, len(contents), 50)]
    ways = Extract(), Extract(guarded=False)
    for way in ways:
        way(batches[0])
    best = [[float("inf")] * len(batches) for _ in ways]
    for turn in range(rounds):
        for at, batch in enumerate(batches):
            for which in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                ways[which](batch)
                best[which][at] = min(best[which][at], time.perf_counter() - start)
    ways[0].close()
    guarded, plain = map(sum, best)
    print(f"\nguard: {guarded / plain - 1:.1%} more time")
    return {
        "workload": f"the guard's cost, {len(contents)} gold pages",
        "ours": round(len(contents) / guarded, 2),
        "peer": round(len(contents) / plain, 2),
        "peer_name": "the same in one process",
        "unit": "pages/s",
        **spread([mine / theirs for mine, theirs in zip(best[1], best[0], strict=True)]),
        "target": 0.95,
    }


def batch_of(contents: Sequence[bytes]) -> pa.RecordBatch:
    size = len(contents)
    columns = {
        "content": pa.array(contents, pa.large_binary()),
        "media_type": pa.array(["text/html"] * size),
        "encoding": pa.array([None] * size, pa.string()),
    }
    return pa.RecordBatch.from_pydict(columns)


def safely(extract: Extractor, content: bytes) -> str:
    """An extractor that fails on a page counts as empty text."""
    try:
        return extract(content)
    except Exception:
        return ""


def score(given: Sequence[tuple[Gold, str]]) -> tuple[float, float, float]:
    """Precision, recall and F1 over all strings."""
    hits = misses = wrong = 0
    for row, text in given:
        kept = sum(piece in text for piece in row["with"])
        hits += kept
        misses += len(row["with"]) - kept
        wrong += sum(piece in text for piece in row["without"])
    precision, recall = hits / max(1, hits + wrong), hits / max(1, hits + misses)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def spread(ratios: Sequence[float]) -> dict[str, float]:
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(min(ratios), 3),
        "ratio_high": round(max(ratios), 3),
    }


def manual(folder: Path, name: str, limit: int) -> Iterator[dict[str, Any]]:
    """Tables and code of a manual that each extractor finds."""
    known = {key: partial(safely, extract) for key, extract in extractors().items() if not key.endswith("fast")}
    pages = [content for content in manual_pages(folder) if b"<pre" in content or b"<table" in content]
    pages = pages[:: max(1, len(pages) // limit)]
    references = [reference(content, *MANUALS[name]) for content in pages]
    found = {key: [extract(content) for content in pages] for key, extract in known.items()}
    print(f"\n{name}: {len(pages)} pages")
    for part, share in (("tables", table_recall), ("code", code_recall)):
        recall = {key: share(references, texts) for key, texts in found.items()}
        print(f"  {part:<8}" + "".join(f"{key:>22} {value:.4f}" for key, value in recall.items()))
        if not any(rows if part == "tables" else lines for rows, lines in references):
            continue
        for peer in ("resiliparse", "trafilatura standard"):
            yield {
                "workload": f"{part} of {name}, {len(pages)} pages",
                "ours": round(recall["best"], 4),
                "peer": round(recall[peer], 4),
                "peer_name": peer,
                "unit": "recall",
                **spread([recall["best"] / max(1e-9, recall[peer])]),
                "target": 1.0,
            }


def manual_pages(folder: Path) -> Iterator[bytes]:
    for packed in sorted(folder.glob("*.tar.xz")):
        with tarfile.open(packed) as members:
            for entry in members:
                stream = members.extractfile(entry) if entry.name.endswith(".html") else None
                if stream is not None:
                    yield stream.read()


def reference(content: bytes, main: str, without: str) -> tuple[list[list[str]], list[str]]:
    """The rows of tables, each as its words, and the lines of ``<pre>``, by lxml's parser."""
    import lxml.html

    parser = lxml.html.HTMLParser(encoding="utf-8")
    roots = lxml.html.document_fromstring(decode(content).encode(), parser=parser).xpath(main)
    if not roots:
        return [], []
    root = roots[0]
    for element in root.xpath(f"{without} | .//script | .//style"):
        element.drop_tree()
    lines = [
        line.rstrip()
        for pre in root.xpath(".//pre[not(ancestor::pre)]")
        for line in pre.text_content().replace("\xa0", " ").split("\n")
        if line.strip()
    ]
    rows = []
    for row in root.xpath(".//tr[not(ancestor::table[.//table]) and not(.//pre)]"):
        cells = row.xpath("./td | ./th")
        if len(cells) > 1:
            words = WORD.findall(" ".join(" ".join(cell.itertext()) for cell in cells))
            if words:
                rows.append(words)
    return rows, lines


def table_recall(references: Sequence[tuple[list[list[str]], list[str]]], texts: Sequence[str]) -> float:
    """The share of rows found whole and in order, by words."""
    found = total = 0
    for (rows, _), text in zip(references, texts, strict=True):
        whole = "".join(WORD.findall(text))
        for words in rows:
            total += len(words)
            found += len(words) * ("".join(words) in whole)
    return found / max(1, total)


def code_recall(references: Sequence[tuple[list[list[str]], list[str]]], texts: Sequence[str]) -> float:
    """The share of lines found as they are, by characters that show; a line counts as often as it stands there."""
    found = total = 0
    for (_, lines), text in zip(references, texts, strict=True):
        have = Counter(line.rstrip() for line in text.split("\n"))
        for line in lines:
            size = len("".join(line.split()))
            total += size
            if have[line] > 0:
                have[line] -= 1
                found += size
    return found / max(1, total)


if __name__ == "__main__":
    main()
