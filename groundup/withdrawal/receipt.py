"""The receipt of a withdrawal: dated, signed, and complete, as JSON and as a page to read.

What is signed are the bytes of the receipt's canonical JSON (sorted keys, no spaces, UTF-8), with Ed25519 (RFC 8032).
The key is made once for a workspace and lies in its register, readable by its owner alone; the public key stands in
each receipt. A receipt proves what this workspace said at that time; who the workspace belongs to is proven by the
public key, handed over another way.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import DataError, RequestError, missing_extra
from groundup.base.files import read_json, sha256_json, sync_folder, write_json, write_text

FORMAT: Final = "groundup withdrawal receipt 1"
_KEY: Final = "key"
_ALGORITHM: Final = "Ed25519"
_TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = Path(__file__).parents[1] / "artifact" / "templates" / "report.css"
_SHOWN: Final = 200
"""Documents and ranges of one artifact that the page shows; the JSON has all."""


def check_ready() -> None:
    """RequestError if receipts can't be signed here, before any work is done."""
    _cryptography()


def sign(register: Path, body: Mapping[str, Any]) -> dict[str, Any]:
    """A receipt: the body with its id, and the signature of this workspace's key, which is made if there is none."""
    whole = {"format": FORMAT, **body}
    whole = {"id": sha256_json(whole)[:16], **whole}
    key = _key(register)
    public = key.public_key().public_bytes_raw().hex()
    value = key.sign(canonical(whole)).hex()
    return {"receipt": whole, "signature": {"algorithm": _ALGORITHM, "public_key": public, "value": value}}


def canonical(body: Mapping[str, Any]) -> bytes:
    """The bytes that are signed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def verify(path: Path, register: Path | None = None) -> dict[str, Any]:
    """The body of a receipt that is whole and signed; DataError if it was altered, or is of another key than ours.

    ``register`` is that of the workspace from which it should be, if it is at hand.
    """
    try:
        data = read_json(path)
        body, signature = dict(data["receipt"]), dict(data["signature"])
        public, value = bytes.fromhex(signature["public_key"]), bytes.fromhex(signature["value"])
        extra = set(data) - {"receipt", "signature"}
    except OSError as error:
        raise RequestError(f"receipt {path} can't be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} is not a receipt of a withdrawal") from None
    if body.get("format") != FORMAT or signature.get("algorithm") != _ALGORITHM or extra:
        raise DataError(f"{path} is not a receipt of a withdrawal that this version can check")
    crypto = _cryptography()
    try:
        crypto.Ed25519PublicKey.from_public_bytes(public).verify(value, canonical(body))
    except (crypto.InvalidSignature, ValueError):
        raise DataError(f"{path} was altered after it was signed: its signature does not match") from None
    if register is not None and (register / _KEY).is_file():
        own = _key(register).public_key().public_bytes_raw()
        if own != public:
            raise DataError(f"{path} was signed with another key than that of {register}")
    return {**body, "public_key": public.hex()}


def write(register: Path, receipt: Mapping[str, Any]) -> Path:
    """Write a signed receipt and its page into the register's folder ``receipts``; the path of the JSON."""
    body = receipt["receipt"]
    path = register / "receipts" / f"{body['at'][:10]}-{body['id']}.json"
    write_text(path.with_suffix(".html"), page(receipt))
    write_json(path, receipt)
    return path


def page(receipt: Mapping[str, Any]) -> str:
    """A receipt as HTML, to read or to print."""
    import jinja2
    from markupsafe import Markup

    from groundup.artifact.present import clean

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters["runs"] = in_words
    return environment.get_template("receipt.html.j2").render(
        receipt=receipt["receipt"],
        signature=receipt["signature"],
        shown=_SHOWN,
        style=Markup(_STYLE.read_text(encoding="utf-8")),
    )


def in_words(runs: Sequence[Sequence[int]]) -> str:
    """Runs of steps for people.

    >>> in_words([(1, 3), (7, 7)])
    '1–3, 7'
    """
    said = [f"{first}–{last}" if last > first else str(first) for first, last in runs[:20]]
    return ", ".join(said) + (f" and {len(runs) - 20} more" if len(runs) > 20 else "")


def _key(register: Path) -> Any:
    """The workspace's private key, made if there is none yet: whole or absent, and readable by its owner alone."""
    crypto = _cryptography()
    path = register / _KEY
    if not path.is_file():
        register.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = register / f".{_KEY}.{os.getpid()}.tmp"
        beside.unlink(missing_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(crypto.Ed25519PrivateKey.generate().private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(register)
    raw = path.read_bytes()
    if len(raw) != 32:
        raise DataError(f"the key {path} is damaged: restore it from a copy, or receipts will be of another key")
    return crypto.Ed25519PrivateKey.from_private_bytes(raw)


def _cryptography() -> Any:
    class Names:
        pass

    try:
        keys = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
        errors = importlib.import_module("cryptography.exceptions")
    except ImportError:
        raise missing_extra("cryptography", "rights") from None
    names: Any = Names()
    names.Ed25519PrivateKey, names.Ed25519PublicKey = keys.Ed25519PrivateKey, keys.Ed25519PublicKey
    names.InvalidSignature = errors.InvalidSignature
    return names
