"""Training runs on several gloo processes of this machine, in many layouts one after the other.

``start`` launches the processes; each runs this file, which carries out the named cases and leaves what process 0
found in a JSON file. A case is a layout and a task; ``CASES`` lists them by the number of processes.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.train.engines.native import NativeEngine
from groundup.train.objective import DirectPreference, NextToken
from groundup.train.parallel.layout import Layout, resolve
from groundup.train.settings import OptimizerConfig, ParallelConfig
from groundup.train.stream import PairBatch, TokenBatch

NUM_STEPS = 20
HALF = 10
ROWS, LENGTH, VOCABULARY = 8, 16, 64
LIMIT_SECONDS = 540  # a few minutes on a busy machine, one on an idle one

DEEP: dict[str, Any] = {"num_layers": 4}
UNEVEN: dict[str, Any] = {"num_layers": 3, "tie_embeddings": False}
UNTIED: dict[str, Any] = {"tie_embeddings": False}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_token": 2}
WINDOW: dict[str, Any] = {"sliding_window": 5, "full_layers": (1,)}
GPT2: dict[str, Any] = {
    "positions": "learned", "norm": "layer", "gated": False, "activation": "gelu_tanh", "qkv_bias": True,
    "output_bias": True, "mlp_bias": True, "qk_norm": False, "num_kv_heads": 4,
}  # fmt: skip
FALCON: dict[str, Any] = {
    "norm": "layer", "gated": False, "activation": "gelu", "parallel_residual": True, "shared_norm": True,
    "qk_norm": False,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A run to be repeated by one process: its layout, its model and its kind of batches."""

    layout: dict[str, Any]
    model: dict[str, Any] = field(default_factory=dict)
    batches: str = "plain"
    method: str = "muon"
    precision: str = "fp32"
    num_steps: int = NUM_STEPS
    rows: int = ROWS

    @property
    def alone(self) -> str:
        """What the run of one process that it is compared with depends on."""
        return json.dumps([self.model, self.batches, self.method, self.precision, self.num_steps, self.rows])


