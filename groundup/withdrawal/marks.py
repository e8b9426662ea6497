"""Marks on artifacts that hold what was withdrawn, or were made of it: ``register/marks.json``, digest to receipts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from groundup.base.errors import ArtifactError
from groundup.base.files import read_json, write_json


def load(workspace: Path) -> dict[str, list[str]]:
    """The ids of the receipts that name an artifact, by its digest; ArtifactError if the file is damaged."""
    path = workspace / "register" / "marks.json"
    try:
        return {str(digest): [str(one) for one in receipts] for digest, receipts in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); restore it from a copy") from None


def add(workspace: Path, digests: Iterable[str], receipt: str) -> None:
    """Mark artifacts with a receipt."""
    marks = load(workspace)
    for digest in digests:
        marks[digest] = sorted({*marks.get(digest, ()), receipt})
    write_json(workspace / "register" / "marks.json", dict(sorted(marks.items())))


def of(workspace: Path, digest: str) -> list[str]:
    """The receipts that name one artifact."""
    return load(workspace).get(digest, [])


def show_in(branch: dict[str, Any], marks: dict[str, list[str]]) -> None:
    """Say in a lineage, as plain data, which of its artifacts are marked, by ``withdrawals``."""
    if branch["digest"] in marks:
        branch["withdrawals"] = marks[branch["digest"]]
    for one in branch.get("inputs", branch.get("uses", ())):
        show_in(one, marks)


def warning(workspace: Path, digest: str, name: str) -> str | None:
    """What to tell someone who is about to use a marked artifact; None if it isn't marked."""
    receipts = of(workspace, digest)
    if not receipts:
        return None
    return (
        f"{name!r} was made from material that has been withdrawn (receipt {', '.join(receipts)}); "
        "'groundup withdraw --list' tells more"
    )
