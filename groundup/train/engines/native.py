"""Plain PyTorch: one process, or many in any layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from groundup.base.errors import RequestError
from groundup.model.attention import document_numbers
from groundup.model.transformer import Transformer
from groundup.train import precision
from groundup.train.engines.engine import B, Objective, Sums, Validate
from groundup.train.fp8 import apply_fp8, check_arithmetic
from groundup.train.objective import PENALTY
from groundup.train.optim import build_optimizer
from groundup.train.parallel.batches import at_positions, held_positions, pad_positions, recut, tokens_of
from groundup.train.parallel.clip import clip_gradients
from groundup.train.parallel.layout import Layout
from groundup.train.parallel.recompute import apply_recompute
from groundup.train.parallel.reduce import GradientSum
from groundup.train.parallel.state import export_state, gather_model, import_state
from groundup.train.scaling import LossScale
from groundup.train.settings import OptimizerConfig, PrecisionName, Rates
from groundup.train.stream import Part, TokenBatch

if TYPE_CHECKING:  # torch's parts for many processes take a while to import, and one process needs none of them
    from torch.distributed.fsdp import FSDPModule

    from groundup.train.parallel.pipeline import Pipeline, Request
    from groundup.train.parallel.place import Placed

_ALONE = Layout()


class NativeEngine(Generic[B]):
    """A model in training on the processes of a layout; each hands in the rows of its part.

    The model given is used up: its weights are spread as the layout says. All processes must give the same one.
    """

    def __init__(
        self,
        model: Transformer,
        objective: Objective[B],
        rates: Rates | float,
        optimizer: OptimizerConfig,
        arithmetic: PrecisionName,
        layout: Layout = _ALONE,
    ) -> None:
        self.objective, self.layout = objective, layout
        self.device = next(model.parameters()).device
        self.precision = precision.resolve(arithmetic, self.device)
        dtype = precision.compute_dtype(self.precision)
        self._scaling = LossScale() if self.precision == "fp16" else None
        check_arithmetic(self.precision, layout.tensor)
        if self.precision == "fp8":
            apply_fp8(model)
        rank = dist.get_rank() if layout.world_size > 1 else 0
        self.part, self.is_main = Part(layout.part(rank), layout.parts), rank == 0
        self._placed: Placed | None = None
        self._pipeline: Pipeline | None = None
        self._sums: list[GradientSum] = []
        parts: tuple[Transformer, ...] = (model,)
        if layout.world_size == 1:
            apply_recompute(model, layout.activation_checkpointing)
        else:
            parts = self._spread(model, dtype)
        self.model = parts[0]
        self.parts = nn.ModuleList(parts)
        self.weights = {name: weight for part in parts for name, weight in part.named_parameters()}
        self._copies: dict[nn.Parameter, float] = self._placed.copies() if self._placed is not None else {}
        self.optimizer = build_optimizer(self.parts, optimizer, rates, dtype=_products(dtype))
        self.parts.train()

    def _spread(self, model: Transformer, dtype: torch.dtype) -> tuple[Transformer, ...]:
        """Put the model onto the processes of the layout; what this one holds of it."""
        from groundup.train.parallel.mesh import Mesh
        from groundup.train.parallel.pipeline import Pipeline, Stage
        from groundup.train.parallel.place import gradient_sums, place

        self._mesh = Mesh(self.layout, self.device.type)
        self._placed = place(model, self._mesh, dtype)
        self._sums = gradient_sums(self._placed)
        parts = self._placed.parts
        if (group := self._mesh.group("pipeline")) is not None:
            self._pipeline = Pipeline(cast(tuple[Stage, ...], parts), self.layout, group, self.device, dtype)
        return parts

    def weigh(self, batches: Sequence[B]) -> int:
        """The number of targets in a step, over all parts."""
        weight = sum(batch.weight for batch in batches)
        return int(self._over_all([weight if self._speaks_for_part(0) else 0])[0])

    def forward_backward(self, batches: Sequence[B], weight: int) -> Sums:
        """Micro-batches one after the other, or following one another through a pipeline; gradients add up."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        values: Counter[str] = Counter()
        if self._pipeline is not None:
            self._through_pipeline(self._pipeline, batches, weight, total, values)
        else:
            self._one_by_one(batches, weight, total, values)
        for each in self._sums:
            each.finish()
        if self.layout.tensor > 1:
            from groundup.train.parallel.tensor import settle_gradients

            settle_gradients(self.parts)
        if self._pipeline is not None:
            self._pipeline.sum_tied()
        return self._means(total, values, weight)

    def _one_by_one(self, batches: Sequence[B], weight: int, total: Tensor, values: Counter[str]) -> None:
        rounds = self._most_rounds(len(batches))
        for index in range(rounds):
            # A part with fewer micro-batches goes through its last one again, for the collectives, and counts nothing.
            is_idle = index >= len(batches)
            batch = self._here(batches[-1 if is_idle else index].to(self.device))
            self._expect_gradients(is_last=index == rounds - 1)
            with self._autocast():
                loss, found = self.objective(self.model, batch)
            (loss * 0.0 if is_idle else self._scaled(loss / weight)).backward()  # type: ignore[no-untyped-call]
            if not is_idle:
                total += loss.detach()
                values.update(found)

    def _through_pipeline(
        self, pipeline: Pipeline, batches: Sequence[B], weight: int, total: Tensor, values: Counter[str]
    ) -> None:
        given = [tokens_of(batch, "pipeline needs") for batch in batches]
        num_rows, rows, length = self._largest(given)
        rows, count = pipeline.count(num_rows, rows)

        def finish(batch: TokenBatch) -> Any:
            def loss_of(model: Transformer) -> Tensor:
                loss, found = self.objective(model, cast(Any, batch))
                total.add_(loss.detach())
                values.update(found)
                return torch.stack([self._scaled(loss / weight)])

            return loss_of

        cut = [self._here(batch.to(self.device)) for batch in recut(given, rows, count, length)]
        # The objective sees the experts of the last stage only; the other stages weigh their own as it does.
        balance = getattr(self.objective, "balance_loss", 0.0) if self.model.config.num_experts else 0.0
        pipeline.step([self._request(batch, finish(batch), self._factor * balance / weight) for batch in cut])
        if balance:
            elsewhere = pipeline.take_balance()
            total += balance * elsewhere
            values["balance_loss"] += elsewhere  # type: ignore[assignment]
            values[PENALTY] += balance * elsewhere  # type: ignore[assignment]

    def _request(self, batch: TokenBatch, finish: Any, balance: float) -> Request:
        from groundup.train.parallel.pipeline import Request

        positions = None
        if (group := self._mesh.group("context")) is not None:
            whole = batch.inputs.size(1) * self.layout.context
            positions = held_positions(whole, dist.get_rank(group), self.layout.context).to(self.device)[None]
        return Request(batch.inputs, batch.documents, positions, finish, self._autocast(), balance, batch.weight)

    def _here(self, batch: Any) -> Any:
        """What this process computes of a micro-batch: padded to what the layout divides, and its positions."""
        batch = pad_positions(batch, self.layout.sequence_multiple)
        if self.layout.context == 1:
            return batch
        tokens = tokens_of(batch, "context needs")
        if tokens.documents is not None:
            tokens = replace(tokens, documents=document_numbers(tokens.documents))
        rank = self._mesh.coordinates["context"]
        return at_positions(tokens, held_positions(tokens.inputs.size(1), rank, self.layout.context).to(self.device))

    def clip(self, max_norm: float) -> float:
        """Scale the gradient down to ``max_norm``; its norm before."""
        if self._scaling is not None:
            self._scaling.unscale(self.weights.values())
        return clip_gradients(self.weights.values(), max_norm, self._copies)

    def update(self, factor: float) -> None:
        """One optimizer step."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._scaling is not None:
            self._scaling.accepted()

    def discard(self) -> None:
        """Drop the gradient; in fp16 a smaller scale comes next."""
        self.optimizer.zero_grad()
        if self._scaling is not None:
            self._scaling.overflowed()

    def validate(self, measure: Validate) -> dict[str, float]:
        """``measure`` without gradients; on many processes all of them measure the same."""
        self.parts.eval()
        if self._placed is None:
            with torch.inference_mode(), self._autocast():
                row = measure(self.model)
        else:
            from groundup.train.parallel.measured import Measured

            seen = Measured(self._placed, self._pipeline, self._autocast)
            # Not inference mode: what FSDP gathers in it could not be trained on afterwards.
            with torch.no_grad(), self._autocast():
                row = seen.agree(measure(cast(Transformer, seen)))
        self.parts.train()
        return row

    def state(self) -> dict[str, Any]:
        """Weights and the optimizer's tensors by the weights' names, the same in every layout."""
        state: dict[str, Any] = export_state(self.weights, self.optimizer, self._placed)
        if self._scaling is not None:
            state["scaling"] = self._scaling.state()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a state; ArtifactError if it is another model's."""
        import_state(state, self.state())

    def whole_model(self) -> Transformer | None:
        """The model itself, or gathered on the main process."""
        return self.model if self._placed is None else gather_model(self._placed)

    @property
    def _factor(self) -> float:
        return 1.0 if self._scaling is None else self._scaling.factor

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self._scaling is None else loss * self._factor

    def _autocast(self) -> AbstractContextManager[object]:
        return precision.autocast(self.precision, self.device)

    def _expect_gradients(self, *, is_last: bool) -> None:
        """Tell who sums gradients whether this backward is the step's last."""
        if self.layout.shards_weights:
            # Shards are summed each time, so that no process ever keeps a whole gradient; copies only at the end.
            cast("FSDPModule", self.model).set_requires_all_reduce(is_last)
        if is_last:
            for each in self._sums:
                each.arm()

    def _speaks_for_part(self, stage: int) -> bool:
        """Whether this process, of those that compute the same rows on a stage's place, is the one to be counted."""
        if self._placed is None:
            return True
        at: Mapping[str, int] = self._mesh.coordinates
        return at["tensor"] == 0 and at["context"] == 0 and at["pipeline"] == stage

    def _most_rounds(self, count: int) -> int:
        """The largest number of micro-batches of any part; RequestError if one has none."""
        most, fewest = self._largest_of([count, -count])
        if fewest == 0:
            raise RequestError(f"a step has fewer rows than parts ({self.part.size}); use fewer processes")
        return most

    def _largest(self, batches: Sequence[TokenBatch]) -> tuple[int, int, int]:
        """Over all parts: rows in all, rows of a micro-batch, and positions of a row; RequestError if one has none."""
        rows = [len(batch.inputs) for batch in batches]
        length = max((batch.inputs.size(1) for batch in batches), default=0)
        self._most_rounds(len(batches))
        num_rows, longest, length = self._largest_of([sum(rows), max(rows, default=0), length])
        return num_rows, longest, length

    def _means(self, total: Tensor, values: Counter[str], weight: int) -> Sums:
        """The step's sums over all processes, divided by its weight."""
        names = sorted(values)
        if self._pipeline is not None:  # only the last stage knows what the objective reports
            said: list[Any] = [names]
            dist.broadcast_object_list(said, group=self._pipeline.group, group_src=self.layout.pipeline - 1)
            names = said[0]
        counts = self._placed is None or self._mesh.coordinates["tensor"] == 0
        mine = [float(total), *(float(values[name]) for name in names)]
        loss, *others = self._over_all([value if counts else 0.0 for value in mine])
        return Sums(loss / weight, {name: value / weight for name, value in zip(names, others, strict=True)})

    def _over_all(self, values: list[float]) -> list[float]:
        return self._agree(values, dist.ReduceOp.SUM)

    def _largest_of(self, values: list[int]) -> list[int]:
        return [int(value) for value in self._agree([float(value) for value in values], dist.ReduceOp.MAX)]

    def _agree(self, values: list[float], how: Any) -> list[float]:
        if self._placed is None:
            return values
        on_cpu = "cpu" in str(dist.get_backend_config())
        wire = torch.tensor(values, dtype=torch.float64, device="cpu" if on_cpu else self.device)
        dist.all_reduce(wire, how)
        found: list[float] = wire.tolist()
        return found


def _products(dtype: torch.dtype) -> torch.dtype:
    """The type of Muon's own products: what the model computes in, but fp16's range is too narrow for them."""
    return torch.float32 if dtype == torch.float16 else dtype
