"""Language identification: how right on the Universal Declaration and a manual in twelve languages, and how fast.

    python benchmarks/curate_identify.py [--quick] [--write] [--scripts] [--shared FOLDER]

Each declaration is named whole and in pieces of 200 to 500 characters at random places. Pieces of the languages that
word lists tell apart come from the declaration's second half: the lists were looked at with the first half at hand.
``--write`` writes the claims and thresholds that the product ships; ``--scripts`` its table of scripts (needs the
``regex`` package). Speed is beside py3langid's own classify on the same documents, in turns. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import sys
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from groundup.base.machine import cpu_name
from groundup.stages.curate import identification
from groundup.stages.curate.identification.close import groups
from groundup.stages.curate.identification.identify import Identify
from groundup.stages.curate.identification.keep import labels
from groundup.stages.curate.identification.thresholds import fit_thresholds

SHARED = Path(__file__).parents[1] / "../shared"
PACKAGE = Path(identification.__path__[0])
TARGET = 0.97
FASTEST_ASKED = 5.0

# The data set's names that aren't ISO 639-3, or are of a macrolanguage that we give a variety's code.
RENAMED = {"est": "ekk", "lav": "lvs", "nep": "npi", "tgl": "fil", "mly": "zsm", "pbu": "pbt"}
HANDBOOK = {
    "ar-MA": "arb_Arab", "de-DE": "deu_Latn", "en-US": "eng_Latn", "es-ES": "spa_Latn", "fr-FR": "fra_Latn",
    "it-IT": "ita_Latn", "ja-JP": "jpn_Jpan", "ko-KR": "kor_Hang", "pl-PL": "pol_Latn", "pt-BR": "por_Latn",
    "ru-RU": "rus_Cyrl", "zh-CN": "cmn_Hani",
}  # fmt: skip


@dataclass
class Score:
    """What one label's texts were called."""

    texts: int = 0
    whole: list[bool] = field(default_factory=list)
    pieces: list[bool] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    scores: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pieces and rounds")
    parser.add_argument("--write", action="store_true", help="write claims.tsv and thresholds.tsv")
    parser.add_argument("--scripts", action="store_true", help="write scripts.tsv, and nothing else")
    parser.add_argument("--shared", type=Path, default=SHARED)
    options = parser.parse_args()
    if options.scripts:
        write_scripts()
        return
    declarations = options.shared / "data/text/udhr/udhr2.jsonl.gz"
    if not declarations.is_file():
        sys.exit(f"{declarations} is not there: give the shared folder with --shared")
    pieces = 40 if options.quick else 200
    results = []
    for model in ("py3langid", "lid.176"):
        found = score_declarations(declarations, Identify(model), pieces)
        show(model, found)
        results.append(accuracy(model, found))
        if model == "py3langid" and options.write:
            write_claims(found)
            write_thresholds(declarations, pieces)
    results += handbook(options.shared, 20 if options.quick else 127)
    results.append(speed(options.shared, 3 if options.quick else 7))
    print(json.dumps({"benchmark": "curate_identify", "results": results}))


