"""Settings for all tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models in tests are tiny: threads that wait for each other cost more than they give."""
    import torch

    torch.set_num_threads(1)
