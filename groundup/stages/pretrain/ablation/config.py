"""What a recipe may say about an ablation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeVar

from pydantic import Field

from groundup.artifact.record import Record
from groundup.artifact.stage import InputRef, Node, need
from groundup.base.units import Span
from groundup.stages.pretrain.config import BY_HAND, PretrainConfig, check_stores, check_weights

if TYPE_CHECKING:
    from groundup.train.plan.workload import Workload

BASELINE: Final = "baseline"
"""What the variants are compared with: the model of the field ``tokens``."""

DEPTH: Final = 2
HORIZON: Final = Span(1e6, "tokens")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Item = TypeVar("Item")


class AblateConfig(PretrainConfig):
    """Does a rule, or another mixture, make a better model? Opinions differ; small models can be asked.

    The baseline and each variant of its data train the same small model, for the same number of tokens, several times:
    each time with other initial weights and another order of the rows, which are the same for all variants. All
    predict the same held-out text. So a difference is measured as many times as there are seeds, and the report says
    how sure it is, whether it helps, hurts or can't be told from chance, and how small a difference could be seen.

    The fields of pretraining describe the small model, ``tokens`` and ``weights`` the baseline, and ``validation``
    names the stores whose held-out documents are predicted: the baseline's if it is not set.
    """

    stage: ClassVar[str] = "ablate"
    kind: ClassVar[str] = "ablation"
    runner: ClassVar[str] = "groundup.stages.pretrain.ablation.run:run"
    version: ClassVar[int] = 1

    variants: dict[str, Annotated[str, InputRef("tokens")] | tuple[Annotated[str, InputRef("tokens")], ...]] = Field(
        min_length=1, description="name of a variant to the token store that it learns from, or several"
    )
    variant_weights: dict[str, tuple[float, ...]] = Field(
        {}, description="name of a variant to its weights, as 'weights' has those of the baseline"
    )
    depth: int = Field(
        DEPTH, gt=0, le=128, description="transformer blocks of the small model; derives what is not set"
    )
    horizon: Span = Field(HORIZON, description="how long each model is trained: tokens or steps")
    seeds: int = Field(3, ge=2, le=100, description="how often each variant is trained; the first seed is 'seed'")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals and the verdicts, from 0.5 to 1")
    validation_tokens: int = Field(65_536, gt=0, description="held-out tokens of each store to predict, at most")

    @classmethod
    def like(cls, target: PretrainConfig, artifact: str, **fields: Any) -> AblateConfig:
        """The ablation with a small model like ``target``, the config of ``artifact``.

        ``fields`` are those of the ablation; without depth or horizon it is no larger and no longer than the defaults.
        RequestError if the target's shape is set by hand in a way that another depth can't have.
        """
        depth = fields.pop("depth", None) or min(target.depth, DEPTH)
        for name in BY_HAND:
            need(
                depth == target.depth or getattr(target, name) is None,
                f"{artifact}.{name} is set and has no meaning at depth {depth}: add {artifact}.{name}=null, or give "
                f"--depth {target.depth}",
            )
        wanted, short = fields.pop("horizon", None), target.horizon
        if wanted is None:
            keep = short is not None and short.unit == "tokens" and short.value < HORIZON.value
            wanted = short if keep else HORIZON
        inherited = target.at_depth(depth)
        if "validation_tokens" not in target.model_fields_set:
            del inherited["validation_tokens"]
        return cls.parse({**inherited, **fields, "horizon": wanted}, f"ablation of {artifact!r}")

    def names(self) -> tuple[str, ...]:
        """The baseline and the variants."""
        return (BASELINE, *self.variants)

    def by_name(self, baseline: Sequence[Item], variants: Sequence[Item]) -> dict[str, tuple[Item, ...]]:
        """What belongs to each name of ``names``, from the inputs of the fields ``tokens`` and ``variants``."""
        found, at = {BASELINE: tuple(baseline)}, 0
        for name, stores in self.variants.items():
            size = 1 if isinstance(stores, str) else len(stores)
            found[name] = tuple(variants[at : at + size])
            at += size
        return found

    def weights_of(self, name: str) -> tuple[float, ...] | None:
        """The weights of a variant's stores."""
        return self.weights if name == BASELINE else self.variant_weights.get(name)

    def member(self, name: str, number: int) -> PretrainConfig:
        """The pretraining of a variant with a seed, counted from 0."""
        fields: dict[str, Any] = {one: getattr(self, one) for one in PretrainConfig.model_fields}
        tokens = self.tokens if name == BASELINE else self.variants[name]
        fields |= {"tokens": tokens, "weights": self.weights_of(name), "validation": self.validation or self.tokens}
        return PretrainConfig(**{**fields, "seed": self.seed + number})

    def runs(self) -> dict[str, tuple[str, int]]:
        """Every run by name: which variant and which seed, counted from 0. All variants of a seed come together."""
        return {f"{name}-seed{number + 1}": (name, number) for number in range(self.seeds) for name in self.names()}

    def identity(self, hashes: Mapping[str, str]) -> dict[str, Any]:
        # Inputs enter a digest in a row: which of them belong to which name has to be said.
        sizes = [[name, len(stores)] for name, stores in self.by_name((), self.input_names("variants")).items()]
        return {**super().identity(hashes), "variant_stores": sizes}

    def family(self, node: Node, records: Mapping[str, Record]) -> dict[str, Workload]:
        """What each run asks of a machine: all the same."""
        one = self.workload(node, records)
        return dict.fromkeys(self.runs(), one)

    def check(self, node: Node) -> None:
        super().check(node)
        where = f"artifact {node.name!r}"
        need(
            self.horizon.unit != "epochs",
            f"{where}: an epoch is another length for each variant: give horizon in tokens or steps",
        )
        need(BASELINE not in self.variants, f"{where}: {BASELINE!r} is what 'tokens' names: call the variant otherwise")
        unknown = sorted(set(self.variant_weights) - set(self.variants))
        need(not unknown, f"{where}: variant_weights names {', '.join(unknown)}, which is no variant")
        tokenizer, baseline = node.input("tokenizer"), node.inputs["tokens"]
        seen = {_learned(baseline, self.weights): BASELINE}
        for name, stores in self.by_name(baseline, node.inputs["variants"]).items():
            if name == BASELINE:
                continue
            _check_name(where, name, self.variants)
            here = f"{where}: variant {name!r}"
            need(bool(stores), f"{here} names no token store")
            check_stores(here, stores, tokenizer, baseline[0])
            check_weights(here, "variant_weights", self.weights_of(name), len(stores))
            twin = seen.setdefault(_learned(stores, self.weights_of(name)), name)
            need(twin == name, f"{here} learns from the very same data as {twin!r}: there is nothing to compare")
        for store in node.inputs["validation"] or baseline:
            share = getattr(store.input("corpus").config, "held_out", None)
            need(share != 0, f"{where}: the corpus of {store.name!r} holds no documents out: raise its held_out")


def _learned(stores: Sequence[Node], weights: Sequence[float] | None) -> tuple[Any, ...]:
    """What tells the data of variants apart: a single store has no use for a weight."""
    shares = None if weights is None or len(stores) == 1 else tuple(weight / sum(weights) for weight in weights)
    return (tuple(store.digest for store in stores), shares)


def _check_name(where: str, name: str, names: Mapping[str, Any]) -> None:
    need(
        bool(_NAME.fullmatch(name)),
        f"{where}: variant {name!r} needs a name of letters, digits, '_', '.' and '-', such as no-filters",
    )
    alike = [one for one in names if one != name and one.lower() == name.lower()]
    need(not alike, f"{where}: variants {name!r} and {alike[0] if alike else ''!r} are hard to tell apart: rename one")
