"""The default configuration learns more from the same arithmetic than transformers' default Llama with AdamW.

    python benchmarks/learns.py [--quick] [--books FILE] [--keep FOLDER]

Both train on public-domain books with one tokenizer, made from the training part; held-out books are measured in bits
per byte by the same code. Both have the same width, depth and heads, so that a token costs the same arithmetic; both
read the same rows in the same order, in the same batches.

- Ours: what ``depth`` derives (stages/pretrain), trained by the real loop.
- The peer: ``LlamaConfig`` with its own choices (no QK-norm, untied, initial deviation 0.02), AdamW (0.9, 0.95), decay
  0.1, clipping 1, a warm-up of 5 % and a cosine to a tenth, once with a learning rate of 3e-4 and once with the best of
  a grid, chosen on the held-out books themselves, which favours it.

The budget of floating-point operations covers the optimizer: Muon's matrix products are counted, and the peer spends
them on reading more. Seeds change weights and order. The interval is Student's, over the differences seed by seed.
Each run's result is kept in a folder, if one is named, so that an interrupted benchmark goes on where it was. Prints a
table, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import t as student
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from groundup.base.dist import threads
from groundup.base.files import sha256_json
from groundup.base.machine import cpu_name
from groundup.base.progress import Silent
from groundup.base.seeds import derive, unit_interval
from groundup.model.config import ModelConfig
from groundup.model.count import training_flops_per_token
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.stages.pretrain.config import PretrainConfig
from groundup.text.learned import train_bpe
from groundup.text.store.order import make as make_order
from groundup.text.store.store import TokenStore
from groundup.train import precision
from groundup.train.loop import train
from groundup.train.muon import orthogonalise_flops
from groundup.train.objective import NextToken
from groundup.train.schedule import learning_rate_factor
from groundup.train.settings import LoopConfig
from groundup.train.stream import PackedSteps

BOOKS = Path(__file__).parents[1] / "../shared/data/text/books/books.jsonl.gz"
SEQ_LEN = 256
DEFAULT_RATE = 3e-4


@dataclass(frozen=True)
class Scale:
    """How large a comparison is."""

    depth: int
    horizon: str
    vocab_size: int
    train_chars: int  # of each book
    held_out_chars: int  # of each held-out book
    rates: tuple[float, ...]
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)


FULL = Scale(3, "600k tokens", 2048, 80_000, 16_000, (3e-4, 5e-4, 1e-3, 2e-3), (1, 2, 3))
QUICK = Scale(2, "100k tokens", 1024, 20_000, 6_000, (2e-3, 6e-3))


@dataclass(frozen=True)
class Text:
    """One stream of training tokens; held-out rows (R, T + 1) and their bytes."""

    ids: np.ndarray[Any, Any]
    held_out: Tensor
    held_out_bytes: float

    def store(self, seed: int) -> TokenStore:
        """The stream with an order of rows."""
        offsets = np.asarray([0, len(self.ids)])
        order = make_order(offsets, np.zeros(1, np.uint64), seq_len=SEQ_LEN, epochs=2, seed=derive(seed, "order"))
        return TokenStore(self.ids, offsets, order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller model and less text, in two or three minutes")
    parser.add_argument("--books", type=Path, default=BOOKS, help="JSONL, gzipped, with title and text")
    parser.add_argument("--keep", type=Path, help="a folder for the results of runs; those that are there are not run")
    options = parser.parse_args()
    if not options.books.is_file():
        sys.exit(f"{options.books} is not there: give a gzipped JSONL file of books (title, text) with --books")
    torch.set_num_threads(threads())
    scale = QUICK if options.quick else FULL
    start = time.monotonic()
    text = read(options.books, scale)
    contest = Contest(scale, text, options.keep)
    ours = [contest.ours(seed) for seed in scale.seeds]
    grid = {rate: contest.peer(scale.seeds[0], rate) for rate in scale.rates}
    best = min(grid, key=lambda rate: grid[rate])
    peers = {f"AdamW {best:g}, the best of the grid": [grid[best], *(contest.peer(s, best) for s in scale.seeds[1:])]}
    peers[f"AdamW {DEFAULT_RATE:g}"] = [contest.peer(seed, DEFAULT_RATE) for seed in scale.seeds]
    results = [result(contest, ours, values, name) for name, values in peers.items()]
    print(f"\n{contest.summary()}\n")
    print(f"ours {' '.join(f'{value:.4f}' for value in ours)}")
    for name, values in peers.items():
        print(f"peer {' '.join(f'{value:.4f}' for value in values)}  {name}")
    for one in results:
        low, high = one["difference_low"], one["difference_high"]
        print(f"difference {one['difference']:.4f} bits per byte ({low:.4f} to {high:.4f})  {one['peer_name']}")
    print(f"{time.monotonic() - start:.0f} s")
    print(json.dumps({"results": results}))


def read(path: Path, scale: Scale) -> Text:
    """Books to tokens: one in nine is held out, by its title; the middle of it is measured."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        books = [json.loads(line) for line in lines]
    held = [book["text"] for book in books if unit_interval(1, "held out", book["title"]) < 1 / 9]
    kept = [book["text"] for book in books if unit_interval(1, "held out", book["title"]) >= 1 / 9]
    tokenizer = train_bpe([text[: scale.train_chars] for text in kept], scale.vocab_size)
    ids: list[int] = []
    for each in tokenizer.encode_batch([text[: scale.train_chars] for text in kept]):
        ids += [*each, tokenizer.eos_id]
    parts = [text[len(text) // 2 :][: scale.held_out_chars] for text in held]
    rows, num_bytes = [], 0.0
    for part, encoded in zip(parts, tokenizer.encode_batch(parts), strict=True):
        stream = torch.tensor([tokenizer.eos_id, *encoded])
        whole = (len(stream) - 1) // SEQ_LEN
        rows += [stream[at * SEQ_LEN : (at + 1) * SEQ_LEN + 1] for at in range(whole)]
        num_bytes += len(tokenizer.decode(encoded[: whole * SEQ_LEN]).encode())
        assert tokenizer.decode(encoded) == part
    print(f"{len(kept)} books to learn from, {len(held)} held out; {len(ids):,} tokens of {scale.vocab_size}")
    return Text(np.asarray(ids, dtype=np.uint16), torch.stack(rows), num_bytes)


class Contest:
    """Both sides of the comparison, at equal arithmetic."""

    def __init__(self, scale: Scale, text: Text, keep: Path | None) -> None:
        self.scale, self.text, self.keep = scale, text, keep
        self.config = PretrainConfig.parse(
            {"tokens": "tokens", "tokenizer": "tokenizer", "depth": scale.depth, "horizon": scale.horizon}, "learns"
        )
        self.shape = self.config.model_config_for(scale.vocab_size, SEQ_LEN)
        self.rows = self.config.rows_per_step(self.shape)
        step_tokens = self.rows * SEQ_LEN
        self.num_steps = self.config.horizon_for(self.shape).tokens(step_tokens, 0) // step_tokens
        model_flops = step_tokens * training_flops_per_token(self.shape, SEQ_LEN)
        blocks = Transformer(self.shape).layers
        muon_flops = sum(orthogonalise_flops(weight.shape) for weight in blocks.parameters() if weight.ndim > 1)
        self.budget = self.num_steps * (model_flops + muon_flops)
        self.peer_steps = math.floor(self.budget / model_flops)
        self.device = precision.default_device()
        self.precision = precision.resolve("auto", self.device)

    def summary(self) -> str:
        """What both sides were given."""
        tokens = [steps * self.rows * SEQ_LEN for steps in (self.num_steps, self.peer_steps)]
        return (
            f"{self.budget:.3g} FLOPs a run, {self.precision}; {self.shape.num_layers} layers of width "
            f"{self.shape.hidden_size}; tokens read: ours {tokens[0]:,}, the peer {tokens[1]:,}; batches of "
            f"{self.rows * SEQ_LEN:,}; {self.text.held_out_bytes:,.0f} held-out bytes"
        )

    def ours(self, seed: int) -> float:
        """Held-out bits per byte of the default configuration."""
        return self._run("ours", seed, lambda: self._ours(seed))

    def peer(self, seed: int, rate: float) -> float:
        """Held-out bits per byte of the peer."""
        return self._run(f"peer {rate:g}", seed, lambda: self._peer(seed, rate))

    def _run(self, who: str, seed: int, work: Callable[[], float]) -> float:
        """What a run reaches, or reached before: results are kept by all that defines them."""
        settings = [self.scale.depth, self.scale.horizon, self.scale.vocab_size, self.scale.train_chars]
        key = sha256_json([*settings, self.scale.held_out_chars, self.precision, who, seed])[:16]
        path = self.keep / f"{key}.json" if self.keep else None
        if path and path.is_file():
            found: float = json.loads(path.read_text(encoding="utf-8"))["bits_per_byte"]
            return found
        value = work()
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"run": who, "seed": seed, "bits_per_byte": value}), encoding="utf-8")
        return value

    def _ours(self, seed: int) -> float:
        start = time.monotonic()
        model = Transformer(self.shape)
        initialise(model, derive(seed, "weights"))
        with tempfile.TemporaryDirectory() as folder:
            history = train(
                model.to(self.device),
                self._steps(seed, self.num_steps),
                NextToken(self.config.z_loss),
                self.config.rates_for(self.shape),
                self.config.optimizer_for(self.shape),
                LoopConfig(),
                folder=Path(folder),
                progress=Silent(),
            )
        trained = history.model
        assert trained is not None
        trained.eval()
        return self._say("ours", seed, start, self._bits_per_byte(lambda ids: trained.logits(trained(ids))))

    def _peer(self, seed: int, rate: float) -> float:
        start = time.monotonic()
        torch.manual_seed(seed)
        model = llama(self.shape).to(self.device)
        decayed = [weight for weight in model.parameters() if weight.ndim > 1]
        plain = [weight for weight in model.parameters() if weight.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
        steps = self._steps(seed, self.peer_steps)
        warmup = math.ceil(0.05 * steps.num_steps)
        for step in range(steps.num_steps):
            batches = [batch.to(self.device) for batch in steps.batches(step)]
            weight = sum(batch.weight for batch in batches)
            for batch in batches:
                with precision.autocast(self.precision, self.device):
                    logits = model(batch.inputs, use_cache=False).logits
                    loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), reduction="sum")
                (loss / weight).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            factor = learning_rate_factor(
                step, steps.num_steps, schedule="cosine", warmup_steps=warmup, final_factor=0.1
            )
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        value = self._bits_per_byte(lambda ids: model(ids, use_cache=False).logits)
        return self._say(f"peer {rate:g}", seed, start, value)

    def _steps(self, seed: int, num_steps: int) -> PackedSteps:
        rows_per_batch = max(1, self.config.micro_batch_tokens // SEQ_LEN)
        return PackedSteps(self.text.store(seed), SEQ_LEN, self.rows, rows_per_batch, num_steps)

    def _bits_per_byte(self, logits_of: Callable[[Tensor], Tensor]) -> float:
        nats = 0.0
        with torch.inference_mode(), precision.autocast(self.precision, self.device):
            for rows in self.text.held_out.to(self.device).split(16):  # type: ignore[no-untyped-call]
                logits = logits_of(rows[:, :-1]).flatten(0, 1).float()
                nats += float(F.cross_entropy(logits, rows[:, 1:].flatten(), reduction="sum"))
        return nats / math.log(2) / self.text.held_out_bytes

    def _say(self, who: str, seed: int, start: float, value: float) -> float:
        print(f"{who:<12} seed {seed}: {value:.4f} bits per byte, {time.monotonic() - start:.0f} s", flush=True)
        return value


def llama(shape: ModelConfig) -> LlamaForCausalLM:
    """transformers' Llama, everything but the size at its default."""
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=shape.max_seq_len,
    )
    return LlamaForCausalLM(config)


