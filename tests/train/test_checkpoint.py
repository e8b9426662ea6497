"""Checkpoints: whole or absent, proven before they are read, written beside the training and by several processes."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.base.errors import ArtifactError
from groundup.train import checkpoint
from groundup.train.checkpoint import MARKER, Checkpoints, copied
from groundup.train.settings import LoopConfig

RARELY = LoopConfig(checkpoint_every=1e9)
MAIN = {"model": "m", "optimizer": "o", "data": "d"}


@pytest.fixture(autouse=True)
def _nobody_pulls_the_plug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def state(value: float) -> dict[str, Any]:
    return {"model": {"weight": torch.full((300, 5), value)}, "optimizer": {"weight.step": torch.tensor(value)}}


def make(folder: Path, notes: list[str] | None = None, **changes: object) -> Checkpoints:
    folder.mkdir(exist_ok=True)
    config = RARELY.model_copy(update=changes)
    return Checkpoints(folder, config, MAIN, (notes if notes is not None else []).append)


def filled(folder: Path, steps: int, **changes: object) -> Checkpoints:
    made = make(folder, **changes)
    for step in range(steps):
        made.save(step, state(step), {"note": step})
    made.wait()
    return made


def steps_in(folder: Path) -> list[int]:
    return [int(path.name[5:]) for path in sorted(folder.glob("step-*"))]


def newest(folder: Path, notes: list[str] | None = None) -> tuple[int, float] | None:
    made = make(folder, notes)
    saved = made.newest()
    if saved is None:
        return None
    loaded = made.load(saved.folder, state(-1.0))
    assert saved.extra == {"note": saved.step}
    assert torch.equal(loaded["optimizer"]["weight.step"], torch.tensor(float(saved.step)))
    return saved.step, float(loaded["model"]["weight"].mean())


def test_the_newest_and_the_permanent_and_the_held_are_kept(tmp_path: Path) -> None:
    made = filled(tmp_path / "a", 8)
    assert steps_in(tmp_path / "a") == [6, 7]
    assert made.permanent() == []
    made = filled(tmp_path / "b", 8, checkpoint_keep=1, checkpoint_permanent_every=3)
    assert steps_in(tmp_path / "b") == [3, 6, 7]
    assert [path.name for path in made.permanent()] == ["step-000000003", "step-000000006"]
    made = make(tmp_path / "c")
    for step in range(8):
        made.save(step, state(step), {"note": step}, hold={2, 3} if step < 6 else {3})
    made.wait()
    assert steps_in(tmp_path / "c") == [3, 6, 7]
    assert [path.name[0] for path in (tmp_path / "c").iterdir()] == ["s"] * 3  # nothing hidden is left


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    filled(tmp_path, 4)
    assert newest(tmp_path) == (3, 3.0)


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata", MARKER])
@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: bytes(len(data)), flip, None],
    ids=["empty", "cut off", "zeros", "one bit", "missing"],
)
def test_a_damaged_one_is_passed_over_with_a_note(
    file: str, damage: Callable[[bytes], bytes] | None, tmp_path: Path
) -> None:
    filled(tmp_path, 4)
    path = tmp_path / "step-000000003" / file
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    notes: list[str] = []
    assert newest(tmp_path, notes) == (2, 2.0)
    assert len(notes) == 1
    assert notes[0].startswith("checkpoint step-000000003 is damaged")
    assert steps_in(tmp_path) == [2]


def test_half_written_ones_are_no_checkpoints_and_go_away(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    (tmp_path / "step-000000001").rename(tmp_path / ".step-000000009.partial")
    assert newest(tmp_path) == (0, 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000"]


@pytest.mark.parametrize("what", ["model", "optimizer", "data"])
def test_one_of_another_run_is_refused(what: str, tmp_path: Path) -> None:
    filled(tmp_path, 1)
    other = Checkpoints(tmp_path, RARELY, {**MAIN, what: "x"}, lambda note: None)
    with pytest.raises(ArtifactError, match=f"is a checkpoint of another {what}; train in another folder"):
        other.newest()
    assert steps_in(tmp_path) == [0]


def test_another_shape_is_an_error_of_one_line(tmp_path: Path) -> None:
    made = filled(tmp_path, 1)
    with pytest.raises(ArtifactError, match="can't be read into this model") as raised:
        made.load(tmp_path / "step-000000000", {"model": {"weight": torch.zeros(4, 4)}})
    assert "\n" not in str(raised.value)


def test_training_goes_on_while_it_is_written_and_may_change_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, may_write = checkpoint.save_sharded, threading.Event()

    def slow(*args: Any, **more: Any) -> Any:
        assert may_write.wait(30)
        return real(*args, **more)

    monkeypatch.setattr(checkpoint, "save_sharded", slow)
    made, live = make(tmp_path, checkpoint_every=1e-9), state(1.0)
    made.save(1, live, {"note": 1})
    live["model"]["weight"].fill_(99.0)  # the next update
    assert steps_in(tmp_path) == []
    assert not made.due(2)  # not while the last is being written
    may_write.set()
    made.wait()
    time.sleep(0.001)
    assert made.due(2)
    assert newest(tmp_path) == (1, 1.0)


def test_saves_are_due_by_steps_and_by_seconds(tmp_path: Path) -> None:
    made = make(tmp_path / "a", checkpoint_every_steps=3, checkpoint_permanent_every=5)
    assert [step for step in range(1, 11) if made.due(step)] == [3, 5, 6, 9, 10]
    made.save(3, state(3), {"note": 3})
    assert not made.due(3)
    made = make(tmp_path / "b", checkpoint_every=0.05)
    assert not made.due(1)
    time.sleep(0.06)
    assert made.due(1)


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_reaches_the_loop(background: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    made = filled(tmp_path, 1, checkpoint_in_background=background)
    monkeypatch.setattr(checkpoint.FileSystemWriter, "write_data", full)

    def save() -> None:
        made.save(1, state(1), {"note": 1})
        made.wait()

    with pytest.raises(OSError, match="No space left") as raised:
        save()
    assert raised.value.errno == errno.ENOSPC
    assert newest(tmp_path) == (0, 0.0)  # the one before is whole


def test_copies_share_nothing() -> None:
    live = {"a": [torch.ones(2), {"b": torch.zeros(1)}], "n": 3}
    other = copied(live)
    live["a"][0].fill_(5.0)  # type: ignore[index]
    assert other["a"][0].tolist() == [1.0, 1.0]
    assert other["n"] == 3


def test_the_marker_names_every_file(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    folder = tmp_path / "step-000000000"
    marker = json.loads((folder / MARKER).read_text())
    assert {path.name for path in folder.iterdir()} == {*marker["files"], MARKER}


# -- several processes -------------------------------------------------------------------------------------------------


def _sharded(rank: int, size: int, folder: str, results: Any) -> None:
    """Save a matrix whose rows are split over processes, then read it back, damage and all."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=size, store=dist.FileStore(f"{folder}/meet-{size}", size))
    try:
        mesh = init_device_mesh("cpu", (size,))
        where, notes = Path(folder) / "run", list[str]()
        made = Checkpoints(where, RARELY.model_copy(update={"checkpoint_every_steps": 1}), MAIN, notes.append)

        def of(value: float) -> dict[str, Any]:
            whole = torch.arange(24.0).view(8, 3) + value
            return {"model": {"w": distribute_tensor(whole, mesh, [Shard(0)])}, "n": torch.tensor(value)}

        for step in (1, 2, 3):
            made.save(step, of(float(step)), {"note": step})
        made.wait()
        dist.barrier()
        if rank == 0:  # the share of the last process is damaged: all must pass over it
            last = where / "step-000000003" / f"__{size - 1}_0.distcp"
            last.write_bytes(flip(last.read_bytes()))
        dist.barrier()
        saved = made.newest()
        assert saved is not None
        loaded = made.load(saved.folder, of(0.0))
        whole = loaded["model"]["w"].full_tensor()
        says = made._talk.main_says(rank == 0), made._talk.main_says(rank != 0)
        results.put((rank, saved.step, whole.tolist(), len(notes), says))
    finally:
        dist.destroy_process_group()


def test_processes_write_and_read_together_and_one_can_go_on(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    (tmp_path / "run").mkdir()
    workers = [context.Process(target=_sharded, args=(rank, 2, str(tmp_path), results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    want = (torch.arange(24.0).view(8, 3) + 2).tolist()
    assert found == [(0, 2, want, 1, (True, False)), (1, 2, want, 1, (True, False))]
    alone = Checkpoints(tmp_path / "run", RARELY, MAIN, lambda note: None)
    saved = alone.newest()
    assert saved is not None
    loaded = alone.load(saved.folder, {"model": {"w": torch.zeros(8, 3)}, "n": torch.tensor(0.0)})
    assert loaded["model"]["w"].tolist() == want
