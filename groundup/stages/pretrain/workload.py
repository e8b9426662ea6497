"""What pretraining asks of a machine: for ``groundup plan``, and for the check of memory before a run."""

from __future__ import annotations

from collections.abc import Mapping

from groundup.artifact.record import Record
from groundup.artifact.stage import Node
from groundup.model.config import ModelConfig
from groundup.stages.pretrain.config import PretrainConfig
from groundup.train.plan.workload import Workload


def workload(config: PretrainConfig, node: Node, shape: ModelConfig, records: Mapping[str, Record]) -> Workload:
    """The workload of a node; a length in epochs is known once all token stores are made (their records are there)."""
    seq_len = shape.max_seq_len
    rows = config.rows_per_step(shape)
    horizon = config.horizon_for(shape)
    made = [records.get(store.digest) for store in node.inputs["tokens"]]
    steps = None
    if horizon.unit != "epochs" or all(made):
        epoch = sum(int(record.metrics["rows"]) * seq_len for record in made if record is not None)
        steps = horizon.tokens(rows * seq_len, epoch) // (rows * seq_len)
    return Workload(
        model=shape,
        seq_len=seq_len,
        rows_per_step=rows,
        rows_per_batch=max(1, config.micro_batch_tokens // seq_len),
        num_steps=steps,
        method=config.optimizer.method,
        precision=config.loop.precision,
        parallel=config.parallel,
        copies_state=config.loop.dry_run or config.loop.checkpoint_in_background,
        averages=config.loop.average is not None,
    )