def result(contest: Contest, ours: list[float], peer: list[float], name: str) -> dict[str, Any]:
    """One result: the ratio over pairs of seeds, and the mean difference with its interval."""
    ratios = [other / mine for mine, other in zip(ours, peer, strict=True)]
    differences = [other - mine for mine, other in zip(ours, peer, strict=True)]
    reach = float(student.ppf(0.975, len(ours) - 1)) / math.sqrt(len(ours))
    difference, spread = statistics.mean(differences), reach * statistics.stdev(differences)
    mean, ratio_spread = statistics.mean(ratios), reach * statistics.stdev(ratios)
    return {
        "benchmark": "learns",
        "workload": f"books, {contest.budget:.2g} FLOPs, depth {contest.config.depth}, {len(ours)} seeds",
        "machine": cpu_name(),
        "threads": threads(),
        "ours": round(statistics.mean(ours), 4),
        "peer": round(statistics.mean(peer), 4),
        "peer_name": f"transformers Llama, {name}",
        "unit": "bits per byte, lower is better",
        "ratio": round(statistics.median(ratios), 4),
        "ratio_low": round(mean - ratio_spread, 4),
        "ratio_high": round(mean + ratio_spread, 4),
        "target": 1.0,
        "difference": round(difference, 4),
        "difference_low": round(difference - spread, 4),
        "difference_high": round(difference + spread, 4),
    }


if __name__ == "__main__":
    main()
