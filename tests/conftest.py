"""Settings for all tests."""

from __future__ import annotations

import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("groundup", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("groundup")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As for a command in the background of a script: the programs that tests start would never hear of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models in tests are tiny: threads that wait for each other cost more than they give."""
    import torch

    torch.set_num_threads(1)
