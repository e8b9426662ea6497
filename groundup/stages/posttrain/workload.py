"""What tuning asks of a machine: for ``groundup plan``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from groundup.artifact.record import Record
from groundup.artifact.stage import Node
from groundup.base.errors import RequestError
from groundup.base.units import Span
from groundup.train.plan.workload import Trains, Workload
from groundup.train.settings import EngineConfig, LoopConfig, OptimizerConfig, ParallelConfig


def workload(
    node: Node,
    records: Mapping[str, Record],
    data: Sequence[Node],
    unit: str,
    *,
    items_per_step: int,
    rows_per_item: int,
    micro_batch_tokens: int,
    horizon: Span,
    optimizer: OptimizerConfig,
    loop: LoopConfig,
    parallel: ParallelConfig,
    engine: EngineConfig,
    loss: Literal["cross_entropy", "log_probs"],
) -> Workload:
    """The workload of tuning the model that ``node`` starts from, every row taken to be as long as the context.

    ``unit`` is what the records of ``data`` call an item. How many steps that makes is None until all are made.
    """
    config = node.input("model").config
    if not isinstance(config, Trains):
        raise RequestError(f"the shape of {node.input('model').name!r} is not known before it is made")
    base = config.workload(node.input("model"), records)
    made = [records.get(one.digest) for one in data]
    steps = int(horizon.value) if horizon.unit == "steps" else None
    if horizon.unit == "epochs" and all(made):
        items = sum(int(record.metrics[unit]) - int(record.metrics["held_out"]) for record in made if record)
        steps = max(1, round(horizon.value * items / items_per_step))
    return Workload(
        model=base.model,
        seq_len=base.seq_len,
        rows_per_step=items_per_step * rows_per_item,
        rows_per_batch=max(rows_per_item, micro_batch_tokens // base.seq_len),
        num_steps=steps,
        method=optimizer.method,
        precision=loop.precision,
        parallel=parallel,
        engine=engine,
        loss=loss,
        copies_state=loop.dry_run or loop.checkpoint_in_background,
        averages=loop.average is not None,
    )
