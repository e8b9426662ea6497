"""What a crawl knows, in one SQLite file: addresses and what became of them, site files, evidence, what was spent.

Every change is a transaction, so a crawl that is killed at any moment goes on from what was settled: an address is to
do until its page is whole in a WARC file, and done with a reason afterwards. What is written here survives the death of
the process, if not that of the machine; :meth:`Frontier.recover` takes back pages whose bytes were lost with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from groundup.rights.signals.decision import Decision, rows
from groundup.rights.signals.signal import SiteFile
from groundup.stages.source.urls import host_of

FRONTIER: Final = "frontier.sqlite"
WARC: Final = "warc"
"""What the file, and the folder of WARC files beside it, are called."""

_TABLES: Final = """
create table if not exists urls (
    id integer primary key, url text not null unique, host text not null, depth integer not null, hops integer not null,
    via text not null, done integer not null default 0, tries integer not null default 0, decision text, used integer,
    status integer, at text, seconds real, bytes integer, reason text, shard integer, start integer, length integer
);
create index if not exists todo on urls (host, done, depth, id);
create table if not exists hosts (
    host text primary key, asked real not null default 0, ready real not null default 0, used integer not null default 0
);
create table if not exists sites (
    origin text not null, name text not null, url text not null, status integer, body blob not null,
    headers text not null, complete integer not null, at text not null, time real not null, primary key (origin, name)
);
create table if not exists evidence (hash blob primary key, bytes blob not null) without rowid;
create table if not exists signals (
    id integer primary key, url integer not null, at text not null, decision text not null, protocol text not null,
    place text not null, verdict text not null, value text not null, decided integer not null, document text not null,
    evidence blob not null
);
create table if not exists totals (name text primary key, value real not null);
"""
_SIGNAL: Final = ("at", "decision", "protocol", "place", "verdict", "value", "decided", "document")


@dataclass(frozen=True)
class Target:
    """An address to ask for: links from a seed to it, redirects from the link to it, and how often it was tried."""

    id: int
    url: str
    host: str
    depth: int
    hops: int
    tries: int


@dataclass(frozen=True)
class Stored:
    """Where a page's records stand: the number of the WARC file, its first byte and how many."""

    shard: int
    start: int
    length: int


@dataclass(frozen=True)
class Result:
    """What became of an address. ``reason`` is empty if its page is used; ``at`` is ISO 8601 (UTC)."""

    reason: str
    at: str
    decision: Decision | None = None
    status: int | None = None
    seconds: float = 0.0
    bytes: int = 0
    stored: Stored | None = None


