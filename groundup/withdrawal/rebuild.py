"""Make exposed artifacts again without what was withdrawn, from records alone: no recipe is read.

Material that came in is filtered (:mod:`groundup.stages.source.withdrawn`); everything else is made by the stage and
the configuration in its record, on its inputs as they are now. First the record must give the digest that it has, with
the files it names as they lie today: what was made by other code, or of a file that has changed since, would become
something else and is not made again, but said to be so. An artifact whose digest does not change is found made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from groundup.artifact.record import InputLink, Record
from groundup.artifact.stage import Artifact, Node, StageConfig
from groundup.artifact.store import Store
from groundup.base.errors import GroundupError, RequestError, ResourceError
from groundup.base.files import read_json, sha256_path
from groundup.base.progress import Progress
from groundup.base.team import Leader
from groundup.base.units import human_time
from groundup.flow import PLACES, Step, know_essence, make, write_report
from groundup.recipe import PACKAGE, STAGES, Recipe, identified, stage_class
from groundup.rights.reach import Reach

_TABLE: Final = "corpus/"


class NotRemakeableError(Exception):
    """An artifact can't be made again; says why."""


class KeptAfterAllError(Exception):
    """A corpus without rows that it had dropped came out as another one: they count as kept, so that what is made of it
    is made again."""

    def __init__(self, ids: frozenset[str]) -> None:
        super().__init__(f"{len(ids)} dropped rows had an effect")
        self.ids = ids


@dataclass
class Rebuilt:
    """What came of it: ``made`` and ``found`` have the new digest by the old one, ``failed`` why one was not made."""

    made: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        """The new digests by the old ones."""
        return {**self.made, **self.found}


class Planner:
    """The nodes that records describe, with the digests that they get now. Those that are not exposed stay."""

    def __init__(self, store: Store, reach: Reach, exposed: Iterable[str]) -> None:
        self._store, self._reach, self._exposed = store, reach, frozenset(exposed)
        self.records = {one.record.digest: one.record for one in store.all()}
        self._places = _places(store)
        self._hashes: dict[Path, str] = {}
        self._done: dict[str, Node | NotRemakeableError] = {}

    def node(self, digest: str) -> Node:
        """The node of an artifact as it is to be now; NotRemakeableError if it can't be told from its record."""
        if digest not in self._done:
            try:
                self._done[digest] = self._node(digest)
            except NotRemakeableError as error:
                self._done[digest] = error
            except GroundupError as error:
                self._done[digest] = NotRemakeableError(" ".join(str(error).split()))
        found = self._done[digest]
        if isinstance(found, NotRemakeableError):
            raise found
        return found

    def _node(self, digest: str) -> Node:
        record = self.records.get(digest) or self.records.get(self._store.standing(digest))
        if record is None:
            raise NotRemakeableError(f"what it was made from ({digest[:12]}) is not in the workspace")
        if record.stage not in STAGES:
            raise NotRemakeableError(f"stage {record.stage!r} is not known")
        kind = stage_class(record.stage, record.name)
        if record.digest not in self._exposed:
            config = kind.parse(record.config, f"the record of {record.name!r}")
            return Node(record.name, config, {}, {}, record.digest, self._reach.essence(record.digest))
        if kind.version != record.stage_version:
            raise NotRemakeableError(
                f"it was made by version {record.stage_version} of stage {record.stage}, which is {kind.version} now: "
                "run its recipe again"
            )
        config = kind.parse(record.config, f"the record of {record.name!r}")
        if config.brings_in:
            return self._material(record, config)
        files = {path: self._place(path) for path in config.file_paths()}
        hashes = {path: self._hash(place) for path, place in files.items()}
        fields = config.input_fields()
        links = {name: record.inputs.get(name, []) for name in fields}
        before = {
            name: tuple(self._as_it_was(link.digest, link.name) for link in several) for name, several in links.items()
        }
        if identified(record.name, config, before, files, hashes, self._reach).digest != record.digest:
            what = f"a file that it names ({', '.join(sorted(files))}) has changed" if files else "its record is of"
            more = "" if files else " another version of groundup"
            raise NotRemakeableError(f"{what}{more}: run its recipe again")
        inputs = {name: tuple(self._input(link) for link in several) for name, several in links.items()}
        return identified(record.name, config, inputs, files, hashes, self._reach)

    def _input(self, link: InputLink) -> Node:
        try:
            return self.node(link.digest)
        except NotRemakeableError:
            raise NotRemakeableError(f"{link.name!r}, from which it is made, can't be made again") from None

    def _material(self, record: Record, config: StageConfig) -> Node:
        """Pages, conversations or preferences: their files need not be there, as what was made of them is filtered."""
        base = self._reach.base(record.digest)
        now = self._reach.now(base)
        return Node(record.name, config, {}, {}, now, self._reach.essence_now(base), base, self._reach.ids(base))

    def _as_it_was(self, digest: str, name: str) -> Node:
        """An input of which only the digests count."""
        record = self.records.get(digest) or self.records.get(self._store.standing(digest))
        if record is None or record.stage not in STAGES:
            raise NotRemakeableError(f"{name!r}, from which it was made, is not in the workspace")
        kind = stage_class(record.stage, record.name)
        return Node(name, kind.model_construct(), {}, {}, digest, self._reach.essence(digest))

    def _place(self, path: str) -> Path:
        places: list[Path] = [*self._places.get(path, []), Path.cwd() / path, PACKAGE.parent / path, PACKAGE / path]
        for place in places:
            if place.exists():
                return place.resolve()
        raise NotRemakeableError(f"file {path!r} is not there any more")

    def _hash(self, place: Path) -> str:
        if place not in self._hashes:
            try:
                self._hashes[place] = sha256_path(place)
            except OSError as error:
                raise NotRemakeableError(f"file {place} can't be read ({error.strerror})") from None
        return self._hashes[place]


