"""A made-up but realistic run: eleven artifacts, every kind of exhibit, and the numbers that a small run has.

python tests/artifact/fake_run.py FOLDER     writes FOLDER/report.html, to look at in a browser
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
from pathlib import Path
from typing import Any

from fake_stages import (
    BOOKS,
    HTML,
    PAIRS,
    STORIES,
    TALKS,
    AlignedConfig,
    BaseConfig,
    ChatConfig,
    CorpusConfig,
    PackConfig,
    PagesConfig,
    PairsConfig,
    ScoresConfig,
    TalksConfig,
    TokenizerConfig,
    TokensConfig,
)

from groundup.artifact.exhibit import (
    Bars,
    Exhibit,
    Exhibits,
    Facts,
    Funnel,
    Lines,
    Prose,
    Sample,
    Samples,
    Series,
    Table,
)
from groundup.artifact.record import FORMAT, Cost, FileEntry, InputLink, Record, payload_digest
from groundup.artifact.stage import Artifact, StageConfig
from groundup.artifact.terms import SourceTerms, Terms


class FakeRun:
    """Collects fake artifacts in ``folder``; each call of ``add`` appends one to ``steps``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[tuple[Artifact, StageConfig]] = []

    @property
    def records(self) -> dict[str, Record]:
        return {artifact.record.digest: artifact.record for artifact, _ in self.steps}

    def record(self, name: str) -> Record:
        return next(artifact.record for artifact, _ in self.steps if artifact.record.name == name)

    def add(
        self,
        name: str,
        config: StageConfig,
        seconds: float,
        *exhibits: Exhibit,
        metrics: dict[str, Any] | None = None,
        sources: tuple[SourceTerms, ...] = (),
        files: dict[str, str] | None = None,
    ) -> Artifact:
        digest = hashlib.sha256(name.encode()).hexdigest()
        path = self.folder / digest[:16]
        (path / "log").mkdir(parents=True)
        if exhibits:
            (path / "log" / "exhibits.json").write_text(Exhibits(exhibits=exhibits).model_dump_json())
        for file, text in (files or {}).items():
            (path / file).write_text(text)
        entries = {
            file: FileEntry(bytes=len(text.encode()), sha256=hashlib.sha256(text.encode()).hexdigest())
            for file, text in (files or {f"{config.kind}.parquet": name * 1000}).items()
        }
        inputs = {
            field: [
                InputLink(name=one, kind=self.record(one).kind, digest=self.record(one).digest)
                for one in config.input_names(field)
            ]
            for field in config.input_fields()
        }
        inputs = {field: links for field, links in inputs.items() if links}
        inherited = [self.records[link.digest].terms for links in inputs.values() for link in links]
        record = Record(
            format=FORMAT,
            name=name,
            kind=config.kind,
            digest=digest,
            stage=config.stage,
            stage_version=1,
            config=config.model_dump(mode="json"),
            inputs=inputs,
            code_version="0.1.0",
            environment={"python": "3.11.9", "cpu": "A laptop processor at 2.4 GHz", "cores": "2", "torch": "2.13.0"},
            created="2025-11-23T18:42:00+00:00",
            cost=Cost(
                seconds=seconds,
                cpu_seconds=round(seconds * 1.83, 3),
                peak_memory_bytes=round(3e8 + 4e6 * seconds),
                energy_joules=round(seconds * 1.83 * 6, 1),
                watts_per_core=6.0,
                attempts=2 if name == "base" else 1,
            ),
            metrics=metrics or {},
            terms=Terms.union([*inherited, Terms(sources=sources)]),
            files=entries,
            payload=payload_digest(entries),
        )
        artifact = Artifact(path, record)
        self.steps.append((artifact, config))
        return artifact


def build(folder: Path) -> FakeRun:
    """The whole fake run."""
    run = FakeRun(folder)
    _data(run)
    _training(run)
    _measuring(run)
    return run


