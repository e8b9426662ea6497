"""What the HTTP applications share: bodies of bounded size, errors in one shape, and pages that load nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from typing import Any, Final, TypeVar

from groundup.base.config import Config
from groundup.base.errors import RequestError, missing_extra

try:
    from fastapi import FastAPI
    from fastapi import Request as HttpRequest
    from fastapi.responses import HTMLResponse, JSONResponse
    from starlette.exceptions import HTTPException
except ImportError as error:
    raise missing_extra(str(error.name), "serve") from error

MAX_BODY: Final = 2**20
"""Bytes of a request body, at most."""
_DRAIN: Final = 16 * MAX_BODY
_ERROR_TEXT: Final = 500


class ApiError(Exception):
    """An error as the client sees it."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry = status, code, param, retry

    def body(self) -> dict[str, Any]:
        """``{"error": {...}}`` as OpenAI's clients expect it."""
        kind = {429: "rate_limit_error", 500: "server_error"}.get(self.status, "invalid_request_error")
        message = str(self)
        if len(message) > _ERROR_TEXT:
            message = message[:_ERROR_TEXT] + " ..."
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}


FAILED: Final = ApiError(500, "the server failed; its log says why")


def tell_errors(app: FastAPI) -> None:
    """Every error of ``app`` leaves it as JSON; what isn't meant for the client is told in the log only."""
    for kind in (ApiError, HTTPException, Exception):
        app.add_exception_handler(kind, _as_json)


async def _as_json(_: HttpRequest, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, str(error.detail))
    if not isinstance(error, ApiError):
        error = FAILED
    headers = {} if error.retry is None else {"Retry-After": str(error.retry)}
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


R = TypeVar("R", bound=Config)


def parse(kind: type[R], body: bytes) -> R:
    """The request in a body; ApiError 400 if it isn't one."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not valid JSON") from None
    try:
        return kind.parse(data, "request")
    except RequestError as error:
        raise ApiError(400, str(error)) from None


async def read_body(http: HttpRequest) -> bytes:
    """The body of a request in JSON; ApiError 413 above ``MAX_BODY``, 415 for another type of content."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # Also keeps web pages elsewhere from posting here without asking: a browser sends this type only on consent.
        raise ApiError(415, "send JSON, with the header 'Content-Type: application/json'")
    parts, size = [], 0
    async for chunk in http.stream():
        size += len(chunk)
        if size <= MAX_BODY:
            parts.append(chunk)
        elif size > _DRAIN:  # read some way on, so that an honest client gets to see the answer
            break
    if size > MAX_BODY:
        raise ApiError(413, f"the body is larger than {MAX_BODY} bytes", code="request_too_large")
    return b"".join(parts)


_SHARED: Final = {"/* house.css */\n": "house.css", "// house.js\n": "house.js"}
"""Lines in a page's style and script, and the files that stand there: a page stays one file that loads nothing."""


def page(name: str) -> Any:
    """The route of a page of ``serve/web``, which may run its own script and style, and talk to this server only."""
    web = resources.files("groundup.serve") / "web"
    text = (web / name).read_text(encoding="utf-8")
    for mark, shared in _SHARED.items():
        text = text.replace(mark, (web / shared).read_text(encoding="utf-8"))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_inline_hash(text, 'script')}",
            f"style-src {_inline_hash(text, 'style')}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

    async def show() -> HTMLResponse:
        return HTMLResponse(text, headers=headers)

    return show


def _inline_hash(html: str, tag: str) -> str:
    """The hash by which a content security policy knows the page's one inline script or style."""
    found = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    assert found is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"
