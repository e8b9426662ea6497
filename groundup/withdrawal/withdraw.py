"""A withdrawal from the request to the receipt: find, register, leave out, make again, sign, mark, delete.

Each step can be done twice without harm and is on the disk before the next, so after a kill at any moment the same
command, or ``groundup withdraw --pending``, goes on from there: the register and ``register/work.json`` are the plan.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import groundup
from groundup.artifact.store import Store
from groundup.base.errors import RequestError
from groundup.base.files import folder_lock, read_json, write_json
from groundup.base.progress import Progress
from groundup.recipe import STAGES, stage_class
from groundup.rights.reach import Reach
from groundup.rights.register import Register, Withdrawal
from groundup.withdrawal import marks, receipt
from groundup.withdrawal.exposed import Exposed, exposed, token_ranges
from groundup.withdrawal.find import Found, find, remember_texts
from groundup.withdrawal.install import Installed, install
from groundup.withdrawal.rebuild import KeptAfterAllError, Planner, Rebuilt, rebuild, renew_reports, wanted

ASK_FROM: Final = 0.1
"""The share of what an artifact keeps from which a withdrawal asks whether it is meant."""

_WORK: Final = "work.json"


@dataclass(frozen=True)
class Wishes:
    """What is to be done: ``confirm`` is asked before much is withdrawn, and says whether to go on."""

    confirm: Callable[[str], bool]
    rebuild: bool = True
    dry_run: bool = False
    delete: bool = False
    register: bool = False


@dataclass(frozen=True)
class Withdrawn:
    """What was done: the body of the receipt, and where it lies. A dry run, and a search that found nothing, have no
    receipt."""

    body: dict[str, Any]
    receipt: Path | None


@dataclass
class _State:
    """What is known of a withdrawal on its way."""

    found: Found
    reach: Reach
    kept: frozenset[str]
    exposed: list[Exposed]
    unfinished: list[dict[str, str]]


def pending(store: Store) -> list[Withdrawal]:
    """The requests that were not looked for in all material of the workspace, or were not carried out to the end."""
    entries = Register(store.workspace).entries()
    searched = Reach.load(store.workspace).searched
    under_way = set(_work(store).get("requests", []))
    material = [one.record.digest for one in store.all() if _is_material(one.record.stage)]
    done = [searched.get(digest, frozenset()) for digest in material]
    return [one for one in entries if one.id in under_way or any(one.id not in known for known in done)]


def go_on(store: Store, wishes: Wishes, progress: Progress) -> Withdrawn | None:
    """Carry out what is pending, with what was wished when it began; None if nothing is.

    RequestError if much would be withdrawn that nobody has confirmed.
    """
    work = _work(store)
    if work.get("deleting"):
        with folder_lock(store.workspace):
            _delete(store, work["deleting"])
            (Register(store.workspace).folder / _WORK).unlink()
        return Withdrawn(_read_receipt(store, str(work["receipt"])), Path(str(work["receipt"])))
    requests = pending(store)
    if not requests:
        return None
    again = replace(wishes, register=True)
    if all(one.id in work.get("requests", []) for one in requests):  # they were confirmed before a kill ended the work
        begun = bool(work["delete"]), bool(work["rebuild"])
        again = replace(again, confirm=lambda _: True, delete=wishes.delete or begun[0], rebuild=begun[1])
    return withdraw(store, requests, again, progress)


def withdraw(store: Store, requests: Sequence[Withdrawal], wishes: Wishes, progress: Progress) -> Withdrawn:
    """Carry out requests.

    RequestError if much would be withdrawn and nobody confirms it; DataError if a ledger disagrees with its corpus.
    """
    receipt.check_ready()
    if not store.artifacts.is_dir():
        raise RequestError(f"there is nothing in {store.workspace} to withdraw from")
    with folder_lock(store.workspace):
        found = find(store, requests, progress)
        state = _measure(store, found, Reach.load(store.workspace), frozenset(found.kept))
        _confirm(found, wishes)
        if wishes.dry_run or not (found.how or wishes.register):
            return Withdrawn(_body(store, state, Rebuilt(), Installed(0, 0, 0), wishes, ()), None)
        register = Register(store.workspace)
        entries = register.add_all(requests)
        ids = [one.id for one in entries]
        work: dict[str, Any] = {"requests": ids, "delete": wishes.delete, "rebuild": wishes.rebuild}
        write_json(register.folder / _WORK, work)
        remember_texts(store.workspace, found)
        installed = install(store, found, progress)
        state.reach.save(store.workspace)
        rebuilt, state = _rebuild(store, state, wishes, progress)
        _search_done(store, state, entries)
        if not found.how:
            (register.folder / _WORK).unlink()
            return Withdrawn(_body(store, state, rebuilt, installed, wishes, ()), None)
        doomed = _doomed(store, state) if wishes.delete else []
        body = _body(store, state, rebuilt, installed, wishes, doomed)
        path = receipt.write(register.folder, signed := receipt.sign(register.folder, body))
        marks.add(store.workspace, [one.record.digest for one in state.exposed], str(signed["receipt"]["id"]))
        write_json(register.folder / _WORK, {**work, "deleting": doomed, "receipt": str(path)})
        _delete(store, doomed)
        (register.folder / _WORK).unlink()
    return Withdrawn(dict(signed["receipt"]), path)


def _confirm(found: Found, wishes: Wishes) -> None:
    share, name = found.largest_share()
    if wishes.dry_run or share <= ASK_FROM:
        return
    question = f"this withdraws {share:.0%} of {name!r} ({len(found.how)} documents)"
    if not wishes.confirm(question):
        raise RequestError(f"{question}: say --yes if that is meant; nothing was changed")


def _measure(store: Store, found: Found, reach: Reach, kept: frozenset[str]) -> _State:
    """What will be left out of which material, and which artifacts are exposed."""
    ids = frozenset(found.how)
    ranges = token_ranges(store, ids)
    kept = kept | {row[0] for rows in ranges.values() for row in rows}
    left_out: dict[str, frozenset[str]] = {}
    for one in found.artifacts:
        held = found.held.get(one.record.digest)
        if held and _is_material(one.record.stage):
            base = reach.base(one.record.digest)
            left_out[base] = left_out.get(base, frozenset()) | held
    after = reach.without(left_out, kept)
    return _State(found, after, kept, *exposed(store, found.held, (after.kept & ids) | kept, ranges))


def _rebuild(store: Store, state: _State, wishes: Wishes, progress: Progress) -> tuple[Rebuilt, _State]:
    """Make again what a name leads to. Rows that had been dropped, but had an effect, count as kept from then on."""
    if not wishes.rebuild:
        return Rebuilt(), state
    while True:
        records = {one.record.digest: one.record for one in store.all()}
        old = [one.record.digest for one in state.exposed]
        chosen = wanted(store, old, records)
        for under_way in state.unfinished:
            store.discard(under_way["digest"])
        try:
            rebuilt = rebuild(store, chosen, state.found.held, progress)
        except KeptAfterAllError as effect:
            reach = Reach.load(store.workspace)
            state = _measure(store, state.found, reach, state.kept | effect.ids)
            state.reach.save(store.workspace)
            continue
        for recipe in renew_reports(store, old, Planner(store, Reach.load(store.workspace), old)):
            progress.note(f"the report of {recipe} was deleted, as it shows what is not there any more")
        return rebuilt, state


def _search_done(store: Store, state: _State, requests: Iterable[Withdrawal]) -> None:
    """Write down in which material was searched; what was made of it by leaving rows out needs no search."""
    reach = Reach.load(store.workspace)
    material = {one.record.digest for one in state.found.artifacts if _is_material(one.record.stage)}
    reach = reach.after(material, [one.id for one in requests])
    for base in {reach.base(digest) for digest in material}:
        known = [reach.searched.get(digest, frozenset()) for digest in reach.former(base)]
        reach = reach.after([reach.now(base)], frozenset().union(*known))
    reach.save(store.workspace)


def _doomed(store: Store, state: _State) -> list[str]:
    """The exposed artifacts that can go: another took their place, or no name leads to them."""
    digests = [one.record.digest for one in state.exposed]
    named, replaced = set(store.names().values()), store.replaced()
    records = {one.record.digest: one.record for one in store.all()}
    alive = set(wanted(store, digests, records))
    return [one for one in digests if one not in named and (one in replaced or one not in alive)]


def _delete(store: Store, digests: Iterable[str]) -> None:
    for digest in digests:
        shutil.rmtree(store.workspace / "indexes" / digest[:16], ignore_errors=True)
        store.delete(digest)
        store.discard(digest)


def _body(
    store: Store, state: _State, rebuilt: Rebuilt, installed: Installed, wishes: Wishes, doomed: Sequence[str]
) -> dict[str, Any]:
    """What the receipt says."""
    found, replaced = state.found, store.replaced()
    names = {one.record.digest: one.record.name for one in found.artifacts}
    where: dict[str, list[str]] = {}
    for digest, ids in found.held.items():
        for name in ids:
            where.setdefault(name, []).append(f"{names[digest]} ({digest[:12]})")
    gone = [
        {"name": one.record.name, "digest": one.record.digest, "why": _why(one.record.digest, rebuilt, wishes)}
        for one in state.exposed
        if one.record.digest not in replaced
    ]
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "code_version": groundup.__version__,
        "requests": [_request(one) for one in found.requests],
        "documents": [
            {"id": name, "how": how, "in": sorted(where.get(name, [])), "kept": name in state.reach.kept}
            for name, how in sorted(found.how.items())
        ],
        "exposed": [one.as_json() for one in state.exposed],
        "unfinished": state.unfinished,
        "indexes": [
            d for one in state.exposed if (store.workspace / "indexes" / (d := one.record.digest)[:16]).is_dir()
        ],
        "rebuilt": [
            {"name": one.record.name, "digest": one.record.digest, "now": store.standing(one.record.digest)}
            for one in state.exposed
            if one.record.digest in replaced
        ],
        "not_rebuilt": gone,
        "deleted": list(doomed),
        "filter": {"runs": installed.runs, "common": installed.common, "all": installed.total},
    }


def _request(one: Withdrawal) -> dict[str, Any]:
    return {"id": one.id, "at": one.at, "kind": one.kind, "what": one.what, "reason": one.reason}


def _why(digest: str, rebuilt: Rebuilt, wishes: Wishes) -> str:
    if digest in rebuilt.failed:
        return rebuilt.failed[digest]
    if wishes.dry_run or not wishes.rebuild:
        return "not asked for"
    return "no recipe's name leads to it any more"


def _is_material(stage: str) -> bool:
    return stage in STAGES and stage_class(stage, stage).brings_in


def _work(store: Store) -> Mapping[str, Any]:
    try:
        return dict(read_json(Register(store.workspace).folder / _WORK))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _read_receipt(store: Store, path: str) -> dict[str, Any]:
    return receipt.verify(Path(path), Register(store.workspace).folder)
