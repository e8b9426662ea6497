"""Make a tokenizer and show what it does to text."""

from __future__ import annotations

from collections.abc import Iterator

from groundup.artifact.exhibit import Facts, Sample, Samples, Table
from groundup.artifact.stage import Outcome, Task
from groundup.stages.tokenize.config import TokenizerConfig
from groundup.stages.tokenize.corpus import read_documents, read_passes, readings
from groundup.text.tokenizer import Tokenizer, train_bpe


def run(config: TokenizerConfig, task: Task) -> Outcome:
    """Train on the training split; measure on the held-out split."""
    corpus = task.input("corpus")
    total = readings(corpus)

    def texts() -> Iterator[str]:
        done = 0
        for rows in read_passes(corpus, "train", ["text"]):
            yield from (row["text"] for row in rows)
            done += len(rows)
            task.progress.update("counting words", done, total, "documents")

    tokenizer = train_bpe(texts(), config.vocab_size)
    tokenizer.save(task.payload)

    by_source: dict[str, tuple[int, int, int]] = {}
    longest = ""
    for row in read_documents(corpus, "held_out", ["text", "source"]):
        text = row["text"]
        tokens, size, words = by_source.get(row["source"], (0, 0, 0))
        counts = (len(tokenizer.encode(text)), len(text.encode()), len(text.split()))
        by_source[row["source"]] = (tokens + counts[0], size + counts[1], words + counts[2])
        longest = max(longest, text, key=len)
    all_tokens, all_bytes, all_words = (sum(column) for column in zip(*by_source.values(), strict=True))
    task.show(
        Facts(
            title="The tokenizer in numbers",
            caption="Measured on held-out documents, which the tokenizer has not seen.",
            facts=(
                ("vocabulary", f"{tokenizer.vocab_size:,}", "pieces, all 256 bytes among them"),
                ("bytes a token", f"{all_bytes / all_tokens:.2f}", "more means shorter sequences"),
                ("tokens a word", f"{all_tokens / all_words:.2f}", "1 would be a piece for every word"),
            ),
        ),
        Table(
            title="Compression by source",
            columns=("source", "bytes", "tokens", "bytes a token", "tokens a word"),
            rows=tuple(
                (source, size, tokens, round(size / tokens, 2), round(tokens / words, 2))
                for source, (tokens, size, words) in sorted(by_source.items())
            ),
        ),
        Samples(
            title="How it cuts text",
            caption="Each colour change is a new token.",
            samples=tuple(
                Sample(label=label, parts=_coloured(tokenizer, text))
                for label, text in (
                    ("a held-out document", longest[:400]),
                    ("numbers, accents, code", "In 1865 naïve façades cost £12,345.67 — if (x == 0) { return; } 😀"),
                )
            ),
        ),
    )
    return Outcome(
        metrics={
            "vocab_size": tokenizer.vocab_size,
            "bytes_per_token": round(all_bytes / all_tokens, 4),
            "tokens_per_word": round(all_tokens / all_words, 4),
        }
    )


def _coloured(tokenizer: Tokenizer, text: str) -> tuple[tuple[str, str], ...]:
    """A text in pieces that alternate roles; bytes that form no character alone are joined to their neighbours."""
    parts: list[tuple[str, str]] = []
    held: list[int] = []
    for token in tokenizer.encode(text):
        held.append(token)
        piece = tokenizer.decode(held)
        if "\ufffd" not in piece:
            parts.append((piece, f"token{len(parts) % 4}"))
            held = []
    return tuple(parts)
