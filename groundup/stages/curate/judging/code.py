"""Rules for source code: minified, generated, data in disguise, nothing but boilerplate; and the licence at the top.

Limits and their sources:

- ``max_line`` 1000 and ``mean_line`` 100 characters: Codex (Chen et al. 2021, section 3.1), The Stack, StarCoder (Li et
  al. 2023, section 3.1);
- ``alpha`` 0.25, the least share of letters: StarCoder (its markup and data languages are left out, as there);
  ``alnum`` 0.25, the least share of letters and digits: The Stack's own and RedPajama's GitHub rule;
- ``encoded`` 0.5 of a file and ``longest_encoded`` 1024 characters in Base64, hexadecimal or escapes: The Stack v2
  (Lozhkov et al. 2024);
- ``chars`` 50 to 5000 in JSON and YAML: StarCoder, section 3.1;
- XML that says so in the first 100 characters: StarCoder;
- generated files by name and marker: see :mod:`.code_files`;
- ``digits`` 0.5 and ``boilerplate`` (fewer than 3 lines that are no comment, import or bracket): our own.

Rows of other media types pass untouched and have nulls. Secrets are for another operator to judge: give one as
``secrets``, and files in which it finds any are dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import RequestError, nearest
from groundup.rights.licences.files import PHRASES, header_licence
from groundup.stages.curate.engine.operator import VERDICT, Spec, refuse, staying, with_column
from groundup.stages.curate.judging import code_files

LICENCE: Final = "code_licence"
GENERATED: Final = "code.generated"
SECRETS: Final = "code.secrets"
NUMBERS: Final = (
    "chars",
    "max_line",
    "mean_line",
    "alpha",
    "alnum",
    "digits",
    "encoded",
    "longest_encoded",
    "code_lines",
    "xml",
)
LIMITS: Final[Mapping[str, float]] = {
    "max_line": 1000, "mean_line": 100, "alpha": 0.25, "alnum": 0.25, "digits": 0.5, "encoded": 0.5,
    "longest_encoded": 1024, "data_min_chars": 50, "data_max_chars": 5000, "code_lines": 3,
}  # fmt: skip

_DATA_TYPES: Final = frozenset(
    {"application/json", "text/x-json", "application/yaml", "text/x-yaml", "text/x-yml", "application/x-ipynb+json"}
)
_MARKUP_TYPES: Final = frozenset({"application/xml", "text/xml", "text/x-xml", "text/x-svg", "text/css", "text/x-css"})
_ENCODED: Final = re.compile(
    r"[a-zA-Z0-9+/=]{64,}(?:\n[a-zA-Z0-9+/=]{16,})*"
    r"|(?:(?:0x|\\x)[0-9a-fA-F]{2}[, \t\n]{0,8}){8,}|(?:[0-9a-fA-F]{2}[, :]){16,}|(?:\\u[0-9a-fA-F]{4}){8,}"
)
_NO_CODE_LINE: Final = re.compile(
    r"\s*(?:#(?!define)|//|/\*|\*|--|;|%|\"\"\"|'''|<!--|import\b|from\s+\S+\s+import\b|using\b|package\b|use\b"
    r"|require\b|include\b|namespace\b|[{}()\[\];,]*\s*$)"
)
_DIGITS: Final = 6


class SecretFinder(Protocol):
    """What says how many secrets a text holds. Picklable; ``digest`` changes when its answers may."""

    @property
    def digest(self) -> str:
        """What defines its answers."""
        ...

    def count(self, text: str) -> int:
        """How many keys, passwords and tokens there are."""
        ...


@dataclass(frozen=True)
class Code:
    """Tags source code with ``code.*``, ``code.generated`` (why, null if it isn't) and ``code_licence`` (SPDX)."""

    secrets: SecretFinder | None = None

    @cached_property
    def spec(self) -> Spec:
        """The list of licences is an asset, and so is the finder of secrets."""
        table = resources.files("groundup.rights.licences").joinpath(PHRASES).read_bytes()
        assets = {"licence_phrases.tsv": hashlib.sha256(table).hexdigest()}
        if self.secrets is not None:
            assets["secrets"] = self.secrets.digest
        writes = (*(f"code.{name}" for name in NUMBERS), GENERATED, LICENCE, SECRETS)
        return Spec("code.measure", 1, "tag", ("text", "media_type", "record", "step"), writes, {}, assets)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the columns."""
        rows = batch.num_rows
        types: list[Any] = batch.column("media_type").to_pylist()
        names: list[Any] = batch.column("record").to_pylist() if "record" in batch.schema.names else [None] * rows
        stays = staying(batch)
        numbers = np.full((rows, len(NUMBERS)), np.nan)
        generated: list[str | None] = [None] * rows
        licences: list[str | None] = [None] * rows
        secrets: list[int | None] = [None] * rows
        for row in range(rows):
            if stays[row] and code_files.is_code(types[row]):
                text: str = batch.column("text")[row].as_py() or ""
                numbers[row] = statistics(text)
                generated[row] = code_files.generated_as(text, names[row] or "")
                licences[row] = header_licence(text)
                secrets[row] = self.secrets.count(text) if self.secrets is not None else None
        for at, name in enumerate(NUMBERS):
            batch = with_column(batch, f"code.{name}", pa.array(np.round(numbers[:, at], _DIGITS)))
        batch = with_column(batch, GENERATED, pa.array(generated, pa.string()))
        batch = with_column(batch, LICENCE, pa.array(licences, pa.string()))
        return with_column(batch, SECRETS, pa.array(secrets, pa.int64()))


def statistics(text: str) -> NDArray[np.float64]:
    """(``NUMBERS``,) float64 of one file. Letters and digits are those of ASCII; lengths are in characters.

    ``encoded`` and ``longest_encoded``: share and longest run of characters in Base64, hexadecimal or escapes.
    ``code_lines``: lines that are no comment, import, bracket or blank. ``xml``: 1 if the file says that it is XML.
    """
    chars = max(1, len(text))
    lines = text.splitlines() or [""]
    lengths = [len(line) for line in lines]
    counts = np.bincount(np.frombuffer(text.encode("utf-8", "replace"), np.uint8), minlength=256)
    letters = int(counts[65:91].sum() + counts[97:123].sum())
    digits = int(counts[48:58].sum())
    encoded = [match.end() - match.start() for match in _ENCODED.finditer(text)]
    return np.array(
        [
            len(text),
            max(lengths),
            sum(lengths) / len(lengths),
            letters / chars,
            (letters + digits) / chars,
            digits / chars,
            sum(encoded) / chars,
            max(encoded, default=0),
            sum(_NO_CODE_LINE.match(line[:80]) is None for line in lines),
            "<?xml version=" in text[:100],
        ],
        np.float64,
    )


@dataclass(frozen=True)
class DecideCode:
    """The decision ``code:RULE`` on source code: ``generated_*``, ``secrets``, ``minified``, ``data``, ``xml``,
    ``few_letters``, ``boilerplate``. ``limits``: pairs of a name of ``LIMITS`` and its value."""

    limits: tuple[tuple[str, float], ...] = ()

    @cached_property
    def _limits(self) -> dict[str, float]:
        for name, _ in self.limits:
            if name not in LIMITS:
                raise RequestError(f"no limit {name!r} for source code{nearest(name, LIMITS)}")
        return {**LIMITS, **dict(self.limits)}

    @cached_property
    def spec(self) -> Spec:
        """Limits are its parameters."""
        reads = ("media_type", *(f"code.{name}" for name in NUMBERS), GENERATED, SECRETS)
        return Spec("code", 1, "decide", reads, VERDICT, {"limits": dict(self._limits)})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with verdicts."""
        rows = batch.num_rows
        types: list[Any] = batch.column("media_type").to_pylist()
        columns = {name: batch.column(f"code.{name}").to_numpy(zero_copy_only=False) for name in NUMBERS}
        generated, secrets = batch.column(GENERATED).to_pylist(), batch.column(SECRETS).to_pylist()
        stays = staying(batch)
        rules: list[str | None] = [None] * rows
        details: list[str | None] = [None] * rows
        for row in range(rows):
            if not stays[row] or not code_files.is_code(types[row]):
                continue
            if generated[row] is not None:
                rules[row], details[row] = (
                    f"generated_{generated[row]}",
                    "by name" if generated[row] == "name" else None,
                )
            elif secrets[row]:
                rules[row], details[row] = "secrets", f"{secrets[row]} found"
            else:
                values = {name: float(column[row]) for name, column in columns.items()}
                broken = self._broken(values, types[row].split(";")[0].strip().lower())
                if broken is not None:
                    rules[row], details[row] = broken
        return refuse(batch, "code", rules, details)

    def _broken(self, values: Mapping[str, float], media_type: str) -> tuple[str, str] | None:
        """(rule, detail) of the first rule that a file breaks."""
        limits = self._limits
        data, markup = media_type in _DATA_TYPES, media_type in _MARKUP_TYPES
        chars = values["chars"]
        if data and not limits["data_min_chars"] <= chars <= limits["data_max_chars"]:
            least, most = limits["data_min_chars"], limits["data_max_chars"]
            return "data", f"{chars:.0f} characters are not {least:g} to {most:g}"
        above = (("max_line", "minified"), ("mean_line", "minified"), ("longest_encoded", "data"), ("encoded", "data"),
                 ("digits", "data"))  # fmt: skip
        for name, rule in above:
            if values[name] > limits[name]:
                return rule, f"{name} {values[name]:.4g} is above {limits[name]:g}"
        if values["xml"] and not markup:
            return "xml", "the file says that it is XML"
        below = (("alnum", "few_letters"),) if data or markup else (
            ("alpha", "few_letters"), ("alnum", "few_letters"), ("code_lines", "boilerplate"))  # fmt: skip
        for name, rule in below:
            if values[name] < limits[name]:
                return rule, f"{name} {values[name]:.4g} is below {limits[name]:g}"
        return None
