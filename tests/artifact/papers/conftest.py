"""Two workspaces: one that a run of real stages made, and one of a crawl, made by hand with every table there is."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from committed import link
from papers_workspace import HOSTS, commit, ledger, model_of, source_terms

from groundup.artifact.store import Store
from groundup.artifact.terms import Terms
from groundup.base.progress import Silent
from groundup.flow import run

RECIPE = """
name: papers
artifacts:
  pages:
    stage: source
    files:
      - {path: examples/stories.jsonl.gz, licence: CDLA-Sharing-1.0, origin: TinyStories sample, limit: 60}
      - {path: examples/sqlite-doc.tar.xz, licence: LicenseRef-public-domain, origin: sqlite3-doc, limit: 12}
  corpus: {stage: curate, pages: [pages], decontaminate: []}
  tokenizer: {stage: tokenizer, corpus: corpus, vocab_size: 400}
  tokens: {stage: tokens, corpus: corpus, tokenizer: tokenizer, max_seq_len: 64}
  base:
    stage: pretrain
    tokens: tokens
    tokenizer: tokenizer
    depth: 1
    hidden_size: 32
    num_heads: 1
    batch_tokens: 256
    horizon: 4 steps
    loop: {precision: fp32, dry_run: false, threads: 1}
  scores: {stage: evaluate, models: [base], corpus: corpus, tokens: tokens, tasks: [bits_per_byte], limit: 2}
  bundle: {stage: bundle, model: base, scores: scores}
"""


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Pages of two sources with different licences, a corpus, tokens, a model with scores, a bundle."""
    home = tmp_path_factory.mktemp("papers")
    (home / "papers.yaml").write_text(RECIPE)
    store = Store(home / "workspace")
    run(str(home / "papers.yaml"), [], store, Silent())
    return store


@pytest.fixture(scope="session")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A crawl with signals, a file beside it, a corpus whose ledger knows hosts and permissions, and a model."""
    store = Store(tmp_path_factory.mktemp("crawled") / "workspace")
    signals = pa.table({"protocol": ["robots", "robots", "tdm"], "verdict": ["allowed", "refused", "refused"]})
    crawl = {"name": "web", "agent": "test-crawler/1.0 (+https://example.org/bot)", "seeds": ["https://a.example/"]}
    pages = commit(
        store, "pages", {"pages/00000.parquet": pa.table({"id": ["x"]}), "signals/00000.parquet": signals},
        kind="pages", stage="source",
        config={"crawl": crawl, "files": [{"name": "extra.jsonl", "path": "extra.jsonl", "limit": 7}]},
        metrics={
            "pages": 42, "bytes": 4096, "crawl": {"finished": "2026-11-24T10:00:00+00:00", "used": 35, "requests": 61},
            "sources": {"web": {"found": 39, "pages": 35, "withdrawn": 3}, "extra.jsonl": {"found": 90, "pages": 7}},
        },
        terms=Terms(
            sources=(
                source_terms("extra.jsonl", "Apache-2.0"),
                source_terms("web", "CC-BY-4.0 OR MIT", documents=35, found=(("MIT", 4),)),
            )
        ),
    )  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"url": f"https://{host.upper()}:8443/{part}?q=1", "page_bytes": size // 2, "permission": "allowed",
         "found_licence": "CC-BY-4.0" if host == "a.example" else None, "author": "A" if part else None}
        for host, size in HOSTS.items() for part in (0, 1)
    ]  # fmt: skip
    rows += [{"url": "https://gone.example/", "page_bytes": 10**6, "permission": "allowed", "step": "identify"}]
    rows += [{"url": None, "page_bytes": 5, "source": "extra.jsonl"}, {"url": "no address", "source": "extra.jsonl"}]
    half = len(rows) // 2
    corpus = commit(
        store, "corpus",
        {"ledger/00000.parquet": ledger(rows[:half]), "ledger/00001.parquet": ledger(rows[half:])},
        kind="corpus", stage="curate", inputs={"pages": [link(pages)]}, terms=pages.record.terms,
        config={"languages": ["eng_Latn"], "redaction": "label"},
        metrics={
            "documents_in": 42, "documents": 8, "held_out": 1, "text_bytes": 1045,
            "rejected": {"identify:unsure": 33, "toxicity:toxic": 1}, "redactions": {"email": 17, "phone": 0},
            "languages": {"eng_Latn": 41}, "sources": {"web": {"documents": 6}, "extra.jsonl": {"documents": 2}},
        },
    )  # fmt: skip
    model = model_of(store, corpus)
    commit(
        store,
        "bundle",
        {"README.md": "card"},
        kind="bundle",
        inputs={"model": [link(model)]},
        terms=corpus.record.terms,
    )
    return store