def _data(run: FakeRun) -> None:
    run.add(
        "pages",
        PagesConfig(files=("stories.jsonl.gz", "books.jsonl.gz", "sqlite-doc.tar.xz")),
        2.1,
        Table(
            title="Sources",
            columns=("source", "pages", "MB", "licence", "origin"),
            rows=(
                (STORIES.source, 2119, 1.84, STORIES.licence, STORIES.origin),
                (BOOKS.source, 147, 2.91, BOOKS.licence, BOOKS.origin),
                (HTML.source, 640, 12.42, HTML.licence, HTML.origin),
            ),
        ),
        sources=(STORIES, BOOKS, HTML),
        metrics={"pages": 2906, "bytes": 17_170_000},
    )
    run.add(
        "corpus",
        CorpusConfig(pages=("pages",)),
        14.2,
        Funnel(
            title="What each step took away",
            caption="The width of the stream is the number of documents that are left.",
            unit="documents",
            steps=(
                ("pages", 2906, {}),
                ("extract", 2851, {"extract:no_text": 48, "extract:too_short": 7}),
                ("identify", 2838, {"identify:not_eng_Latn": 13}),
                (
                    "gopher_quality",
                    2514,
                    {
                        "gopher_quality:too_few_stop_words": 171,
                        "gopher_quality:too_few_words": 88,
                        "gopher_quality:symbol_to_word_ratio": 39,
                        "gopher_quality:bullet_lines": 21,
                        "gopher_quality:mean_word_length": 5,
                    },
                ),
                ("gopher_repetition", 2377, {"duplicate_line_fraction": 96, "top_2_gram": 41}),
                ("exact duplicates", 2371, {"exact_duplicate": 6}),
                ("near duplicates", 2280, {"near_duplicate": 91}),
                ("decontaminate", 2268, {"story_endings": 12}),
            ),
        ),
        Table(
            title="What is left of each source",
            columns=("source", "documents", "characters", "kept"),
            rows=((STORIES.source, 2041, 1_791_220, "96 %"), (BOOKS.source, 131, 2_702_118, "89 %")),
        ),
        Table(title="Redactions", columns=("kind", "count"), rows=(("email", 14), ("ip", 3), ("phone", 0))),
        Samples(
            title="A page before and after",
            samples=(
                Sample(
                    label="raw page: lang_select.html",
                    parts=(
                        ("<html><body><nav>Home | About</nav>\n", "dropped"),
                        ("<h1>SELECT</h1><p>The SELECT statement queries the database.</p>", "kept"),
                        ("<script>alert(1)</script>", "dropped"),
                    ),
                ),
                Sample(label="text", parts=(("SELECT\n\nThe SELECT statement queries the database.", "plain"),)),
            ),
        ),
        metrics={
            "documents_in": 2906,
            "documents": 2268,
            "held_out": {"documents": 113},
            "sources": {STORIES.source: {"documents": 2041}, BOOKS.source: {"documents": 131}},
        },
    )
    words = ("Once", " upon", " a", " time", ",", " there", " was", " a", " lit", "tle", " dra", "gon", ".")
    run.add(
        "tokenizer",
        TokenizerConfig(corpus="corpus"),
        3.4,
        Facts(
            title="At a glance",
            facts=(
                ("vocabulary", "2,048", "tokens"),
                ("compression", "3.71", "bytes a token"),
                ("fertility", "1.28", "tokens a word"),
            ),
        ),
        Samples(
            title="A sentence in tokens",
            samples=(Sample(label="held-out story", parts=tuple((word, f"token{i}") for i, word in enumerate(words))),),
        ),
        metrics={"vocab_size": 2048, "bytes_per_token": 3.71},
    )
    run.add(
        "tokens",
        TokensConfig(corpus="corpus", tokenizer="tokenizer"),
        1.1,
        Facts(
            title="At a glance",
            facts=(("training", "1.21M", "tokens"), ("held out", "63.4k", "tokens"), ("documents", "2,268", "")),
        ),
        metrics={"train_tokens": 1_211_402, "held_out_tokens": 63_402},
    )


def _curve(seed: int, start: float, end: float, points: int = 500) -> tuple[tuple[float, ...], tuple[float, ...]]:
    draw = random.Random(seed)
    xs = tuple(float(4096 * step) for step in range(points))
    ys = tuple(end + (start - end) * math.exp(-6 * step / points) + draw.gauss(0, 0.05) for step in range(points))
    return xs, ys


