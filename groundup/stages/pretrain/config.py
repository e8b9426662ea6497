"""What a recipe may say about pretraining."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from groundup.artifact.stage import InputRef, Node, StageConfig, need
from groundup.base.units import Span
from groundup.model.config import ModelConfig
from groundup.model.count import training_memory
from groundup.train.settings import LoopConfig, OptimizerConfig

_BATCH_AT_DEPTH_4 = 2048
_RATE_AT_DEPTH_4 = 4e-3
_RUNTIME_BYTES = 400 * 2**20  # Python, torch and its buffers


class PretrainConfig(StageConfig):
    """The model learns to guess the next token, over and over, on the training documents.

    It starts from random numbers. At each step it reads a batch, and every weight is moved a little in the
    direction that would have made the guesses better; the size of that move (the learning rate) rises at first
    and then falls. Whether it learns rather than memorises shows on held-out documents, in bits per byte.

    One dial, ``depth``, derives the shape, the batch and the learning rate; each can be set by itself.
    """

    stage: ClassVar[str] = "pretrain"
    kind: ClassVar[str] = "model"
    runner: ClassVar[str] = "groundup.stages.pretrain.run:run"

    tokens: Annotated[str, InputRef("tokens")] = Field(description="the token store to learn from")
    tokenizer: Annotated[str, InputRef("tokenizer")] = Field(description="the tokenizer that made them")
    depth: int = Field(4, gt=0, le=128, description="transformer blocks; derives what is not set")
    horizon: Span | None = Field(
        None, description="how long to train: tokens, steps or epochs; 20 tokens a parameter if not set"
    )
    hidden_size: int | None = Field(None, gt=0, description="width; 64 a layer if not set")
    num_heads: int | None = Field(None, gt=0, description="query heads; hidden_size / 64 if not set")
    num_kv_heads: int | None = Field(None, gt=0, description="key and value heads; num_heads if not set")
    intermediate_size: int | None = Field(None, gt=0, description="feed-forward width; 8/3 of hidden_size if not set")
    qk_norm: bool = Field(True, description="normalise queries and keys (saved as Qwen3); false is plain Llama")
    tie_embeddings: bool = Field(True, description="share the embedding table with the output projection")
    batch_tokens: int | None = Field(None, gt=0, description="tokens a step; grows with depth if not set")
    micro_batch_tokens: int = Field(4096, gt=0, description="tokens computed at once, at most")
    learning_rate: float | None = Field(None, gt=0, description="peak rate; falls with depth if not set")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="the rest of the optimizer's settings")
    loop: LoopConfig = Field(LoopConfig(), description="arithmetic, validation, checkpoints, threads")
    validation_tokens: int = Field(16_384, gt=0, description="held-out tokens for the curve, at most")
    seed: int = Field(1, ge=0, description="of the initial weights")

    def model_config_for(self, vocab_size: int, max_seq_len: int) -> ModelConfig:
        """The model's shape; RequestError if the parts set by hand don't fit together."""
        return ModelConfig.from_depth(
            self.depth,
            # The table's length is rounded up so that its rows split evenly over ranks and tiles.
            -(-vocab_size // 64) * 64,
            max_seq_len,
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            intermediate_size=self.intermediate_size,
            qk_norm=self.qk_norm,
            tie_embeddings=self.tie_embeddings,
        )

    def rows_per_step(self, max_seq_len: int) -> int:
        """Rows a step: the batch in tokens grows as compute^0.38, depth^1.5 (nanochat's fit, rounded)."""
        return max(1, round((self.batch_tokens or _BATCH_AT_DEPTH_4 * (self.depth / 4) ** 1.5) / max_seq_len))

    @property
    def peak_learning_rate(self) -> float:
        """The peak rate: inverse to width, as for Adam under mu-P (Yang et al. 2022, table 3)."""
        return self.learning_rate or _RATE_AT_DEPTH_4 * 4 / self.depth

    def check(self, node: Node) -> None:
        where = f"artifact {node.name!r}"
        tokenizer = node.input("tokenizer")
        need(
            node.input("tokens").input("tokenizer").digest == tokenizer.digest,
            f"{where}: the tokens were made with another tokenizer than {tokenizer.name!r}",
        )
        self._shape(node)

    def memory(self, node: Node) -> int:
        shape = self._shape(node)
        batch = max(shape.max_seq_len, self.micro_batch_tokens)
        batch = min(batch, self.rows_per_step(shape.max_seq_len) * shape.max_seq_len)
        return training_memory(shape, batch) + _RUNTIME_BYTES

    def _shape(self, node: Node) -> ModelConfig:
        return self.model_config_for(
            _field(node.input("tokenizer"), "vocab_size"), _field(node.input("tokens"), "max_seq_len")
        )


def _field(node: Node, name: str) -> int:
    """A field of another stage's configuration, read by name: stages don't import each other."""
    value: int = getattr(node.config, name)
    return value
