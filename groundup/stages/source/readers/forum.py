"""Forums: the data dump of a Stack Exchange site (``Posts.xml``), and threads as JSON. One page a thread.

A dump lists posts by time, so a question and its answers lie far apart: they meet in an SQLite file on disk, and
memory stays small whatever the site's size.
"""

from __future__ import annotations

import html
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from groundup.stages.source.bounded import DamageError
from groundup.stages.source.readers.reading import Page, Reading, iso_date, where
from groundup.stages.source.readers.rows import LONE_SURROGATE, json_objects
from groundup.stages.source.readers.text import HTML, PLAIN
from groundup.stages.source.readers.xml import elements
from groundup.stages.source.unpack import Member

_QUESTION: Final = "1"
_ANSWER: Final = "2"
_POSTS: Final = ("posts", "messages", "comments", "replies")
_BODIES: Final = ("text", "body", "content", "message")
_AT_ONCE: Final = 1000
_TABLE: Final = (
    "create table posts (thread integer, place integer, score integer, id integer, title text, body text, date text)"
)
_ORDERED: Final = "select thread, place, title, body, date from posts order by thread, place, score desc, id"


def read_stackexchange(member: Member, reading: Reading) -> Iterator[Page]:
    """A page a question: its title, its text, the accepted answer and the others by score, as HTML.

    Answers whose question isn't there are counted, and so are posts of other types (wikis of tags and the like).
    """
    with tempfile.TemporaryDirectory(dir=reading.scratch) as folder:
        store = sqlite3.connect(Path(folder) / "posts")
        try:
            store.execute("pragma journal_mode = off")
            store.execute("pragma synchronous = off")
            store.execute(_TABLE)
            broken = _fill(store, member, reading)
            yield from _threads(store, member, reading)
        finally:
            store.close()
    if broken is not None:
        raise broken


def _fill(store: sqlite3.Connection, member: Member, reading: Reading) -> DamageError | None:
    accepted: list[tuple[int, int]] = []
    rows: list[tuple[Any, ...]] = []
    broken = None
    try:
        for row in elements(member.stream, where(member, reading), ("row",), reading.max_size):
            if row is None:
                reading.skip("too_large", member.name)
                continue
            kind, number = row.get("PostTypeId"), _number(row.get("Id"))
            thread = number if kind == _QUESTION else _number(row.get("ParentId"))
            if kind not in (_QUESTION, _ANSWER) or number is None or thread is None:
                reading.skip("other_post", f"post {row.get('Id')}")
                continue
            answer = _number(row.get("AcceptedAnswerId"))
            if kind == _QUESTION and answer is not None:
                accepted.append((thread, answer))
            place, score = (0 if kind == _QUESTION else 2), _number(row.get("Score")) or 0
            rows.append((thread, place, score, number, row.get("Title"), row.get("Body"), row.get("CreationDate")))
            if len(rows) >= _AT_ONCE:
                _insert(store, rows, accepted)
    except DamageError as error:
        broken = error
    _insert(store, rows, accepted)
    store.execute("create index threads on posts (thread, place, score desc, id)")
    store.execute("create table if not exists accepted (thread integer, id integer)")
    store.execute("update posts set place = 1 where (thread, id) in (select thread, id from accepted) and place = 2")
    return broken


def _insert(store: sqlite3.Connection, rows: list[tuple[Any, ...]], accepted: list[tuple[int, int]]) -> None:
    store.execute("create table if not exists accepted (thread integer, id integer)")
    store.executemany("insert into posts values (?, ?, ?, ?, ?, ?, ?)", rows)
    store.executemany("insert into accepted values (?, ?)", accepted)
    rows.clear()
    accepted.clear()


def _number(text: str | None) -> int | None:
    """A 64-bit id.

    >>> _number("12"), _number("x"), _number(None)
    (12, None, None)
    """
    return int(text) if text and len(text) < 19 and text.lstrip("-").isdecimal() else None


def _threads(store: sqlite3.Connection, member: Member, reading: Reading) -> Iterator[Page]:
    posts: list[tuple[int, str | None, str | None, str | None]] = []
    current, count, size = None, 0, 0
    for thread, place, title, body, date in store.execute(_ORDERED):
        if thread != current and posts:
            yield from _thread(current, posts, count, member, reading)
            posts, count, size = [], 0, 0
        current = thread
        count += 1
        # A thread beyond the limit is left out for what was seen of it, so the rest need not be held.
        if not posts or (body and size <= reading.max_size):
            posts.append((place, title, body, date))
            size += len(body or "")
    if posts:
        yield from _thread(current, posts, count, member, reading)


def _thread(
    thread: int | None,
    posts: list[tuple[int, str | None, str | None, str | None]],
    count: int,
    member: Member,
    reading: Reading,
) -> Iterator[Page]:
    record = f"question {thread}" if member.lone else f"{member.name} question {thread}"
    place, title, question, date = posts[0]
    if place != 0:
        reading.skip("answer_without_question", record, count=count)
        return
    parts = [f"<h1>{html.escape(title)}</h1>" if title else "", question or ""]
    parts += [f"<article>{body}</article>" for _, _, body, _ in posts[1:] if body]
    content = "\n".join(part for part in parts if part).encode("utf-8", "replace")
    if not content.strip():
        reading.skip("empty", record)
    elif len(content) > reading.max_size:
        reading.skip("too_large", record)
    else:
        yield Page(record, HTML, "utf-8", None, content, iso_date(date))


def read_threads(member: Member, reading: Reading) -> Iterator[Page]:
    """A page a thread, from JSON lines or one JSON list of ``{"title", "url", "date", "posts": [{"text", …}]}``.

    ``posts`` may be called messages, comments or replies, and ``text`` body, content or message.
    """
    for record, thread in json_objects(member, reading):
        posts = next((thread[name] for name in _POSTS if isinstance(thread.get(name), list)), None)
        if posts is None:
            known = ", ".join(sorted(thread)) or "none"
            message = f"{where(member, reading)} {record} has no list of posts (fields: {known})"
            reading.misnamed("no_posts", record, message)
            continue
        title, url = thread.get("title"), thread.get("url")
        texts = [title] if isinstance(title, str) and title.strip() else []
        texts += [text for post in posts if (text := _said(post))]
        whole = "\n\n".join(text.strip() for text in texts)
        if LONE_SURROGATE.search(whole):
            reading.refuse("lone_surrogate", record, f"{where(member, reading)} {record} has a lone surrogate")
        elif not whole.strip():
            reading.skip("empty", record)
        else:
            address = url if isinstance(url, str) else None
            yield Page(record, PLAIN, "utf-8", address, whole.encode(), iso_date(thread.get("date")))


def _said(post: object) -> str:
    if isinstance(post, Mapping):
        post = next((post[name] for name in _BODIES if isinstance(post.get(name), str)), "")
    return post if isinstance(post, str) else ""
