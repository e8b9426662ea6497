"""Quantities that carry their unit, so that no field needs it in a name or a comment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_DECIMAL: Final = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SPAN: Final = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kMBGT]?)\s+(tokens?|steps?|epochs?)\s*")
_SECONDS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*(s|seconds?|min|minutes?|h|hours?|d|days?)\s*")
_SIZE: Final = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kMGT]?i?B|KiB)\s*")

SpanUnit = Literal["tokens", "steps", "epochs"]


class _Written:
    """What a field of a configuration takes as text: parsed when it is read, and written as ``said`` says."""

    _PATTERN: ClassVar[re.Pattern[str]]
    _EXAMPLES: ClassVar[tuple[str, ...]]

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read it; ValueError if it says something else."""
        raise NotImplementedError

    def said(self) -> str:
        """As a recipe would say it."""
        return str(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(cls.said)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": cls._PATTERN.pattern, "examples": list(cls._EXAMPLES)}


@dataclass(frozen=True)
class Span(_Written):
    """A length of training: so many tokens, optimizer steps, or passes over the data.

    >>> Span.parse("2.5M tokens")
    Span(value=2500000.0, unit='tokens')
    >>> str(Span.parse("500 steps"))
    '500 steps'
    """

    _PATTERN = _SPAN
    _EXAMPLES = ("2M tokens", "500 steps", "1.5 epochs")

    value: float
    unit: SpanUnit

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read ``'2M tokens'``, ``'500 steps'`` or ``'1.5 epochs'``; ValueError otherwise."""
        if isinstance(text, cls):
            return text
        match = _SPAN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"{text!r} needs a number and a unit, such as '2M tokens', '500 steps' or '1.5 epochs'")
        number, scale, unit = match.groups()
        value = float(number.replace("_", "")) * _DECIMAL[scale]
        if value <= 0:
            raise ValueError(f"{text!r} must be above zero")
        return cls(value, cast(SpanUnit, unit.rstrip("s") + "s"))

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}" if self.value < 1e6 else f"{self.value / 1e6:g}M {self.unit}"

    def tokens(self, step_tokens: int, epoch_tokens: int) -> int:
        """The same length in tokens, for a step of ``step_tokens`` and a data set of ``epoch_tokens``."""
        return round(self.value * {"tokens": 1, "steps": step_tokens, "epochs": epoch_tokens}[self.unit])


class ByteSize(_Written, int):
    """A size in bytes, written with its unit.

    >>> ByteSize.parse("1.5 GiB")
    1610612736
    """

    _PATTERN = _SIZE
    _EXAMPLES = ("64 MiB", "2 GB")

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read ``'64 MiB'`` or ``'2 GB'``; ValueError otherwise."""
        if isinstance(text, cls):
            return text
        match = _SIZE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"{text!r} needs a number and a unit, such as '64 MiB' or '2 GB'")
        return cls(round(float(match[1].replace("_", "")) * _BYTES[match[2]]))

    def said(self) -> str:
        """As a recipe would say it."""
        return f"{int(self)} B"


class Duration(_Written, float):
    """A time in seconds, written with its unit.

    >>> Duration.parse("1.5 hours")
    5400.0
    >>> str(Duration.parse("30 days"))
    '2592000 s'
    """

    _PATTERN = _DURATION
    _EXAMPLES = ("90 s", "5 min", "2 hours", "30 days")

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read ``'90 s'``, ``'5 min'``, ``'2 hours'`` or ``'30 days'``; ValueError otherwise."""
        if isinstance(text, cls):
            return text
        match = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"{text!r} needs a number and a unit, such as '90 s', '5 min', '2 hours' or '30 days'")
        unit = "min" if match[2].startswith("min") else match[2][0]
        return cls(float(match[1].replace("_", "")) * _SECONDS[unit])

    def __str__(self) -> str:
        return f"{float(self):.12g} s"


def human_bytes(size: float) -> str:
    """
    >>> human_bytes(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_count(count: float) -> str:
    """
    >>> human_count(1_234_567)
    '1.23M'
    """
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= limit:
            return f"{count / limit:.3g}{unit}"
    return f"{count:.3g}"


def human_rate(value: float, unit: str) -> str:
    """A rate with the prefix of the International System.

    >>> human_rate(1.618e11, "FLOP/s")
    '162 GFLOP/s'
    """
    for limit, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def human_time(seconds: float) -> str:
    """
    >>> human_time(75)
    '1:15'
    """
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
