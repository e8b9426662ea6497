"""Our token store held against the packages that others write and read theirs with.

    python benchmarks/store_parity.py --megatron PY --datatrove PY --litdata PY --mds PY

Each PY is an interpreter with megatron-core 0.19 and torch, datatrove 0.10, litdata 0.2.76 or mosaicml-streaming 0.13:
none of these fits our environment. The peers get the same documents, write them, and read what we wrote. Every file
must be the same, byte for byte, and every document too. Peers that aren't named are left out, and said so.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import json
import random
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

PEERS = ("megatron", "datatrove", "litdata", "mds")
SHARD_BYTES = 5000


def documents(vocab_size: int) -> list[list[int]]:
    """Of lengths from 1 to some hundreds, with the lowest and the highest id."""
    chance = random.Random(vocab_size)
    lengths = [1, 2, 300, *(chance.randrange(1, 90) for _ in range(120))]
    found = [[chance.randrange(vocab_size) for _ in range(length)] for length in lengths]
    found[1] = [0, vocab_size - 1]
    return found


# -- the peers, each in its own interpreter ------------------------------------------------------------------------


def peer_megatron(folder: Path, docs: list[list[int]], vocab_size: int) -> dict[str, Any]:
    import typing

    import typing_extensions

    typing.override = typing_extensions.override  # type: ignore[attr-defined,unused-ignore]  # the wheel is for 3.12
    import torch
    from megatron.core.datasets.indexed_dataset import DType, IndexedDataset, IndexedDatasetBuilder

    def write(name: str, dtype: Any) -> None:
        builder = IndexedDatasetBuilder(str(folder / f"{name}.bin"), dtype=dtype)
        for ids in docs:
            builder.add_document(torch.tensor(ids), [len(ids)])
        builder.finalize(str(folder / f"{name}.idx"))

    write("theirs", DType.optimal_dtype(vocab_size))
    for kind in DType:
        write(kind.name, DType.dtype_from_code(kind.value))
    ours = IndexedDataset(str(folder / "ours"))
    return {"documents": [ours[number].tolist() for number in range(len(ours))], "types": [k.name for k in DType]}


def peer_datatrove(folder: Path, docs: list[list[int]], vocab_size: int) -> dict[str, Any]:
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronTokenizedFile

    file = MegatronTokenizedFile(str(folder), "theirs", token_size=2 if vocab_size < 65_500 else 4)
    for ids in docs:
        file.write(ids)
    file.close()
    return {}


def peer_litdata(folder: Path, docs: list[list[int]], vocab_size: int) -> dict[str, Any]:
    import torch
    from litdata import StreamingDataset
    from litdata.streaming.item_loader import TokensLoader
    from litdata.streaming.writer import BinaryWriter

    dtype = torch.uint16 if vocab_size < 65_500 else torch.int32
    (folder / "theirs").mkdir()
    writer = BinaryWriter(str(folder / "theirs"), chunk_bytes=SHARD_BYTES, item_loader=TokensLoader())
    for number, ids in enumerate(docs):
        writer[number] = torch.tensor(ids, dtype=dtype)
    writer.done()
    writer.merge()
    ours = StreamingDataset(str(folder / "ours"), item_loader=TokensLoader(block_size=1), shuffle=False)
    return {"tokens": [int(ours[number]) for number in range(len(ours))]}


def peer_mds(folder: Path, docs: list[list[int]], vocab_size: int) -> dict[str, Any]:
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional",
                 "torchvision.datasets.folder"):  # fmt: skip
        # Their datasets of images are imported with the rest, and need torchvision.
        stand_in: Any = types.ModuleType(name)
        stand_in.__spec__ = importlib.machinery.ModuleSpec(name, None)
        stand_in.VisionDataset = stand_in.ImageFolder = stand_in.to_tensor = stand_in.default_loader = object
        sys.modules[name] = stand_in
    import numpy as np
    from streaming import MDSWriter
    from streaming.base.format import reader_from_json

    kind = "uint16" if vocab_size < 65_500 else "int32"
    columns = {"id": "str", "tokens": f"ndarray:{kind}"}
    with MDSWriter(out=str(folder / "theirs"), columns=columns, size_limit=SHARD_BYTES) as writer:
        for number, ids in enumerate(docs):
            writer.write({"id": f"d{number}", "tokens": np.array(ids, kind)})
    found = []
    for shard in json.loads((folder / "ours" / "index.json").read_text())["shards"]:
        reader = reader_from_json(str(folder / "ours"), "", shard)
        found += [(reader[number]["id"], reader[number]["tokens"].tolist()) for number in range(len(reader))]
    return {"documents": found}


# -- ours ----------------------------------------------------------------------------------------------------------


def ours_write(name: str, folder: Path, docs: list[list[int]], vocab_size: int) -> None:
    import numpy as np

    from groundup.text.store import litdata, mds
    from groundup.text.store.megatron import token_dtype, write_store

    dtype = token_dtype(vocab_size)
    named = [(f"d{number}", np.array(ids)) for number, ids in enumerate(docs)]
    if name == "mds":
        mds.write(folder / "ours", named, dtype, SHARD_BYTES)
    elif name == "litdata":
        litdata.write(folder / "ours", named, dtype, SHARD_BYTES)
    else:
        write_store(folder / "ours", docs, dtype)


def compare(name: str, folder: Path, docs: list[list[int]], answer: dict[str, Any]) -> dict[str, bool]:
    """What is equal."""
    import numpy as np

    from groundup.base.errors import ArtifactError
    from groundup.text.store import litdata, mds
    from groundup.text.store.store import TokenStore

    if name == "datatrove":
        return _same(folder, "bin", "idx")
    if name == "megatron":
        found = _same(folder, "bin", "idx") | {"they read ours": answer["documents"] == docs}
        for kind in answer["types"]:
            # Ids that don't fit a type wrap round when Megatron casts them, and when NumPy does.
            try:
                store = TokenStore.open(folder, kind)
                read = [store.document(number).tolist() for number in range(store.num_documents)]
                found[f"we read {kind}"] = read == [np.array(ids).astype(store.ids.dtype).tolist() for ids in docs]
            except ArtifactError as error:
                found[f"we refuse {kind}"] = "not of token ids" in str(error) and kind.startswith("float")
        return found
    reader = mds.read if name == "mds" else litdata.read
    theirs = [ids.tolist() for _, ids in reader(folder / "theirs")]
    files = sorted(path.name for path in (folder / "theirs").iterdir() if path.name != "index.json")
    found = {"we read theirs": theirs == docs, "same names": files == _names(folder / "ours")}
    found |= {file: (folder / "ours" / file).read_bytes() == (folder / "theirs" / file).read_bytes() for file in files}
    if name == "mds":
        found["index.json"] = (folder / "ours/index.json").read_bytes() == (folder / "theirs/index.json").read_bytes()
        found["they read ours"] = answer["documents"] == [[f"d{n}", ids] for n, ids in enumerate(docs)]
    else:
        found["they read ours"] = answer["tokens"] == [token for ids in docs for token in ids]
    return found


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "index.json")


def _same(folder: Path, *endings: str) -> dict[str, bool]:
    pairs = {ending: (folder / f"ours.{ending}", folder / f"theirs.{ending}") for ending in endings}
    return {f".{ending}": ours.read_bytes() == theirs.read_bytes() for ending, (ours, theirs) in pairs.items()}


def run(name: str, python: str, vocab_size: int) -> dict[str, bool]:
    """All comparisons with one peer."""
    docs = documents(vocab_size)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        ours_write(name, folder, docs, vocab_size)
        (folder / "request.json").write_text(json.dumps([docs, vocab_size]))
        command = [python, __file__, "--as", name, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed in {python}:\n{done.stderr[-3000:]}")
        return compare(name, folder, docs, json.loads((folder / "answer.json").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in PEERS:
        parser.add_argument(f"--{name}", help=f"interpreter with {name}")
    parser.add_argument("--as", nargs=2, dest="peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        name, folder = options.peer[0], Path(options.peer[1])
        docs, vocab_size = json.loads((folder / "request.json").read_text())
        answer = globals()[f"peer_{name}"](folder, docs, vocab_size)
        (folder / "answer.json").write_text(json.dumps(answer))
        return
    named = {name: getattr(options, name) for name in PEERS if getattr(options, name)}
    if not named:
        raise SystemExit("name at least one interpreter: --megatron, --datatrove, --litdata or --mds")
    found = {f"{name}, {size} entries": run(name, python, size) for name, python in named.items()
             for size in (320, 70_000)}  # fmt: skip
    for title, checks in found.items():
        wrong = [check for check, equal in checks.items() if not equal]
        print(f"{title:<28} {len(checks) - len(wrong)} of {len(checks)} equal {', '.join(wrong)}")
    left_out = [name for name in PEERS if name not in named]
    equal = all(all(checks.values()) for checks in found.values())
    print(json.dumps({"benchmark": "store_parity", "equal": equal, "left_out": left_out, "results": found}))
    sys.exit(not equal)


if __name__ == "__main__":
    main()
