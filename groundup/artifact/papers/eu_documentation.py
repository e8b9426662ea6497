"""The model documentation form of the transparency chapter of the Code of Practice for general-purpose AI (July 2025).

Fields follow the form, in words of our own. The form says of each field who may read it: the AI Office (AIO), national
competent authorities (NCA) and downstream providers (DP); the two former only on request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from groundup.artifact.papers import blocks, facts
from groundup.artifact.papers.facts import Fact
from groundup.artifact.papers.kinds import of_kind
from groundup.artifact.papers.page import Block, Page, Paper, Question, Table, code, fill, table_of
from groundup.artifact.papers.subject import Subject

_GENERAL, _PROPERTIES = "General information", "Model properties"
_DISTRIBUTION, _USE = "Methods of distribution and licences", "Use"
_PROCESS, _DATA = "Training process", "Information on the data used for training, testing and validation"
_COMPUTE, _ENERGY = "Computational resources (during training)", "Energy consumption"

QUESTIONS: Final = (
    Question("form_updated", _GENERAL, "Date of the last update, and version, of this form"),
    Question("provider_name", _GENERAL, "Legal name of the model provider"),
    Question("model_names", _GENERAL, "Model name"),
    Question("model_authenticity", _GENERAL, "Model authenticity"),
    Question("release_date", _GENERAL, "Release date"),
    Question("union_market_date", _GENERAL, "Union market release date"),
    Question("model_dependencies", _GENERAL, "Model dependencies"),
    Question("architecture", _PROPERTIES, "Model architecture"),
    Question("design_specifications", _PROPERTIES, "Design specifications of the model"),
    Question("input_modalities", _PROPERTIES, "Input modalities, with the largest size"),
    Question("output_modalities", _PROPERTIES, "Output modalities, with the largest size"),
    Question("total_size", _PROPERTIES, "Total model size (parameters), and its range"),
    Question("distribution_channels", _DISTRIBUTION, "Distribution channels"),
    Question("model_licence", _DISTRIBUTION, "Licence: link, category, and assets under it"),
    Question("acceptable_use", _USE, "Acceptable use policy"),
    Question("primary_uses", _USE, "Intended uses, or those that are restricted"),
    Question("systems", _USE, "Type and nature of AI systems in which the model can be integrated"),
    Question("technical_means", _USE, "Technical means for integration"),
    Question("required_hardware", _USE, "Required hardware"),
    Question("required_software", _USE, "Required software"),
    Question("training_design", _PROCESS, "Design specifications of the training process"),
    Question("decision_rationale", _PROCESS, "Rationale of the decisions"),
    Question("data_types", _DATA, "Type or modality of the data"),
    Question("data_provenance", _DATA, "Provenance of the data"),
    Question("data_obtained", _DATA, "How the data was obtained and selected"),
    Question("data_points", _DATA, "Number of data points"),
    Question("data_scope", _DATA, "Scope and main characteristics"),
    Question("data_curation", _DATA, "Methods of curation"),
    Question("unsuitability", _DATA, "Measures to detect that sources are unsuitable"),
    Question("bias_measures", _DATA, "Measures to detect identifiable biases"),
    Question("training_time", _COMPUTE, "Training time"),
    Question("training_compute", _COMPUTE, "Amount of computation used for training"),
    Question("compute_method", _COMPUTE, "How the computation was measured"),
    Question("training_energy", _ENERGY, "Amount of energy used for training"),
    Question("energy_method", _ENERGY, "How the energy was measured"),
    Question("inference_compute", _ENERGY, "Benchmarked amount of computation used for inference"),
    Question("inference_method", _ENERGY, "How that was measured"),
)  # fmt: skip
SIZES: Final = (
    (5 * 10**8, "1 to 500 million"), (5 * 10**9, "500 million to 5 billion"), (15 * 10**9, "5 to 15 billion"),
    (5 * 10**10, "15 to 50 billion"), (10**11, "50 to 100 billion"), (5 * 10**11, "100 to 500 billion"),
    (10**12, "500 billion to 1 trillion"),
)  # fmt: skip
MOST: Final = "more than 1 trillion"
WORDS: Final = (*(text for _, text in SIZES), MOST)
"""Our own words that hold numbers: the form's ranges."""

_SHAPE: Final = (
    "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
    "vocab_size", "max_position_embeddings", "num_experts", "num_local_experts", "num_experts_per_tok",
    "sliding_window", "tie_word_embeddings", "hidden_act",
)  # fmt: skip


def eu_documentation(subject: Subject) -> Paper:
    """``eu_model_documentation.md`` of a model."""
    page = Page()
    page.say("# Model documentation form: ", facts.at(subject.model.record, "name"))
    page.add(
        "After the transparency chapter of the Code of Practice for general-purpose AI. Written by groundup from "
        "records; a person must check it, and fill in what is *not recorded*. It is for the AI Office, national "
        "authorities and downstream "
        "providers, each of whom may see only what the form grants them: it is not for publication as it is."
    )
    fill(page, QUESTIONS, _answers(subject), lambda key: facts.stated(subject, key))
    return page.paper("eu_model_documentation.md")


def size_range(parameters: int) -> str:
    """The form's range of a number of parameters.

    >>> size_range(3_344_576), size_range(7 * 10**9), size_range(10**12)
    ('1 to 500 million', '5 to 15 billion', 'more than 1 trillion')
    """
    return next((text for limit, text in SIZES if parameters < limit), MOST)


