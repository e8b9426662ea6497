"""How far an update moves the weights, as a share of their length: the pulse of a run.

A healthy run moves by about a thousandth of its length times the learning rate's factor; a jump comes before a spike.
It works on whatever pieces of the weights this process holds, and counts a piece that several hold once.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter

import torch
from torch import Tensor

from groundup.train.checkpoint import copied
from groundup.train.engines.engine import Engine
from groundup.train.parallel.clip import num_pieces
from groundup.train.together import Together


def measured_update(engine: Engine, factor: float, together: Together) -> float:
    """``engine.update(factor)``; returns |change| / |weights before|, over all weights and processes.

    It costs a copy of the weights on the CPU while it lasts.
    """
    before = copied(engine.state()["model"])
    engine.update(factor)
    after = engine.state()["model"]
    mine = {}
    for name, old in before.items():
        start, end = _local(old), _local(after[name])
        change = end - start.to(end.device)
        mine[zlib.crc32(name.encode())] = (_square(change), _square(start), num_pieces(after[name]))
    reports = together.gather(mine)
    holders = Counter(name for report in reports for name in report)
    moved = length = 0.0
    for report in reports:
        for name, (change_square, square, pieces) in report.items():
            moved += change_square * pieces / holders[name]
            length += square * pieces / holders[name]
    return math.sqrt(moved / length) if length else 0.0


def _square(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64).square())


def _local(tensor: Tensor) -> Tensor:
    to_local = getattr(tensor, "to_local", None)
    found: Tensor = tensor if to_local is None else to_local()
    return found
