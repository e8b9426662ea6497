"""Listening: an application on an address until it is told to stop."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from groundup.base.errors import RequestError, missing_extra

if TYPE_CHECKING:
    from groundup.infer.engine import Engine
    from groundup.rights.verbatim import Verbatim
    from groundup.text.tokenizer import Tokenizer

try:
    import uvicorn
    from fastapi import FastAPI
except ImportError as error:
    raise missing_extra(str(error.name), "serve") from error

_LOOPBACK: Final = ("127.0.0.1", "localhost")
_GRACE: Final = 3  # seconds for answers in the making


def serve(
    engines: Mapping[str, Engine],
    digests: Mapping[str, str],
    host: str = "127.0.0.1",
    port: int = 8000,
    verbatim: Verbatim | None = None,
) -> None:
    """Serve ``engines`` by name until Ctrl-C or SIGTERM. On loopback only local names are answered.

    ``verbatim`` holds what no answer may repeat.
    """
    from groundup.serve.app import create_app

    hosts = _LOOPBACK if host in _LOOPBACK else ("*",)
    app = create_app(engines, digests, allowed_hosts=hosts, verbatim=verbatim)
    run_server(app, host, port, "chat page", "API: .../v1   ")


def serve_tokens(tokenizers: Mapping[str, Tokenizer], host: str = "127.0.0.1", port: int = 8001) -> None:
    """Serve the page of tokens until Ctrl-C or SIGTERM, on this machine only; no model is loaded."""
    from groundup.serve.tokens import create_tokens_app

    run_server(create_tokens_app(tokenizers, allowed_hosts=_LOOPBACK), host, port, "token page")


def run_server(app: FastAPI, host: str, port: int, what: str, more: str = "") -> None:
    """Run ``app`` until Ctrl-C or SIGTERM; answers in the making get a few seconds to finish.

    RequestError if the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = "it is in use: choose another --port" if error.errno == errno.EADDRINUSE else error.strerror
        raise RequestError(f"can't listen on {host} port {port}: {reason}") from None
    where = f"[{host}]" if family == socket.AF_INET6 else host
    print(f"{what}: http://{where}:{listener.getsockname()[1]}/   {more}Ctrl-C stops", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE)
    # uvicorn raises Ctrl-C again once it has shut down; here it is how one leaves, not an interruption.
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
