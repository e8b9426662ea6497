"""Batches prepared ahead: the same ones, from any place on, by any number of processes, within the buffer."""

from __future__ import annotations

import re
import threading
import time
import tracemalloc
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_store import memory_store, write_order

from groundup.base.errors import DataError, RequestError
from groundup.text.store.megatron import token_dtype, write_store
from groundup.text.store.packing import Packing
from groundup.text.store.store import TokenStore
from groundup.train.loader import Loader
from groundup.train.stream import PackedSteps, Part, Source, TokenBatch

SEQ_LEN = 16


def made(first: int, packing: Packing = "concat", documents: int = 60) -> TokenStore:
    sizes = np.random.default_rng(first).integers(1, 40, documents)
    ids = np.arange(first, first + sizes.sum()).astype(np.uint16)
    return memory_store(ids, np.cumsum([0, *sizes]).tolist(), SEQ_LEN, 2, packing=packing)


def steps_of(packing: Packing = "concat", **changes: Any) -> PackedSteps:
    sources = (Source("web", made(0, packing), 0.7), Source("books", made(5000, packing), 0.3))
    fields: dict[str, Any] = {"rows_per_step": 6, "rows_per_batch": 2, "num_steps": 15, "mask_documents": True}
    return PackedSteps(sources, SEQ_LEN, **{**fields, **changes})


def rows_of(batches: list[TokenBatch]) -> list[tuple[Any, ...]]:
    """Every row with all that belongs to it."""
    found = []
    for batch in batches:
        trained = torch.ones_like(batch.targets, dtype=torch.bool) if batch.trained is None else batch.trained
        parts = [batch.inputs, batch.targets * trained, trained]
        parts += [batch.documents] if batch.documents is not None else []
        found += list(zip(*(map(tuple, part.tolist()) for part in parts), strict=True))
    return found


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
def test_what_is_loaded_is_what_the_steps_say(packing: Packing) -> None:
    steps = steps_of(packing)
    want = rows_of([batch for step in range(steps.num_steps) for batch in steps.batches(step)])
    for rows, threads in ((1, 1), (4, 3), (7, 2), (200, 2)):
        loader = Loader(steps, rows=rows, threads=threads)
        assert rows_of(list(loader)) == want
        assert loader.position == 15 * 6 * SEQ_LEN


def test_a_run_goes_on_at_the_token_with_other_batches_and_processes() -> None:
    steps = steps_of()
    want = rows_of(list(Loader(steps, rows=5)))
    first = Loader(steps, rows=7, threads=1)
    read = []
    for batch in first:
        read.append(batch)
        if len(read) == 3:
            break
    assert first.position == 21 * SEQ_LEN  # what was prepared ahead and not handed out doesn't count
    assert rows_of(read) == want[:21]
    assert rows_of(list(Loader(steps, rows=4, position=first.position))) == want[21:]
    loaders = [Loader(steps, rows=2, part=Part(rank, 3), position=first.position) for rank in range(3)]
    parts = [rows_of(list(loader)) for loader in loaders]
    assert sorted(row for part in parts for row in part) == sorted(want[21:])
    assert [part[0] for part in parts] == want[21:24]
    assert {loader.position for loader in loaders} == {90 * SEQ_LEN}


def store_elsewhere(folder: Path, tokens: int) -> tuple[str, Any]:
    import fsspec

    sizes = np.random.default_rng(1).integers(20, 200, tokens // 110)
    write_store(folder / "train", [[7] * size for size in sizes.tolist()], token_dtype(100))
    write_order(folder, sizes.tolist(), 128, 1)
    files, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    for path in folder.rglob("*"):
        if path.is_file():
            files.pipe_file(f"{root}/{path.relative_to(folder)}", path.read_bytes())
    return f"memory:/{root}", files


def test_the_loop_on_the_page_of_token_stores_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tokens.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    changes = {"seq_len=2048": "seq_len=128", "rows_per_step=256": "rows_per_step=4", "num_steps=10_000": "num_steps=5"}
    for name in ("web", "books"):
        (tmp_path / name).mkdir()
        changes[f"s3://bucket/{name}"] = store_elsewhere(tmp_path / name, 20_000)[0]
    for said, done in changes.items():
        assert said in code
        code = code.replace(said, done)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["loader"].position == 5 * 4 * 128 and found["batch"].inputs.shape[1] == 128


@pytest.mark.parametrize("threads", [1, 4])
def test_the_buffer_is_never_exceeded(threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted apart from the loader's own books: by what NumPy allocates, and by batches begun and not yet taken."""
    address, _ = store_elsewhere(tmp_path, 400_000)
    store = TokenStore.open(address)
    rows = 8
    steps = PackedSteps(store, 128, rows, rows, store.need_order().num_rows // rows, mask_documents=True)
    buffer = 6 * rows * 128 * 90
    plain, started, most = PackedSteps.batch, [0], 0

    def counted(self: PackedSteps, chosen: list[tuple[int, int]]) -> TokenBatch:
        with lock:
            started[0] += 1
        return plain(self, chosen)

    lock = threading.Lock()
    monkeypatch.setattr(PackedSteps, "batch", counted)
    loader = Loader(steps, rows=rows, buffer=buffer, threads=threads)
    next(iter(Loader(steps, rows=rows, buffer=buffer, threads=threads)))  # what is made once is no part of it
    started[0] = 0
    tracemalloc.start()
    taken = 0
    for taken, _ in enumerate(loader, 1):
        most = max(most, started[0] - taken)
        if taken % 20 == 0:
            time.sleep(0.02)  # time for the threads to run ahead as far as they may
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken == steps.num_steps > 300
    assert 0 < loader.peak <= buffer
    assert peak <= buffer + 300_000, (peak, buffer)  # and the interpreter's own objects
    assert 2 <= most <= buffer // (rows * 128 * 25)  # it does run ahead


def test_what_cannot_be_is_refused() -> None:
    steps = steps_of(mask_documents=False)
    with pytest.raises(RequestError, match="is not a whole number of rows"):
        Loader(steps, rows=2, position=SEQ_LEN + 1)
    with pytest.raises(RequestError, match="raise the buffer, or take fewer rows"):
        Loader(steps, rows=2, buffer=2 * SEQ_LEN * 77 - 1)
    assert len(list(Loader(steps, rows=2, buffer=2 * SEQ_LEN * 77))) == 45
    assert list(Loader(steps, rows=2, position=90 * SEQ_LEN)) == []


def test_an_error_in_a_thread_comes_out_where_its_batch_would() -> None:
    steps = steps_of(vocab_size=5000)  # the second store has larger ids
    with pytest.raises(DataError, match="another tokenizer"):
        list(Loader(steps, rows=3))
