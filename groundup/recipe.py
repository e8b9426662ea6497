"""A recipe: a YAML file that names artifacts and the stage that makes each. Data, no logic.

Resolving it checks every field, finds every file, and gives each artifact its digest: the hash of what defines it
(stage, version, identity fields, file contents, input digests) and never of where it will run.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

import groundup
from groundup.artifact.stage import Node, StageConfig
from groundup.base.config import Config, FileRef, markers
from groundup.base.errors import RequestError, nearest
from groundup.base.files import sha256_json, sha256_path
from groundup.base.yaml_file import read_yaml
from groundup.rights.compliance import comply
from groundup.rights.licences.expression import parse
from groundup.rights.policy import Policy
from groundup.rights.policy import locate as find_policy
from groundup.rights.reach import NOTHING, Reach, withheld

STAGES: Final = {
    "source": "groundup.stages.source.config:SourceConfig",
    "conversations": "groundup.stages.source.config:ConversationsConfig",
    "preferences": "groundup.stages.source.config:PreferencesConfig",
    "curate": "groundup.stages.curate.config:CurateConfig",
    "quality": "groundup.stages.curate.quality:QualityConfig",
    "mix": "groundup.stages.mix.config:MixConfig",
    "tokenizer": "groundup.stages.tokenize.config:TokenizerConfig",
    "adopt": "groundup.stages.tokenize.adopt_config:AdoptConfig",
    "tokens": "groundup.stages.tokenize.tokens_config:TokensConfig",
    "pretrain": "groundup.stages.pretrain.config:PretrainConfig",
    "sweep": "groundup.stages.pretrain.sweep.config:SweepConfig",
    "ablate": "groundup.stages.pretrain.ablation.config:AblateConfig",
    "extend": "groundup.stages.tokenize.extend_config:ExtendConfig",
    "sft": "groundup.stages.posttrain.config:SftConfig",
    "dpo": "groundup.stages.posttrain.config:DpoConfig",
    "evaluate": "groundup.stages.evaluate.config:EvaluateConfig",
    "bundle": "groundup.stages.bundle.config:BundleConfig",
}
PACKAGE: Final = Path(groundup.__file__).parent
_FIELDS: Final = ("name", "description", "policy", "artifacts")
CARRIERS: Final = ("pages", "corpus")
"""Kinds that carry the text of all that they are made from, what was dropped included."""


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe. ``nodes`` are in an order in which each comes after its inputs; ``hashes`` are those of the
    files that it names, by path as written. ``policy`` is what it was checked against; ``notes`` are for people."""

    name: str
    description: str
    nodes: tuple[Node, ...]
    hashes: Mapping[str, str]
    policy: Policy | None = None
    notes: tuple[str, ...] = ()


def stage_class(stage: str, where: str) -> type[StageConfig]:
    """The configuration class of a stage, imported when first asked for."""
    if stage not in STAGES:
        raise RequestError(f"{where}: unknown stage {stage!r}{nearest(stage, STAGES)}")
    module, _, name = STAGES[stage].partition(":")
    found: type[StageConfig] = getattr(importlib.import_module(module), name)
    return found


def packaged() -> dict[str, Path]:
    """The recipes that come with groundup, by name."""
    return {path.stem: path for path in sorted((PACKAGE / "recipes").glob("*.yaml"))}


def load(
    reference: str,
    overrides: Sequence[str] = (),
    hashes: Mapping[str, str] | None = None,
    reach: Reach = NOTHING,
    policy: str | None = None,
) -> Recipe:
    """Read and resolve a recipe by packaged name or path; ``overrides`` are ``artifact.field=value``.

    ``hashes`` of files by path as written, if another process has taken them already. ``reach`` is what withdrawals
    leave out in the workspace where it will run. ``policy``, by packaged name or path, takes the place of the recipe's.
    """
    path = _locate(reference)
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise RequestError(f"{path} must be a mapping with 'name' and 'artifacts'")
    for override in overrides:
        _apply(data, override)
    if policy is not None:
        data["policy"] = str(find_policy(policy))
    return resolve(data, path, hashes, reach)


