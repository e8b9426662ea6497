"""The bundle stage at work: copy the model, write its papers."""

from __future__ import annotations

import shutil
from typing import Final

from groundup.artifact.exhibit import Facts, Prose, Table
from groundup.artifact.lineage import grow
from groundup.artifact.papers.annexes import COST_FILE, LICENCES_FILE, render_cost, render_licences
from groundup.artifact.papers.model_card import render_card
from groundup.artifact.record import LOG_FOLDER
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import ArtifactError
from groundup.base.files import write_json, write_text
from groundup.base.units import human_bytes
from groundup.stages.bundle.config import BundleConfig

CARD: Final = "README.md"
LINEAGE: Final = "lineage.json"
REQUIRED: Final = ("config.json", "tokenizer.json", "tokenizer_config.json")
OPTIONAL: Final = ("generation_config.json", "chat_template.jinja")
_WEIGHTS: Final = (".safetensors", ".safetensors.index.json")  # the second maps tensors to parts of a large model
_MEANINGS: Final = {
    "config.json": "the shape of the model",
    "generation_config.json": "how to draw from it unless told otherwise",
    "tokenizer.json": "the vocabulary and its merges",
    "tokenizer_config.json": "special tokens",
    "chat_template.jinja": "how a conversation is written as text",
    CARD: "the model card",
    LICENCES_FILE: "every source with its licence",
    LINEAGE: "what it was made from, as data",
    COST_FILE: "time, energy and memory",
}


def run(config: BundleConfig, task: Task) -> Outcome:
    """Fill the bundle. Files are copied, not linked: whoever edits a bundle must not alter the model it came from."""
    model = task.input("model")
    scores = next(iter(task.inputs.get("scores", ())), None)
    names = _model_files(model)
    for done, name in enumerate(names):
        task.progress.update("copying", done, len(names), "files")
        target = task.payload / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model.path / name, target)
    lineage = grow(model.record, task.records.__getitem__)
    write_text(task.payload / CARD, render_card(model.record, lineage, scores.record if scores else None))
    write_text(task.payload / LICENCES_FILE, render_licences(model.record))
    write_json(task.payload / LINEAGE, lineage.as_json())
    write_text(task.payload / COST_FILE, render_cost(lineage))
    sizes = {name: (task.payload / name).stat().st_size for name in (*names, CARD, LICENCES_FILE, LINEAGE, COST_FILE)}
    _show(task, model, sizes)
    kept = {name: size for name, size in sizes.items() if not name.startswith(LOG_FOLDER)}
    return Outcome(metrics={"files": len(kept), "bytes": sum(kept.values())})


def _model_files(model: Artifact) -> list[str]:
    """The files of a model that make a Hugging Face folder; ArtifactError if it lacks one that is needed."""
    for name in REQUIRED:
        model.file(name)
    weights = [name for name in model.record.files if name.endswith(_WEIGHTS)]
    if not weights:
        raise ArtifactError(f"artifact {model.record.name!r} ({model.record.digest[:12]}) holds no weights")
    return sorted([*REQUIRED, *(name for name in OPTIONAL if name in model.record.files), *weights])


def _show(task: Task, model: Artifact, sizes: dict[str, int]) -> None:
    rows = [(name, human_bytes(size), _meaning(name)) for name, size in sizes.items()]
    terms = model.record.terms
    task.show(
        Facts(
            title="The bundle",
            facts=(
                ("model", model.record.name, "with everything needed to run it"),
                ("size", human_bytes(sum(sizes.values())), f"{len(sizes)} files"),
                ("sources", str(len(terms.sources)), "each with licence and origin"),
                ("licences", str(len(terms.licences)), ", ".join(terms.licences)),
            ),
        ),
        Table(title="What is in the folder", columns=("file", "size", "what it is"), rows=tuple(rows)),
        Prose(
            title="Taking it elsewhere",
            text="The folder is all that is needed: AutoModelForCausalLM.from_pretrained of transformers loads it, "
            "and it computes the same as groundup does. Read README.md before you hand it on, and LICENSES.md "
            "before you publish it.",
        ),
    )


def _meaning(name: str) -> str:
    return "the weights" if name.endswith(_WEIGHTS) else _MEANINGS.get(name, "")