def _answers(subject: Subject) -> Mapping[str, Sequence[Block]]:
    return {**_identity(subject), **_properties(subject), **_process(subject), **_data(subject), **_cost(subject)}


def _identity(subject: Subject) -> dict[str, Sequence[Block]]:
    model = subject.model.record
    weights = tuple(
        (code(one.name), one.sha256) for one in facts.files(model) if one.name.endswith((".safetensors", ".gguf"))
    )
    parents = [record for record in subject.records("model") if not record.inputs]
    return {
        "model_names": [(code(model.name), ", digest ", facts.at(model, "digest"))],
        "model_authenticity": [Table(("weights", "SHA-256"), weights)] if weights else [],
        "model_dependencies": [(code(one.name), ", digest ", facts.at(one, "digest")) for one in parents]
        or [("None: every model in the lineage was trained from the start by groundup.",)],
    }


def _properties(subject: Subject) -> dict[str, Sequence[Block]]:
    model = subject.model
    config = _config(model.path / "config.json") if "config.json" in model.record.files else {}
    shape = [
        (name, fact) for name in _SHAPE if (fact := facts.from_file(model, "config.json", config, name)) is not None
    ]
    family = facts.from_file(model, "config.json", config, "architectures")
    longest = facts.from_file(model, "config.json", config, "max_position_embeddings")
    text: list[Block] = [("Text, ", longest, " tokens with the answer.")] if longest else []
    parameters = facts.at(model.record, "metrics", "parameters")
    sized = facts.made(size_range(parameters.value), "range of the form", parameters) if parameters else None
    return {
        "architecture": [("Transformer that predicts the next token; class of its files: ", family, ".")]
        if family
        else [],
        "design_specifications": [table_of(shape, ("part", "value"))] if shape else [],
        "input_modalities": text,
        "output_modalities": text,
        "total_size": [(parameters, " parameters: ", sized, ".")] if parameters else [],
        "technical_means": [
            ("The files are a folder in the format of Hugging Face: transformers, vLLM and `groundup serve` read it.",)
        ],
    }


def _config(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _process(subject: Subject) -> dict[str, Sequence[Block]]:
    design: list[Block] = []
    for record in subject.training:
        design += [(code(record.name), " (", facts.at(record, "stage"), "):")]
        design += [table_of(facts.settings(record), ("setting", "value"))]
    software = [
        (name, fact) for name, fact in _environment(subject) if name not in ("cpu", "cores", "platform", "processes")
    ]
    return {
        "training_design": design,
        "required_software": [("Trained with these versions:",), table_of(software, ("software", "version"))]
        if software
        else [],
    }


def _environment(subject: Subject) -> Iterator[tuple[str, Fact]]:
    record = subject.model.record
    for name in record.environment:
        fact = facts.at(record, "environment", name)
        if fact is not None:
            yield name, fact


def _data(subject: Subject) -> dict[str, Sequence[Block]]:
    sources = facts.sources(subject)
    kinds = {
        "crawled": "Web crawling", "private": "Private data sets of third parties", "user": "User data",
        "public": "Publicly available data sets", "synthetic": "Synthetic data", "licensed": "Licensed data sets",
    }  # fmt: skip
    known = tuple((label, one.terms["source"]) for kind, label in kinds.items() for one in of_kind(subject, kind))
    return {
        "data_types": [("Text.",)] if subject.data else [],
        "data_provenance": [Table(("kind", "source"), known)] if known else [],
        "data_obtained": [blocks.source_rows(sources)] if sources else [],
        "data_points": blocks.amounts(subject) if subject.data else [],
        "data_scope": blocks.languages(subject),
        "data_curation": [*blocks.curation(subject), *blocks.redactions(subject)],
        "unsuitability": [*blocks.opt_outs(subject), *blocks.contamination(subject)],
    }


def _cost(subject: Subject) -> dict[str, Sequence[Block]]:
    rows, computed = [], []
    for record in subject.training:
        flops = facts.at(record, "metrics", "flops")
        computed += [flops] if flops else []
        cost = [facts.at(record, "cost", name) for name in ("seconds", "cpu_seconds", "energy_joules")]
        rows.append((code(record.name), facts.at(record, "stage"), *cost, flops))
    table = Table(("model", "stage", "seconds", "CPU seconds", "joules", "floating-point operations"), tuple(rows))
    joules = facts.energy(subject.training)
    hours = facts.made(joules.value / 3.6e9, "joules to megawatt hours", joules) if joules else None
    days = facts.total(facts.at(record, "cost", "seconds") for record in subject.training)
    machine = [
        (name, fact) for name, fact in _environment(subject) if name in ("cpu", "cores", "platform", "processes")
    ]
    partial = len(computed) < len(subject.training)
    note = " Not every training stage recorded its own: the sum is of those that did." if partial else ""
    watts = [facts.at(record, "cost", "watts_per_core") for record in subject.training[:1]]
    return {
        "training_time": [("In all ", days, " seconds."), table, table_of(machine, ("machine", "value"))],
        "training_compute": [(facts.total(computed), f" floating-point operations.{note}")] if computed else [],
        "compute_method": [("Counted from the shape of the model and the tokens that were trained on, not measured.",)]
        if computed
        else [],
        "training_energy": [(hours, " MWh (", joules, " J).")] if hours else [],
        "energy_method": [
            (
                "An estimate: CPU time times an assumed ",
                *watts,
                " watts for each busy core, and what GPUs counted themselves.",
            )
        ]
        if hours
        else [],
    }
