"""What a recipe may say about a bundle."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from groundup.artifact.stage import InputRef, Node, StageConfig, need


class BundleConfig(StageConfig):
    """Puts the model into one folder that other tools read as it is: weights, tokenizer and chat template in the
    format of Hugging Face, ready for transformers, vLLM and whatever converts from there.

    A model without papers is hard to trust, so the folder brings them: a model card with scores and limits, the list
    of every source with its licence, the lineage as data, and what it all cost. They are written from the records
    that the stages before left behind. Nobody types a number, and what was not recorded is left visibly blank.
    """

    version: ClassVar[int] = 2

    stage: ClassVar[str] = "bundle"
    kind: ClassVar[str] = "bundle"
    runner: ClassVar[str] = "groundup.stages.bundle.run:run"

    model: Annotated[str, InputRef("model")] = Field(description="the model to pack")
    scores: Annotated[str, InputRef("scores")] | None = Field(
        None,
        description="scores for the card; they must have measured this model; the card leaves them blank if not set",
    )

    def check(self, node: Node) -> None:
        """Refuse scores of another model."""
        model = node.input("model")
        for scores in node.inputs["scores"]:
            measured = {one.digest for nodes in scores.inputs.values() for one in nodes}
            need(
                model.digest in measured,
                f"artifact {node.name!r}: field 'scores': {scores.name!r} does not measure {model.name!r}; "
                f"add it to the models of {scores.name!r}",
            )
