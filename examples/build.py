"""Makes the files in this folder from the public files that SOURCES.md names: python examples/build.py FOLDER

Run by hand. FOLDER holds the upstream files under the names below. Nothing is random: choices go by hashes of texts.
"""

from __future__ import annotations

import collections
import gzip
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BOOKS = {
    "A Kidnapped Santa Claus", "Alice's Adventures in Wonderland", "Andersen's Fairy Tales",
    "Dorothy and the Wizard in Oz", "Five Children and It", "Grimms' Fairy Tales", "Robinson Crusoe",
    "The Book of Dragons", "The Happy Prince & Other Tales", "The Jungle Book",
    "The Life and Adventures of Santa Claus", "The Little Mermaid", "The Marvelous Land of Oz",
    "The Railway Children", "Through the Looking-Glass",
}  # fmt: skip
ASKS = (
    "Tell me a story.", "Can you tell me a short story?", "Please write a short story for a child.",
    "Write a little story.", "I would like to hear a story.", "Tell me a bedtime story.",
)  # fmt: skip
ASKS_ABOUT = (
    "Tell me a story about {}.",
    "Write a short story about someone called {}.",
    "I want a story about {}, please.",
)
NOT_NAMES = frozenset(
    """
    Once One There The She He They It In But And So When Then His Her Mom Dad Mommy Daddy Yes No You We I Do What Let
    Thank Can Look Wow Oh Please Hello Hi That This My Are Is At As After Every All Now Don Sure Okay Maybe Why How
    Who Where If To From For With Your Their Just
    """.split()  # noqa: SIM905 - sixty quotes would hide the words
)
NUM_BENCHMARK, NUM_CHAT = 240, 300


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def write(name: str, rows: list[dict[str, Any]]) -> None:
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
        for row in rows:
            out.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?:(?<=[.!?])|(?<=[.!?][\"']))\s+", text.replace("\n", " ").strip()) if part]


def benchmark(stories: list[str]) -> list[dict[str, Any]]:
    """Four endings a story, three from other stories with endings of like length."""
    endings = [" ".join(sentences(story)[-2:]) for story in stories]
    items = []
    for i, story in enumerate(stories):
        others = [j for j in range(len(stories)) if j != i]
        near = sorted(others, key=lambda j: (abs(len(endings[j]) - len(endings[i])), key(f"{i}-{j}")))[:12]
        chosen = [i, *sorted(near, key=lambda j: key(f"pick{i}-{j}"))[:3]]
        chosen.sort(key=lambda j: key(f"order{i}-{j}"))
        items.append(
            {
                "id": f"story-{i:03d}",
                "context": " ".join(sentences(story)[:-2]),
                "endings": [endings[j] for j in chosen],
                "label": chosen.index(i),
            }
        )
    return items


def conversation(number: int, story: str) -> dict[str, Any]:
    """A request for a story, for a story about somebody in it, or for how it goes on."""
    counts = collections.Counter(re.findall(r"\b[A-Z][a-z]{2,}\b", story)).most_common()
    names = [word for word, count in counts if word not in NOT_NAMES and count >= 2]
    ask, answer = ASKS[int(key(story)[:6], 16) % len(ASKS)], story
    if number % 3 == 1 and names:
        ask = ASKS_ABOUT[int(key(story)[:4], 16) % 3].format(names[0])
    elif number % 3 == 2:
        parts = sentences(story)
        ask, answer = "Continue this story: " + " ".join(parts[:2]), " ".join(parts[2:])
    return {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]}


def main(folder: Path) -> None:
    stories = [row["text"].strip() for row in read(folder / "text/tinystories/stories.jsonl.gz")]
    whole = [s for s in stories if len(sentences(s)) >= 8 and s[-1] in '.!?"' and 400 <= len(s) <= 1400]
    tested = sorted(whole, key=lambda s: key("bench" + s))[:NUM_BENCHMARK]
    told = sorted(set(whole) - set(tested), key=lambda s: key("chat" + s))[:NUM_CHAT]
    write("benchmarks/story_endings.jsonl.gz", benchmark(tested))
    # The benchmark's stories stay in: finding them is what decontamination is for. Those told in chats don't.
    write("stories.jsonl.gz", [{"text": story} for story in stories if story not in set(told)])
    write("story_chat.jsonl.gz", [conversation(number, story) for number, story in enumerate(told)])
    write("books.jsonl.gz", [row for row in read(folder / "text/books/books.jsonl.gz") if row["title"] in BOOKS])
    for source, name in (
        ("instruct/dolly_hhrlhf_1000.jsonl.gz", "instructions.jsonl.gz"),
        ("preference/dpo_en_demo.jsonl.gz", "preferences.jsonl.gz"),
        ("html/sqlite_doc/sqlite_doc.tar.xz", "sqlite-doc.tar.xz"),
    ):
        shutil.copy(folder / source, HERE / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
