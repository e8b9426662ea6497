"""What a forward pass leaves for the backward pass, counted by running one block of each kind on fake tensors.

The plan restates nothing that the model's code knows: embedding, blocks and loss run as they are, on tensors that have
a shape but no memory, while every storage that appears or disappears is counted. That takes the same fraction of a
second for a toy and for 405B parameters.

A *segment* is a stretch of the model between two residual streams: the embedding, one block, or norm and loss.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from groundup.model import fused
from groundup.model.attention import Context
from groundup.model.config import ModelConfig
from groundup.model.experts import Dispatch, Experts, MoE
from groundup.model.loss import CHUNK, linear_cross_entropy, target_log_probs
from groundup.model.transformer import Transformer
from groundup.train.fp8 import apply_fp8
from groundup.train.parallel.recompute import apply_recompute
from groundup.train.precision import compute_dtype
from groundup.train.settings import Arithmetic, Checkpointing

Kind = Literal["attention", "feed-forward", "norms", "residual stream", "weight copies", "logits"]

KIND_OF_CHILD: Final[Mapping[str, Kind]] = {
    "self_attn": "attention",
    "mlp": "feed-forward",
    "input_layernorm": "norms",
    "post_attention_layernorm": "norms",
    "norm": "norms",
}


@dataclass(frozen=True)
class Segment:
    """Bytes that one segment needs for one micro-batch, its weights not counted.

    ``kept``: what forward leaves for backward, by kind, its output included. ``forward``: the most that was there
    during forward. ``backward``: the most during backward, with what was kept, the gradient that came in, and (first
    micro-batch) the weights' gradients that arise; ``backward_again`` for later ones, whose gradients are there.
    """

    kept: Mapping[Kind, int]
    forward: int
    backward: int
    backward_again: int
    gradients: int

    @property
    def kept_bytes(self) -> int:
        """All that forward leaves."""
        return sum(self.kept.values())


@dataclass(frozen=True)
class Segments:
    """A model's segments: ``blocks[i]`` is that of layer i, the same object for layers of one kind."""

    embed: Segment
    blocks: tuple[Segment, ...]
    head: Segment


@dataclass(frozen=True)
class Share:
    """Which share of the matrices one process holds: of heads, feed-forward and vocabulary, and of the experts."""

    tensor: int = 1
    expert: int = 1


_WHOLE: Final = Share()

LossName = Literal["cross_entropy", "log_probs"]


_ENOUGH: Final = 2 * CHUNK
"""Tokens of a loss beyond which its bytes grow by the same amount with every token: no need to run them all."""


@cache
def trace(
    config: ModelConfig,
    rows: int,
    seq_len: int,
    *,
    arithmetic: Arithmetic,
    device: Literal["cpu", "cuda"] = "cpu",
    share: Share = _WHOLE,
    checkpointing: Checkpointing = "none",
    loss: LossName = "cross_entropy",
) -> Segments:
    """Count the segments of a micro-batch of ``rows`` times ``seq_len`` tokens.

    ``loss`` is the one that never holds all logits, or log-probabilities target by target (preferences), which does.
    ``device`` decides which functions a block is made of: fake tensors are always the CPU's, as torch can't fake a GPU
    that is not there. Blocks are counted as they run uncompiled, also in fp8, whose rounding makes more temporaries so.
    """
    kinds = list(dict.fromkeys(config.window(layer) for layer in range(config.num_layers)))
    local = _local(config, share, kinds)
    dtype = None if arithmetic == "fp32" else compute_dtype(arithmetic)
    plain = fused.disabled() if device == "cuda" else nullcontext()
    with FakeTensorMode(allow_non_fake_inputs=True), _quietly(), plain:
        model = Transformer(local)
        _balance(model, config, share)
        if arithmetic == "fp8":
            apply_fp8(model)
        if share.tensor > 1:
            _split_by_hooks(model)
        apply_recompute(model, checkpointing)
        tracer = _Tracer(model, dtype)
        ids = torch.zeros(rows, seq_len, dtype=torch.long)
        embed, x = tracer.measure(lambda _: model.embed(ids), None)
        with tracer.autocast():
            context = model.context(x)
        traced = {}
        for window, block in zip(kinds, model.layers, strict=True):
            traced[window], x = tracer.measure(partial(_run_block, block, context), x)
        head = _head(tracer, partial(_loss, model, loss), x)
    order = tuple(traced[config.window(layer)] for layer in range(config.num_layers))
    return Segments(embed, order, head)


