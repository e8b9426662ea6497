"""The compiled projection of word counts. Import it at the first batch, not before."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.compiled import kernel
from groundup.stages.curate.duplicates.word_kernels import mix

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_ONE, _S6, _S63 = np.uint64(1), np.uint64(6), np.uint64(63)


@kernel
def project(
    words: NDArray[np.uint64], counts: NDArray[np.int64], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Add to ``out``, (dim,), for each distinct word its weight times (1 + log count), with a random sign a dimension.

    The signs are bits of a hash of the word, so no matrix is stored.
    """
    for at in range(len(words)):
        weight = np.float32(weights[at] * (1.0 + np.log(counts[at])))
        bits = np.uint64(0)
        for axis in range(len(out)):
            if axis & 63 == 0:
                bits = mix(words[at] + _STEP * np.uint64((axis >> 6) + 1))
            if bits & _ONE:
                out[axis] += weight
            else:
                out[axis] -= weight
            bits = bits >> _ONE