class Frontier:
    """The file at ``path``, made if it isn't there."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_TABLES)
        self.totals: dict[str, float] = dict(self._db.execute("select name, value from totals"))
        self._asked = {host for (host,) in self._db.execute("select host from hosts where asked > 0")}
        self._left = self._count_left()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what the body writes."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def recover(self, sizes: dict[int, int]) -> None:
        """Ask again for pages that don't stand whole in their WARC file, given the files' sizes."""
        lost = [
            (one, host)
            for one, host, shard, end in self._db.execute(
                "select id, host, shard, start + length from urls where shard is not null"
            )
            if end > sizes.get(shard, 0)
        ]
        with self.transaction():
            for one, host in lost:
                self._db.execute("delete from signals where url = ?", (one,))
                self._db.execute(
                    "update urls set done = 0, decision = null, used = null, shard = null, start = null, length = null"
                    " where id = ?",
                    (one,),
                )
                self._db.execute("update hosts set used = used - 1 where host = ?", (host,))
                self._count("used", -1)
        self._left = self._count_left()

    def written(self) -> dict[int, int]:
        """How far each WARC file is filled with settled pages."""
        return dict(
            self._db.execute("select shard, max(start + length) from urls where shard is not null group by shard")
        )

    def add(self, url: str, via: str, depth: int, hops: int = 0, reason: str = "") -> bool:
        """An address that was found; with a ``reason`` it is left out at once. Whether it is new and to be asked for.

        One that was left out because a link to it said nofollow is to be asked for once another link leads to it.
        """
        host = host_of(url)
        made = self._db.execute(
            "insert into urls (url, host, depth, hops, via, done, used, reason) values (?, ?, ?, ?, ?, ?, ?, ?)"
            " on conflict (url) do update set depth = excluded.depth, hops = excluded.hops, via = excluded.via,"
            " done = 0, used = null, reason = null where urls.reason = 'nofollow' and excluded.done = 0",
            (url, host, depth, hops, via, int(bool(reason)), 0 if reason else None, reason or None),
        ).rowcount
        if made > 0 and not reason:
            self._left += 1
            self._db.execute("insert or ignore into hosts (host) values (?)", (host,))
        return made > 0 and not reason

    def waiting(self) -> list[tuple[str, float]]:
        """Hosts with addresses to do, and when each may be asked again (seconds since 1970)."""
        found = (
            "select host, ready from hosts where exists (select 1 from urls where urls.host = hosts.host and not done)"
        )
        return list(self._db.execute(found))

    def next(self, host: str) -> Target | None:
        """The next address of a host: the nearest to a seed first, then in the order in which they were found."""
        row = self._db.execute(
            "select id, url, host, depth, hops, tries from urls where host = ? and done = 0 order by depth, id limit 1",
            (host,),
        ).fetchone()
        return Target(*row) if row else None

    def settle(self, target: Target, result: Result) -> None:
        """Write down what became of an address, with the evidence of its decision."""
        decision, stored = result.decision, result.stored
        self._left -= 1
        place = (stored.shard, stored.start, stored.length) if stored else (None, None, None)
        self._db.execute(
            "update urls set done = 1, tries = tries + 1, decision = ?, used = ?, status = ?, at = ?, seconds = ?,"
            " bytes = ?, reason = ?, shard = ?, start = ?, length = ? where id = ?",
            (
                decision.verdict if decision else None, int(not result.reason), result.status, result.at,
                round(result.seconds, 3), result.bytes, result.reason or None, *place, target.id,
            ),
        )  # fmt: skip
        if not result.reason:
            self._db.execute("update hosts set used = used + 1 where host = ?", (target.host,))
            self._count("used", 1)
        for row in rows(decision) if decision else ():
            hashed = hashlib.blake2b(row["evidence"], digest_size=16).digest()
            self._db.execute("insert or ignore into evidence values (?, ?)", (hashed, row["evidence"]))
            values = (target.id, *(row[name] for name in _SIGNAL), hashed)
            self._db.execute(f"insert into signals (url, {', '.join(_SIGNAL)}, evidence) values (?{', ?' * 9})", values)

    def postpone(self, target: Target, ready: float) -> None:
        """Ask for an address again, but nothing of its host before ``ready`` (seconds since 1970)."""
        self._db.execute("update urls set tries = tries + 1 where id = ?", (target.id,))
        self._db.execute("update hosts set ready = ? where host = ?", (ready, target.host))

    def full(self, host: str) -> int:
        """How many pages of a host are used."""
        row = self._db.execute("select used from hosts where host = ?", (host,)).fetchone()
        return int(row[0]) if row else 0

    def leave_out(self, reason: str, host: str | None = None) -> None:
        """Leave out whatever is still to do, of one host or of all."""
        which, values = ("", (reason,)) if host is None else (" and host = ?", (reason, host))
        self._left -= self._db.execute(
            f"update urls set done = 1, used = 0, reason = ? where done = 0{which}", values
        ).rowcount

    def asked(self, host: str) -> float:
        """When a host was last asked for anything (seconds since 1970)."""
        row = self._db.execute("select asked from hosts where host = ?", (host,)).fetchone()
        return float(row[0]) if row else 0.0

    def set_asked(self, host: str, time: float) -> None:
        """Write that down."""
        self._asked.add(host)
        self._db.execute(
            "insert into hosts (host, asked) values (?, ?) on conflict (host) do update set asked = excluded.asked",
            (host, time),
        )

    def site(self, origin: str, name: str, since: float) -> tuple[SiteFile, float] | None:
        """A site's file, and when it was asked for if that was after ``since`` (both in seconds since 1970)."""
        row = self._db.execute(
            "select url, status, body, headers, complete, at, time from sites"
            " where origin = ? and name = ? and time >= ?",
            (origin, name, since),
        ).fetchone()
        if row is None:
            return None
        url, status, body, headers, complete, at, asked = row
        return SiteFile(url, status, body, json.loads(headers), bool(complete), at), float(asked)

    def set_site(self, origin: str, name: str, file: SiteFile, time: float) -> None:
        """Keep a site's file."""
        values = (
            origin,
            name,
            file.url,
            file.status,
            file.body,
            json.dumps(dict(file.headers)),
            file.complete,
            file.at,
        )
        self._db.execute("insert or replace into sites values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, time))

    def spend(self, **amounts: float) -> None:
        """Add to the totals: ``seconds``, ``bytes`` received, ``requests`` made."""
        for name, amount in amounts.items():
            self._count(name, amount)

    def set_total(self, name: str, value: float) -> None:
        """Set a total, such as ``finished`` (seconds since 1970)."""
        self._count(name, value - self.totals.get(name, 0.0))

    def left(self) -> int:
        """How many addresses are to do."""
        return self._left

    def results(self) -> Iterator[dict[str, Any]]:
        """Every address, by its bytes: columns as in ``VISITS``, and ``shard``, ``start``, ``length``."""
        cursor = self._db.cursor()
        cursor.row_factory = lambda cursor, row: {
            name[0]: value for name, value in zip(cursor.description, row, strict=True)
        }
        yield from cursor.execute(
            "select url, via, depth, decision, coalesce(used, 0) as used, status, at, seconds, bytes, reason, shard,"
            " start, length from urls order by url"
        )

    def evidence(self) -> Iterator[dict[str, Any]]:
        """The rows of ``SIGNALS``, decision by decision, in the order of the addresses."""
        query = (
            f"select urls.url, {', '.join(f'signals.{name}' for name in _SIGNAL)}, evidence.bytes from signals"
            " join urls on urls.id = signals.url join evidence on evidence.hash = signals.evidence"
            " order by urls.url, signals.id"
        )
        for url, *values, found in self._db.execute(query):
            row = dict(zip(_SIGNAL, values, strict=True))
            yield {"url": url, **row, "decided": bool(row["decided"]), "evidence": found}

    def decision(self, url: str) -> str | None:
        """The verdict on an address, if there was one."""
        row = self._db.execute("select decision from urls where url = ?", (url,)).fetchone()
        return str(row[0]) if row and row[0] else None

    def count(self) -> int:
        """How many addresses were met."""
        return int(self._db.execute("select count(*) from urls").fetchone()[0])

    def decisions(self) -> Iterable[tuple[str, int]]:
        """How many addresses have which verdict; those that nobody was asked about have ``none``."""
        return self._db.execute(
            "select coalesce(decision, 'none') as said, count(*) from urls group by said order by said"
        )

    def hosts(self) -> int:
        """How many hosts were asked for anything."""
        return len(self._asked)

    def reasons(self) -> Iterable[tuple[str, int]]:
        """Why addresses gave no page, and how many of each."""
        return self._db.execute(
            "select reason, count(*) from urls where reason is not null group by reason order by reason"
        )

    def _count_left(self) -> int:
        return int(self._db.execute("select count(*) from urls where done = 0").fetchone()[0])

    def _count(self, name: str, amount: float) -> None:
        self.totals[name] = self.totals.get(name, 0.0) + amount
        self._db.execute(
            "insert into totals values (?, ?) on conflict (name) do update set value = excluded.value",
            (name, self.totals[name]),
        )
