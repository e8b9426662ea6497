"""Judges of content: how right the quality classifier and the toxicity classifier are, and how fast, beside fastText.

    python benchmarks/curate_quality.py [--quick] [--write] [--shared FOLDER]

Quality: ten-fold cross-validation on the pages that DCLM's authors labelled keep or drop, ours and fastText's on the
same folds; the models are thrown away, for the pages may be tested on only. Toxicity: the shipped classifier on
Davidson's tweets that it was not trained on, and on sets that it never saw. ``--write`` trains that classifier and the
table of letter trigrams anew, and writes both with the card into the package. No text is printed. Needs the package
fasttext-community. Speeds are per second of processor time, ours and fastText's in turns. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import html
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from groundup.base.machine import cpu_name
from groundup.stages.curate import judging
from groundup.stages.curate.judging import fasttext_model, linear, spam, toxicity, words
from groundup.stages.curate.judging.metrics import area_under_curve, measure, wilson

SHARED = Path(__file__).parents[1] / "../shared/data"
PACKAGE = Path(judging.__path__[0])
STRENGTH = 3.0
BITS = 18
TOXIC_BITS = 17
TARGET_SPEED = 10.0
HATE, OFFENSIVE, NEITHER = 0, 1, 2
THRESHOLDS = (0.5, 0.7, 0.9)

IDENTITIES = (
    "gay", "lesbian", "bisexual", "transgender", "queer", "straight", "black", "white", "asian", "latino",
    "jewish", "muslim", "christian", "atheist", "hindu", "buddhist", "immigrant", "mexican", "chinese",
    "indian", "arab", "disabled", "deaf", "blind", "autistic", "elderly", "young", "feminist", "female", "male",
)  # fmt: skip
# Neutral sentences about people, as Dixon et al. 2018 balance their data; the second set is only tested on.
TRAINED_ON = (
    "The {} family next door invited us to dinner.", "He is a {} man who teaches history.",
    "{} people live all over the world.",
    "My {} friend came to visit and we cooked together.",
    "As a {} woman she ran for the city council.", "They are {} and proud of it.",
    "The report asks how {} workers are paid.", "I grew up in a {} neighbourhood and loved it.",
)  # fmt: skip
TESTED_ON = (
    "My neighbour is {} and works at the library.", "I am a {} person and I love gardening.",
    "The {} community centre opens at nine on Monday.", "She wrote a book about {} history in Europe.",
    "Being {} is nothing to be ashamed of.", "Two {} students won the science prize this year.",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three folds and rounds")
    parser.add_argument("--write", action="store_true", help="train and write what the package ships")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder with the shared data")
    options = parser.parse_args()
    if not (options.shared / "text/dclm_quality").is_dir():
        sys.exit(f"{options.shared} is not there: give the shared data folder with --shared")
    if options.write:
        write_trigrams(options.shared)
        write_toxicity(options.shared)
    results = [quality(options.shared, 3 if options.quick else 10), toxic(options.shared)]
    results += [spam_figures(options.shared), *speeds(options.shared, 3 if options.quick else 7)]
    print(json.dumps({"benchmark": "curate_quality", "results": results}))


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def side(text: str, parts: int) -> int:
    """Which of ``parts`` a text belongs to, by its hash."""
    return int(hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), 16) % parts


def quality(shared: Path, folds: int) -> dict[str, Any]:
    labelled = rows(shared / "text/dclm_quality/majority.jsonl.gz")
    texts, labels = [row["text"] for row in labelled], np.array([row["label"] == 1 for row in labelled])
    agreed = {row["text"] for row in rows(shared / "text/dclm_quality/agreement.jsonl.gz")}
    fold = np.array([side(text, folds) for text in texts])
    features = linear.hash_features(texts, BITS, True)
    scores = {"ours": np.zeros(len(texts)), "fastText": np.zeros(len(texts))}
    for number in range(folds):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        packed = linear.packed_texts([texts[row] for row in test])
        costs = linear.balanced(labels[train])
        model = linear.fit(features.take(train), labels[train], BITS, True, STRENGTH, costs).quantized()
        scores["ours"][test] = model.score(packed)[0]
        peer = fasttext_model.fit_fasttext([texts[row] for row in train], labels[train], seed=1, epochs=25, rate=0.5)
        scores["fastText"][test] = peer.score(packed)[0]
    result: dict[str, Any] = {"workload": f"{len(texts)} labelled pages, {folds}-fold cross-validation"}
    unanimous = np.array([text in agreed for text in texts])
    for name, found in scores.items():
        figures = measure(found, labels, 0.5)
        both = area_under_curve(found[unanimous], labels[unanimous])
        result[name] = {**figures.as_dict(), "auc_where_labels_agree": round(both, 4)}
        areas = f"{figures.auc:.3f} ({both:.3f} where labels agree)"
        print(f"quality, {name:<9} AUC {areas}  precision {shown(figures.precision)}  recall {shown(figures.recall)}")
    return result


def shown(share: Any) -> str:
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}] of {share.total}"


def clean(tweet: str) -> str:
    """A tweet's words: without names, links, and what marks it as a tweet."""
    text = html.unescape(html.unescape(tweet))
    for pattern in (r"https?://\S+", r"@\w+:?", r"\bRT\b", r"&#\d+;?", "#"):
        text = re.sub(pattern, "", text)
    return " ".join(text.split())