def resolve(
    data: Mapping[str, Any], path: Path, hashes: Mapping[str, str] | None = None, reach: Reach = NOTHING
) -> Recipe:
    """Resolve what a recipe file at ``path`` says, or is to say."""
    unknown = set(data) - set(_FIELDS)
    if unknown:
        word = sorted(unknown)[0]
        raise RequestError(f"{path}: unknown field {word!r}{nearest(word, _FIELDS)}")
    entries = data.get("artifacts")
    if not isinstance(entries, dict) or not entries:
        raise RequestError(f"{path}: 'artifacts' must name at least one artifact and its stage")
    configs = _fill({str(name): _config(str(name), entry) for name, entry in entries.items()})
    policy = _policy(data.get("policy"), path)
    configs = comply(configs, policy)
    resolver = _Resolver(configs, path.parent, hashes or {}, reach)
    nodes = resolver.resolve()
    name, description = str(data.get("name", path.stem)), str(data.get("description", "")).strip()
    return Recipe(name, description, nodes, resolver.hashes, policy, _renamed(entries))


def _locate(reference: str) -> Path:
    known = packaged()
    if reference in known:
        return known[reference]
    path = Path(reference)
    if path.is_file():
        return path.resolve()
    if path.suffix in {".yaml", ".yml"}:
        raise RequestError(f"recipe file {reference!r} does not exist")
    raise RequestError(f"no recipe {reference!r}{nearest(reference, known)}")


def _apply(data: dict[str, Any], override: str) -> None:
    """Set ``artifact.field=value`` in the raw recipe; the value is YAML, such as ``6``, ``2M tokens`` or ``[a, b]``."""
    target, sign, text = override.partition("=")
    artifact, dot, field = target.partition(".")
    entries = data.get("artifacts")
    entries = entries if isinstance(entries, dict) else {}
    if not sign or not dot or not field:
        raise RequestError(f"override {override!r} must look like artifact.field=value, such as base.depth=6")
    if artifact not in entries:
        raise RequestError(f"override {override!r}: no artifact {artifact!r}{nearest(artifact, entries)}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RequestError(f"override {override!r}: {text!r} is not a valid value") from None
    place = entries
    *parents, last = artifact, *field.split(".")
    for part in parents:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise RequestError(f"override {override!r}: {part!r} has no fields")
    place[last] = value


def _config(name: str, entry: object) -> StageConfig:
    where = f"artifact {name!r}"
    if not isinstance(entry, dict):
        raise RequestError(f"{where}: expected a mapping with 'stage' and its fields, got {type(entry).__name__}")
    fields = dict(entry)
    stage = fields.pop("stage", None)
    if not isinstance(stage, str):
        raise RequestError(f"{where}: field 'stage' is required{nearest('', STAGES)}")
    return stage_class(stage, where).parse(fields, where)


def _policy(reference: object, path: Path) -> Policy | None:
    """The policy that a recipe names."""
    if reference is None:
        return None
    if not isinstance(reference, str) or not reference:
        raise RequestError(f"{path}: 'policy' must be the path of a policy file or the name of a packaged one")
    return Policy.load(reference, path.parent)


def _renamed(entries: Mapping[str, Any]) -> tuple[str, ...]:
    """Notes on licence ids that SPDX has withdrawn, in the order of the artifacts."""
    notes: dict[str, None] = {}
    stack: list[Any] = [*entries.values()][::-1]
    while stack:
        one = stack.pop()
        if isinstance(one, Mapping):
            said = one.get("licence")
            notes |= dict.fromkeys(parse(said).notes if isinstance(said, str) and said.strip() else ())
            stack += [*one.values()][::-1]
        elif isinstance(one, list):
            stack += reversed(one)
    return tuple(notes)


def _fill(configs: dict[str, StageConfig]) -> dict[str, StageConfig]:
    return {name: config.fill(configs) for name, config in configs.items()}


class _Resolver:
    """Turns configurations into nodes, inputs first."""

    def __init__(
        self, configs: Mapping[str, StageConfig], folder: Path, hashes: Mapping[str, str], reach: Reach
    ) -> None:
        self._configs = configs
        self._folder = folder
        self._reach = reach
        self._done: dict[str, Node] = {}
        self.hashes = dict(hashes)

    def resolve(self) -> tuple[Node, ...]:
        for name in self._configs:
            self._node(name, ())
        for node in self._done.values():
            node.config.check(node)
        return tuple(self._done.values())

    def _node(self, name: str, path: tuple[str, ...]) -> Node:
        if name in path:
            raise RequestError(f"artifacts depend on each other in a circle: {' → '.join([*path, name])}")
        if name not in self._done:
            config = self._configs[name]
            inputs = dict(self._inputs(name, config, (*path, name)))
            files = self._files(name, config)
            hashes = {path: self._hash(path, place) for path, place in files.items()}
            self._done[name] = identified(name, config, inputs, files, hashes, self._reach)
        return self._done[name]

    def _inputs(self, name: str, config: StageConfig, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[Node, ...]]]:
        for field, reference in config.input_fields().items():
            nodes = []
            for wanted in config.input_names(field):
                where = f"artifact {name!r}: field {field!r}"
                if wanted not in self._configs:
                    raise RequestError(f"{where}: no artifact {wanted!r}{nearest(wanted, self._configs)}")
                kind = self._configs[wanted].kind
                if kind not in reference.kinds:
                    raise RequestError(f"{where}: {wanted!r} is a {kind}, expected {' or '.join(reference.kinds)}")
                nodes.append(self._node(wanted, path))
            yield field, tuple(nodes)

    def _files(self, name: str, config: StageConfig) -> dict[str, Path]:
        found = {}
        for path in config.file_paths():
            places = [self._folder / path, Path.cwd() / path, PACKAGE.parent / path, PACKAGE / path]
            existing = [place for place in places if place.exists()]
            if not existing:
                raise RequestError(f"artifact {name!r}: file {path!r} does not exist")
            found[path] = existing[0].resolve()
        return found

    def _hash(self, path: str, place: Path) -> str:
        if path not in self.hashes:
            try:
                self.hashes[path] = sha256_path(place)
            except OSError as error:
                raise RequestError(f"file {place} can't be read: {error.strerror}") from None
        return self.hashes[path]