def read(path: Path) -> Iterator[tuple[str, str]]:
    """(label by name and characters, text on one line) of each declaration, scripts as they are in fact."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [" ".join(row["text"].split()) for row in rows]
    scripts = identify_all(Identify(), texts, "script")
    for row, text, script in zip(rows, texts, scripts, strict=True):
        code = row["lang"].split("_")[0]
        yield f"{RENAMED.get(code, code)}_{script}", text


def cut(text: str, number: int, seed: str) -> list[str]:
    """Pieces of 200 to 500 characters at random places."""
    draw = random.Random(seed)
    pieces = []
    for _ in range(number):
        length = draw.randint(200, 500)
        start = draw.randint(0, max(0, len(text) - length))
        pieces.append(text[start : start + length])
    return pieces


def identify_all(operator: Identify, texts: list[str], column: str = "language") -> list[Any]:
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    return operator(batch).column(column).to_pylist()


def score_declarations(path: Path, operator: Identify, pieces: int) -> dict[str, Score]:
    """By label, what the model calls the declarations of every label that it could give."""
    close = {code for group in groups() for code in group.languages}
    found: dict[str, Score] = defaultdict(Score)
    possible = labels()
    for label, text in read(path):
        if label not in possible:
            continue
        part = text[len(text) // 2 :] if label.split("_")[0] in close else text
        called = identify_all(operator, [text, *cut(part, pieces, label)])
        score = found[label]
        score.texts += 1
        score.whole.append(called[0] == label)
        score.pieces += [one == label for one in called[1:]]
        score.others.update(one for one in called[1:] if one != label)
    return dict(sorted(found.items()))


def claimed(score: Score) -> bool:
    return all(score.whole) and statistics.mean(score.pieces) >= TARGET


def show(model: str, found: dict[str, Score]) -> None:
    print(f"{model}: labels under {TARGET:.0%}, of {len(found)} that the Universal Declaration has")
    for label, score in found.items():
        if not claimed(score):
            others = ", ".join(f"{other} {count}" for other, count in score.others.most_common(3))
            whole, pieces = statistics.mean(score.whole), statistics.mean(score.pieces)
            print(f"  {label:<9} whole {whole:.2f}  pieces {pieces:.3f}  {others}")


def accuracy(model: str, found: dict[str, Score]) -> dict[str, Any]:
    """Macro shares over all labels of the model, and over those that reach the target."""
    ours = {label: score for label, score in found.items() if claimed(score)}
    figures = {
        "labels": len(found),
        "labels_claimed": len(ours),
        "macro_whole_all": macro(score.whole for score in found.values()),
        "macro_pieces_all": macro(score.pieces for score in found.values()),
        "macro_whole_claimed": macro(score.whole for score in ours.values()),
        "macro_pieces_claimed": macro(score.pieces for score in ours.values()),
        "worst_pieces_claimed": min(statistics.mean(score.pieces) for score in ours.values()),
    }
    for name, value in figures.items():
        print(f"  {name:<22} {value:.4g}")
    return {"workload": f"declarations, {model}", **figures, "target": TARGET}


def macro(shares: Iterable[list[bool]]) -> float:
    return round(statistics.mean(statistics.mean(one) for one in shares), 5)


def write_claims(found: dict[str, Score]) -> None:
    head = (
        "# Labels claimed: every whole declaration, and at least 97 % of its pieces of 200 to 500 characters,\n"
        "# named right. Columns: label, declarations, share of them right, share of pieces right.\n"
        "# Written by benchmarks/curate_identify.py --write.\n"
    )
    rows = [
        f"{label}\t{score.texts}\t{statistics.mean(score.whole):.3f}\t{statistics.mean(score.pieces):.3f}\n"
        for label, score in found.items()
        if claimed(score)
    ]
    (PACKAGE / "claims.tsv").write_text(head + "".join(rows), encoding="utf-8")


def write_thresholds(path: Path, pieces: int) -> None:
    """Thresholds from pieces of first halves, and how much of the second halves they keep."""
    first: dict[str, list[float]] = defaultdict(list)
    second: dict[str, list[float]] = defaultdict(list)
    possible = labels()
    for label, text in read(path):
        if label not in possible:
            continue
        for half, scores in ((text[: len(text) // 2], first), (text[len(text) // 2 :], second)):
            batch = pa.RecordBatch.from_pydict({"text": pa.array(cut(half, pieces, label), pa.large_string())})
            done = Identify()(batch)
            named = zip(done.column("language").to_pylist(), done.column("language_score").to_pylist(), strict=True)
            scores[label] += [score for name, score in named if name == label]
    fitted = fit_thresholds({label: scores for label, scores in first.items() if len(scores) >= pieces // 2})
    head = (
        "# Thresholds of the default model's score, clip(median - sd, 0.3, 0.9), fitted on pieces of 200 to 500\n"
        "# characters from the first halves of the Universal Declaration. Columns: label, threshold, share of\n"
        "# the second halves' rightly named pieces above it. Written by benchmarks/curate_identify.py --write.\n"
    )
    rows = []
    for label, threshold in fitted.items():
        kept = statistics.mean(score > threshold for score in second[label]) if second[label] else 0.0
        rows.append(f"{label}\t{threshold}\t{kept:.3f}\n")
    (PACKAGE / "thresholds.tsv").write_text(head + "".join(rows), encoding="utf-8")


def handbook(shared: Path, pages: int) -> list[dict[str, Any]]:
    """The Debian handbook's pages, extracted: text that neither the model nor we have fitted anything on.

    Much of it is left in English, so only lines that the English page hasn't count, and pages with 300 characters.
    """
    from resiliparse.extract.html2text import extract_plain_text

    path = shared / "data/html/debian_handbook/handbook_12lang.tar.xz"
    lines: dict[str, dict[str, list[str]]] = defaultdict(dict)
    with tarfile.open(path) as archive:
        for member in archive:
            folder, page = member.name.split("/")[1:3]
            file = archive.extractfile(member)
            if file is not None and folder in HANDBOOK:
                text = extract_plain_text(file.read().decode("utf-8", "replace"), main_content=True)
                lines[folder][page] = text.splitlines()
    by_language: dict[str, list[str]] = defaultdict(list)
    for folder, by_page in sorted(lines.items()):
        for page, written in list(by_page.items())[:pages]:
            english = set(lines["en-US"].get(page, ())) if folder != "en-US" else set()
            text = "\n".join(line for line in written if line not in english)
            if len(text) >= 300:
                by_language[folder].append(text)
    results = []
    for model in ("py3langid", "lid.176"):
        shares = {}
        for folder, texts in sorted(by_language.items()):
            called = Counter(identify_all(Identify(model), texts))
            shares[folder] = called[HANDBOOK[folder]] / len(texts)
            most = dict(called.most_common(3))
            print(f"handbook {model:<9} {folder} {len(texts):>4} pages  {shares[folder]:.3f}  {most}")
        results.append({"workload": f"handbook pages, {model}", "shares": shares})
    return results


def speed(shared: Path, rounds: int) -> dict[str, Any]:
    """Documents of 3,000 characters from books: ours and py3langid's classify on all of the text, in turns."""
    from py3langid import langid

    peer = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    with gzip.open(shared / "data/text/books/books.jsonl.gz", "rt", encoding="utf-8") as file:
        text = "".join(json.loads(next(file))["text"] for _ in range(8))
    documents = [text[at : at + 3000] for at in range(0, min(len(text), 1_500_000), 3000)]
    size = sum(len(document.encode()) for document in documents) / 1e6
    batch = pa.RecordBatch.from_pydict({"text": pa.array(documents, pa.large_string())})
    operator, ours, theirs = Identify(), [], []
    operator(batch)
    for _ in range(rounds):
        start = time.perf_counter()
        operator(batch)
        ours.append(size / (time.perf_counter() - start))
        start = time.perf_counter()
        for document in documents[:100]:
            peer.classify(document)
        theirs.append(size * 100 / len(documents) / (time.perf_counter() - start))
    ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
    result = {
        "workload": f"{len(documents)} documents of 3 kB",
        "machine": cpu_name(),
        "threads": 1,
        "ours": round(statistics.median(ours), 2),
        "peer": round(statistics.median(theirs), 2),
        "peer_name": "py3langid classify",
        "unit": "MB/s",
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(ratios[0], 2),
        "ratio_high": round(ratios[-1], 2),
        "target": FASTEST_ASKED,
    }
    print(f"speed {result['ours']} MB/s, py3langid {result['peer']} MB/s")
    return result


