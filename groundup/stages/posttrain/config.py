"""What a recipe may say about instruction tuning and preference tuning."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from groundup.artifact.stage import InputRef, StageConfig
from groundup.base.units import Span
from groundup.train.settings import LoopConfig, OptimizerConfig


class SftConfig(StageConfig):
    """A base model continues text; it does not answer. Here it reads conversations and learns to take its turn.

    Every conversation is written with the chat template, and only the assistant's words are learned: the
    question is read but not imitated. Conversations that don't fit into the context are cut; those of which no
    answer is left are dropped and counted.
    """

    stage: ClassVar[str] = "sft"
    kind: ClassVar[str] = "model"
    runner: ClassVar[str] = "groundup.stages.posttrain.sft:run"

    model: Annotated[str, InputRef("model")] = Field(description="the model to start from")
    conversations: tuple[Annotated[str, InputRef("conversations")], ...] = Field(
        min_length=1, description="the conversations to learn from"
    )
    horizon: Span = Field(Span(2, "epochs"), description="how long to train: epochs or steps")
    batch_conversations: int = Field(16, gt=0, description="conversations a step")
    micro_batch_tokens: int = Field(4096, gt=0, description="tokens computed at once, padding included, at most")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate")
    optimizer: OptimizerConfig = Field(OptimizerConfig(weight_decay=0.0), description="the optimizer's other settings")
    loop: LoopConfig = Field(LoopConfig(validate_every=50), description="arithmetic, validation, checkpoints, threads")
    seed: int = Field(1, ge=0, description="of the order of conversations")


class DpoConfig(StageConfig):
    """From pairs of answers of which people preferred one, the model learns to lean towards the better one.

    Direct preference optimization raises the probability of the chosen answer and lowers that of the rejected
    one, both measured against the model that it started from, so that it doesn't forget how to write. Pairs that
    don't fit into the context are dropped and counted.
    """

    stage: ClassVar[str] = "dpo"
    kind: ClassVar[str] = "model"
    runner: ClassVar[str] = "groundup.stages.posttrain.dpo:run"

    model: Annotated[str, InputRef("model")] = Field(description="the model to start from; also the reference")
    preferences: tuple[Annotated[str, InputRef("preferences")], ...] = Field(
        min_length=1, description="the pairs to learn from"
    )
    horizon: Span = Field(Span(1, "epochs"), description="how long to train: epochs or steps")
    beta: float = Field(0.1, gt=0, description="how strongly to stay near the reference; larger is nearer")
    batch_pairs: int = Field(8, gt=0, description="pairs a step")
    micro_batch_tokens: int = Field(4096, gt=0, description="tokens computed at once, padding included, at most")
    learning_rate: float = Field(5e-5, gt=0, description="peak learning rate")
    optimizer: OptimizerConfig = Field(OptimizerConfig(weight_decay=0.0), description="the optimizer's other settings")
    loop: LoopConfig = Field(LoopConfig(validate_every=20), description="arithmetic, validation, checkpoints, threads")
    seed: int = Field(1, ge=0, description="of the order of pairs")