CASES: dict[int, dict[str, Case]] = {
    2: {
        "ddp": Case({}),
        "ddp untied adamw": Case({}, UNTIED, method="adamw"),
        "ddp uneven": Case({}, rows=7),
        "fsdp": Case({"shard": 2}),
        "fsdp untied adamw": Case({"shard": 2}, UNTIED, method="adamw"),
        "fsdp uneven": Case({"shard": 2}, rows=7, num_steps=6),
        "fsdp recomputed": Case({"shard": 2, "activation_checkpointing": "full"}, num_steps=6),
        "fsdp masked": Case({"shard": 2}, batches="masked", num_steps=6),
        "fsdp pairs": Case({"shard": 2}, batches="pairs", num_steps=6),
        "tensor": Case({"tensor": 2}),
        "tensor untied": Case({"tensor": 2}, UNTIED, num_steps=6),
        "tensor gpt2": Case({"tensor": 2}, GPT2, num_steps=3),
        "tensor falcon": Case({"tensor": 2}, FALCON, num_steps=3),
        "tensor recomputed": Case({"tensor": 2, "activation_checkpointing": "selective"}, num_steps=3),
        "tensor masked": Case({"tensor": 2}, batches="masked", num_steps=3),
        "tensor pairs": Case({"tensor": 2}, batches="pairs", num_steps=3),
        "pipeline": Case({"pipeline": 2}),
        "pipeline untied": Case({"pipeline": 2}, UNEVEN),
        "pipeline interleaved": Case({"pipeline": 2, "schedule": "interleaved"}, DEEP),
        "pipeline gpt2": Case({"pipeline": 2}, GPT2, num_steps=6),
        "pipeline masked": Case({"pipeline": 2}, batches="masked", rows=7, num_steps=6),
        "context": Case({"context": 2}),
        "context untied": Case({"context": 2}, UNTIED),
        "context gpt2": Case({"context": 2}, GPT2, num_steps=6),
        "context masked": Case({"context": 2}, WINDOW, batches="masked", num_steps=6),
        "context recomputed": Case({"context": 2, "activation_checkpointing": "selective"}, num_steps=6),
        "expert": Case({"expert": 2}, EXPERTS),
        "expert sharded": Case({"expert": 2, "shard": 2}, EXPERTS, batches="single", method="adamw"),
        "expert recomputed": Case(
            {"expert": 2, "activation_checkpointing": "selective"}, EXPERTS, batches="single", num_steps=6
        ),
        "experts on tensor": Case({"tensor": 2}, EXPERTS, batches="single", num_steps=6),
        "experts on pipeline": Case({"pipeline": 2}, EXPERTS, batches="single"),
        "experts on context": Case({"context": 2}, EXPERTS, batches="single"),
        "fsdp bf16": Case({"shard": 2}, precision="bf16", num_steps=6),
        "tensor bf16": Case({"tensor": 2}, precision="bf16", num_steps=3),
        "pipeline bf16": Case({"pipeline": 2}, precision="bf16", num_steps=6),
        "context bf16": Case({"context": 2}, precision="bf16", num_steps=6),
    },
    4: {
        "hsdp": Case({"shard": 2}),
        "hsdp uneven": Case({"shard": 2}, UNTIED, rows=6, num_steps=6),
        "fsdp x tensor": Case({"shard": 2, "tensor": 2}),
        "fsdp x tensor untied": Case({"shard": 2, "tensor": 2}, UNTIED, num_steps=3),
        "ddp x tensor": Case({"tensor": 2}, num_steps=6),
        "pipeline x ddp": Case({"pipeline": 2}),
        "pipeline x fsdp": Case({"pipeline": 2, "shard": 2, "schedule": "interleaved"}, DEEP),
        "pipeline x tensor": Case({"pipeline": 2, "tensor": 2}),
        "pipeline x context": Case({"pipeline": 2, "context": 2}, batches="masked"),
        "pipeline of four": Case({"pipeline": 4}, DEEP),
        "context x ddp": Case({"context": 2}),
        "context x fsdp": Case({"context": 2, "shard": 2}),
        "context x tensor": Case({"context": 2, "tensor": 2}, num_steps=6),
        "context of four": Case({"context": 4}, num_steps=6),
        "expert x ddp": Case({"expert": 2}, EXPERTS),
        "expert x fsdp": Case({"expert": 2, "shard": 4}, EXPERTS),
        "expert x hsdp": Case({"expert": 2, "shard": 2}, EXPERTS),
        "expert x tensor": Case({"expert": 2, "shard": 2, "tensor": 2}, EXPERTS, batches="single", num_steps=6),
        "expert x pipeline": Case(
            {"expert": 2, "pipeline": 2, "schedule": "interleaved"}, {**EXPERTS, **DEEP}, batches="single"
        ),
        "expert x context": Case({"expert": 2, "context": 2}, EXPERTS, batches="single", num_steps=6),
    },
}  # fmt: skip

RESUMED: dict[int, dict[str, dict[str, Any]]] = {
    1: {"alone": {}},
    2: {"tensor": {"tensor": 2}, "pipeline": {"pipeline": 2}, "ddp": {}},
    4: {"fsdp x tensor": {"shard": 2, "tensor": 2}, "pipeline x fsdp": {"pipeline": 2, "shard": 2}},
}
"""Layouts that go on from a checkpoint of FSDP on two processes."""


def shape(**changes: Any) -> ModelConfig:
    """A tiny model: grouped heads and normalised queries and keys, if not changed."""
    fields = {
        "vocab_size": VOCABULARY, "num_layers": 2, "hidden_size": 32, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8,
        "intermediate_size": 48, "max_seq_len": LENGTH, "qk_norm": True,
    }  # fmt: skip
    return ModelConfig(**{**fields, **changes})


