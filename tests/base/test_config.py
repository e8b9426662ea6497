"""Configurations refuse what they don't know, in one line that says what was meant."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from groundup.base.config import Config, FileRef, execution
from groundup.base.errors import RequestError
from groundup.base.units import Span


class Inner(Config):
    rate: float = Field(0.1, gt=0, description="a rate")
    path: Annotated[str, FileRef()] = "data/a.txt"


class Outer(Config):
    depth: int = Field(4, gt=0, description="layers")
    horizon: Span = Span(2e6, "tokens")
    inner: Inner = Inner()
    files: tuple[Inner, ...] = ()
    threads: int | None = execution(None, description="threads")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"dept": 3}, "unknown field 'dept'; did you mean 'depth'?"),
        ({"depth": "many"}, "field 'depth'"),
        ({"depth": 0}, "greater than 0"),
        ({"horizon": "2M"}, "needs a number and a unit"),
        ({"horizon": "2M miles"}, "needs a number and a unit"),
        ({"horizon": 5}, "needs a number and a unit"),
        ({"horizon": "0 steps"}, "above zero"),
        ({"inner": {"rat": 1}}, "did you mean 'rate'?"),
        ({"files": [{"rat": 1}]}, "did you mean 'rate'?"),
        ({"depth": "x", "horizon": "y"}, "(and 1 more)"),
        ([1], "expected a mapping"),
    ],
)
def test_refusals_are_one_line_and_name_the_place(data: object, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        Outer.parse(data, "artifact 'base'")
    message = str(caught.value)
    assert message.startswith("artifact 'base': ")
    assert said in message
    assert "\n" not in message


def test_identity_holds_what_defines_the_result_and_nothing_of_where_it_ran() -> None:
    hashes = {"data/a.txt": "h1", "/elsewhere/a.txt": "h1", "data/b.txt": "h2"}
    base = Outer.parse({}, "x").identity(hashes)
    assert "threads" not in base
    assert Outer.parse({"threads": 7}, "x").identity(hashes) == base
    assert Outer.parse({"inner": {"path": "/elsewhere/a.txt"}}, "x").identity(hashes) == base
    assert Outer.parse({"inner": {"path": "data/b.txt"}}, "x").identity(hashes) != base
    assert Outer.parse({"depth": 5}, "x").identity(hashes) != base
    assert base["horizon"] == "2M tokens"


def test_file_paths_are_found_in_nested_configurations() -> None:
    config = Outer.parse({"files": [{"path": "x"}, {"path": "y"}]}, "w")
    assert list(config.file_paths()) == ["data/a.txt", "x", "y"]


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().depth = 9  # type: ignore[misc]
