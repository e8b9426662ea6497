"""What a recipe may say about a model that gets a larger vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from groundup.artifact.stage import InputRef, StageConfig
from groundup.artifact.terms import Declared
from groundup.base.config import FileRef
from groundup.rights.licences.field import Licence


class ExtendConfig(StageConfig):
    """Gives a model more words: its tokenizer is replaced by one that has more entries behind the same old ones.

    The old ids must keep their meaning, which is checked. A new piece of text starts as the average of the old pieces
    that its text was cut into until now, so that the model can use it before it has seen it once; a new special token
    starts as the average of everything, with a little noise to tell several apart. Nothing else changes: the scores of
    the old entries stay what they were. Train on before relying on it. The model may be one of this recipe, or a
    Hugging Face folder.
    """

    stage: ClassVar[str] = "extend"
    kind: ClassVar[str] = "model"
    runner: ClassVar[str] = "groundup.stages.tokenize.extend:run"
    only_measured: ClassVar[tuple[str, ...]] = ("corpus",)

    model: Annotated[str, InputRef("model")] | None = Field(None, description="the model that gets the vocabulary")
    folder: Annotated[str, FileRef()] | None = Field(
        None, description="a Hugging Face folder (weights and tokenizer) to start from in place of a model"
    )
    licence: Licence = Field("", description="licence of the folder's model: an SPDX expression or LicenseRef-NAME")
    origin: str = Field("", description="where the folder came from: a repository, package or address")
    tokenizer: Annotated[str, InputRef("tokenizer")] = Field(
        description="the tokenizer with more entries, as stage adopt makes it from the model's own"
    )
    corpus: Annotated[str, InputRef("corpus")] | None = Field(
        None, description="a corpus on whose held-out documents the perplexity is measured before and after"
    )
    noise: float = Field(
        0.01, ge=0, description="deviation of a special token's first values, as a share of that of all old entries"
    )
    seed: int = Field(1, ge=0, description="of that noise")

    def declared(self) -> tuple[Declared, ...]:
        """The terms of the folder."""
        return tuple(Declared(Path(path).name, self.licence) for path in ([self.folder] if self.folder else []))

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.model is None) == (self.folder is None):
            raise ValueError("name what to start from: 'model', or 'folder', and not both")
        if self.folder is not None and not (self.licence.strip() and self.origin.strip()):
            raise ValueError("'licence' and 'origin' must say something: a folder without them can't be used")
        if self.model is not None and (self.licence or self.origin):
            raise ValueError("'licence' and 'origin' go with 'folder': a model of the recipe brings its own")
        return self
