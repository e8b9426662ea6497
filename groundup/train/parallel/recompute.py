"""Activation checkpointing: backward computes a block anew instead of keeping what its forward pass made.

``full`` keeps a block's input only (Chen et al. 2016). ``selective`` keeps also what matrix products, attention and
exchanges between processes gave, and computes the cheap rest anew (Korthikanti et al. 2022, section 5).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from groundup.model.transformer import Transformer
from groundup.train.settings import Checkpointing

_KEPT_PRODUCTS: Final = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear")
# Not c10d's own collectives: they fill a buffer that is handed in, so keeping what they return keeps nothing.
_KEPT_PREFIXES: Final = ("aten::_scaled_dot_product", "_c10d_functional::")


def apply_recompute(model: Transformer, what: Checkpointing) -> None:
    """Make every block compute ``what`` of itself anew in backward; in place, no name changes."""
    if what == "none":
        return
    extra: dict[str, Any] = {} if what == "full" else {"context_fn": _selective}
    for block in model.layers.children():
        # Dropout is nowhere in the model: no random state to keep.
        plain = block.forward
        block.forward = partial(checkpoint, plain, use_reentrant=False, preserve_rng_state=False, **extra)


def _selective() -> Any:
    return create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call]


def _policy(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    namespace, _, name = str(operator.name()).partition("::")
    base = name.split(".")[0]
    kept = (
        base in _KEPT_PRODUCTS or f"{namespace}::{base}".startswith(_KEPT_PREFIXES) or base.startswith(_KEPT_PREFIXES)
    )
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE
