"""Training and encoding of tokenizers beside their peers: ``python benchmarks/tokenize.py --help``.

The benchmark itself is ``tokenizer_speed.py``. This file has the name of a module of Python's standard library, which
stands behind it for every script of this folder; so whoever imports ``tokenize`` is given that one.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from tokenizer_speed import main

    main()
else:
    import importlib.util
    import sysconfig
    from pathlib import Path

    _spec = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib")) / "tokenize.py")
    assert _spec is not None and _spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