def wanted(store: Store, digests: Sequence[str], records: Mapping[str, Record]) -> list[str]:
    """Those of the artifacts that a name leads to, or that something named was made from."""
    alive: set[str] = set()

    def visit(digest: str) -> None:
        digest = digest if digest in records else store.standing(digest)
        if digest in records and digest not in alive:
            alive.add(digest)
            for links in records[digest].inputs.values():
                for link in links:
                    visit(link.digest)

    for digest in store.names().values():
        visit(digest)
    return [digest for digest in digests if digest in alive]


def rebuild(store: Store, digests: Sequence[str], held: Mapping[str, set[str]], progress: Progress) -> Rebuilt:
    """Make artifacts again, given with inputs before what is made of them; names follow as each is done.

    What fails for a reason of its own is noted, and what needs it as well; a full disk or memory ends the work, which
    goes on from there when it is called again. KeptAfterAllError if dropped rows had an effect on a corpus.
    """
    reach = Reach.load(store.workspace)
    planner, done = Planner(store, reach, digests), Rebuilt()
    names = store.names()
    for number, digest in enumerate(digests, 1):
        record = planner.records[digest]
        progress.title = f"[{number}/{len(digests)}] {record.name}: {record.stage}"
        try:
            failed = [link.name for links in record.inputs.values() for link in links if link.digest in done.failed]
            if failed:
                raise NotRemakeableError(f"{failed[0]!r}, from which it is made, can't be made again")
            node = planner.node(digest)
            there = store.has(node.digest)
            artifact = _made(node, store, progress, planner)
        except NotRemakeableError as error:
            done.failed[digest] = str(error)
            continue
        _check_corpus(planner.records[digest], artifact, node, held.get(digest, set()), reach)
        (done.found if there else done.made)[digest] = node.digest
        store.set_replaced({digest: node.digest} if digest != node.digest else {})
        store.set_names({name: node.digest for name, old in names.items() if old == digest})
    progress.title = ""
    return done


def _made(node: Node, store: Store, progress: Progress, planner: Planner) -> Artifact:
    """The artifact of a node, made with all that it needs unless it is there."""
    if store.has(node.digest):
        store.discard(node.digest)
        know_essence(node, store)
        return store.open(node.digest)
    for nodes in node.inputs.values():
        for one in nodes:
            _made(one, store, progress, planner)
    records = dict(_ancestors(node, store))
    try:
        artifact = make(node, store, progress, records, Leader.alone())
    except ResourceError:
        raise
    except GroundupError as error:
        raise NotRemakeableError(" ".join(str(error).split())) from None
    know_essence(node, store)
    progress.note(f"done in {human_time(artifact.record.cost.seconds)}")
    return artifact


def _ancestors(node: Node, store: Store) -> Iterator[tuple[str, Record]]:
    """The records of everything that an artifact is made from, by digest."""
    waiting = [one.digest for nodes in node.inputs.values() for one in nodes]
    seen: set[str] = set()
    while waiting:
        digest = waiting.pop()
        if digest not in seen:
            seen.add(digest)
            record = store.open(digest, verify=False).record
            yield digest, record
            waiting += [link.digest for links in record.inputs.values() for link in links]


def _check_corpus(before: Record, after: Artifact, node: Node, held: set[str], reach: Reach) -> None:
    """See that a corpus whose essence stayed is the same one still."""
    if before.kind != "corpus" or node.essence != reach.essence(before.digest):
        return
    tables = [
        {name: entry.sha256 for name, entry in record.files.items() if name.startswith(_TABLE)}
        for record in (before, after.record)
    ]
    dropped = frozenset(held) - reach.kept
    if tables[0] != tables[1] and dropped:
        raise KeptAfterAllError(dropped)


def renew_reports(store: Store, old: Sequence[str], nodes: Planner) -> Iterator[str]:
    """Write the reports again that showed one of the old artifacts; the names of those that had to be deleted."""
    changed = set(old)
    for state in sorted(store.runs.glob("*/run.json")):
        said = read_json(state)
        shown = dict(said.get("artifacts", {}))
        if changed.isdisjoint(shown.values()):
            continue
        recipe = str(said.get("recipe", state.parent.name))
        names = store.names()
        try:
            found = [nodes.node(digest) for digest in shown.values()]
            digests = [names.get(f"{recipe}/{name}", "") for name in shown]
            steps = [Step(n, store.open(d), False) for n, d in zip(found, digests, strict=True)]
            if any(n.digest != d for n, d in zip(found, digests, strict=True)):
                raise RequestError("an artifact of it was not made again")
            write_report(Recipe(recipe, str(said.get("description", "")), tuple(found), {}), steps, store)
        except (NotRemakeableError, GroundupError):
            (state.parent / "report.html").unlink(missing_ok=True)
            state.unlink()
            yield recipe


def _places(store: Store) -> dict[str, list[Path]]:
    """Where the recipes that ran here found their files, by path as written."""
    found: dict[str, list[Path]] = {}
    for path in sorted(store.runs.glob(f"*/{PLACES}")):
        try:
            for name, place in dict(read_json(path)).items():
                found.setdefault(str(name), []).append(Path(str(place)))
        except (ValueError, TypeError):
            continue
    return found