def write_scripts() -> None:
    """Letters and marks by script, from the regex module's copy of the Unicode Character Database."""
    import regex

    names = [line.split("\t")[0] for line in (PACKAGE / "scripts.tsv").read_text("utf-8").splitlines()]
    names = [name for name in names if not name.startswith("#")]
    patterns = [(name, regex.compile(rf"[\p{{L}}\p{{M}}&&\p{{Script={name}}}]", regex.V1)) for name in names]
    spans: dict[str, list[list[int]]] = {name: [] for name in names}
    for point in (*range(0xD800), *range(0xE000, 0x32400)):
        for name, pattern in patterns:
            if pattern.match(chr(point)):
                if spans[name] and spans[name][-1][1] == point - 1:
                    spans[name][-1][1] = point
                else:
                    spans[name].append([point, point])
                break
    head = (
        "# Letters and marks of each script (ISO 15924), code points in hexadecimal: facts of the Unicode Character\n"
        "# Database (Scripts.txt, Unicode-3.0 licence). Written by benchmarks/curate_identify.py --scripts.\n"
    )
    lines = [
        f"{name}\t" + " ".join(f"{a:X}-{b:X}" if b > a else f"{a:X}" for a, b in spans[name]) + "\n" for name in names
    ]
    (PACKAGE / "scripts.tsv").write_text(head + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
