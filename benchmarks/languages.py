"""What each language pays for its text, before and after language weighting: the Debian handbook in twelve languages.

    python benchmarks/languages.py [--quick] [--alpha 0.3] [--vocab 8192]

The handbook's translations are laid out alike, so the n-th paragraph of a page says the same in all languages. Many
paragraphs are left in English; those that all twelve languages translate are parallel text. Every second of them is
held out to measure on, and everything else that is translated is what the tokenizers learn from: English has most,
Korean hardly a hundredth of it, as on the web.

Two tokenizers are trained by the product's own stage, on the same text, at the same size: without weighting, and with
``balance: {by: language, alpha: 0.3}``. A language's premium is its tokens for the held-out paragraphs over those of
the language with the fewest (Petrov et al. 2023, arXiv 2305.15425; there over English, which is shown too).

The ratio is the worst language's premium without weighting over that with it; above 1, weighting helps the worst off.
The result doesn't depend on the machine, so there are no rounds. Prints a table, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("GROUNDUP_SHARED", ROOT / "../shared"))
FILE = "data/html/debian_handbook/handbook_12lang.tar.xz"
ENGLISH = "en-US"
LABELS = {
    "ar-MA": "arb_Arab",
    "de-DE": "deu_Latn",
    "en-US": "eng_Latn",
    "es-ES": "spa_Latn",
    "fr-FR": "fra_Latn",
    "it-IT": "ita_Latn",
    "ja-JP": "jpn_Jpan",
    "ko-KR": "kor_Hang",
    "pl-PL": "pol_Latn",
    "pt-BR": "por_Latn",
    "ru-RU": "rus_Cyrl",
    "zh-CN": "cmn_Hans",
}
SHORTEST = 40
"""Characters of an English paragraph that is measured on; shorter ones are headings and names."""
TARGET = 1.0

Pages = dict[str, dict[str, list[str]]]
"""Folder of a language to page to paragraphs."""
Place = tuple[str, int]
"""A page and the number of a paragraph in it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half the vocabulary, a third of the pages to learn from")
    parser.add_argument("--alpha", type=float, default=0.3, help="of the weighting (default 0.3)")
    parser.add_argument("--vocab", type=int, default=0, help="vocabulary (default 8192, or 4096 with --quick)")
    parser.add_argument("--shared", type=Path, default=SHARED, help="where the shared data lies")
    options = parser.parse_args()
    path = options.shared / FILE
    if not path.is_file():
        sys.exit(f"{path} is not there: name the folder of the shared data by --shared")
    vocab = options.vocab or (4096 if options.quick else 8192)
    pages = read(path)
    measured = parallel(pages)[::2]
    documents = list(training(pages, set(measured), 3 if options.quick else 1))
    with tempfile.TemporaryDirectory() as folder:
        plain = premiums(train(Path(folder) / "plain", documents, vocab, None), pages, measured)
        weighted = premiums(train(Path(folder) / "weighted", documents, vocab, options.alpha), pages, measured)
    show(documents, plain, weighted, options.alpha, len(measured))
    print(json.dumps(result(plain, weighted, options.alpha, vocab, len(measured))))


def read(path: Path) -> Pages:
    """The paragraphs of all pages; navigation, tables of contents and listings left out."""
    import lxml.html

    found: Pages = {folder: {} for folder in LABELS}
    drop = "//*[contains(@class, 'docnav') or contains(@class, 'toc') or self::script or self::style or self::pre]"
    with tarfile.open(path) as archive:
        for member in archive:
            _, folder, page = member.name.split("/", 2)
            file = archive.extractfile(member)
            if file is None:
                continue
            tree = lxml.html.document_fromstring(file.read())
            for element in tree.xpath(drop):
                element.drop_tree()
            found[folder][page] = list(paragraphs(tree))
    return found


def paragraphs(tree: Any) -> Iterator[str]:
    """The text of each block that holds no other block, in order."""
    blocks = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "td", "th", "dt", "dd", "div")
    inner = " | ".join(f"./{name}" for name in ("p", "div", "ul", "ol", "table", "dl", "h1", "h2", "h3"))
    for element in tree.iter(*blocks):
        if element.tag in ("li", "dd", "td", "th", "div") and element.xpath(inner):
            continue
        if text := " ".join(element.text_content().split()):
            yield text


def parallel(pages: Pages) -> list[Place]:
    """The paragraphs that all languages translate, on pages that have equally many in all languages."""
    found = []
    for page, english in sorted(pages[ENGLISH].items()):
        if len({len(by_page.get(page, ())) for by_page in pages.values()}) != 1:
            continue
        for number, text in enumerate(english):
            others = (pages[folder][page][number] for folder in LABELS if folder != ENGLISH)
            if len(text) >= SHORTEST and all(other != text for other in others):
                found.append((page, number))
    return found


