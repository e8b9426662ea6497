"""The files of others, written once, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from others import END, write_all

from groundup.text.adopt.adopt import Adopted, Choices, read


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind."""
    place = tmp_path_factory.mktemp("tokenizers")
    write_all(place)
    return place


@pytest.fixture(scope="session")
def known(folder: Path) -> Callable[..., Adopted]:
    """Reads each file once."""
    found: dict[Any, Adopted] = {}

    def get(name: str, split: str | None = None) -> Adopted:
        if (name, split) not in found:
            choices = Choices(split=split, special_tokens=[END] if split else (), eos=END if split else None)
            found[name, split] = read(folder / name, choices)
        return found[name, split]

    return get
