"""What a recipe may say about pretraining."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import Field

from groundup.artifact.record import Record
from groundup.artifact.stage import InputRef, Node, StageConfig, need
from groundup.base.config import execution, later
from groundup.base.units import Span
from groundup.model.config import ModelConfig
from groundup.stages.pretrain import dial
from groundup.train.parallel.layout import resolve
from groundup.train.settings import EngineConfig, LoopConfig, OptimizerConfig, ParallelConfig, Rates

if TYPE_CHECKING:
    from groundup.train.plan.workload import Workload


BY_HAND: Final = ("num_heads", "num_kv_heads", "intermediate_size")
"""Fields that say nothing about the shape at another depth."""

_WIDTH_MULTIPLE = 32
_EXPERTS_PER_TOKEN = 2
"""As Mixtral (Jiang et al. 2024)."""
_USUAL_VOCABULARY = 65_536
"""Entries of a tokenizer whose recipe doesn't say how many it has, until it is made."""


class PretrainConfig(StageConfig):
    """The model learns to guess the next token, over and over, on the training documents.

    It starts from random numbers. At each step it reads a batch, and every weight is moved a little in the
    direction that would have made the guesses better; the size of that move (the learning rate) rises at first
    and then falls. Whether it learns rather than memorises shows on held-out documents, in bits per byte.

    One dial, ``depth``, derives the shape, the length, the batch, the learning rates and the weight decay; each can be
    set by itself.
    """

    stage: ClassVar[str] = "pretrain"
    kind: ClassVar[str] = "model"
    runner: ClassVar[str] = "groundup.stages.pretrain.run:run"
    distributed: ClassVar[bool] = True

    tokens: Annotated[str, InputRef("tokens")] | tuple[Annotated[str, InputRef("tokens")], ...] = Field(
        description="the token store to learn from, or several", min_length=1
    )
    weights: tuple[float, ...] | None = Field(
        None, description="each store's share of the rows of every batch; in proportion to their tokens if not set"
    )
    mask_documents: bool = Field(False, description="let no document see another one that is packed into its row")
    tokenizer: Annotated[str, InputRef("tokenizer")] = Field(description="the tokenizer that made them")
    depth: int = Field(4, gt=0, le=128, description="transformer blocks; derives what is not set")
    horizon: Span | None = Field(
        None, description="how long to train: tokens, steps or epochs; 20 tokens a parameter if not set"
    )
    hidden_size: int | None = Field(None, gt=0, description="width; 64 a layer, in multiples of 256, if not set")
    num_heads: int | None = Field(None, gt=0, description="query heads; hidden_size / 64 if not set")
    num_kv_heads: int | None = Field(None, gt=0, description="key and value heads; num_heads if not set")
    intermediate_size: int | None = Field(None, gt=0, description="feed-forward width; 8/3 of hidden_size if not set")
    num_experts: int = Field(
        0, ge=0, description="feed-forward experts a layer, each intermediate_size wide; 0 for one plain feed-forward"
    )
    num_experts_per_token: int | None = Field(
        None, gt=0, description="experts that each token is sent to; 2 if not set and there are experts"
    )
    sliding_window: int | None = Field(
        None, gt=0, description="positions that one may see, itself included; all before it if not set"
    )
    qk_norm: bool = Field(True, description="normalise queries and keys (as Qwen3 does); false is plain Llama")
    tie_embeddings: bool = Field(
        False, description="the output projection is the embedding table: fewer parameters, and learns a little worse"
    )
    batch_tokens: int | None = Field(None, gt=0, description="tokens a step; grows with the horizon if not set")
    micro_batch_tokens: int = Field(4096, gt=0, description="tokens computed at once, at most")
    learning_rate: float | None = Field(
        None, gt=0, description="peak rate of the matrices inside blocks, the other rates go with it; falls with width"
    )
    embedding_rate: float | None = Field(None, gt=0, description="peak rate of the embedding table")
    output_rate: float | None = Field(None, gt=0, description="peak rate of the output projection and of routers")
    vector_rate: float | None = Field(None, gt=0, description="peak rate of norms and biases")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="the rest of the optimizer's settings")
    z_loss: float = Field(
        1e-4, ge=0, description="weight of the squared log of the softmax's normaliser in the loss (PaLM's value)"
    )
    balance_loss: float = Field(0.01, ge=0, description="weight of the loss that keeps experts evenly used")
    loop: LoopConfig = Field(LoopConfig(), description="arithmetic, health, validation, checkpoints, threads")
    parallel: ParallelConfig = execution(
        ParallelConfig(), description="how several processes share the work, and what is computed anew to save memory"
    )
    engine: EngineConfig = execution(EngineConfig(), description="what carries out the steps; native or deepspeed")
    validation: Annotated[str, InputRef("tokens")] | tuple[Annotated[str, InputRef("tokens")], ...] | None = later(
        None,
        description="token stores whose held-out documents give the curve, source by source too; those of 'tokens' if "
        "not set",
    )
    validation_tokens: int = Field(16_384, gt=0, description="held-out tokens of each store for the curve, at most")
    seed: int = Field(1, ge=0, description="of the initial weights")

    def at_depth(self, depth: int) -> dict[str, Any]:
        """The fields of pretraining for another depth: a width set by hand shrinks along, which keeps proportions."""
        fields = {name: getattr(self, name) for name in PretrainConfig.model_fields}
        if depth != self.depth and self.hidden_size is not None:
            width = max(1, round(self.hidden_size * depth / self.depth / _WIDTH_MULTIPLE)) * _WIDTH_MULTIPLE
            heads = next(count for count in range(max(1, width // 64), 0, -1) if width % (2 * count) == 0)
            fields |= {"hidden_size": width, "num_heads": heads}
        return {**fields, "depth": depth}

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
            num_experts=self.num_experts,
            num_experts_per_token=self.num_experts_per_token or min(_EXPERTS_PER_TOKEN, self.num_experts),
            sliding_window=self.sliding_window,
            qk_norm=self.qk_norm,
            tie_embeddings=self.tie_embeddings,
        )

    def horizon_for(self, shape: ModelConfig) -> Span:
        """How long to train a model of this shape."""
        return self.horizon or dial.optimal_horizon(shape)

    def rows_per_step(self, shape: ModelConfig) -> int:
        """Rows a step; the power of two nearest to the derived batch, so that processes can share it evenly."""
        if self.batch_tokens is not None:
            return max(1, round(self.batch_tokens / shape.max_seq_len))
        rows = dial.batch_tokens(shape, self.horizon_for(shape)) / shape.max_seq_len
        return int(2 ** max(0, round(math.log2(rows))))

    def rates_for(self, shape: ModelConfig) -> Rates:
        """Peak learning rates by what a weight is."""
        derived = dial.batch_tokens(shape, self.horizon_for(shape))
        ratio = self.rows_per_step(shape) * shape.max_seq_len / derived
        rates = dial.peak_rates(shape, self.optimizer.method, ratio)
        scale = (self.learning_rate or rates.matrices) / rates.matrices
        return Rates(
            matrices=scale * rates.matrices,
            embeddings=self.embedding_rate or scale * rates.embeddings,
            output=self.output_rate or scale * rates.output,
            vectors=self.vector_rate or scale * rates.vectors,
        )

    def optimizer_for(self, shape: ModelConfig) -> OptimizerConfig:
        """The optimizer's settings with the weight decay that follows from all others, if it is not set."""
        if self.optimizer.weight_decay is not None:
            return self.optimizer
        step_tokens, horizon = self.rows_per_step(shape) * shape.max_seq_len, self.horizon_for(shape)
        # How long an epoch is becomes known only when the tokens are there: the optimal length stands for it.
        known = horizon if horizon.unit != "epochs" else dial.optimal_horizon(shape)
        decay = dial.weight_decay(shape, self.rates_for(shape).matrices, step_tokens, known.tokens(step_tokens, 0))
        return self.optimizer.model_copy(update={"weight_decay": decay})

    def check(self, node: Node) -> None:
        where = f"artifact {node.name!r}"
        tokenizer = node.input("tokenizer")
        stores, validation = node.inputs["tokens"], node.inputs["validation"]
        check_stores(where, stores, tokenizer, stores[0])
        check_weights(where, "weights", self.weights, len(stores))
        need(self.validation != (), f"{where}: field 'validation' names no token store; leave it out, or name one")
        if validation:
            check_stores(where, validation, tokenizer, stores[0])
        self.loop.check(where)
        self.engine.check(where, self.parallel, self.optimizer, self.loop)
        self._shape(node)

    def check_processes(self, node: Node, size: int) -> None:
        shape = self._shape(node)
        resolve(self.parallel, size, shape, rows_per_step=self.rows_per_step(shape))

    def memory(self, node: Node, processes: int = 1) -> int:
        from groundup.train.plan.estimate import memory_here

        return memory_here(self.workload(node, {}), processes)

    def workload(self, node: Node, records: Mapping[str, Record]) -> Workload:
        """What training asks of a machine; ``records`` are those of artifacts already made, by digest.

        A length in epochs is known once all token stores are made.
        """
        from groundup.train.plan.workload import Workload

        shape = self._shape(node, records)
        seq_len, rows, horizon = shape.max_seq_len, self.rows_per_step(shape), self.horizon_for(shape)
        made = [records.get(store.digest) for store in node.inputs["tokens"]]
        steps = None
        if horizon.unit != "epochs" or all(made):
            epoch = sum(int(record.metrics["rows"]) * seq_len for record in made if record is not None)
            steps = horizon.tokens(rows * seq_len, epoch) // (rows * seq_len)
        return Workload(
            model=shape,
            seq_len=seq_len,
            rows_per_step=rows,
            rows_per_batch=max(1, self.micro_batch_tokens // seq_len),
            num_steps=steps,
            method=self.optimizer.method,
            precision=self.loop.precision,
            parallel=self.parallel,
            engine=self.engine,
            copies_state=self.loop.dry_run or self.loop.checkpoint_in_background,
            averages=self.loop.average is not None,
        )

    def _shape(self, node: Node, records: Mapping[str, Record] | None = None) -> ModelConfig:
        return self.model_config_for(
            _vocab_size(node.input("tokenizer"), records or {}), _field(node.inputs["tokens"][0], "max_seq_len")
        )


def check_stores(where: str, stores: Sequence[Node], tokenizer: Node, like: Node) -> None:
    """RequestError unless token stores were made with a tokenizer, have rows as long as ``like``, and differ."""
    for store in stores:
        need(
            store.input("tokenizer").digest == tokenizer.digest,
            f"{where}: the tokens {store.name!r} were made with another tokenizer than {tokenizer.name!r}",
        )
        need(
            _field(store, "max_seq_len") == _field(like, "max_seq_len"),
            f"{where}: the rows of {store.name!r} are not as long as those of {like.name!r}; give them the "
            "same max_seq_len",
        )
    need(
        len({store.digest for store in stores}) == len(stores),
        f"{where}: a token store is named twice; give it a larger weight",
    )


def check_weights(where: str, field: str, weights: Sequence[float] | None, count: int) -> None:
    """RequestError unless there are no weights, or ``count`` that make sense."""
    need(
        weights is None or (len(weights) == count and all(0 < weight < float("inf") for weight in weights)),
        f"{where}: field {field!r} needs {count} numbers above zero, one for each of the token stores",
    )


def _vocab_size(tokenizer: Node, records: Mapping[str, Record]) -> int:
    """Entries of a tokenizer: as made, as its stage says, or a usual number for one of others that isn't made yet."""
    made = records.get(tokenizer.digest)
    said: int = getattr(tokenizer.config, "vocab_size", _USUAL_VOCABULARY)
    return said if made is None else int(made.metrics["vocab_size"])


def _field(node: Node, name: str) -> int:
    """A field of another stage's configuration, read by name: stages don't import each other."""
    value: int = getattr(node.config, name)
    return value
