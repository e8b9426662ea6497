"""``groundup chat``: one message, a pipe of messages, and a person at a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import tiny_engine

from groundup.base.errors import RequestError
from groundup.infer.sampling import SamplingParams
from groundup.serve.sessions import ChatSession
from groundup.serve.terminal import Talk, run_chat

PARAMS = SamplingParams(max_new_tokens=8, temperature=1.0, seed=3)


def test_one_shot_prints_the_answer_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    run_chat(tiny_engine(), None, PARAMS, say="Hello", complete=False)
    want = "".join(ChatSession(tiny_engine(), PARAMS).say("Hello"))
    captured = capsys.readouterr()
    assert captured.out == want + "\n"
    assert captured.err == ""


def test_complete_goes_on_with_the_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    engine = tiny_engine()
    run_chat(engine, None, PARAMS, say="Once upon", complete=True)
    (ids,) = engine.generate([[engine.tokenizer.eos_id, *engine.tokenizer.encode("Once upon")]], PARAMS)
    assert capsys.readouterr().out == "Once upon" + engine.tokenizer.decode(ids) + "\n"


def test_a_pipe_is_one_message_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "Hello\n\n/set temperature 0\nHello\n/reset\nHello\n/quit\nnever asked\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    run_chat(tiny_engine(), None, PARAMS)
    session = ChatSession(tiny_engine(), PARAMS)
    want = ["".join(session.say("Hello"))]
    session.params = PARAMS.model_copy(update={"temperature": 0.0})
    want.append("".join(session.say("Hello")))
    session.reset()
    want.append("".join(session.say("Hello")))
    captured = capsys.readouterr()
    assert captured.out == "".join(text + "\n" for text in want)
    assert "temperature = 0.0" in captured.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/rest", "did you mean '/reset'"),
        ("/set temprature 1", "did you mean 'temperature'"),
        ("/set temperature hot", "temperature"),
        ("/set top_p 3", "top_p"),
        ("word " * 300, "say it shorter"),
    ],
)
def test_a_line_that_can_not_be_carried_out_says_why(line: str, message: str) -> None:
    talk = Talk(ChatSession(tiny_engine(), PARAMS), complete=False, out=io.StringIO())
    with pytest.raises(RequestError, match=message):
        talk.handle(line)
    assert talk.session.params == PARAMS


def test_system_message_reaches_the_model() -> None:
    talk = Talk(ChatSession(tiny_engine(), PARAMS), complete=False, out=io.StringIO())
    talk.handle("/system Be kind.")
    assert talk.session.system == "Be kind."
    talk.handle("/system")
    assert talk.session.system is None


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_model_can_not_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _Terminal()
    talk = Talk(ChatSession(tiny_engine(), PARAMS), complete=False, out=out)

    def hostile(_: str) -> Iterator[str]:
        yield "\x1b[2Jred\x07\x9b31m\ttab\n"

    monkeypatch.setattr(talk.session, "say", hostile)
    talk.tell("Hello")
    assert out.getvalue() == "␛[2Jred␇\ufffd31m\ttab\n\n"


_PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from tiny import tiny_engine
from groundup.infer.sampling import SamplingParams
from groundup.serve.terminal import run_chat
engine = tiny_engine(max_seq_len=8192, never_stops=True)
run_chat(engine, None, SamplingParams(max_new_tokens=8000, temperature=1.0))
"""


@pytest.mark.timeout(60)
def test_control_c_stops_the_answer_and_end_of_input_the_program() -> None:
    """On a real terminal, with a model that would talk for a long time."""
    ours, theirs = pty.openpty()
    program = _PROGRAM.format(tests=str(Path(__file__).parents[1]))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=_take_terminal,
    ) as process:  # fmt: skip
        os.close(theirs)
        try:
            _until(ours, b"> ")
            os.write(ours, b"Hello\n")
            seen = _until(ours, b"Hello\r\n")
            while len(seen) < 40:  # it has begun to talk
                seen += os.read(ours, 1000)
            os.write(ours, b"\x03")
            assert b"[stopped]" in _until(ours, b"\n> ")
            os.write(ours, b"/nonsense\n")
            assert b"unknown command" in _until(ours, b"\n> ")
            os.write(ours, b"\x04")
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            os.close(ours)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _until(handle: int, wanted: bytes, seconds: float = 30) -> bytes:
    seen = b""
    end = time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < end:
        seen += os.read(handle, 4096)
    assert wanted in seen, seen[-500:]
    return seen
