"""What a recipe may say about a scaling sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from groundup.artifact.record import Record
from groundup.artifact.stage import Node, need
from groundup.base.units import Span
from groundup.model.count import active_parameters
from groundup.stages.pretrain.config import BY_HAND, PretrainConfig

if TYPE_CHECKING:
    from groundup.train.plan.workload import Workload

_SHARES_OF_DEPTH = (0.25, 0.375, 0.5, 0.75)


class SweepConfig(PretrainConfig):
    """Before a large model is paid for, a family of small ones tells how good it will be.

    Models of several depths are trained for several lengths each, and a law is fitted to what they reach: a floor
    that no model passes, plus a part that shrinks with parameters, plus a part that shrinks with tokens. The law then
    predicts a model that was not trained, and says how a budget of arithmetic is best split between size and data.

    The fields of pretraining describe that larger model; ``depths`` and ``tokens_per_parameter`` the family below it.
    With ``verify`` it is trained too, after the prediction was written down, and the report shows how far off it was.
    """

    stage: ClassVar[str] = "sweep"
    kind: ClassVar[str] = "scaling"
    runner: ClassVar[str] = "groundup.stages.pretrain.sweep.run:run"
    version: ClassVar[int] = 1

    depths: tuple[int, ...] = Field(
        (), description="depths of the family; a quarter to three quarters of depth if not set"
    )
    tokens_per_parameter: tuple[float, ...] = Field(
        (5.0, 10.0, 20.0, 40.0), min_length=2, description="lengths of the runs of each depth, in tokens a parameter"
    )
    verify: bool = Field(True, description="train the predicted model too, and compare")

    def family_depths(self) -> tuple[int, ...]:
        """The depths of the family, smallest first."""
        wanted = self.depths or tuple(max(1, round(self.depth * share)) for share in _SHARES_OF_DEPTH)
        return tuple(sorted(set(wanted)))

    def member(self, depth: int, tokens: float | None) -> PretrainConfig:
        """The pretraining of one member: the same in all but depth, width and length (``tokens``; as set if None).

        A width set by hand shrinks with the depth, so that the family keeps its proportions.
        """
        fields = self.at_depth(depth)
        if tokens is not None:
            fields["horizon"] = Span(float(round(tokens)), "tokens")
        return PretrainConfig(**fields)

    def runs(self, vocab_size: int, max_seq_len: int) -> dict[str, PretrainConfig]:
        """The family's runs by name. Their lengths count the parameters that a token meets: not the idle experts."""
        found = {}
        for depth in self.family_depths():
            shape = self.member(depth, None).model_config_for(vocab_size, max_seq_len)
            for ratio in sorted(set(self.tokens_per_parameter)):
                found[f"depth{depth:03d}-x{ratio:g}"] = self.member(depth, ratio * active_parameters(shape))
        return found

    def family(self, node: Node, records: Mapping[str, Record]) -> dict[str, Workload]:
        """What each run asks of a machine, the target's own among them if it is trained."""
        shape = self._shape(node, records)
        found = {
            name: one.workload(node, records) for name, one in self.runs(shape.vocab_size, shape.max_seq_len).items()
        }
        return {**found, f"depth{self.depth:03d}-target": super().workload(node, records)} if self.verify else found

    def workload(self, node: Node, records: Mapping[str, Record]) -> Workload:
        """That of the largest run: the target's, or without ``verify`` the deepest and longest of the family."""
        if self.verify:
            return super().workload(node, records)
        return max(self.family(node, records).values(), key=lambda one: (one.model.num_layers, one.num_steps or 0))

    def check(self, node: Node) -> None:
        super().check(node)
        where = f"artifact {node.name!r}"
        for name in BY_HAND:
            need(getattr(self, name) is None, f"{where}: {name} can't be set: it has no meaning for other depths")
        depths, lengths = self.family_depths(), sorted(set(self.tokens_per_parameter))
        need(
            len(depths) >= 3 and len(lengths) >= 2,
            f"{where}: a law needs at least 3 depths and 2 lengths, not {list(depths)} and {lengths}; "
            "set depths and tokens_per_parameter, or raise depth",
        )
        need(min(depths) > 0 and min(lengths) > 0, f"{where}: depths and tokens_per_parameter must be above zero")
        need(
            self.depth not in depths,
            f"{where}: depth {self.depth} is the model to predict, so it can't be one of depths {list(depths)}",
        )
