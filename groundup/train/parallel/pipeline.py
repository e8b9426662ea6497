"""Pipeline parallelism: each process holds some of the blocks, and micro-batches follow one another through them.

The order of work is torch's: 1F1B (Narayanan et al. 2019) or interleaved (Narayanan et al. 2021, section 2.2). The
stages are ours: parts of the one transformer under their global names. Every process of a pipeline has the step's
batches, so only the residual stream travels; the last stage computes the loss inside its forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B

from groundup.model.transformer import Transformer
from groundup.train.parallel.layout import Layout
from groundup.train.parallel.reduce import local_gradient


class Stage(Transformer):
    """The blocks ``layers`` of a model, with its embedding if they are the first and its last norm if the last.

    A tied embedding table lies on both ends, as one weight whose gradients are added up (``sum_tied``).
    """

    def __init__(self, model: Transformer, layers: range) -> None:
        nn.Module.__init__(self)
        self.config = model.config
        self.is_first, self.is_last = layers.start == 0, layers.stop == model.config.num_layers
        tied_here = self.is_last and model.lm_head is None
        self.embed_tokens = model.embed_tokens if self.is_first or tied_here else None  # type: ignore[assignment]
        self.embed_positions = model.embed_positions if self.is_first else None
        self.layers = nn.ModuleDict({str(at): model.layers[at] for at in layers})  # type: ignore[assignment]
        self.norm = model.norm if self.is_last else None  # type: ignore[assignment]
        self.lm_head = model.lm_head if self.is_last else None
        self.register_buffer("cos", model.cos, persistent=False)
        self.register_buffer("sin", model.sin, persistent=False)
        self.requests: Sequence[Request] = ()
        self.balance = torch.zeros((), device=model.embed_tokens.weight.device)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:  # type: ignore[override]
        """Carry micro-batch number ``index`` on from ``x``, the residual stream, or its number again at the start."""
        request = self.requests[int(index)]
        with request.precision:
            if request.finish is None or not self.is_last:
                aux: list[Tensor] = []
                x = self.carry(x, request, aux if request.balance else None)
                return self._with_balance(x, aux, request) if aux else x
            return request.finish(cast(Transformer, Arriving(self, x, request)))

    def carry(self, x: Tensor, request: Request, aux: list[Tensor] | None = None) -> Tensor:
        """This stage's part of ``Transformer.forward``."""
        if self.is_first:
            x = self.embed(request.ids, request.positions)
        # The stream may be split by positions between stages; what the blocks share is about all of them.
        whole = x.new_empty(()).expand(*request.ids.shape, self.config.hidden_size)
        context = self.context(whole, documents_BT=request.documents, positions_BT=request.positions, aux=aux)
        for block in self.layers.children():
            x = block(x, context)
        return self.norm(x) if self.is_last else x

    def _with_balance(self, x: Tensor, aux: list[Tensor], request: Request) -> Tensor:
        """The stream, through which the balance loss of this stage's experts will get its gradient."""
        balance = torch.stack(aux).sum()
        self.balance += balance.detach() * request.weight
        carried: Tensor = _Carry.apply(x, balance, request.balance * request.weight)  # type: ignore[no-untyped-call]
        return carried