def batches_of(case: Case, step: int, engine: NativeEngine[Any]) -> list[Any]:
    """A part's micro-batches of a step; the rows of the step are the same for any number of parts."""
    generator = torch.Generator().manual_seed(1000 + step)
    steps = torch.randint(0, 3, (case.rows, LENGTH + 1), generator=generator)
    ids = (torch.randint(0, VOCABULARY, (case.rows, 1), generator=generator) + steps.cumsum(1)) % VOCABULARY
    trained = torch.rand(case.rows, LENGTH, generator=generator) < 0.6
    documents = (torch.rand(case.rows, LENGTH, generator=generator) < 0.15).cumsum(1)
    reference = torch.randn(case.rows, generator=generator)
    mine = torch.tensor(list(engine.part.of(range(case.rows // (2 if case.batches == "pairs" else 1)))))
    if case.batches == "pairs":
        rows = torch.stack([2 * mine, 2 * mine + 1], dim=1).flatten()
        tokens = TokenBatch(ids[rows, :-1], ids[rows, 1:], trained[rows])
        return [PairBatch(tokens, reference[rows])]
    found = []
    for rows in mine.split(1 if case.batches == "single" else 2) if len(mine) else ():
        batch = TokenBatch(ids[rows, :-1], ids[rows, 1:])
        if case.batches == "masked":  # of odd length, so that it doesn't divide
            cut = LENGTH - 3
            batch = TokenBatch(
                ids[rows, :cut], ids[rows, 1 : cut + 1], trained[rows, :cut].clone(), documents[rows, :cut]
            )
        found.append(batch)
    return found


def new_engine(case: Case, layout: Layout, seed: int = 1) -> NativeEngine[Any]:
    model = Transformer(shape(**case.model))
    initialise(model, seed)
    # A balance loss is of a micro-batch: only micro-batches of single rows are the same for any number of parts.
    plain = NextToken(z_loss=1e-3, balance_loss=0.01 if case.batches == "single" else 0.0)
    objective = DirectPreference(0.5) if case.batches == "pairs" else plain
    optimizer = OptimizerConfig(method=case.method, weight_decay=0.1)  # type: ignore[arg-type]
    return NativeEngine(model, objective, 3e-3, optimizer, case.precision, layout)  # type: ignore[arg-type]


def advance(engine: NativeEngine[Any], case: Case, steps: range) -> list[list[float]]:
    """The loss and the gradient norm of each step."""
    rows = []
    for step in steps:
        batches = batches_of(case, step, engine)
        sums = engine.forward_backward(batches, engine.weigh(batches))
        norm = engine.clip(1.0)
        engine.update(1.0 - step / (2 * NUM_STEPS))
        rows.append([sums.loss, norm, *(value for _, value in sorted(sums.values.items()))])
    return rows


def held_out(model: Transformer) -> dict[str, float]:
    """Mean loss on rows of odd length, with what validation uses of a model."""
    from groundup.train.parallel.vocabulary import linear_cross_entropy

    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, VOCABULARY, (3, LENGTH - 2), generator=generator)
    hidden = model(ids[:, :-1]).flatten(0, 1)
    total = linear_cross_entropy(hidden, model.output_weight, ids[:, 1:].flatten())
    best = model.logits(hidden).argmax(dim=-1)
    return {"loss": float(total) / hidden.size(0), "best": float(best.sum())}


def run_case(case: Case, layout: Layout) -> dict[str, Any]:
    """The curve, what validation says before and after, and the weights at the end."""
    engine = new_engine(case, layout)
    before = engine.validate(held_out)
    curve = advance(engine, case, range(case.num_steps))
    after = engine.validate(held_out)
    curve += advance(engine, case, range(case.num_steps, case.num_steps + 1))  # validation leaves nothing behind
    model = engine.whole_model()
    weights = {} if model is None else {name: weight.detach() for name, weight in model.state_dict().items()}
    return {"curve": curve, "before": before, "after": after, "weights": weights}


def weight_distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest distance of any weight, relative to the largest entry of its tensor.

    But for the keys' biases: softmax doesn't see them, so they are moved by rounding errors alone.
    """
    assert ours.keys() == theirs.keys()
    seen = [name for name in ours if not name.endswith("k_proj.bias")]
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in seen)


def save(engine: NativeEngine[Any], folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save(engine.state(), checkpoint_id=folder, no_dist=not dist.is_initialized())


def resume(case: Case, layout: Layout, folder: Path) -> dict[str, Any]:
    """Go on from a checkpoint with an engine that began with other weights."""
    import torch.distributed.checkpoint as dcp

    engine = new_engine(case, layout, seed=2)
    state = engine.state()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # true, and meant so
        dcp.load(state, checkpoint_id=folder, no_dist=not dist.is_initialized())
    engine.load_state(state)
    return {"curve": advance(engine, case, range(HALF, NUM_STEPS))}


def refusals() -> dict[str, str]:
    """What an engine says to a part without rows, and to pairs split along rows."""
    said = {}
    for name, case, layout in (
        ("no rows", Case({}, rows=1), {}),
        ("pairs", Case({}, batches="pairs"), {"context": 2}),
    ):
        try:
            advance(new_engine(case, resolve(ParallelConfig(**layout), 2, shape())), case, range(1))
            said[name] = "nothing"
        except RequestError as error:
            said[name] = str(error)
    return said


def _compared(case: Case, layout: Layout, alone: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if case.alone not in alone:
        alone[case.alone] = run_case(case, Layout())
    theirs = alone[case.alone]
    ours = run_case(case, layout)
    row: dict[str, Any] = {key: ours[key] for key in ("curve", "before", "after")}
    row["alone"] = {key: theirs[key] for key in ("curve", "before", "after")}
    if dist.get_rank() == 0:
        row["weights"] = weight_distance(ours["weights"], theirs["weights"])
    return row


def follow_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(rank: int, size: int, folder: Path) -> None:
    """All tasks of one world; process 0 writes ``results-SIZE.json``."""
    follow_parent()
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=60)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet-{size}", rank=rank, world_size=size, timeout=patience
    )
    found: dict[str, dict[str, Any]] = {}
    for name, task in _tasks(size, folder):
        start = time.monotonic()
        try:
            found[name] = {**task(), "seconds": time.monotonic() - start}
        except Exception:  # the processes may no longer be in step: what follows could only hang
            found[name] = {"error": traceback.format_exc()}
            sys.stderr.write(f"{name}: {found[name]['error']}")
            break
    if rank == 0:
        (folder / f"results-{size}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _tasks(size: int, folder: Path) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    alone: dict[str, dict[str, Any]] = {}
    for name, case in CASES[size].items():
        layout = resolve(ParallelConfig(**case.layout), size, shape(**case.model), rows_per_step=case.rows)
        yield name, partial(_compared, case, layout, alone)
    if size == 2:
        yield "refused", refusals
        yield "saved", partial(_save_half, resolve(ParallelConfig(shard=2), 2, shape()), folder / "checkpoint")
    for name, chosen in RESUMED[size].items():
        layout = resolve(ParallelConfig(**chosen), size, shape())
        yield f"resumed {name}", partial(resume, Case({}), layout, folder / "checkpoint")


def _save_half(layout: Layout, folder: Path) -> dict[str, Any]:
    engine = new_engine(Case({}), layout)
    curve = advance(engine, Case({}), range(HALF))
    save(engine, folder)
    return {"curve": curve}


def start(size: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Run the tasks of ``size`` processes; none is left behind, whatever happens."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = folder / f"errors-{size}.txt"
    with said.open("wb") as errors:
        command = [sys.executable, __file__]
        processes = [
            subprocess.Popen([*command, str(rank), str(size), str(folder)], env=environment, stderr=errors)
            for rank in range(size)
        ]
        try:
            end = time.monotonic() + LIMIT_SECONDS
            for process in processes:
                process.wait(timeout=max(1.0, end - time.monotonic()))
        finally:
            for process in processes:
                process.kill()
                process.wait()
    assert all(process.returncode == 0 for process in processes), said.read_text()
    found: dict[str, dict[str, Any]] = json.loads((folder / f"results-{size}.json").read_text())
    return found


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
