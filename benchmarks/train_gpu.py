"""Training speed on one GPU beside transformers and torchtitan: tokens/s and MFU of Llama shapes, in bf16 and fp8.

    python benchmarks/train_gpu.py [--quick] [--shape 125M ...] [--rounds N]
    python benchmarks/train_gpu.py --dry-run      no GPU: every shape built on meta tensors, sizes and batches printed

Shapes: 125M, 350M, 1.3B, and the largest of the list below that fits into the card's memory. Untied embeddings, a
vocabulary of 32,768, rows of 2,048 random tokens; fused AdamW on fp32 weights and no clipping on every side, blocks
compiled, so many rows at once that memory is well used, the same on every side. Each run is a process of its own; sides
take turns. Compile time is the first step less the median one. MFU counts 6 FLOPs a matmul weight and token and
12 * layers * width * length for attention, against the card's published dense bf16 peak (for fp8 too: one scale).

transformers and torchtitan (0.3, its own Llama 3 modules in this script's loop) must be installed beside groundup,
pip install 'transformers>=5' torchtitan, or be left out by --without; what was left out is named in the results.
Results are to be dated and kept in docs/LOG.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from groundup.model.config import ModelConfig
from groundup.model.count import parameters, training_flops_per_token
from groundup.model.transformer import Transformer
from groundup.train.settings import PrecisionName

VOCAB, SEQ = 32_768, 2048
LEARNING_RATE, BETAS, WEIGHT_DECAY = 3e-4, (0.9, 0.95), 0.1
WARMUP = 3
AIM = 0.55
OUT_OF_MEMORY = 3
SIDES = ("ours bf16", "ours fp8", "transformers", "torchtitan")

Figures = dict[str, Any]
Step = Callable[[Tensor, Tensor], float]
"""A whole optimizer step on (ids, the ids that follow them), each int64 (B, T); gives the loss."""


@dataclass(frozen=True)
class Shape:
    """Layers, width, feed-forward width; heads are 64 wide up to 1,024 and 128 above. ``rows`` a step at 80 GB."""

    layers: int
    hidden: int
    ffn: int
    rows: int
    recompute: bool = False

    def config(self) -> ModelConfig:
        head = 64 if self.hidden <= 1024 else 128
        return ModelConfig(
            vocab_size=VOCAB, num_layers=self.layers, hidden_size=self.hidden, num_heads=self.hidden // head,
            num_kv_heads=self.hidden // head, head_dim=head, intermediate_size=self.ffn, max_seq_len=SEQ,
            tie_embeddings=False,
        )  # fmt: skip


SHAPES = {
    "125M": Shape(layers=12, hidden=768, ffn=2048, rows=16),
    "350M": Shape(layers=24, hidden=1024, ffn=2816, rows=8),
    "1.3B": Shape(layers=24, hidden=2048, ffn=5632, rows=4),
}
LARGEST = {
    "6.7B": Shape(layers=32, hidden=4096, ffn=11008, rows=4, recompute=True),
    "4.2B": Shape(layers=32, hidden=3200, ffn=8704, rows=4, recompute=True),
    "3.4B": Shape(layers=26, hidden=3200, ffn=8704, rows=4, recompute=True),
    "2.7B": Shape(layers=32, hidden=2560, ffn=6912, rows=4, recompute=True),
}
ALL = {**SHAPES, **LARGEST}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest shape, one round of few steps")
    parser.add_argument("--shape", nargs="+", choices=[*SHAPES, "largest"], help="default all")
    parser.add_argument("--rounds", type=int, help="default 3; 1 with --quick")
    parser.add_argument("--steps", type=int, default=10, help="timed steps a run (default 10)")
    parser.add_argument("--without", nargs="+", choices=SIDES[2:], default=[], help="peers to leave out")
    parser.add_argument("--dry-run", action="store_true", help="check every shape on meta tensors; needs no GPU")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "SHAPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dry_run:
        print(json.dumps({"results": dry_run()}))
        return
    if not torch.cuda.is_available():
        sys.exit("no CUDA GPU is here: nothing was measured; --dry-run checks the shapes without one")
    if options.child:
        child(*options.child, steps=options.steps)
        return
    for peer in set(SIDES[2:]) - set(options.without):
        if importlib.util.find_spec(peer) is None:
            sys.exit(f"{peer} is not installed: run `pip install {peer}`, or leave it out with --without {peer}")
    rounds = options.rounds or (1 if options.quick else 3)
    steps = min(options.steps, 4) if options.quick else options.steps
    results = []
    for name in options.shape or (["125M"] if options.quick else [*SHAPES, "largest"]):
        results += measure(name, rounds, steps, options.without)
    print(json.dumps({"results": results}))


def dry_run() -> list[Figures]:
    """Build every shape on meta tensors: parameters as counted, divisible as the kernels want, state in GiB."""
    found = []
    for name, shape in ALL.items():
        config = shape.config()
        with torch.device("meta"):
            model = Transformer(config)
        count = sum(weight.numel() for weight in model.parameters())
        assert count == parameters(config), name
        assert all(size % 16 == 0 for size in (shape.hidden, shape.ffn, shape.rows * SEQ)), name
        flops = training_flops_per_token(config, SEQ)
        state = 16 * count / 2**30
        print(f"{name:<6} {count / 1e6:>8.0f} M parameters   {flops / 1e9:>6.2f} GFLOP/token   "
              f"{shape.rows:>2} x {SEQ} tokens   weights, gradients and AdamW {state:>6.1f} GiB")  # fmt: skip
        found.append({"workload": name, "parameters": count, "flops_per_token": flops, "state_gib": round(state, 1)})
    return found


def measure(name: str, rounds: int, steps: int, without: list[str]) -> list[Figures]:
    """All rounds of one shape; prints its table. The largest shape is the first of the list that our side can run."""
    runs: dict[str, list[Figures]] = {}
    if name == "largest":
        name = next((each for each in LARGEST if run("ours bf16", each, 1) is not None), "")
        if not name:
            sys.exit("not even the smallest of the large shapes fits into this GPU")
    missing = [*without, *(["ours fp8"] if torch.cuda.get_device_capability() < (8, 9) else [])]
    present = [side for side in SIDES if side not in missing]
    for number in range(rounds):
        for side in present if number % 2 == 0 else reversed(present):
            figures = run(side, name, steps)
            if figures is not None:
                runs.setdefault(side, []).append(figures)
    return report(name, runs, missing)


def run(side: str, name: str, steps: int) -> Figures | None:
    """The figures of one side from a process of its own; None if it ran out of memory."""
    print(f"{name}: {side}", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--steps", str(steps), "--child", side, name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == OUT_OF_MEMORY:
        return None
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def child(side: str, name: str, *, steps: int) -> None:
    """Time one side; prints its figures as JSON."""
    shape = ALL[name]
    generator = torch.Generator("cuda").manual_seed(0)
    taken, losses = [], []
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    build = {"transformers": transformers_step, "torchtitan": torchtitan_step}.get(side)
    try:
        step = build(shape) if build else our_step(shape, "fp8" if side == "ours fp8" else "bf16")
        for _ in range(WARMUP + steps):
            ids = torch.randint(VOCAB, (shape.rows, SEQ + 1), generator=generator, device="cuda")
            torch.cuda.synchronize()
            start = time.perf_counter()
            losses.append(step(ids[:, :-1], ids[:, 1:]))
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    except torch.cuda.OutOfMemoryError:
        sys.exit(OUT_OF_MEMORY)
    seconds = statistics.median(taken[WARMUP:])
    print(json.dumps({
        "tokens_per_s": shape.rows * SEQ / seconds,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "compile_s": taken[0] - seconds,
        "loss_first": losses[0],
    }))  # fmt: skip


def our_step(shape: Shape, precision: PrecisionName) -> Step:
    """The product's engine, model and loss."""
    from groundup.model.init import initialise
    from groundup.train.compiled import compile_blocks
    from groundup.train.engines.native import NativeEngine
    from groundup.train.objective import next_token
    from groundup.train.parallel.layout import Layout
    from groundup.train.settings import OptimizerConfig
    from groundup.train.stream import TokenBatch

    model = Transformer(shape.config())
    initialise(model, 0)
    model.to("cuda")
    compile_blocks(model, "on", torch.device("cuda"))
    optimizer = OptimizerConfig(method="adamw", weight_decay=WEIGHT_DECAY, beta1=BETAS[0], beta2=BETAS[1])
    layout = Layout(activation_checkpointing="full" if shape.recompute else "none")
    engine: NativeEngine[TokenBatch] = NativeEngine(model, next_token, LEARNING_RATE, optimizer, precision, layout)

    def step(ids: Tensor, targets: Tensor) -> float:
        batch = TokenBatch(ids, targets)
        loss = engine.forward_backward([batch], batch.weight).loss
        engine.update(1.0)
        return loss

    return step


