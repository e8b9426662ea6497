"""The kernels need nothing of numba that it doesn't document."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.options import DefaultOptions

from groundup.text.bpe import jit

_ENCODE = """
import json
import pyarrow as pa
from numba.core.options import DefaultOptions
del DefaultOptions._nrt
from published import hostile, trained
from groundup.text.bpe import jit
from groundup.text.bpe.fast import FastEncoder
assert not jit._UNCOUNTED
backend, texts = trained("gpt2"), hostile(1, 300)
wanted = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
assert FastEncoder.parse(json.loads(backend.to_str())).encode(pa.array(texts)).lists() == wanted
"""


def test_an_option_that_numba_does_not_know_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(DefaultOptions, "_nrt")
    assert jit._uncounted() == {}
    monkeypatch.setitem(sys.modules, "numba.core.options", None)  # as if numba had moved it
    assert jit._uncounted() == {}


@pytest.mark.slow
def test_without_the_option_ids_are_the_same(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", _ENCODE], check=True, env=environment, timeout=300)
