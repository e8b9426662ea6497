"""Our token store read by Megatron-Core's own datasets: the same documents, and training rows cut from them."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from groundup.text.store.megatron import token_dtype, write_store
from groundup.text.store.store import TokenStore

MEGATRON = os.environ.get("GROUNDUP_MEGATRON_PYTHON")
EOD = 0


@pytest.mark.skipif(
    MEGATRON is None,
    reason="set GROUNDUP_MEGATRON_PYTHON to a Python with torch, triton, einops and megatron-core 0.19 to compare",
)
@pytest.mark.parametrize(("vocab_size", "dtype"), [(320, "uint16"), (70_000, "int32")])
def test_megatron_reads_the_same_documents_and_rows(vocab_size: int, dtype: str, tmp_path: Path) -> None:
    assert MEGATRON is not None
    chance = random.Random(1)
    lengths = [1, 200, *(chance.randrange(1, 60) for _ in range(40))]
    documents = [[*(chance.randrange(1, vocab_size) for _ in range(length)), EOD] for length in lengths]
    write_store(tmp_path / "train", documents, token_dtype(vocab_size))
    store = TokenStore.open(tmp_path)
    seq_len = 32
    rows = (store.num_tokens - 1) // seq_len
    request = {"seq_len": seq_len, "rows": rows, "eod": EOD, "vocab_size": vocab_size}
    (tmp_path / "request.json").write_text(json.dumps(request))
    command = [MEGATRON, str(Path(__file__).with_name("peer_megatron_store.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads((tmp_path / "answer.json").read_text())

    assert answer["dtype"] == dtype
    assert answer["documents"] == documents
    assert answer["documents"] == [store.document(index).tolist() for index in range(store.num_documents)]
    assert answer["document_indices"] == list(range(len(documents) + 1))
    assert len(answer["rows"]) >= rows
    # Megatron shuffles documents, joins them and cuts rows: every row must be such a cut of ours.
    whole = {tuple(document) for document in documents}
    for row in answer["rows"]:
        ids = [*row["tokens"], row["labels"][-1]]
        assert row["labels"] == ids[1:]
        assert len(row["tokens"]) == seq_len
        ends = [place for place, token in enumerate(ids) if token == EOD]
        for first, last in itertools.pairwise(ends):
            assert tuple(ids[first + 1 : last + 1]) in whole