def identified(
    name: str,
    config: StageConfig,
    inputs: Mapping[str, tuple[Node, ...]],
    files: Mapping[str, Path],
    hashes: Mapping[str, str],
    reach: Reach,
) -> Node:
    """The node that a configuration makes of inputs and files (with their hashes by path), with its digests."""
    identity = config.identity(hashes)

    def digest(essence: bool) -> str:
        return sha256_json(
            {
                "format": 1,
                "stage": config.stage,
                "version": config.version,
                "config": {key: value for key, value in identity.items() if key not in inputs},
                "inputs": {
                    field: [_counts_as(node, config, essence) for node in nodes]
                    for field, nodes in inputs.items()
                    if field in identity
                },
            }
        )

    essence = digest(essence=True)
    if config.brings_in:
        left_out = reach.ids(essence)
        fewer = withheld(essence, left_out), withheld(essence, reach.kept_ids(essence))
        return Node(name, config, inputs, files, *fewer, base=essence, withdrawn=left_out)
    return Node(name, config, inputs, files, digest(essence=config.kind not in CARRIERS), essence)


def _counts_as(node: Node, config: StageConfig, essence: bool) -> str:
    """The digest by which an input counts. A stage that reads pages and makes no corpus of them reads all of them."""
    reads_all = node.config.kind == "pages" and config.kind not in CARRIERS
    return node.digest if reads_all or not essence else node.essence or node.digest


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file: every stage with its fields, their units and defaults."""
    entries: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for stage in STAGES:
        schema = stage_class(stage, "schema").model_json_schema(ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        schema["properties"] = {"stage": {"const": stage}, **schema["properties"]}
        schema["required"] = ["stage", *schema.get("required", [])]
        entries.append(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "groundup recipe",
        "type": "object",
        "additionalProperties": False,
        "required": ["artifacts"],
        "properties": {
            "name": {"type": "string"},
            "description": {"type": "string"},
            "policy": {"type": "string", "description": "path of a policy file, or the name of a packaged one"},
            "artifacts": {"type": "object", "additionalProperties": {"oneOf": entries}},
        },
        "$defs": definitions,
    }


def entries(nodes: Iterable[Node]) -> dict[str, dict[str, Any]]:
    """Resolved nodes as a recipe file would say them: fields that differ from their defaults, paths absolute."""
    return {node.name: entry(node.config, node.files) for node in nodes}


def entry(config: StageConfig, files: Mapping[str, Path]) -> dict[str, Any]:
    """One artifact as a recipe file would say it; ``files`` tells where each path in the configuration leads."""
    return {"stage": config.stage, **_said(config, files)}


def _said(config: Config, files: Mapping[str, Path]) -> dict[str, Any]:
    data = config.model_dump(mode="json", exclude_defaults=True)
    for name in data:
        value, is_path = getattr(config, name), bool(markers(type(config).model_fields[name], FileRef))
        if isinstance(value, tuple):
            data[name] = [_part(item, plain, is_path, files) for item, plain in zip(value, data[name], strict=True)]
        else:
            data[name] = _part(value, data[name], is_path, files)
    return data


def _part(value: Any, plain: Any, is_path: bool, files: Mapping[str, Path]) -> Any:
    if isinstance(value, Config):
        return _said(value, files)
    return str(files[value]) if is_path and isinstance(value, str) else plain
