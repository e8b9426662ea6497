"""The planner: its memory beside the same step counted whole, its sizes beside the parallel code, its choices."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.model.count import parameters, training_flops_per_token
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer
from groundup.train.optim import build_optimizer
from groundup.train.parallel.layout import Layout, resolve
from groundup.train.parallel.recompute import apply_recompute
from groundup.train.plan.activations import Share, _balance, _Ledger, trace
from groundup.train.plan.estimate import estimate
from groundup.train.plan.machine import find_machine, known
from groundup.train.plan.memory import _chain, _update_bytes, moments, predict
from groundup.train.plan.propose import propose
from groundup.train.plan.weights import held
from groundup.train.plan.workload import Workload
from groundup.train.settings import Arithmetic, Checkpointing, EngineConfig, OptimizerConfig, ParallelConfig

ROOT = Path(__file__).parents[2]
SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "num_layers": 4,
    "hidden_size": 64,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 16,
    "intermediate_size": 192,
    "max_seq_len": 64,
}
LLAMA_8B = ModelConfig(
    vocab_size=128_256, num_layers=32, hidden_size=4096, num_heads=32, num_kv_heads=8, head_dim=128,
    intermediate_size=14_336, max_seq_len=8192, tie_embeddings=False,
)  # fmt: skip
LLAMA_405B = ModelConfig(
    vocab_size=128_256, num_layers=126, hidden_size=16_384, num_heads=128, num_kv_heads=8, head_dim=128,
    intermediate_size=53_248, max_seq_len=8192, tie_embeddings=False,
)  # fmt: skip
MIXTRAL = ModelConfig(
    vocab_size=32_000, num_layers=32, hidden_size=4096, num_heads=32, num_kv_heads=8, head_dim=128,
    intermediate_size=14_336, max_seq_len=8192, num_experts=8, num_experts_per_token=2, tie_embeddings=False,
)  # fmt: skip


def shape(**others: Any) -> ModelConfig:
    return ModelConfig(**(SHAPE | others))


# -- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "arithmetic", "checkpointing"),
    [
        (shape(), "bf16", "none"),
        (shape(tie_embeddings=False), "bf16", "none"),
        (shape(qk_norm=True), "fp32", "none"),
        (shape(sliding_window=16, full_layers=(1, 3)), "bf16", "none"),
        (shape(positions="learned", norm="layer", gated=False, mlp_bias=True), "bf16", "none"),
        (shape(num_experts=4, num_experts_per_token=2), "bf16", "none"),
        (shape(), "bf16", "full"),
        (shape(), "bf16", "selective"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("batches", [1, 2])
def test_segments_add_up_to_the_whole_step(
    config: ModelConfig, arithmetic: str, checkpointing: Checkpointing, batches: int
) -> None:
    """The peak put together from single segments is that of the whole model's forward and backward passes."""
    rows, length = 3, 64
    dtype = {"bf16": torch.bfloat16, "fp32": None}[arithmetic]
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = Transformer(config)
        _balance(model, config, Share())
        apply_recompute(model, checkpointing)
        ids = torch.zeros(rows, length, dtype=torch.long)
        tables = [table for table in (model.cos, model.sin) if table is not None]
        ledger = _Ledger([*model.parameters(), ids, *tables], model.parameters(), lambda: None)
        with ledger:
            for _ in range(batches):
                with torch.autocast("cpu", dtype, enabled=dtype is not None):
                    loss = linear_cross_entropy(model(ids).flatten(0, 1), model.output_weight, ids.flatten())
                loss.backward()
                del loss
    segments = trace(config, rows, length, arithmetic=arithmetic, checkpointing=checkpointing)
    chain = _chain(config, Layout(), segments, 0)
    assert sum(gradient for _, _, gradient in chain) == 4 * parameters(config)
    predicted = max(moment.total for moment in moments(chain, 1, batches > 1, config.tie_embeddings))
    assert predicted == pytest.approx(ledger.peak, rel=0.03)


