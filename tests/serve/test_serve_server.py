"""Listening: a real process, told to stop, and an address that is taken."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tiny import tiny_engine

from groundup.base.errors import RequestError
from groundup.serve.server import serve

_PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from tiny import tiny_engine
from groundup.serve.server import serve
serve({{"tiny": tiny_engine()}}, {{"tiny": "00ff"}}, "127.0.0.1", 0)
"""


@pytest.mark.timeout(60)
def test_a_server_says_where_it_is_answers_and_leaves_on_control_c() -> None:
    program = _PROGRAM.format(tests=str(Path(__file__).parents[1]))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline().decode()
            url = line.split()[2].rstrip("/")
            assert url.startswith("http://127.0.0.1:")
            body = {"model": "tiny", "prompt": "a-secret-word", "max_tokens": 3}
            with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
                got = client.post(f"{url}/v1/completions", json=body)
                assert got.json()["system_fingerprint"] == "00ff"
                assert client.get(f"{url}/healthz", headers={"host": "elsewhere.example"}).status_code == 400
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
            assert process.stderr.read() == b""
            assert process.stdout.read() == b""
        finally:
            process.kill()


def test_an_address_that_is_taken_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RequestError, match="choose another --port"):
            serve({"tiny": tiny_engine()}, {"tiny": ""}, "127.0.0.1", taken.getsockname()[1])
    with pytest.raises(RequestError, match="can't listen"):
        serve({"tiny": tiny_engine()}, {"tiny": ""}, "203.0.113.7", 0)
