"""Writes what can be derived: docs/fields.md from the configuration classes, and the README's picture of the flow.

python docs/generate.py           write
python docs/generate.py --check   exit 1 if a file is not what would be written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from groundup.artifact.stage import StageConfig
from groundup.base.config import is_execution
from groundup.recipe import STAGES, load, stage_class

HERE = Path(__file__).parent
START, END = "<!-- flow: made by docs/generate.py -->", "<!-- end of flow -->"


def fields_page() -> str:
    """Every stage with every field."""
    parts = [
        "# Fields\n\nWhat a recipe may say, generated from the configuration classes. Fields marked † change how the "
        "work is done and not what comes out: they are not part of an artifact's digest. `groundup schema` prints the "
        "same as JSON Schema.\n"
    ]
    shared: dict[str, type[BaseModel]] = {}
    for stage in STAGES:
        cls = stage_class(stage, "docs")
        parts.append(f"\n## {stage}\n\nMakes an artifact of kind `{cls.kind}`.\n\n{table(cls, shared)}")
    parts.append("\n# Groups of fields\n")
    shown: set[str] = set()
    while left := sorted(set(shared) - shown):
        for name in left:
            first = (shared[name].__doc__ or "").split("\n\n")[0].replace("\n    ", " ").strip()
            parts.append(f"\n## {name}\n\n{first}\n\n{table(shared[name], shared)}")
            shown.add(name)
    return "".join(parts)


def table(cls: type[BaseModel], shared: dict[str, type[BaseModel]]) -> str:
    """The fields of a class; classes that they hold are added to ``shared``."""
    properties: dict[str, Any] = cls.model_json_schema()["properties"]
    rows = ["| field | type | default | meaning |\n|---|---|---|---|\n"]
    for name, field in cls.model_fields.items():
        kind = type_name(properties[name])
        for nested in nested_classes(field.annotation):
            shared[nested.__name__] = nested
        mark = " †" if is_execution(field) else ""
        rows.append(f"| `{name}`{mark} | {kind} | {default(field.default)} | {field.description} |\n")
    return "".join(rows)


def nested_classes(annotation: Any) -> list[type[BaseModel]]:
    """The configuration classes inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and not issubclass(annotation, StageConfig):
        return [annotation]
    return [cls for part in getattr(annotation, "__args__", ()) for cls in nested_classes(part)]


def type_name(schema: dict[str, Any]) -> str:
    """A JSON Schema type as people would say it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(type_name(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        items = schema.get("items") or {}
        return f"list of {type_name(items)}" if items else "list"
    if "examples" in schema:
        return f"text such as `{schema['examples'][0]}`"
    names = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "nothing"}
    return names.get(str(schema.get("type")), "value")


def default(value: Any) -> str:
    """A default as it would stand in a recipe."""
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        changed = {name: getattr(value, name) for name in value.model_fields_set}
        return f"`{changed}`" if changed else "its defaults"
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = ", ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
    if len(text) > 80:
        text = text[:77] + "…"
    return f"`{text}`".replace("|", "\\|") if text else "empty"


def flow() -> str:
    """The quickstart as a Mermaid chart."""
    lines = ["```mermaid", "flowchart LR"]
    for node in load("quickstart").nodes:
        lines.append(f'  {node.name}["{node.name}<br><small>{node.config.stage}</small>"]')
        for inputs in node.inputs.values():
            lines += [f"  {source.name} --> {node.name}" for source in inputs]
    return "\n".join([*lines, "```"])


def outputs() -> dict[Path, str]:
    """Every generated file with its text."""
    readme = HERE.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return {
        HERE / "fields.md": fields_page(),
        readme: f"{before}{START}\n{flow()}\n{END}{rest.split(END)[1]}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in outputs().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(HERE.parent)} is out of date: run `make docs`")
        sys.exit(1 if stale else 0)
    for path in stale:
        path.write_text(outputs()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