def test_counting_leaves_no_trace() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trace(shape(num_layers=2), 2, 32, arithmetic="bf16")
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("arithmetic", ["bf16", "fp32"])
def test_muon_needs_what_the_plan_says(arithmetic: str) -> None:
    config = shape(hidden_size=128, num_heads=8, intermediate_size=384, vocab_size=64)
    workload = Workload(config, 64, 1, 1, None, method="muon")
    dtype = torch.bfloat16 if arithmetic == "bf16" else torch.float32
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = Transformer(config)
        optimizer = build_optimizer(model, OptimizerConfig(method="muon", weight_decay=0.1), 1e-3, dtype=dtype)
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        states = [value for state in optimizer.state.values() for value in state.values()]
        there = [*model.parameters(), *(weight.grad for weight in model.parameters()), *states]
        with (ledger := _Ledger(there, model.parameters(), lambda: None)):
            optimizer.step()
    ours = _update_bytes(workload, held(config, Layout(), 0))
    assert 0.9 < ours / ledger.peak < 1.6  # an upper bound: not all matrices are of one shape


def test_memory_of_a_process_answers_to_the_layout() -> None:
    def memory(parallel: dict[str, Any], world: int, **others: Any) -> Any:
        workload = Workload(LLAMA_8B, 8192, 64, 1, 10, parallel=ParallelConfig(**parallel), **others)
        return predict(workload, resolve(workload.parallel, world, LLAMA_8B), arithmetic="bf16", device="cuda")

    alone, sharded = memory({}, 1).parts, memory({"shard": 8}, 8).parts
    for part in ("weights", "optimizer state"):
        assert sharded[part] == pytest.approx(alone[part] / 8, rel=0.01)
    assert alone["weights"] == 4 * parameters(LLAMA_8B)
    assert "gathered weights" in sharded and "gathered weights" not in alone
    copies = memory({"replicate": 2}, 2).parts
    assert copies["gradient buckets"] == 4 * parameters(LLAMA_8B)
    full = memory({"activation_checkpointing": "full"}, 1)
    assert full.total < memory({}, 1).total
    assert memory({}, 1, method="muon").parts["optimizer state"] < alone["optimizer state"]
    assert memory({}, 1, averages=True).parts["mean of weights"] == alone["weights"]
    stages = memory({"pipeline": 4}, 4)
    assert stages.rank == 0, "the first stage holds the most micro-batches"


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_zero_splits_what_its_stage_says(stage: Any) -> None:
    def parts(**others: Any) -> Any:
        engine = EngineConfig(name="deepspeed", stage=stage, **others)
        workload = Workload(LLAMA_8B, 8192, 64, 1, 10, engine=engine)
        layout = resolve(workload.parallel, 8, LLAMA_8B)
        return predict(workload, layout, arithmetic="bf16", device="cuda").parts

    found, whole = parts(), 4 * parameters(LLAMA_8B)
    moments, piece = 2 * whole / (8 if stage else 1), whole / 8 if stage in (1, 2) else 0
    assert found["optimizer state"] == pytest.approx(moments + piece)
    assert found["weights"] == pytest.approx(whole / 8 if stage == 3 else whole)
    assert ("gathered weights" in found) == (stage == 3)
    if stage:
        assert "optimizer state" not in parts(offload="optimizer")
    if stage == 3:
        assert "weights" not in parts(offload="all")


def test_a_run_that_zero_makes_fit_is_not_refused() -> None:
    node, zero = find_machine("8xh100"), EngineConfig(name="deepspeed", stage=3)
    assert not estimate(Workload(LLAMA_8B, 8192, 512, 1, 10, parallel=ParallelConfig(replicate=8)), node).chosen.fits
    full = ParallelConfig(activation_checkpointing="full")
    found = estimate(Workload(LLAMA_8B, 8192, 512, 1, 10, parallel=full, engine=zero), node)
    assert found.chosen.fits and found.proposal.layout.replicate == 8
    assert any("ZeRO stage 3" in line for line in found.lines())