def _local(config: ModelConfig, share: Share, windows: list[int | None]) -> ModelConfig:
    """One layer of each kind, with this process's share of heads and feed-forward."""
    full = tuple(index for index, window in enumerate(windows) if window is None)
    fields: dict[str, Any] = {
        "num_layers": len(windows),
        "vocab_size": config.vocab_size // share.tensor,
        "num_heads": config.num_heads // share.tensor,
        "num_kv_heads": max(1, config.num_kv_heads // share.tensor),
        "intermediate_size": config.intermediate_size // share.tensor,
        "full_layers": full if config.sliding_window is not None else (),
    }
    return config.model_copy(update=fields)


def _run_block(block: nn.Module, context: Context, x_BTD: Tensor) -> Tensor:
    out: Tensor = block(x_BTD, context)
    return out


def _head(tracer: _Tracer, run: Callable[[Tensor], Tensor], x_BTD: Tensor) -> Segment:
    """Norm and loss. It goes through its tokens piece by piece, so many of them lie on the line through fewer."""

    def measure(tokens: int) -> Segment:
        segment, _ = tracer.measure(run, x_BTD.new_zeros(1, tokens, x_BTD.size(2)))
        return segment

    tokens = x_BTD.size(0) * x_BTD.size(1)
    if tokens <= 2 * _ENOUGH:
        return measure(tokens)
    return _on_line(measure(_ENOUGH), measure(2 * _ENOUGH), tokens / _ENOUGH - 1)


def _on_line(one: Segment, two: Segment, times: float) -> Segment:
    def along(start: int, end: int) -> int:
        return start + round((end - start) * times)

    return Segment(
        {kind: along(size, two.kept[kind]) for kind, size in one.kept.items()},
        along(one.forward, two.forward),
        along(one.backward, two.backward),
        along(one.backward_again, two.backward_again),
        one.gradients,
    )


def _loss(model: Transformer, loss: LossName, x_BTD: Tensor) -> Tensor:
    hidden_ND = model.norm(x_BTD).flatten(0, 1)
    targets_N = torch.zeros(len(hidden_ND), dtype=torch.long)
    if loss == "log_probs":
        return target_log_probs(hidden_ND, model.output_weight, targets_N).sum()
    return linear_cross_entropy(hidden_ND, model.output_weight, targets_N)


def _balance(model: Transformer, config: ModelConfig, share: Share) -> None:
    """Give experts the rows that they get on average: real counts depend on data, of which there is none here."""
    for module in model.modules():
        if isinstance(module, MoE):
            module.dispatch = _EvenDispatch(config.num_experts)
            if share.expert > 1:
                experts = {"num_experts": config.num_experts // share.expert}
                module.experts = Experts(config.model_copy(update=experts))


def _split_by_hooks(model: Transformer) -> None:
    """Modules with matrices or norms get a hook, as they do where they are split: fused functions stay out of them."""
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_hook(lambda *_: None)


class _EvenCounts:
    """In place of a tensor of rows by expert: as even as they divide."""

    def __init__(self, rows: int, experts: int) -> None:
        self._counts = [rows // experts + (index < rows % experts) for index in range(experts)]

    def tolist(self) -> list[int]:
        return self._counts

    def cumsum(self, axis: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(len(self._counts), dtype=dtype)


class _EvenDispatch(Dispatch):
    """``Dispatch`` that tells the experts of even counts."""

    def forward(self, x_ND: Tensor, chosen_NA: Tensor, weights_NA: Tensor, experts: Any) -> Tensor:
        counts = _EvenCounts(chosen_NA.numel(), len(experts.gate_proj))

        def evenly(rows_MD: Tensor, _: Tensor) -> Tensor:
            answers: Tensor = experts(rows_MD, counts)
            return answers

        return super().forward(x_ND, chosen_NA, weights_NA, evenly)  # type: ignore[arg-type]


class _Tracer:
    """Runs segments one after the other and counts each by itself."""

    def __init__(self, model: Transformer, dtype: torch.dtype | None) -> None:
        self._model, self._dtype = model, dtype
        self._kinds = {
            id(child): KIND_OF_CHILD[name]
            for module in model.modules()
            for name, child in module.named_children()
            if name in KIND_OF_CHILD
        }
        self._inside: list[Kind] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Know at any time which part of the model computes.

        The hooks are those for all modules: ones of their own would make blocks leave their fused functions.
        """

        def enter(module: nn.Module, _: Any) -> None:
            if id(module) in self._kinds:
                self._inside.append(self._kinds[id(module)])

        def leave(module: nn.Module, _: Any, __: Any) -> None:
            if id(module) in self._kinds:
                self._inside.pop()

        handles = register_module_forward_pre_hook(enter), register_module_forward_hook(leave)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def autocast(self) -> Any:
        """The training arithmetic."""
        return torch.autocast("cpu", self._dtype, enabled=self._dtype is not None)

    def measure(self, run: Callable[[Any], Tensor], x: Tensor | None) -> tuple[Segment, Tensor]:
        """The segment that ``run`` makes of the residual stream, and a stand-in for its output."""
        first = self._once(run, x)
        gradients = sum(weight.grad.nbytes for weight in self._model.parameters() if weight.grad is not None)
        again = self._once(run, x)
        self._model.zero_grad()
        shape, dtype = first.output
        segment = Segment(first.kept, first.forward, first.backward, again.backward, gradients)
        return segment, torch.zeros(shape, dtype=dtype)

    def _once(self, run: Callable[[Any], Tensor], x: Tensor | None) -> _Measured:
        stream = None if x is None else x.detach().requires_grad_()
        there = [*self._model.parameters(), *(weight.grad for weight in self._model.parameters()), stream]
        ledger = _Ledger(there, self._model.parameters(), lambda: self._inside[-1] if self._inside else None)
        with ledger, self.watching():
            with self.autocast():
                out = run(stream)
            kind: Kind = "residual stream" if out.ndim else "logits"
            kept, forward = ledger.by_kind(kind), ledger.peak
            gradient = torch.ones_like(out)
            output = (out.shape, out.dtype)
            ledger.peak = ledger.now
            torch.autograd.backward([out], [gradient])
            del out, gradient
            if stream is not None:
                stream.grad = None
        return _Measured(kept, forward, ledger.peak, output)


@dataclass(frozen=True)
class _Measured:
    kept: Mapping[Kind, int]
    forward: int
    backward: int
    output: tuple[torch.Size, torch.dtype]


@dataclass
class _Storage:
    bytes: int
    kind: Kind | None
    alive: Any = field(repr=False)


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operators make, until they are freed; those of ``there`` were there before."""

    def __init__(
        self, there: Iterable[Tensor | None], weights: Iterable[nn.Parameter], kind: Callable[[], Kind | None]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._there = {tensor.untyped_storage()._cdata for tensor in there if tensor is not None}
        self._weights = {weight.untyped_storage()._cdata for weight in weights}
        self._kind = kind
        self._live: dict[int, _Storage] = {}
        self.now = self.peak = 0

    def by_kind(self, default: Kind) -> dict[Kind, int]:
        """What is there now."""
        found: Counter[Kind] = Counter()
        for storage in self._live.values():
            found[storage.kind or default] += storage.bytes
        return dict(found)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        is_copy = func is torch.ops.aten._to_copy.default and self._is_weight(args[0])
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage(), "weight copies" if is_copy else self._kind())
        return out

    def _is_weight(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._weights

    def _add(self, storage: torch.UntypedStorage, kind: Kind | None) -> None:
        key = storage._cdata
        if key in self._live or key in self._there:
            return
        size = storage.nbytes()
        self._live[key] = _Storage(size, kind, weakref.ref(storage, lambda _: self._drop(key)))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _drop(self, key: int) -> None:
        self.now -= self._live.pop(key).bytes


@contextmanager
def _quietly() -> Iterator[None]:
    """Fake weights are never read, so their random start need not touch the global generator's state."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