def training(pages: Pages, held_out: set[Place], every: int) -> Iterator[dict[str, Any]]:
    """A document for each page and language, without what is held out and what is left in English.

    The corpus wants a held-out document too; nothing is read off it here.
    """
    for folder, label in LABELS.items():
        for place, (page, texts) in enumerate(sorted(pages[folder].items())):
            english = set(pages[ENGLISH].get(page, ())) if folder != ENGLISH else set()
            own = [text for n, text in enumerate(texts) if (page, n) not in held_out and text not in english]
            if own and place % every == 0:
                split = "held_out" if folder == ENGLISH and place == 0 else "train"
                yield {"page": f"{folder}/{page}", "language": label, "text": "\n\n".join(own), "split": split}


def train(folder: Path, documents: list[dict[str, Any]], vocab: int, alpha: float | None) -> Any:
    """A tokenizer by the stage ``tokenizer`` on a corpus of these documents."""
    from tokenizer_corpora import task_of

    from groundup.stages.tokenize.config import TokenizerConfig
    from groundup.text.document import CORPUS, document_id, write_shards
    from groundup.text.tokenizer import Tokenizer

    rows = [
        {
            "id": document_id("handbook", one["page"], one["text"].encode()),
            "text": one["text"],
            "source": "handbook",
            "record": one["page"],
            "url": None,
            "licence": "CC-BY-SA-3.0",
            "language": one["language"],
            "language_score": 1.0,
            "split": one["split"],
            "chars": len(one["text"]),
        }
        for one in documents
    ]
    write_shards(folder / "artifact", "corpus", CORPUS, sorted(rows, key=lambda row: row["id"]))
    fields: dict[str, Any] = {"corpus": "corpus", "vocab_size": vocab, "workers": 1}
    if alpha is not None:
        fields["balance"] = {"by": "language", "alpha": alpha}
    config = TokenizerConfig.parse(fields, "artifact 'tokenizer'")
    config.run(task_of(folder / "artifact", folder))
    return Tokenizer.load(folder / "payload")


def premiums(tokenizer: Any, pages: Pages, places: list[Place]) -> Any:
    """What the paragraphs take in each language."""
    from groundup.text.measure.tally import measure

    found = measure(
        tokenizer,
        (
            {"text": pages[folder][page][number], "language": label, "content": f"{page}#{number}"}
            for folder, label in LABELS.items()
            for page, number in places
        ),
    )
    assert found.is_parallel
    return found


def show(documents: list[dict[str, Any]], plain: Any, weighted: Any, alpha: float, count: int) -> None:
    """The table: premiums over the cheapest language and over English, before and after."""
    sizes: dict[str, int] = {}
    for one in documents:
        sizes[one["language"]] = sizes.get(one["language"], 0) + len(one["text"].encode())
    total = sum(sizes.values())
    before, after = plain.premiums(), weighted.premiums()
    english = LABELS[ENGLISH]
    print(f"{count} paragraphs in {len(LABELS)} languages; learned from {total / 1e6:.1f} MB; alpha {alpha}")
    head = f"{'':<10}{'learned':>9}{'tokens':>9}{'after':>9}{'bytes a token':>15}{'after':>8}"
    print(f"{head}{'premium':>10}{'after':>8}{'to English':>13}{'after':>8}")
    for name in sorted(before, key=lambda one: -before[one]):
        old, new = plain.by_language[name], weighted.by_language[name]
        print(
            f"{name:<10}{sizes.get(name, 0) / total:>9.2%}{old.tokens:>9,}{new.tokens:>9,}{old.bytes_per_token:>15.2f}"
            f"{new.bytes_per_token:>8.2f}{before[name]:>10.3f}{after[name]:>8.3f}"
            f"{before[name] / before[english]:>13.3f}{after[name] / after[english]:>8.3f}"
        )
    tokens = plain.all.tokens, weighted.all.tokens
    print(
        f"{'all':<19}{tokens[0]:>9,}{tokens[1]:>9,}{plain.all.bytes_per_token:>15.2f}{weighted.all.bytes_per_token:>8.2f}"
    )


def result(plain: Any, weighted: Any, alpha: float, vocab: int, count: int) -> dict[str, Any]:
    """The house's line, with the table in it."""
    from groundup.base.machine import cpu_name
    from groundup.text.measure.tally import gini

    before, after = plain.premiums(), weighted.premiums()
    worst = max(before, key=lambda name: before[name])
    ratio = round(max(before.values()) / max(after.values()), 4)
    return {
        "benchmark": "languages",
        "workload": f"debian handbook, {count} parallel paragraphs in 12 languages, vocabulary {vocab}, alpha {alpha}",
        "machine": cpu_name(),
        "threads": 1,
        "ours": round(max(after.values()), 4),
        "peer": round(max(before.values()), 4),
        "peer_name": "the same tokenizer without weighting",
        "unit": "premium of the worst language",
        "ratio": ratio,
        "ratio_low": ratio,
        "ratio_high": ratio,
        "target": TARGET,
        "worst_language": {"before": worst, "after": max(after, key=lambda name: after[name])},
        "worst_before": {"premium": round(before[worst], 4), "premium_after": round(after[worst], 4)},
        "gini": {"before": round(gini(plain.costs().values()), 4), "after": round(gini(weighted.costs().values()), 4)},
        "premiums": {name: [round(before[name], 4), round(after[name], 4)] for name in sorted(before)},
    }


if __name__ == "__main__":
    main()
