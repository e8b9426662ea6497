"""The base of every configuration: frozen, unknown keys refused with the nearest valid name, fields that say
whether they define the result (identity) or only how it is computed (execution)."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from groundup.base.errors import RequestError, nearest

EXECUTION: JsonDict = {"execution": True}
LATER: JsonDict = {"later": True}


def execution(default: Any, *, description: str, **limits: Any) -> Any:
    """A field that changes how the work is done, never what comes out: it stays outside the digest."""
    return Field(default, description=description, json_schema_extra=EXECUTION, **limits)


def later(default: Any, *, description: str, **limits: Any) -> Any:
    """A field that came to a stage whose artifacts had been made: at its default it stays outside the digest."""
    return Field(default, description=description, json_schema_extra=LATER, **limits)


@dataclass(frozen=True)
class FileRef:
    """Marks a string field as the path of an input file or folder, which counts by its content."""


class Config(BaseModel):
    """A frozen configuration. Subclasses document each field with its unit; defaults are part of the identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls, data: object, where: str) -> Self:
        """Validate ``data``; a RequestError of one line that starts with ``where`` otherwise."""
        if not isinstance(data, Mapping):
            raise RequestError(f"{where}: expected a mapping of fields, got {type(data).__name__}")
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise RequestError(f"{where}: {_one_line(cls, error)}") from None

    def identity(self, hashes: Mapping[str, str]) -> dict[str, Any]:
        """The fields that define the result, as JSON values.

        ``hashes`` maps each path named by a FileRef field to the hash of its content; the path itself is
        replaced by its last part and that hash, so that a moved file is the same file.
        """
        return {
            name: _identity_value(getattr(self, name), field, hashes)
            for name, field in type(self).model_fields.items()
            if not is_execution(field) and not (is_later(field) and getattr(self, name) == field.default)
        }

    def file_paths(self) -> Iterator[str]:
        """Every path held by a FileRef field, nested configurations included."""
        for name, field in type(self).model_fields.items():
            yield from _paths(getattr(self, name), field)


def is_execution(field: FieldInfo) -> bool:
    """Whether a field was declared with ``execution``."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("execution"))


def is_later(field: FieldInfo) -> bool:
    """Whether a field was declared with ``later``."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("later"))


def markers(field: FieldInfo, kind: type) -> list[Any]:
    """The ``Annotated`` markers of a type on a field, whether on the field itself or on the items it holds."""
    found = [mark for mark in field.metadata if isinstance(mark, kind)]
    stack = list(typing.get_args(field.annotation))
    while stack:
        part = stack.pop()
        found += [mark for mark in getattr(part, "__metadata__", ()) if isinstance(mark, kind)]
        stack += typing.get_args(part)
    return found


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _paths(value: Any, field: FieldInfo) -> Iterator[str]:
    marked = bool(markers(field, FileRef))
    for item in _items(value):
        if isinstance(item, Config):
            yield from item.file_paths()
        elif marked and isinstance(item, str):
            yield item


def _identity_value(value: Any, field: FieldInfo, hashes: Mapping[str, str]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_identity_value(item, field, hashes) for item in value]
    if isinstance(value, Config):
        return value.identity(hashes)
    if isinstance(value, str) and markers(field, FileRef):
        return {"name": Path(value).name, "sha256": hashes[value]}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value if isinstance(value, (bool, int, float, str, type(None), dict)) else str(value)


def _one_line(cls: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # An unknown field explains the "missing" that a misspelling causes elsewhere: tell that first.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        owner = _owner(cls, first["loc"][:-1])
        text = f"unknown field {path!r}{nearest(str(first['loc'][-1]), owner)}"
    elif first["type"] == "missing":
        text = f"field {path!r} is required"
    else:
        message = first["msg"].removeprefix("Value error, ")
        text = f"field {path!r}: {message}" if path else message
        if first["type"] != "value_error":
            text += f" (got {first['input']!r})"
    more = len(problems) - 1
    return text + (f" (and {more} more)" if more else "")


def _owner(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The field names of the configuration that ``path`` leads to, through lists and unions."""
    for part in path:
        if isinstance(part, str) and part in cls.model_fields:
            stack: list[Any] = [cls.model_fields[part].annotation]
            while stack:
                kind = stack.pop()
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    cls = kind
                    break
                stack += typing.get_args(kind)
    return list(cls.model_fields)
