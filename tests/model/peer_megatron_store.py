"""Run by Megatron's interpreter: reads a token store as its trainer does.

Usage: ``peer_megatron_store.py FOLDER``, where FOLDER holds ``train.bin``, ``train.idx`` and ``request.json`` (seq_len,
rows, eod, vocab_size) and gets ``answer.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from peer_megatron import prepare


def main(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text())
    prepare()
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    store = IndexedDataset(str(folder / "train"))
    documents = [store[index].tolist() for index in range(len(store))]
    tokenizer = SimpleNamespace(
        eod=request["eod"],
        pad=request["eod"],
        vocab_size=request["vocab_size"],
        unique_identifiers={"name": "test"},
    )
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=request["seq_len"],
        blend_per_split=[([str(folder / "train")], None), None, None],
        tokenizer=tokenizer,
        path_to_cache=str(folder / "cache"),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        mmap_bin_files=True,
        mid_level_dataset_surplus=0.005,
    )
    builder = BlendedMegatronDatasetBuilder(GPTDataset, [request["rows"], 0, 0], lambda: True, config)
    train = builder.build()[0]
    rows = [{key: train[index][key].tolist() for key in ("tokens", "labels")} for index in range(len(train))]
    answer = {
        "documents": documents,
        "dtype": str(store.index.dtype.__name__),
        "document_indices": store.document_indices.tolist(),
        "rows": rows,
    }
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