def _training(run: FakeRun) -> None:
    train, (_, lr) = _curve(1, 7.6, 2.3), _curve(2, 1, 1)
    xs, valid = train[0][::50], tuple(y + 0.12 for y in _curve(3, 7.6, 2.35)[1][::50])
    run.add(
        "base",
        BaseConfig(tokens="tokens", depth=6),
        287.3,
        Facts(
            title="At a glance",
            headline=True,
            facts=(("model", "3.4M", "parameters"), ("trained on", "2.05M tokens", "1.7 times each document")),
        ),
        Lines(
            title="Loss while it learns",
            caption="Nats per token. The dashed line is what guessing at random would give.",
            x_label="tokens seen",
            y_label="loss (nats per token)",
            series=(Series(name="training", x=train[0], y=train[1]), Series(name="held out", x=xs, y=valid)),
            rules=(("random guessing", math.log(2048)),),
        ),
        Lines(
            title="Learning rate",
            x_label="tokens seen",
            y_label="learning rate",
            log_y=True,
            series=(Series(name="rate", x=train[0], y=tuple(3e-3 * (1 - i / 520) * y for i, y in enumerate(lr))),),
        ),
        metrics={
            "parameters": 3_412_736,
            "train_tokens": 2_048_000,
            "unique_tokens": 1_211_402,
            "loss": 2.3012,
            "bits_per_byte": 0.8931,
        },
    )
    run.add("conversations", TalksConfig(files=("instructions.jsonl.gz",)), 0.6, sources=(TALKS,))
    for name, config, seconds in (
        ("chat", ChatConfig(model="base", conversations="conversations"), 61.0),
        ("preferences", PairsConfig(files=("preferences.jsonl.gz",)), 0.4),
        ("aligned", AlignedConfig(model="chat", preferences="preferences"), 44.9),
    ):
        xs, ys = _curve(len(name), 2.9, 1.9, 120)
        loss = Lines(title="Loss", x_label="step", y_label="loss", series=(Series(name="training", x=xs, y=ys),))
        files = {"config.json": "{}", "model.safetensors": "weights"} if config.kind == "model" else None
        exhibits = (loss,) if config.kind == "model" else ()
        run.add(
            name,
            config,
            seconds,
            *exhibits,
            sources=(PAIRS,) if name == "preferences" else (),
            metrics={"parameters": 3_412_736, "loss": 1.9} if config.kind == "model" else {"pairs": 300},
            files=files,
        )


def _scored(bits: float, right: float) -> dict[str, float]:
    found = {"parameters": 3_412_736}
    for task, value, half in (("bits_per_byte", bits, 0.031), ("story_endings", right, 0.052)):
        found |= {task: value, f"{task}_low": round(value - half, 3), f"{task}_high": round(value + half, 3)}
    return found


def _measuring(run: FakeRun) -> None:
    story = "Once upon a time there was a small dragon who"
    measured = {"base": (1.342, 0.412), "chat": (1.401, 0.404), "aligned": (1.419, 0.39)}
    run.add(
        "scores",
        ScoresConfig(models=("base", "chat", "aligned"), corpus="corpus", tokens="tokens"),
        58.8,
        Bars(
            title="Bits per byte on held-out documents",
            caption="Lower is better. The base model needs fewer bits than both rivals.",
            x_label="bits per byte",
            bars=(
                ("base", 1.342, 1.311, 1.373),
                ("chat", 1.401, 1.369, 1.433),
                ("aligned", 1.419, 1.386, 1.452),
                ("Kneser-Ney 5-gram", 1.618, 1.581, 1.655),
                ("xz -9e", 2.241, None, None),
            ),
        ),
        Bars(
            title="story_endings: right answers",
            caption="One of four endings is right.",
            x_label="share right",
            bars=(("base", 0.412, 0.361, 0.465), ("chat", 0.404, 0.353, 0.457), ("aligned", 0.39, 0.34, 0.442)),
            rules=(("chance", 0.25),),
        ),
        Table(
            title="Is the difference real?",
            columns=("comparison", "better on", "worse on", "p", "verdict"),
            rows=(("base → chat", 18, 21, 0.749, "can't tell"), ("chat → aligned", 9, 13, 0.5235, "can't tell")),
        ),
        Samples(
            title="The same beginnings, continued by each model",
            samples=tuple(
                Sample(label=f"{model}: story", parts=((story, "prompt"), (text, "generated")))
                for model, text in (
                    ("base", " lived in a big cave. He liked to play with his friends. One day he saw a red ball."),
                    ("chat", " wanted to fly. His mom said, “You must be patient.” The dragon was happy."),
                )
            ),
        ),
        Prose(
            title="What a model of this size can and cannot do",
            text="It writes short sentences about children, animals and toys.\n\nIt does not know facts.",
        ),
        metrics={
            **{name: _scored(bits, right) for name, (bits, right) in measured.items()},
            "baselines": {"xz_9e": 2.241, "kneser_ney_5gram": 1.618},
            "benchmarks": {"story_endings": {"metric": "acc_norm", "chance": 0.25, "items": 342}},
        },
    )
    run.add("bundle", PackConfig(model="aligned", scores="scores"), 0.7, metrics={"bytes": 14_200_000})


if __name__ == "__main__":
    from groundup.artifact.report import render

    target = Path(sys.argv[1])
    steps = build(target / "artifacts").steps
    page = render("quickstart", "From raw pages to a small chat model on two processor cores, in minutes.", steps)
    (target / "report.html").write_text(page, encoding="utf-8")