def plain_step(model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """The same work in a plain loop: autocast, backward, fused AdamW."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )

    def step(ids: Tensor, targets: Tensor) -> float:
        with torch.autocast("cuda", torch.bfloat16):
            loss = loss_of(ids, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss)

    return step


def transformers_step(shape: Shape) -> Step:
    """LlamaForCausalLM with SDPA, compiled as a whole, gradient checkpointing where ours recomputes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = shape.config()
    model = LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=config.num_layers, hidden_size=config.hidden_size,
            num_attention_heads=config.num_heads, num_key_value_heads=config.num_kv_heads,
            intermediate_size=config.intermediate_size, vocab_size=VOCAB, max_position_embeddings=SEQ,
            tie_word_embeddings=False, use_cache=False, attn_implementation="sdpa",
        )
    ).to("cuda").train()  # fmt: skip
    if shape.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    compiled = torch.compile(model)

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        logits = compiled(input_ids=ids).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    return plain_step(model, loss_of)


def torchtitan_step(shape: Shape) -> Step:
    """torchtitan's Llama 3 modules, blocks compiled one by one as its own trainer does."""
    from torch.utils.checkpoint import checkpoint
    from torchtitan.models import llama3 as titan

    config, D = shape.config(), shape.hidden
    rope = titan.ComplexRoPE.Config(dim=config.head_dim, max_seq_len=SEQ, theta=config.rope_theta, scaling="none")
    model = titan.Llama3Model.Config(
        dim=D,
        vocab_size=VOCAB,
        tok_embeddings=titan.Embedding.Config(num_embeddings=VOCAB, embedding_dim=D, param_init=titan._EMBEDDING_INIT),
        norm=titan.RMSNorm.Config(normalized_shape=D, param_init=titan._NORM_INIT),
        lm_head=titan.Linear.Config(in_features=D, out_features=VOCAB, param_init=titan._output_linear_init(D)),
        layers=titan._build_llama3_layers(
            n_layers=shape.layers, dim=D, n_heads=config.num_heads, hidden_dim=shape.ffn, rope=rope, attn_backend="sdpa"
        ),
    ).build()
    model.to("cuda")
    model.init_states(buffer_device=torch.device("cuda"))
    for block in model.layers.values():
        if shape.recompute:
            plain = block.forward
            block.forward = lambda *inputs, plain=plain: checkpoint(plain, *inputs, use_reentrant=False)
        block.compile()

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(ids).flatten(0, 1).float(), targets.flatten())

    return plain_step(model, loss_of)


