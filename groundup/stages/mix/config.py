"""What a recipe may say about a mixture of corpora."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from groundup.artifact.stage import InputRef, Node, StageConfig, need
from groundup.base.units import ByteSize, Span

Group = Literal["source", "corpus", "language", "licence"]
Short = Literal["redistribute", "shrink", "refuse"]


class MixConfig(StageConfig):
    """What a model reads most, it becomes best at; so how much of each source it reads is worth deciding.

    The documents of one or more corpora are put into groups (by source, say), and each group gets a share of the
    mixture: one that you name, or one that follows from its size. With a temperature above 1 small groups get more
    than their size would give them. A small group is read several times, but no more often than ``max_epochs``, for
    text that is read again and again teaches less and less; what it can't fill goes to the groups that can.

    Which documents of a group are taken goes by a hash of their ids. A document that stands in several corpora is taken
    from the first one that has it. Held-out documents come along once each, whatever the shares.
    """

    stage: ClassVar[str] = "mix"
    kind: ClassVar[str] = "corpus"
    runner: ClassVar[str] = "groundup.stages.mix.run:run"
    version: ClassVar[int] = 2

    corpora: Annotated[tuple[str, ...], InputRef("corpus")] = Field(
        min_length=1, description="the corpora to mix; a document in two of them counts for the first"
    )
    by: Group = Field("source", description="what makes a group: source, corpus (by its name), language or licence")
    shares: dict[str, float] = Field(
        {},
        description="group to its share of the mixture, from 0 (left out) to 1; the rest is shared by the other groups",
    )
    temperature: float = Field(
        1.0,
        ge=1,
        le=1e6,
        description="share of a group not named: size to the power 1 / temperature; 1e6 for equal ones",
    )
    max_epochs: float = Field(
        4.0, gt=0, description="how often a document may be read, at most; 4 is nearly as good as new"
    )
    caps: dict[str, float] = Field({}, description="group to its own max_epochs")
    size: ByteSize | None = Field(
        None, description="training text of the mixture, such as 2 GB; as much as the groups have if not set"
    )
    length: Span | None = Field(
        None,
        description="the same in tokens, such as 500M tokens (needs tokenizer), or epochs of what the groups have",
    )
    tokenizer: Annotated[str, InputRef("tokenizer")] | None = Field(
        None, description="measure shares in tokens of this tokenizer; in bytes of text if not set"
    )
    when_short: Short = Field(
        "redistribute",
        description="when a group can't fill its share: give the rest to others, shrink the mixture, or refuse",
    )
    seed: int = Field(1, ge=0, description="of the choice of documents")

    def rename_inputs(self, names: Mapping[str, str]) -> Self:
        other = super().rename_inputs(names)
        if self.by != "corpus":
            return other
        # The groups are named after the inputs.
        own = {"shares": self.shares, "caps": self.caps}
        groups = {field: {names.get(group, group): one for group, one in each.items()} for field, each in own.items()}
        return other.model_copy(update=groups)

    def check(self, node: Node) -> None:
        where = f"artifact {node.name!r}"
        need(
            len(set(self.corpora)) == len(self.corpora),
            f"{where}: a corpus is named twice; give its groups larger shares",
        )
        for field, values in (("shares", self.shares), ("caps", self.caps)):
            bad = [name for name, value in values.items() if not 0 <= value < math.inf]
            need(not bad, f"{where}: field {field!r} of {', '.join(bad)} must be a number of 0 or more")
        total = math.fsum(self.shares.values())
        need(total <= 1 + 1e-9, f"{where}: the shares add up to {total:g}, which is more than 1")
        need(self.size is None or self.length is None, f"{where}: set size or length, not both")
        if self.length is not None:
            need(self.length.unit != "steps", f"{where}: a mixture has no steps: give length in tokens or epochs")
            need(
                self.length.unit != "tokens" or self.tokenizer is not None,
                f"{where}: a length in tokens needs a tokenizer to count them with",
            )
        need(
            self.size is None or self.tokenizer is None,
            f"{where}: with a tokenizer, shares are in tokens: give length, not size",
        )
        if self.by == "corpus":
            unknown = sorted({*self.shares, *self.caps} - set(self.corpora))
            need(not unknown, f"{where}: no corpus {', '.join(unknown)} among {', '.join(self.corpora)}")
