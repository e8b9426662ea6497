"""The register grows, whatever is cut off, and gives the same request the same id."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from groundup.base.errors import ArtifactError, RequestError
from groundup.rights.reach import NOTHING, Reach, withheld
from groundup.rights.register import KINDS, Register


def _add_many(folder: Path, first: int) -> None:
    for number in range(first, first + 20):
        Register(folder).add("url", f"https://example.org/{number}")


def test_requests_are_kept_in_order_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    register = Register(tmp_path)
    assert register.entries() == []
    made = [register.add(kind, f"{kind} \u2028 it", "by\nmail") for kind in KINDS]
    again = register.add("url", "another one", "another reason")
    assert again.id != made[0].id
    assert register.add("url", made[0].what, "later") == made[0]
    assert [one.kind for one in register.entries()] == [*KINDS, "url"]
    assert made[0].reason == "by mail"
    assert stat.S_IMODE(register.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(register.folder.stat().st_mode) == 0o700
    assert register.find(made[2].id[:10]) == made[2]


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_line_torn_by_a_kill_is_passed_over_and_cut_off(tmp_path: Path, cut: int) -> None:
    register = Register(tmp_path)
    first, second = register.add("url", "https://a.example/1"), register.add("text", "sha256:0", grams=["00ff"])
    whole = register.path.read_bytes()
    register.path.write_bytes(whole[:-cut])
    assert register.entries() == [first]
    third = register.add("author", "Ü")
    assert register.entries() == [first, third]
    assert register.add("text", "sha256:0", grams=["00ff"]).grams == second.grams
    assert len(register.path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("line", [b"{}", b"[]", b"\xff", b'{"id": 1, "at": "", "kind": "url", "what": "x"}',
                                  b'{"id": "1", "at": "", "kind": "smell", "what": "x"}'])  # fmt: skip
def test_a_damaged_line_is_an_error_since_no_withdrawal_may_be_lost(tmp_path: Path, line: bytes) -> None:
    register = Register(tmp_path)
    register.add("url", "https://a.example/1")
    register.path.write_bytes(register.path.read_bytes() + line + b"\n")
    with pytest.raises(ArtifactError, match="line 2 is damaged"):
        register.entries()
    with pytest.raises(ArtifactError):
        register.add("url", "https://a.example/2")


def test_processes_add_at_the_same_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_many, args=(tmp_path, first)) for first in (0, 10, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = [one.what for one in Register(tmp_path).entries()]
    assert sorted(found) == sorted(f"https://example.org/{number}" for number in range(40))


@pytest.mark.parametrize(("kind", "what"), [("smell", "x"), ("url", ""), ("author", " \n ")])
def test_what_says_nothing_is_refused(tmp_path: Path, kind: str, what: str) -> None:
    with pytest.raises(RequestError):
        Register(tmp_path).add(kind, what)  # type: ignore[arg-type]
    assert not Register(tmp_path).folder.exists()
    with pytest.raises(RequestError, match="no withdrawal 'abc'"):
        Register(tmp_path).find("abc")


def test_reach_is_kept_and_grows(tmp_path: Path) -> None:
    assert Reach.load(tmp_path) == NOTHING
    first = NOTHING.without({"b": ["1", "2"]}, ["1"])
    second = first.without({"b": ["3"], "c": []}, ["3"]).knowing({"d": "e", "f": "f"}).after(["d"], ["r"])
    second.save(tmp_path)
    assert Reach.load(tmp_path) == second
    assert (second.ids("b"), second.kept_ids("b"), second.ids("c")) == ({"1", "2", "3"}, {"1", "3"}, frozenset())
    assert second.now("b") == withheld("b", "321") != first.now("b") != "b"
    assert second.base(first.now("b")) == second.base(second.now("b")) == second.base("b") == "b"
    assert set(second.former("b")) == {"b", first.now("b"), second.now("b")}
    assert (second.essence("d"), second.essence("f"), second.essence_now("b")) == ("e", "f", withheld("b", "13"))
    assert second.knowing({"d": "d"}).essence("d") == "d"
    assert withheld("b", []) == "b" and NOTHING.now("b") == "b"
    path = tmp_path / "register" / "reach.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kept": 3}))
    with pytest.raises(ArtifactError, match="damaged"):
        Reach.load(tmp_path)
