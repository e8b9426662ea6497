"""The prompt behind ``groundup chat``: talk to a model line by line, or let it go on with a text."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Generator
from typing import Final, TextIO

from groundup.base.errors import RequestError, nearest
from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.rights.verbatim import Verbatim
from groundup.serve.answers import Finished, answer, text_prompt
from groundup.serve.sessions import ChatSession

_HELP: Final = """\
/reset               forget the conversation
/system TEXT         set the system message; without TEXT, remove it
/set                 show the sampling settings
/set NAME VALUE      change one, such as: /set temperature 0.5
/help                show this
/quit                leave (so does Ctrl-D); Ctrl-C stops an answer"""
_COMMANDS: Final = ("/reset", "/system", "/set", "/help", "/quit")
_PROMPT: Final = "> "
# Control characters but tab and line feed: a model that writes an escape sequence shall not steer the terminal.
_VISIBLE: Final = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | dict.fromkeys(
    range(0x7F, 0xA0), 0xFFFD
)


def run_chat(
    engine: Engine,
    system: str | None = None,
    params: SamplingParams | None = None,
    say: str | None = None,
    complete: bool = False,
    verbatim: Verbatim | None = None,
) -> None:
    """Talk to a model on stdin and stdout until the end of input; with ``say``, one message and its answer.

    ``complete`` has the model go on with each text as it is, without a chat template, as base models want. Where
    stdin is not a terminal, each line is a message, nothing but answers is printed, and a line that can't be
    answered raises RequestError; on a terminal it is reported and the talk goes on. ``verbatim`` holds what no answer
    may repeat.
    """
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    talk = Talk(ChatSession(engine, params or SamplingParams(), system, verbatim), complete)
    if say is not None:
        talk.tell(say)
    elif sys.stdin.isatty():
        _interactive(talk)
    else:
        for line in sys.stdin:
            if line.strip() and not talk.handle(line.strip()):
                return


class Talk:
    """One person's talk with a model: commands, messages and what is printed in return."""

    def __init__(self, session: ChatSession, complete: bool, out: TextIO | None = None) -> None:
        self.session = session
        self.complete = complete
        self._out = out if out is not None else sys.stdout
        self._commands: dict[str, Callable[[str], None]] = {
            "/reset": self._reset,
            "/system": self._system,
            "/set": self._set,
            "/help": lambda _: self._note(_HELP),
        }

    def handle(self, line: str) -> bool:
        """Carry out a command or answer a message; False if the person wants to leave."""
        name, _, rest = line.partition(" ")
        if name == "/quit":
            return False
        if name in self._commands:
            self._commands[name](rest.strip())
        elif name.startswith("/") and not self.complete:
            raise RequestError(f"unknown command {name!r}{nearest(name, _COMMANDS)}")
        else:
            self.tell(line)
        return True

    def tell(self, text: str) -> None:
        """Print the answer to ``text`` as it comes; Ctrl-C ends the answer and what was said so far counts."""
        before = self.session.dropped
        pieces = self._continuation(text) if self.complete else self.session.say(text)
        if self.session.dropped > before:
            self._note(f"[the talk no longer fits: {self.session.dropped - before} earlier messages are forgotten]")
        with contextlib.closing(pieces):
            for piece in pieces:
                self._print(piece)
        self._print("\n")
        if self.session.withheld:
            self._note("[stopped: the answer was about to repeat a text that has been withdrawn]")
            self.session.withheld = False

    def _continuation(self, text: str) -> Generator[str, None, None]:
        """The text, and what the model makes of it."""
        engine = self.session.engine
        prompt = text_prompt(engine.tokenizer, text)
        yield text
        for piece in answer(engine, prompt, self.session.params, verbatim=self.session.verbatim):
            if isinstance(piece, Finished):
                self.session.withheld = piece.reason == "content_filter"
            else:
                yield piece

    def _print(self, text: str) -> None:
        self._out.write(text.translate(_VISIBLE) if self._out.isatty() else text)
        self._out.flush()

    def _note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def _reset(self, _: str) -> None:
        self.session.reset()
        self._note("[the conversation begins anew]")

    def _system(self, text: str) -> None:
        self.session.system = text or None
        self._note("[system message set]" if text else "[no system message]")

    def _set(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        settings = self.session.params.model_dump()
        if name:
            self.session.params = SamplingParams.parse({**settings, name: value.strip()}, "/set")
            settings = {name: self.session.params.model_dump()[name]}
        self._note("\n".join(f"{name} = {value}" for name, value in settings.items()))


def _interactive(talk: Talk) -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # gives input() line editing and a history
    what = "Write the beginning of a text." if talk.complete else "Say something."
    print(f"{what} /help shows the commands, Ctrl-D leaves.")
    while True:
        try:
            line = input(_PROMPT).strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("\n[/quit or Ctrl-D leaves]", file=sys.stderr)
            continue
        try:
            if line and not talk.handle(line):
                return
        except KeyboardInterrupt:
            print(" [stopped]", file=sys.stderr)
        except RequestError as error:
            print(f"groundup: {error}", file=sys.stderr)
