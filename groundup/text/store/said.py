"""A small token store of what is said in conversations and preferences, so that it can be searched like any other.

Each message of the training split is a document: ``documents.parquet`` names its conversation, and its ``part``: whose
it is, and of a pair which answer. The rejected ones were read as well, though to be unlearned.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.files import sync_folder
from groundup.text.conversation import read_conversations, read_preferences
from groundup.text.store.described import DOCUMENTS
from groundup.text.store.megatron import Writer, token_dtype
from groundup.text.tokenizer import Tokenizer

CONVERSATIONS: Final = "conversations.jsonl"
PREFERENCES: Final = "preferences.jsonl"
_TOGETHER: Final = 1024
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("part", pa.string(), nullable=False),
    ]
)


def messages_of(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(id, source, part, text) of each message to train on, of a file of conversations or preferences."""
    if path.name == CONVERSATIONS:
        for talk in read_conversations(path, "train"):
            for turn in talk.messages:
                yield talk.id, talk.source, turn.role, turn.content
        return
    for pair in read_preferences(path, "train"):
        for turn in pair.prompt:
            yield pair.id, pair.source, turn.role, turn.content
        yield pair.id, pair.source, "chosen", pair.chosen
        yield pair.id, pair.source, "rejected", pair.rejected


def write_said(folder: Path, path: Path, licences: Mapping[str, str], tokenizer: Tokenizer) -> None:
    """Encode what ``path`` says into ``folder``, which is whole or absent; ``licences`` are those of its sources.

    DataError if the file is damaged.
    """
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    rows = list(messages_of(path))
    with Writer(beside / "train", token_dtype(tokenizer.vocab_size), tokenizer.vocab_size) as writer:
        for first in range(0, len(rows), _TOGETHER):
            texts = [text for _, _, _, text in rows[first : first + _TOGETHER]]
            ids = [[*encoded, tokenizer.eos_id] for encoded in tokenizer.encode_batch(texts)]
            flat = np.array([one for encoded in ids for one in encoded], np.int64)
            writer.add(flat, np.array([len(encoded) for encoded in ids]))
    table = [
        {"id": name, "source": source, "url": None, "licence": licences.get(source), "part": part}
        for name, source, part, _ in rows
    ]
    pq.write_table(pa.Table.from_pylist(table, schema=_SCHEMA), beside / DOCUMENTS, row_group_size=_TOGETHER)
    sync_folder(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
