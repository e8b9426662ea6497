"""What a recipe may say about instruction tuning and preference tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from groundup.artifact.record import Record
from groundup.artifact.stage import InputRef, Node, StageConfig
from groundup.base.config import execution
from groundup.base.units import Span
from groundup.model.config import ModelConfig
from groundup.train.parallel.layout import resolve
from groundup.train.settings import EngineConfig, LoopConfig, ParallelConfig, TuningOptimizerConfig

if TYPE_CHECKING:
    from groundup.train.plan.workload import Workload


class SftConfig(StageConfig):
    """A base model continues text; it does not answer. Here it reads conversations and learns to take its turn.

    Every conversation is written with the chat template, and only the assistant's words are learned: the
    question is read but not imitated. Conversations that don't fit into the context are cut; those of which no
    answer is left are dropped and counted.
    """

    stage: ClassVar[str] = "sft"
    kind: ClassVar[str] = "model"
    runner: ClassVar[str] = "groundup.stages.posttrain.sft:run"
    distributed: ClassVar[bool] = True

    model: Annotated[str, InputRef("model")] = Field(description="the model to start from")
    conversations: tuple[Annotated[str, InputRef("conversations")], ...] = Field(
        min_length=1, description="the conversations to learn from"
    )
    horizon: Span = Field(Span(2, "epochs"), description="how long to train: epochs or steps")
    batch_conversations: int = Field(16, gt=0, description="conversations a step")
    micro_batch_tokens: int = Field(4096, gt=0, description="tokens computed at once, padding included, at most")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate")
    optimizer: TuningOptimizerConfig = Field(TuningOptimizerConfig(), description="the optimizer's other settings")
    loop: LoopConfig = Field(LoopConfig(validate_every=50), description="arithmetic, validation, checkpoints, threads")
    parallel: ParallelConfig = execution(
        ParallelConfig(), description="how several processes share the work, and what is computed anew to save memory"
    )
    engine: EngineConfig = execution(EngineConfig(), description="what carries out the steps; native or deepspeed")
    seed: int = Field(1, ge=0, description="of the order of conversations")

    def check_processes(self, node: Node, size: int) -> None:
        if (shape := _shape(node)) is not None:
            resolve(self.parallel, size, shape, rows_per_step=self.batch_conversations)

    def check(self, node: Node) -> None:
        self.loop.check(f"artifact {node.name!r}")
        self.engine.check(f"artifact {node.name!r}", self.parallel, self.optimizer, self.loop)

    def workload(self, node: Node, records: Mapping[str, Record]) -> Workload:
        """What training asks of a machine; ``records`` are those of artifacts already made, by digest."""
        from groundup.stages.posttrain.workload import workload

        return workload(
            node,
            records,
            node.inputs["conversations"],
            "conversations",
            items_per_step=self.batch_conversations,
            rows_per_item=1,
            micro_batch_tokens=self.micro_batch_tokens,
            horizon=self.horizon,
            optimizer=self.optimizer,
            loop=self.loop,
            parallel=self.parallel,
            engine=self.engine,
            loss="cross_entropy",
        )


class DpoConfig(StageConfig):
    """From pairs of answers of which people preferred one, the model learns to lean towards the better one.

    Direct preference optimization raises the probability of the chosen answer and lowers that of the rejected
    one, both measured against the model that it started from, so that it doesn't forget how to write. Pairs that
    don't fit into the context are dropped and counted.
    """

    stage: ClassVar[str] = "dpo"
    kind: ClassVar[str] = "model"
    runner: ClassVar[str] = "groundup.stages.posttrain.dpo:run"
    distributed: ClassVar[bool] = True

    model: Annotated[str, InputRef("model")] = Field(description="the model to start from; also the reference")
    preferences: tuple[Annotated[str, InputRef("preferences")], ...] = Field(
        min_length=1, description="the pairs to learn from"
    )
    horizon: Span = Field(Span(1, "epochs"), description="how long to train: epochs or steps")
    beta: float = Field(0.1, gt=0, description="how strongly to stay near the reference; larger is nearer")
    batch_pairs: int = Field(8, gt=0, description="pairs a step")
    micro_batch_tokens: int = Field(4096, gt=0, description="tokens computed at once, padding included, at most")
    learning_rate: float = Field(5e-5, gt=0, description="peak learning rate")
    optimizer: TuningOptimizerConfig = Field(TuningOptimizerConfig(), description="the optimizer's other settings")
    loop: LoopConfig = Field(LoopConfig(validate_every=20), description="arithmetic, validation, checkpoints, threads")
    parallel: ParallelConfig = execution(
        ParallelConfig(), description="how several processes share the work, and what is computed anew to save memory"
    )
    engine: EngineConfig = execution(EngineConfig(), description="what carries out the steps; native or deepspeed")
    seed: int = Field(1, ge=0, description="of the order of pairs")

    def check_processes(self, node: Node, size: int) -> None:
        if (shape := _shape(node)) is not None:
            resolve(self.parallel, size, shape, rows_per_step=self.batch_pairs, in_pairs=True)

    def check(self, node: Node) -> None:
        self.loop.check(f"artifact {node.name!r}")
        self.engine.check(f"artifact {node.name!r}", self.parallel, self.optimizer, self.loop)

    def workload(self, node: Node, records: Mapping[str, Record]) -> Workload:
        """What training asks of a machine; ``records`` are those of artifacts already made, by digest."""
        from groundup.stages.posttrain.workload import workload

        return workload(
            node,
            records,
            node.inputs["preferences"],
            "pairs",
            items_per_step=self.batch_pairs,
            rows_per_item=2,
            micro_batch_tokens=self.micro_batch_tokens,
            horizon=self.horizon,
            optimizer=self.optimizer,
            loop=self.loop,
            parallel=self.parallel,
            engine=self.engine,
            loss="log_probs",
        )


def _shape(node: Node) -> ModelConfig | None:
    """The shape of the model that a node starts from, if its stage can tell before it is made."""
    from groundup.train.plan.workload import Trains

    start = node.input("model")
    return start.config.workload(start, {}).model if isinstance(start.config, Trains) else None