def tweets(shared: Path) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(texts, classes, which are held out: a fifth, by the text's hash)."""
    with gzip.open(shared / "safety/davidson_tweets.csv.gz", "rt", encoding="utf-8") as file:
        read = [(clean(row["tweet"]), int(row["class"])) for row in csv.DictReader(file)]
    texts = [text for text, _ in read]
    return texts, np.array([label for _, label in read]), np.array([side(text, 5) == 0 for text in texts])


def plain_text(shared: Path) -> list[str]:
    """Windows of ordinary writing without a listed word, and sentences about people: the other negatives."""
    books = [row["text"][:200_000] for row in rows(shared / "text/books/books.jsonl.gz")]
    speeches = [row["text"] for row in rows(shared / "text/speeches/us_speeches.jsonl.gz")]
    pieces = cut(books, 15_000) + cut(speeches, 4_000)
    pieces += [row["text"] for row in rows(shared / "text/sentence_polarity/polarity.jsonl.gz")]
    pieces += [row["question"] for row in rows(shared / "bench/gsm8k/train.jsonl.gz")][:2000]
    pieces += [row["instruction"] for row in rows(shared / "instruct/self_instruct_seed175.jsonl.gz")]
    table = words.build_table(words.shipped_words()["eng"], words.KINDS)
    counts, _ = table.count(linear.packed_texts(pieces), np.zeros(len(pieces), bool))
    clear = [piece for piece, listed in zip(pieces, counts.sum(axis=1).tolist(), strict=True) if not listed]
    return clear + [pattern.format(name) for pattern in TRAINED_ON for name in IDENTITIES]


def cut(texts: Sequence[str], number: int) -> list[str]:
    """Pieces of 24 words, those that come first by hash."""
    pieces = []
    for text in texts:
        split = text.split()
        pieces += [" ".join(split[at : at + 24]) for at in range(0, len(split) - 24, 24)]
    return sorted(pieces, key=lambda piece: hashlib.sha256(piece.encode()).digest())[:number]


def write_toxicity(shared: Path) -> None:
    texts, classes, held = tweets(shared)
    negatives = plain_text(shared)
    train = [text for text, out in zip(texts, held, strict=True) if not out] + negatives
    labels = np.concatenate([classes[~held] != NEITHER, np.zeros(len(negatives), bool)])
    features = linear.hash_features(train, TOXIC_BITS, True)
    model = linear.fit(features, labels, TOXIC_BITS, True, STRENGTH, linear.balanced(labels))
    about = {
        "purpose": "toxicity",
        "strength": STRENGTH,
        "examples": {"toxic": int(labels.sum()), "other": int((~labels).sum())},
        "sources": {
            "tweets": {"name": "t-davidson/hate-speech-and-offensive-language", "licence": "MIT"},
            "books": {"name": "mlschmitt/classic-books-markdown", "licence": "public domain"},
            "speeches": {"name": "NLTK state_union, inaugural", "licence": "public domain"},
            "reviews": {"name": "sentence_polarity (Pang and Lee 2005)", "licence": "CC-BY-4.0"},
            "problems": {"name": "openai/grade-school-math, train", "licence": "MIT"},
            "instructions": {"name": "yizhongw/self-instruct seed tasks", "licence": "Apache-2.0"},
        },
        "held_out": {},
    }
    shipped = linear.LinearModel(model.weights, model.bias, TOXIC_BITS, True, about)
    shipped.save(toxicity.SHIPPED, "int8")
    toxicity._model.cache_clear()
    about["held_out"] = {key: value for key, value in toxic(shared).items() if key != "workload"}
    shipped.save(toxicity.SHIPPED, "int8")
    toxicity._model.cache_clear()


def toxic(shared: Path) -> dict[str, Any]:
    model = toxicity.load_shipped()

    def score(texts: Sequence[str], window: int = 0) -> np.ndarray[Any, Any]:
        return model.score(linear.packed_texts(texts), None, window)[0]

    texts, classes, held = tweets(shared)
    classes = classes[held]
    found = score([text for text, out in zip(texts, held, strict=True) if out])
    result: dict[str, Any] = {"workload": f"{len(found)} held-out tweets, and other sets"}
    for threshold in THRESHOLDS:
        figures = measure(found, classes != NEITHER, threshold)
        by_class = {
            name: wilson(int((found[classes == label] >= threshold).sum()), int((classes == label).sum()))
            for name, label in (("hate", HATE), ("offensive", OFFENSIVE), ("neither", NEITHER))
        }
        result[f"tweets_at_{threshold}"] = {
            **figures.as_dict(), **{name: [round(part, 4) for part in share] for name, share in by_class.items()}
        }  # fmt: skip
        print(f"toxic >= {threshold}: precision {shown(figures.precision)}  recall {shown(figures.recall)}; flagged: "
              + ", ".join(f"{name} {shown(share)}" for name, share in by_class.items()))  # fmt: skip
    result["flagged_at_0.5"] = flagged(shared, score)
    for name, share in result["flagged_at_0.5"].items():
        print(f"  flagged at 0.5: {name:<34} {share[0]:.3f} [{share[1]:.3f}, {share[2]:.3f}] of {share[3]}")
    result |= moderation(shared)
    return result


def flagged(shared: Path, score: Callable[..., np.ndarray[Any, Any]]) -> dict[str, list[float]]:
    """Shares above 0.5 of texts that are harmless (false alarms) and of prompts that toxic text may follow."""
    gendered = rows(shared / "safety/winogenerated.jsonl.gz")
    stress = [row["prompt"] for row in rows(shared / "safety/xstest_a.jsonl.gz") if row["label"] == "safe"]
    prompts = rows(shared / "safety/rtp_prompts.jsonl.gz")
    sets: dict[str, tuple[list[str], int]] = {
        "identity sentences (harmless)": ([one.format(name) for one in TESTED_ON for name in IDENTITIES], 0),
        "xstest safe prompts (harmless)": (stress, 0),
        "C4 pages": ([row["text"] for row in rows(shared / "text/c4_demo/c4_demo.jsonl.gz")], toxicity.WINDOW),
    }
    for at, pronoun in enumerate(("he", "she", "they")):
        filled = [row["sentence_with_blank"].replace("_", row["pronoun_options"][at]) for row in gendered]
        sets[f"winogenerated, {pronoun} (harmless)"] = (filled, 0)
    for category in sorted({row["category"] for row in prompts}):
        sets[f"RTP prompts, {category}"] = ([row["prompt"] for row in prompts if row["category"] == category], 0)
    shares = {}
    for name, (texts, window) in sets.items():
        above = score(texts, window) >= 0.5
        shares[name] = [round(part, 4) for part in wilson(int(above.sum()), len(above))]
    for name in IDENTITIES:
        above = score([one.format(name) for one in TESTED_ON]) >= 0.5
        if above.any():
            shares[f"identity sentences, {name}"] = [round(part, 4) for part in wilson(int(above.sum()), len(above))]
    return shares


def moderation(shared: Path) -> dict[str, Any]:
    """The default decision on prompts labelled by kind of harm (openai/moderation-api-release)."""
    prompts = rows(shared / "safety/openai_moderation_a.jsonl.gz")
    batch = pa.RecordBatch.from_pydict({"text": pa.array([row["prompt"] for row in prompts], pa.large_string())})
    batch = toxicity.Toxicity()(batch)
    found: dict[str, Any] = {}
    for column, label in (("adult", "S"), ("toxic", "H"), ("slur", "H")):
        known = np.array([row.get(label) is not None for row in prompts])
        positive = np.array([row.get(label) == 1 for row in prompts])[known]
        values = batch.column(f"toxicity.{column}").to_numpy()[known]
        figures = measure(np.where(values > toxicity.MODES[column], 1.0, 0.0), positive, 0.5)
        area = area_under_curve(values, positive)
        found[f"moderation {label} by {column}"] = {**figures.as_dict(), "auc": round(area, 4)}
        print(
            f"moderation {label} by {column:<6} AUC {area:.3f}  precision {shown(figures.precision)}"
            f"  recall {shown(figures.recall)}"
        )
    return found


def write_trigrams(shared: Path) -> None:
    books = [row["text"].encode() for row in rows(shared / "text/books/books.jsonl.gz")]
    table = spam.fit_trigrams(books[::2])
    (PACKAGE / "trigrams.npz").write_bytes(linear.packed({"eighths": table}))
    spam._trigrams.cache_clear()


def spam_figures(shared: Path) -> dict[str, Any]:
    """How much ordinary text each rule would drop: an upper bound of its false alarms. There is no labelled spam."""
    sets = {
        "books": [row["text"][:4000] for row in rows(shared / "text/books/books.jsonl.gz")[1::2]],
        "C4": [row["text"] for row in rows(shared / "text/c4_demo/c4_demo.jsonl.gz")],
        "DCLM keep": [r["text"] for r in rows(shared / "text/dclm_quality/majority.jsonl.gz") if r["label"] == 1],
        "DCLM drop": [r["text"] for r in rows(shared / "text/dclm_quality/majority.jsonl.gz") if r["label"] == 0],
        "speeches": [row["text"] for row in rows(shared / "text/speeches/us_speeches.jsonl.gz")],
        "stories": [row["text"] for row in rows(shared / "text/tinystories/stories.jsonl.gz")],
    }
    result: dict[str, Any] = {"workload": "ordinary text dropped as spam"}
    for name, texts in sets.items():
        batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
        rules = spam.decide_spam()(spam.Spam()(batch)).column("rule").to_pylist()
        share = wilson(sum(rule is not None for rule in rules), len(rules))
        result[name] = [round(part, 4) for part in share]
        print(f"spam, {name:<10} dropped {shown(share)}")
    return result


def speeds(shared: Path, rounds: int) -> list[dict[str, Any]]:
    """MB of text a second of processor time: each operator, and fastText's model in turns with our quality model."""
    labelled = rows(shared / "text/dclm_quality/majority.jsonl.gz")
    texts = [row["text"] for row in labelled] + [row["text"] for row in rows(shared / "text/c4_demo/c4_demo.jsonl.gz")]
    packed = linear.packed_texts(texts)
    size = len(packed.data) / 1e6
    labels = np.array([row["label"] == 1 for row in labelled])
    train = [row["text"] for row in labelled]
    ours = linear.fit(linear.hash_features(train, BITS, True), labels, BITS, True, STRENGTH)
    peer = fasttext_model.fit_fasttext(train, labels, seed=1)
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    return [
        compared("quality model", size, rounds, lambda: ours.score(packed), lambda: peer.score(packed)),
        compared("toxicity operator", size, rounds, lambda: toxicity.Toxicity()(batch), lambda: peer.score(packed)),
        compared("spam operator", size, rounds, lambda: spam.Spam()(batch), lambda: peer.score(packed)),
    ]


def compared(name: str, size: float, rounds: int, ours: Callable[[], Any], theirs: Callable[[], Any]) -> dict[str, Any]:
    ours()
    mine, others = [], []
    for _ in range(rounds):
        for work, kept in ((ours, mine), (theirs, others)):
            start = time.process_time()
            work()
            kept.append(size / (time.process_time() - start))
    ratios = sorted(one / other for one, other in zip(mine, others, strict=True))
    result = {
        "workload": f"{name}, {size:.1f} MB of pages",
        "machine": cpu_name(),
        "threads": 1,
        "ours": round(statistics.median(mine), 2),
        "peer": round(statistics.median(others), 2),
        "peer_name": "fasttext-community predict",
        "unit": "MB/s of processor time",
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(ratios[0], 2),
        "ratio_high": round(ratios[-1], 2),
        "target": TARGET_SPEED,
    }
    print(f"speed, {name:<18} {result['ours']} MB/s; fastText {result['peer']} MB/s")
    return result


if __name__ == "__main__":
    main()
