"""What DeepSpeed's ZeRO makes of the state of training: as a plan's parts, in place of those of our own engine.

What each stage splits over the processes is from Rajbhandari et al. 2020, section 5; how DeepSpeed keeps it, and the
sizes of its buffers, were read in DeepSpeed 0.19 (stage_1_and_2.py, stage3.py and the defaults in config.py). Weights
and gradients are fp32, as our engine for it hands them over.
"""

from __future__ import annotations

from typing import Final, Literal

from groundup.train.settings import EngineConfig

_FP32: Final = 4

_BUCKET: Final = 500_000_000
"""Numbers of the buffer in which gradients are reduced (``reduce_bucket_size``)."""

_LIVE: Final = 1_000_000_000
"""Numbers of gathered weights that stage 3 keeps for their next use, at most (``stage3_max_live_parameters``)."""


def zero_parts(
    engine: EngineConfig, processes: int, numbers: int, gradients: int, device: Literal["cpu", "cuda"]
) -> dict[str, int]:
    """Bytes by part for a model of ``numbers`` weights with ``gradients`` bytes of gradients where nothing is split.

    What is offloaded lies in the host's memory, so on a GPU it is not among them; on a CPU that is the same memory.
    """
    share = -(-numbers // processes)
    stage, on_host = engine.stage, device == "cuda"
    # Below stage 3 the piece that a process updates is a copy beside the whole weights.
    updated = _FP32 * share if stage in (1, 2) else 0
    moments = 2 * _FP32 * (share if stage else numbers)
    stored = _FP32 * (share if stage == 3 else numbers)
    return {
        "weights": 0 if engine.offload == "all" and on_host else stored,
        "gradients": gradients // processes if stage >= 2 else gradients,
        "optimizer state": 0 if engine.offload != "none" and on_host else moments + updated,
        "gathered weights": _FP32 * min(numbers, _LIVE) if stage == 3 else 0,
        "gradient buckets": _buckets(stage, numbers, device),
    }


def _buckets(stage: int, numbers: int, device: Literal["cpu", "cuda"]) -> int:
    """A GPU gives a buffer all that was asked for; a CPU only the pages that are written to."""
    return _FP32 * (_BUCKET if stage and device == "cuda" else min(numbers, _BUCKET))