def test_sizes_are_those_of_the_parallel_code_on_thousands_of_processes() -> None:
    """Llama 3 405B on 4,096 processes, and experts on 64, as the parallel code places them on meta tensors."""
    script = [sys.executable, str(ROOT / "benchmarks" / "plan_layouts.py"), "--quick"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ours"] == 0 and len(result["results"]) == 2
    assert max(row["real"] for row in result["results"]) > 90_000_000


@pytest.mark.slow
def test_predicted_peak_is_what_a_process_takes() -> None:
    spec = importlib.util.spec_from_file_location("plan_memory", ROOT / "benchmarks" / "plan_memory.py")
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules["plan_memory"] = benchmark
    spec.loader.exec_module(benchmark)
    (case,) = [case for case in benchmark.CASES if case.name == "small, 4,096 tokens"]
    assert abs(benchmark.measure(case)["deviation"]) < benchmark.TARGET


# -- machines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", known())
def test_known_machines_are_plausible(name: str) -> None:
    """Traps of datasheets: sparse figures, and fp16 accumulation, are twice the dense ones."""
    machine = find_machine(name)
    if "fp8" in machine.flops:
        assert machine.flops["fp8"] == pytest.approx(2 * machine.flops["bf16"], rel=0.01)
    assert machine.flops.get("bf16", 0.0) < 2.6e15
    watts_per_teraflop = machine.watts / (machine.peak(machine.arithmetic("auto")) / 1e12)
    assert 0.3 < watts_per_teraflop < 20
    assert machine.link >= machine.network


def test_a_machine_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    entry = "mine: {device: cuda, devices: 2, flops: {bf16: 1.0e14}, memory: 16 GiB, bandwidth: 5.0e11, link: 1.0e10, "
    path.write_text(entry + "network: 1.0e9, watts: 200, mfu: 0.5, source: me}\n")
    assert find_machine(str(path)).memory == 16 * 2**30
    path.write_text(entry + "network: 1.0e9, watts: 200, mfu: 1.5, source: me}\n")
    with pytest.raises(RequestError, match="'mfu'"):
        find_machine(str(path))
    path.write_text(entry + "networks: 1.0e9, watts: 200, mfu: 0.5, source: me}\n")
    with pytest.raises(RequestError, match="did you mean 'network'"):
        find_machine(str(path))
    path.write_text("[1, 2")
    with pytest.raises(RequestError, match="not valid YAML"):
        find_machine(str(path))
    with pytest.raises(RequestError, match="does not exist"):
        find_machine("absent.yaml")
    with pytest.raises(RequestError, match="did you mean 'h100'"):
        find_machine("h10")
    with pytest.raises(RequestError, match="no bf16"):
        find_machine("mac-m1").peak("bf16")


# -- proposals -----------------------------------------------------------------------------------------------------


def test_the_simplest_layout_that_fits_is_proposed() -> None:
    node = find_machine("8xh100")
    small = propose(Workload(shape(), 64, 64, 8, 10), node, 8)
    assert small.fits and small.layout.replicate == 8 and not small.layout.shards_weights
    middle = propose(Workload(LLAMA_8B, 8192, 512, 1, 10), node, 8)
    assert middle.fits and middle.layout.shard == 8 and middle.layout.tensor == middle.layout.pipeline == 1
    large = propose(Workload(LLAMA_405B, 8192, 2048, 1, 10), node, 4096)
    assert large.fits and large.layout.shards_weights and large.layout.tensor > 1, "2,048 rows for 4,096 processes"
    assert large.layout.world_size == 4096
    experts = propose(Workload(MIXTRAL, 8192, 512, 1, 10), node, 64)
    assert experts.fits and experts.layout.tensor == 1


def test_what_does_not_fit_is_named_with_what_to_change() -> None:
    found = estimate(Workload(LLAMA_8B, 8192, 512, 1, 10), find_machine("h100"))
    assert not found.chosen.fits and not found.proposal.fits
    assert "optimizer state" in found.problem and "--nodes" in found.problem
    assert found.as_json()["problem"] == found.problem
    assert any(line.startswith("TOO LARGE") for line in found.lines())
    crowded = estimate(Workload(shape(), 64, 2**20, 2**20, 10), find_machine("rtx4090"))
    assert "micro_batch_tokens" in crowded.problem and crowded.proposal.fits
    assert crowded.proposal.rows_per_batch < 2**20


def test_a_layout_that_makes_no_sense_is_refused_with_the_reason() -> None:
    with pytest.raises(RequestError, match="tensor 3 does not divide"):
        estimate(Workload(shape(), 64, 64, 8, 10, parallel=ParallelConfig(tensor=3)), find_machine("h100"), devices=3)
    fp8 = Workload(shape(), 64, 64, 8, 10, precision="fp8", parallel=ParallelConfig(tensor=2))
    with pytest.raises(RequestError, match="leave out parallel"):
        estimate(fp8, find_machine("h100"), devices=2)
    with pytest.raises(RequestError, match="no layout of 64 processes"):
        estimate(Workload(shape(num_heads=1, num_kv_heads=1), 64, 1, 1, 10), find_machine("8xh100"), nodes=8)


def test_pairs_are_never_split_by_rows() -> None:
    pairs = Workload(LLAMA_8B, 8192, 64, 2, 10, loss="log_probs")
    layout = propose(pairs, find_machine("8xh100"), 32).layout
    assert layout.context == 1 and layout.pipeline == 1


# -- time, cost, energy -----------------------------------------------------------------------------------------------


def test_time_cost_and_energy_follow_from_the_arithmetic() -> None:
    workload = Workload(LLAMA_8B, 8192, 512, 1, 100)
    machine = find_machine("8xh100")
    found = estimate(workload, machine, nodes=2, mfu=0.5)
    tokens = 100 * 512 * 8192
    flops = tokens * training_flops_per_token(LLAMA_8B, 8192)
    seconds = flops / (16 * 989.4e12 * 0.5)
    assert found.tokens == tokens and found.flops == flops
    assert found.seconds == pytest.approx(seconds)
    assert found.joules == pytest.approx(seconds * 16 * 700)
    assert found.dollars == pytest.approx(seconds / 3600 * 16 * 3.0)
    unknown = estimate(Workload(LLAMA_8B, 8192, 512, 1, None), machine)
    assert unknown.seconds is None and unknown.as_json()["dollars"] is None
    assert any("known once" in line for line in unknown.lines())


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16", "fp16", "fp8"])
def test_every_arithmetic_is_planned_where_there_are_units_for_it(arithmetic: Arithmetic) -> None:
    workload = Workload(shape(), 64, 64, 8, 10, precision=arithmetic)
    found = estimate(workload, find_machine("h100"))
    assert found.chosen.fits and found.as_json()["arithmetic"] == arithmetic
    if arithmetic == "fp8":
        with pytest.raises(RequestError, match="'a100-80' has no fp8 units, only fp32, bf16, fp16"):
            estimate(workload, find_machine("a100-80"))


def test_fp8_keeps_matrices_in_one_byte_and_no_copy_in_two() -> None:
    wide = shape(intermediate_size=2048)
    eight, sixteen = (trace(wide, 4, 64, arithmetic=name, device="cuda") for name in ("fp8", "bf16"))  # type: ignore[arg-type]
    copies = [segments.blocks[0].kept.get("weight copies", 0) for segments in (eight, sixteen)]
    assert copies[0] < copies[1] / 10, "only norms are left"
    assert eight.blocks[0].kept_bytes < sixteen.blocks[0].kept_bytes


def test_nodes_and_devices_are_told_apart() -> None:
    lines = estimate(Workload(shape(), 64, 64, 8, 10), find_machine("8xh100"), nodes=4).lines()
    assert any("4 × 8xh100 (32 devices)" in line for line in lines)
    lines = estimate(Workload(shape(), 64, 64, 8, 10), find_machine("h100"), nodes=4).lines()
    assert any("4 × h100:" in line for line in lines)


def test_the_command_prints_json_only_and_refuses_in_one_line(tmp_path: Path) -> None:
    def groundup(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "groundup", "plan", "quickstart", *arguments, "-w", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    done = groundup("--machine", "8xh100", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["artifacts"]}
    training = rows["base"]["training"]
    assert training["devices"] == 8 and training["seconds"] > 0 and training["layout"]["memory_parts"]["weights"] > 0
    assert rows["corpus"]["training"] is None and rows["aligned"]["training"]["tokens"] is None
    refused = groundup("--machine", "h1000")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "did you mean" in refused.stderr