def report(name: str, runs: dict[str, list[Figures]], missing: list[str]) -> list[Figures]:
    """Print the table of a shape; one result for each of our precisions, beside the fastest peer there is."""
    from groundup.train.plan.machine import find_machine

    def median(side: str, figure: str = "tokens_per_s") -> float:
        return float(statistics.median(one[figure] for one in runs[side]))

    shape = ALL[name]
    card, peak = torch.cuda.get_device_name(), find_machine("this").peak("bf16")
    flops = training_flops_per_token(shape.config(), SEQ)
    print(f"\n{name}: {shape.layers} layers, {shape.hidden} wide, {shape.rows} x {SEQ} tokens on {card}, "
          f"dense bf16 peak {peak / 1e12:.0f} TFLOP/s; torch {torch.__version__}")  # fmt: skip
    for side in runs:
        print(f"{side:<14} {median(side):>10.0f} tokens/s   MFU {median(side) * flops / peak:>6.1%}   "
              f"{median(side, 'peak_gib'):>6.1f} GiB   compile {median(side, 'compile_s'):>5.0f} s   "
              f"first loss {runs[side][0]['loss_first']:.3f}")  # fmt: skip
    for side in missing:
        print(f"{side:<14} not measured: {'this card has no fp8 units' if side == 'ours fp8' else 'left out'}")
    for side in SIDES:
        if side not in runs and side not in missing:
            print(f"{side:<14} ran out of memory")
    peers = [side for side in runs if not side.startswith("ours")]
    best = max(peers, key=median, default=None)
    results = []
    for side in runs:
        if side.startswith("ours"):
            rates = [one["tokens_per_s"] for one in runs[side]]
            ratios = [a / b["tokens_per_s"] for a, b in zip(rates, runs[best], strict=False)] if best else []
            results.append({
                "benchmark": "train_gpu", "workload": f"{name} {side.removeprefix('ours ')}", "machine": card,
                "threads": 1, "ours": round(median(side), 1), "peer": round(median(best), 1) if best else None,
                "peer_name": best, "unit": "tokens/s", "ratio": round(statistics.median(ratios), 3) if best else None,
                "ratio_low": round(min(ratios), 3) if best else None,
                "ratio_high": round(max(ratios), 3) if best else None, "target": 1.0,
                "mfu": round(median(side) * flops / peak, 4), "mfu_aim": AIM, "not_measured": missing,
            })  # fmt: skip
    return results


if __name__ == "__main__":
    main()
