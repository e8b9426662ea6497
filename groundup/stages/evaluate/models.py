"""The models that are measured: what they are, whether they fit the tokens, and what they say when asked."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.base.files import sha256_file
from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.stages.evaluate.config import SamplesConfig
from groundup.text.store.store import TokenStore
from groundup.text.tokenizer import Tokenizer

CHAT_STAGES: Final = frozenset({"sft", "dpo"})
"""Stages whose models expect the chat template."""

_TOKENIZER: Final = "tokenizer.json"


@dataclass(frozen=True)
class Sample:
    """What a model made of a prompt. ``chat`` says whether the prompt went through the chat template."""

    prompt: str
    chat: bool
    text: str


def is_chat(model: Artifact) -> bool:
    """Whether a model was trained to answer."""
    return model.record.stage in CHAT_STAGES


def check_tokenizers(models: Sequence[Artifact], tokens: Artifact) -> None:
    """DataError if models cut text differently, or have a vocabulary of another size than the tokens.

    ArtifactError if the tokens say that another tokenizer made them.
    """
    hashes = {model.record.name: sha256_file(model.file(_TOKENIZER)) for model in models}
    first = models[0].record.name
    for name, found in hashes.items():
        if found != hashes[first]:
            raise DataError(
                f"model {name!r} has another tokenizer than {first!r}: their scores can't be compared; "
                "evaluate them in two artifacts"
            )
    size = Tokenizer.load(models[0].path).vocab_size
    if size != tokens.record.metrics["vocab_size"]:
        raise DataError(
            f"tokens {tokens.record.name!r} have a vocabulary of {tokens.record.metrics['vocab_size']}, the tokenizer "
            f"of model {first!r} {size}; evaluate models with the tokens that they were trained on"
        )
    TokenStore.open(tokens.path, "held_out").check_tokenizer(hashes[first], size, tokens.record.name)


def check_encoding(documents: Sequence[Sequence[int]], corpus: Artifact, tokens: Artifact) -> None:
    """DataError if the token store of the same corpus holds other ids than the models' tokenizer gives."""
    if [link.digest for link in tokens.record.inputs.get("corpus", [])] != [corpus.record.digest]:
        return
    store = TokenStore.open(tokens.path, "held_out")
    stored = [store.document(number) for number in range(store.num_documents)]
    if len(stored) != len(documents) or not all(map(np.array_equal, stored, documents)):
        raise DataError(
            f"tokens {tokens.record.name!r} hold the held-out documents as other ids than the models' tokenizer gives; "
            "evaluate models with the tokens that they were trained on"
        )


def count_parameters(folder: Path) -> int:
    """The number of weights in a Hugging Face folder, from the headers of its safetensors files.

    A header is JSON after its length in eight bytes (https://github.com/huggingface/safetensors, format).
    """
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as handle:
            (size,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(size))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total


def draw_samples(engine: Engine, chat: bool, config: SamplesConfig) -> list[Sample]:
    """Go on with each prompt, and answer each question: through the chat template if ``chat``, else as plain text."""
    tokenizer = engine.tokenizer
    asked = [(text, False) for text in config.prompts] + [(text, chat) for text in config.questions]
    if not asked:
        return []
    prompts = [
        tokenizer.encode_chat([{"role": "user", "content": text}], add_generation_prompt=True).ids
        if as_chat
        else [tokenizer.eos_id, *tokenizer.encode(text)]
        for text, as_chat in asked
    ]
    params = SamplingParams(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_k=0,
        top_p=config.top_p,
        seed=config.seed,
    )
    outputs = engine.generate(prompts, params)
    return [Sample(text, as_chat, tokenizer.decode(ids)) for (text, as_chat), ids in zip(asked, outputs, strict=True)]
