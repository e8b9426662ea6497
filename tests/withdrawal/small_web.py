"""A workspace made by a small recipe from a small web with planted copies, and a branch that has nothing of it."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from groundup import flow
from groundup.artifact.store import Store
from groundup.base.progress import Silent

EXAMPLES = Path(__file__).parents[2] / "examples"
LOOP = "{precision: fp32, dry_run: false, threads: 1}"
MODEL = f"depth: 1, hidden_size: 32, num_heads: 1, batch_tokens: 512, horizon: 24 steps, loop: {LOOP}"
RECIPE = f"""
name: web
artifacts:
  pages: {{stage: source, files: [{{path: web.jsonl, licence: CC0-1.0, origin: made here}}]}}
  corpus: {{stage: curate, pages: [pages]}}
  tokenizer: {{stage: tokenizer, corpus: corpus, vocab_size: 400}}
  tokens: {{stage: tokens, corpus: corpus, tokenizer: tokenizer, max_seq_len: 64}}
  base: {{stage: pretrain, tokens: tokens, tokenizer: tokenizer, {MODEL}}}
  chats: {{stage: conversations, files: [{{path: chats.jsonl, licence: CC0-1.0, origin: made here}}]}}
  chat: {{stage: sft, model: base, conversations: [chats], horizon: 2 steps, batch_conversations: 4, loop: {LOOP}}}
  bundle: {{stage: bundle, model: chat}}
  other-pages: {{stage: source, files: [{{path: other.jsonl, licence: CC0-1.0, origin: made here}}]}}
  other-corpus: {{stage: curate, pages: [other-pages]}}
  other-tokenizer: {{stage: tokenizer, corpus: other-corpus, vocab_size: 400}}
  other-tokens: {{stage: tokens, corpus: other-corpus, tokenizer: other-tokenizer, max_seq_len: 64}}
  other-base: {{stage: pretrain, tokens: other-tokens, tokenizer: other-tokenizer, {MODEL}}}
"""
VICTIM = "https://victim.example/story"
SPAM = "https://spam.example/dropped"
COPIES = {0.0: "https://mirror.example/same", 0.05: "https://copy.example/five", 0.1: "https://copy.example/ten",
          0.2: "https://far.example/twenty"}  # fmt: skip
"""Where copies of the victim's story lie, by the share of its words that were changed."""
CHAT = "Can you tell me the story of the purple walrus who sailed to the quiet island of glass and found seven lamps?"


class Web(NamedTuple):
    """The folder of the recipe, and its workspace."""

    home: Path
    store: Store
    recipe: Path
    story: str


def edited(text: str, share: float, seed: int) -> str:
    """The text with a share of its words replaced, left out or doubled, at random."""
    rng = random.Random(seed)
    words = text.split()
    for place in sorted(rng.sample(range(len(words)), round(share * len(words))), reverse=True):
        change = rng.choice(["replace", "drop", "add"])
        if change == "replace":
            words[place] = rng.choice(["quite", "small", "river", "later", "bright"])
        elif change == "drop":
            del words[place]
        else:
            words.insert(place, rng.choice(["very", "then", "also"]))
    return " ".join(words)


def stories() -> list[str]:
    """Texts of people's language, longest of the sample first, none twice."""
    with gzip.open(EXAMPLES / "stories.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = list(dict.fromkeys(json.loads(line)["text"] for line in lines))
    return sorted((text for text in texts if len(text.split()) > 80), key=lambda text: (-len(text), text))


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def build(home: Path) -> Web:
    """Write the web and run the recipe."""
    texts = stories()
    story = texts[0]
    rows = [
        {"text": text, "url": f"https://site{number % 7}.example/{number}", "author": f"Writer {number % 5}"}
        for number, text in enumerate(texts[1:90])
    ]
    rows.insert(11, {"text": story, "url": VICTIM, "author": "Vera Victim"})
    for seed, (share, url) in enumerate(COPIES.items()):
        rows.insert(20 + 9 * seed, {"text": edited(story, share, seed), "url": url, "author": "Somebody Else"})
    rows.insert(50, {"text": "Buy now! " * 60, "url": SPAM, "author": "Spammer"})
    write(home / "web.jsonl", rows)
    write(
        home / "other.jsonl", [{"text": text, "url": f"https://o.example/{n}"} for n, text in enumerate(texts[200:260])]
    )
    talks = [
        {"messages": [{"role": "user", "content": f"Tell me story number {number}."},
                      {"role": "assistant", "content": text[:200]}]}
        for number, text in enumerate(texts[300:330])
    ]  # fmt: skip
    talks.insert(7, {"messages": [{"role": "user", "content": CHAT},
                                  {"role": "assistant", "content": "The walrus lit them one by one."}]})  # fmt: skip
    write(home / "chats.jsonl", talks)
    recipe = home / "web.yaml"
    recipe.write_text(RECIPE)
    store = Store(home / "workspace")
    flow.run(str(recipe), [], store, Silent())
    return Web(home, store, recipe, story)
