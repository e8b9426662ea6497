"""A web for crawlers: a server on a loopback address for each host, all in this process, with one log of requests."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """What a path answers: ``then`` from the second time on. ``wait`` seconds before it; ``claims`` a false length,
    or none at all (-1): then the end of the connection is the end."""

    body: bytes = b""
    status: int = 200
    type: str = "text/html"
    headers: tuple[tuple[str, str], ...] = ()
    wait: float = 0.0
    claims: int | None = None
    hang_up: bool = False
    then: Reply | None = None


@dataclass(frozen=True)
class Asked:
    """A request as the server saw it; ``time`` is monotonic, in seconds."""

    host: str
    path: str
    time: float
    headers: dict[str, str]


@dataclass
class Web:
    """Hosts by name, each with its replies; ``{other}`` in a body or header is where the host ``other`` is."""

    hosts: Mapping[str, Mapping[str, Reply]]
    log: list[Asked] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=dict)
    certificate: Path | None = None

    def __enter__(self) -> Self:
        self._servers = []
        for number, name in enumerate(self.hosts, 1 if self.certificate else 2):
            server = ThreadingHTTPServer((f"127.0.0.{number}", 0), _handler(self, name))
            if self.certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificate)
                server.socket = context.wrap_socket(server.socket, server_side=True)
            server.daemon_threads = True
            server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that are killed hang up
            self._servers.append(server)
            self.ports[name] = f"127.0.0.{number}:{server.server_port}"
        # A name that nobody serves: its port was free a moment ago.
        gone = ThreadingHTTPServer(("127.0.0.200", 0), BaseHTTPRequestHandler)
        self.ports["dead"] = f"127.0.0.200:{gone.server_port}"
        gone.server_close()
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def url(self, host: str, path: str = "/") -> str:
        return f"http://{self.ports[host]}{path}"

    def filled(self, text: str) -> str:
        for name, place in self.ports.items():
            text = text.replace(f"{{{name}}}", place)
        return text

    def asked(self, host: str) -> list[str]:
        return [one.path for one in self.log if one.host == host]


def _handler(web: Web, name: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            before = sum(one.host == name and one.path == self.path for one in web.log)
            web.log.append(Asked(name, self.path, time.monotonic(), dict(self.headers)))
            reply = web.hosts[name].get(self.path, Reply(b"nothing here", 404))
            if before and reply.then is not None:
                reply = reply.then
            try:
                self._answer(reply)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _answer(self, reply: Reply) -> None:
            time.sleep(reply.wait)
            if reply.hang_up:
                self.close_connection = True
                return
            body = web.filled(reply.body.decode("latin-1")).encode("latin-1")
            self.send_response(reply.status)
            if reply.type:
                self.send_header("Content-Type", reply.type)
            for key, value in reply.headers:
                self.send_header(key, web.filled(value))
            if reply.claims != -1:
                self.send_header("Content-Length", str(len(body) if reply.claims is None else reply.claims))
            self.end_headers()
            self.wfile.write(body)
            if reply.claims is not None:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
