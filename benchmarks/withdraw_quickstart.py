"""A story and planted copies of it are withdrawn from a quickstart, and looked for in everything by brute force.

    python benchmarks/withdraw_quickstart.py [--quick]

The quickstart's recipe is run with one more source: five copies of one of its stories, four with 3 to 15 % of the words
replaced by others and one with a sentence more, and three stories with half the words replaced, which are no copies any
more. A second recipe of other pages is a branch that must stay as it is. The story is withdrawn by its text. Then, by
means of their own: every run of eight words of the six texts is looked for in all tokens of the rebuilt stores; the
artifacts in the receipt are compared with a walk over all records; the other branch is compared file by file; and the
recipe is run again, which must make nothing. --quick trains for a twelfth of the time. The result doesn't depend on
the machine; the times do.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from groundup.artifact.store import Store
from groundup.base.files import sha256_file
from groundup.base.machine import cpu_name
from groundup.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]
VICTIM, OTHERS = 100, (300, 301, 302)
SHARES = (0.03, 0.06, 0.10, 0.15)
RUN = 8
QUICK = ("base.horizon=150k tokens", "aligned.horizon=1 epoch", "chats.held_out=0.6")
OTHER = """
name: other
artifacts:
  docs:
    stage: source
    files:
      - {path: examples/sqlite-doc.tar.xz, licence: LicenseRef-public-domain, origin: Debian, limit: 60}
  doc_corpus: {stage: curate, pages: [docs]}
  doc_tokenizer: {stage: tokenizer, corpus: doc_corpus, vocab_size: 1024}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="train for a twelfth of the time")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = plant(folder)
        groundup(folder, "run", "other.yaml")
        overrides = QUICK if quick else ()
        made = timed(folder, "run", "planted.yaml", *overrides)
        store = Store(folder / "workspace")
        before, names = everything(store), store.names()
        had = sum(found(texts, store, names).values())
        said = timed(folder, "withdraw", "--text-file", "story.txt", "--json")
        after = store.names()
        left = found(texts, store, after)
        again = groundup(folder, "run", "planted.yaml", *overrides)
        receipt = json.loads(next((folder / "workspace/register/receipts").glob("*.json")).read_text())["receipt"]
        exposed = {one["digest"] for one in receipt["exposed"]}
        want = {after_ for name_, after_ in names.items() if name_ in walked(store, names)}
        result = {
            "benchmark": "withdraw_quickstart",
            "machine": cpu_name(),
            "documents": len(receipt["documents"]),
            "documents_wanted": 1 + len(SHARES) + 1,
            "runs_in_old_tokens": had,
            "runs_in_new_tokens": sum(left.values()),
            "those": sorted(left),
            "exposed": len(exposed),
            "exposed_is_what_a_walk_finds": exposed == want,
            "other_branch_unchanged": all(everything(store)[d] == before[d] for d in before if d not in exposed),
            "names_moved": sum(names[one] != after[one] for one in names),
            "nothing_to_make": "nothing to make" in again,
            "run_seconds": round(made[0]),
            "withdraw_seconds": round(said[0]),
        }
    for key, value in result.items():
        print(f"{key:<30}{value}")
    print(json.dumps(result))


def plant(folder: Path) -> list[str]:
    """Write both recipes and the planted file; the texts that must go."""
    with gzip.open(ROOT / "examples/stories.jsonl.gz", "rt", encoding="utf-8") as file:
        stories = [json.loads(line)["text"] for line in file]
    draw = random.Random(5)

    def edited(text: str, share: float) -> str:
        other = ("blue", "quickly", "house", "seven", "near")
        return " ".join(draw.choice(other) if draw.random() < share else word for word in text.split(" "))

    story = stories[VICTIM]
    copies = [edited(story, share) for share in SHARES] + [f"{story} And that was the end of the day for everyone."]
    planted = copies + [edited(stories[number], 0.5) for number in OTHERS]
    (folder / "planted.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in planted))
    (folder / "story.txt").write_text(story)
    (folder / "other.yaml").write_text(OTHER)
    recipe = (ROOT / "groundup/recipes/quickstart.yaml").read_text().replace("name: quickstart", "name: planted", 1)
    place = "      - path: examples/books.jsonl.gz\n"
    more = "      - {path: planted.jsonl, licence: CC0-1.0, origin: planted}\n"
    (folder / "planted.yaml").write_text(recipe.replace(place, more + place, 1))
    return [story, *copies]


def groundup(folder: Path, *arguments: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "groundup", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def timed(folder: Path, *arguments: str) -> tuple[float, str]:
    """The seconds that a command takes, and what it prints."""
    start = time.perf_counter()
    printed = groundup(folder, *arguments)
    return time.perf_counter() - start, printed


def found(texts: list[str], store: Store, names: dict[str, str]) -> dict[str, int]:
    """How often each run of eight words of the texts is in the tokens of the store that has the name now."""
    wanted = {run for text in texts for run in runs(text)}
    tokenizer = Tokenizer.load(store.open(names["planted/tokenizer"]).path)
    counts: dict[str, int] = {}
    for path in sorted(store.open(names["planted/tokens"]).path.glob("*.bin")):
        for run in runs(tokenizer.decode(np.fromfile(path, np.uint16).tolist())):
            if run in wanted:
                counts[run] = counts.get(run, 0) + 1
    return counts


def runs(text: str) -> list[str]:
    """All runs of eight words."""
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1)]


def everything(store: Store) -> dict[str, dict[str, tuple[str, int]]]:
    """Hash and time of each file of each artifact, by digest."""
    return {
        one.record.digest: {
            str(path.relative_to(one.path)): (sha256_file(path), path.stat().st_mtime_ns)
            for path in one.path.rglob("*")
            if path.is_file()
        }
        for one in store.all()
    }


def walked(store: Store, names: dict[str, str]) -> set[str]:
    """The names of the planted pages and of all that was made of them, by their records."""
    records: dict[str, Any] = {one.record.digest: one.record for one in store.all()}
    reached = {names["planted/pages"]}
    while True:
        more = {
            digest
            for digest, record in records.items()
            if any(link.digest in reached for links in record.inputs.values() for link in links)
        }
        if more <= reached:
            return {name for name, digest in names.items() if digest in reached}
        reached |= more


if __name__ == "__main__":
    main()