class _Carry(torch.autograd.Function):
    """x as it is; in backward a second tensor, a scalar, gets ``scale`` as its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, Tensor, None]:
        (grad,) = grad_outputs
        return grad, torch.full((), ctx.scale, dtype=torch.float32, device=grad.device), None


@dataclass(frozen=True)
class Request:
    """One micro-batch: what enters the model, int64 (B, T), and what the last stage makes of the model.

    ``finish`` None leaves it at the hidden states. ``precision`` is the context to compute in. ``balance`` is what the
    experts' balance loss counts for each of ``weight`` targets: stages but the last see to their own experts'.
    """

    ids: Tensor
    documents: Tensor | None
    positions: Tensor | None
    finish: Callable[[Transformer], Tensor] | None
    precision: AbstractContextManager[object]
    balance: float = 0.0
    weight: int = 0


class Arriving:
    """The model as an objective sees it on the last stage: calling it ends a pass that began on other processes."""

    def __init__(self, stage: Stage, x: Tensor, request: Request) -> None:
        self._stage, self._x, self._request = stage, x, request
        self.config = stage.config

    @property
    def output_weight(self) -> Tensor:
        """The output projection (V, D)."""
        return self._stage.output_weight

    def __call__(self, ids_BT: Tensor, **others: Any) -> Tensor:
        """Hidden states (B, T, D); what the objective says of documents and positions is what all stages took."""
        return self._stage.carry(self._x, self._request, others.get("aux"))


class Pipeline:
    """The stages of this process, and the order in which they work."""

    def __init__(
        self,
        stages: Sequence[Stage],
        layout: Layout,
        group: dist.ProcessGroup,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """``dtype`` is that of the residual stream between stages."""
        self.stages, self.layout, self.group = stages, layout, group
        self.device, self.dtype = device, dtype
        self.rank = dist.get_rank(group)
        self._schedules: dict[tuple[int, ...], Schedule1F1B | ScheduleInterleaved1F1B] = {}

    @property
    def holds_last(self) -> bool:
        """Whether the last stage is here."""
        return any(stage.is_last for stage in self.stages)

    def count(self, num_rows: int, rows: int) -> tuple[int, int]:
        """Rows of a micro-batch and number of micro-batches, of at most ``rows`` rows, that keep all stages busy."""
        fewest = self.layout.num_stages
        if -(-num_rows // rows) < fewest:
            rows = max(1, num_rows // fewest)
        count = max(fewest, -(-num_rows // rows))
        if self.layout.chunks > 1:
            count = -(-count // self.layout.pipeline) * self.layout.pipeline
        return rows, count

    def step(self, requests: Sequence[Request]) -> None:
        """Forward and backward of all micro-batches, each of which must end in a loss (1,)."""
        for stage in self.stages:
            stage.requests = requests
        numbers = torch.arange(len(requests))
        start = (numbers,) if any(stage.is_first for stage in self.stages) else ()
        schedule = self._schedule(len(requests), *requests[0].ids.shape)
        schedule.step(*start, index=numbers, target=numbers, return_outputs=False)

    def take_balance(self) -> float:
        """The balance loss of the experts on all stages here but the last, times targets, since it was last taken."""
        found = sum(float(stage.balance) for stage in self.stages)
        for stage in self.stages:
            stage.balance.zero_()
        return found

    @torch.no_grad()
    def forward(self, request: Request) -> Tensor | None:
        """The hidden states of one micro-batch, on the processes of the last stage; None elsewhere."""
        x = torch.zeros(1)
        for index in range(self.layout.num_stages):
            owner = index % self.layout.pipeline
            if owner != self.rank:
                continue
            stage = self.stages[index // self.layout.pipeline]
            stage.requests = (request,)
            if index > 0:
                x = torch.empty(self._stream(*request.ids.shape), dtype=self.dtype, device=self.device)
                dist.recv(x, group=self.group, group_src=(owner - 1) % self.layout.pipeline)
            x = stage(x, torch.zeros(1))
            if not stage.is_last:
                dist.send(x.contiguous(), group=self.group, group_dst=(owner + 1) % self.layout.pipeline)
        return x if self.holds_last else None

    def sum_tied(self) -> None:
        """Add up the two gradients of an embedding table that is also the output projection."""
        last = self.layout.pipeline - 1
        if self.stages[0].config.tie_embeddings and self.rank in (0, last):
            stage = self.stages[0] if self.rank == 0 else self.stages[-1]
            mine = local_gradient(cast(nn.Parameter, stage.embed_tokens.weight))
            theirs, other = torch.empty_like(mine), last - self.rank
            exchange = [
                dist.P2POp(dist.isend, mine.clone(), group=self.group, group_peer=other),
                dist.P2POp(dist.irecv, theirs, group=self.group, group_peer=other),
            ]
            for work in dist.batch_isend_irecv(exchange):
                work.wait()
            mine.add_(theirs)

    def _stream(self, rows: int, length: int) -> tuple[int, int, int]:
        return rows, length // self.layout.tensor, self.stages[0].config.hidden_size

    def _schedule(self, count: int, rows: int, length: int) -> Schedule1F1B | ScheduleInterleaved1F1B:
        """Made once for each form of a step: torch's stages know the shapes that they pass on."""
        if (count, rows, length) not in self._schedules:
            stream = torch.empty(self._stream(rows, length), dtype=self.dtype, device="meta", requires_grad=True)
            parts = [
                PipelineStage(
                    stage,
                    self.rank + at * self.layout.pipeline,
                    self.layout.num_stages,
                    self.device,
                    input_args=torch.empty(1, dtype=torch.int64, device="meta") if stage.is_first else stream,
                    output_args=torch.empty(1, device="meta") if stage.is_last else stream,
                    group=self.group,
                )
                for at, stage in enumerate(self.stages)
            ]
            if self.layout.chunks == 1:
                made: Any = Schedule1F1B(parts[0], count, loss_fn=_is_loss, scale_grads=False)
            else:
                made = ScheduleInterleaved1F1B(list(parts), count, loss_fn=_is_loss, scale_grads=False)
            self._schedules[count, rows, length] = made
        return self._schedules[count, rows, length]


def _is_loss(output: Tensor, _: Tensor) -> Tensor:
    """The last stage's output is the loss already."""
    return output[0]


def split_stages(model: Transformer, layout: Layout, rank: int) -> list[Stage]:
    """The stages of process ``rank``; they share the model's weights, of which the rest can be let go."""
    num_layers = model.config.num_layers
    return [Stage(model, layout.layers(stage, num_layers)) for stage in layout.stages(rank)]
