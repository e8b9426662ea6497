"""Write the papers of an artifact into a folder, all or none, and never over what a person wrote or changed there.

Beside them lies ``papers.json``: the hash of each paper, by which the next run knows its own work, and every fact with
the place where it stands.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from groundup.artifact.papers.croissant import croissant
from groundup.artifact.papers.data_card import data_card
from groundup.artifact.papers.datasheet import datasheet
from groundup.artifact.papers.eu_documentation import eu_documentation
from groundup.artifact.papers.eu_summary import eu_summary
from groundup.artifact.papers.model_card import model_card
from groundup.artifact.papers.page import Paper
from groundup.artifact.papers.spdx import spdx
from groundup.artifact.papers.subject import Subject
from groundup.base.errors import RequestError, nearest
from groundup.base.files import sync_file, sync_folder

PAPERS: Final = {
    "card": ("README.md", "the card, with front matter for the Hugging Face Hub"),
    "datasheet": ("datasheet.md", "the datasheet of the data"),
    "croissant": ("croissant.json", "Croissant: files, tables and responsible AI, for programs"),
    "spdx": ("spdx.json", "SPDX: the data, its sources and licences, for programs"),
    "eu-summary": ("eu_training_summary.md", "public summary of training content (EU, Article 53(1)(d))"),
    "eu-documentation": ("eu_model_documentation.md", "model documentation form (EU, Code of Practice)"),
}
LIST: Final = "papers.json"
_OF_MODELS: Final = ("eu-summary", "eu-documentation")
_WRITERS: Final[dict[str, Callable[[Subject], Paper]]] = {
    "datasheet": datasheet,
    "croissant": croissant,
    "spdx": spdx,
    "eu-summary": eu_summary,
    "eu-documentation": eu_documentation,
}


def choose(subject: Subject, only: Sequence[str] = ()) -> tuple[str, ...]:
    """The papers to write: those that fit the kind, or those that were asked for; RequestError if one doesn't fit."""
    fitting = [name for name in PAPERS if subject.is_model or name not in _OF_MODELS]
    for name in only:
        if name not in PAPERS:
            raise RequestError(f"unknown paper {name!r}{nearest(name, PAPERS)}")
        if name not in fitting:
            raise RequestError(
                f"paper {name!r} is about models, and {subject.record.name!r} is a {subject.record.kind}"
            )
    return tuple(name for name in fitting if not only or name in only)


def render(subject: Subject, names: Sequence[str]) -> list[Paper]:
    """The papers by name, in the order of PAPERS."""
    beside = tuple(PAPERS[name] for name in names if name != "card")
    found = []
    for name in names:
        if name == "card":
            found.append(model_card(subject, beside) if subject.is_model else data_card(subject, beside))
        else:
            found.append(_WRITERS[name](subject))
    return found


def write(subject: Subject, papers: Sequence[Paper], folder: Path, *, force: bool = False) -> list[Path]:
    """Write the papers and ``papers.json``; the paths. RequestError if a file would be lost that is not our own work.

    All are written beside first and renamed when every one is on the disk: a new folder is there with all or not at
    all, and of one that was there each file is old or new.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder} is not a folder")
    before = _listed(folder)
    if not force:
        _refuse_foreign(folder, [paper.file for paper in papers], before)
    texts = {paper.file: paper.text for paper in papers}
    texts[LIST] = _list(subject, papers, {name: one for name, one in before.items() if name not in texts})
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, text in texts.items():
            (beside / name).write_text(text, encoding="utf-8")
            sync_file(beside / name)
        if folder.exists():
            for name in texts:
                (beside / name).replace(folder / name)
        else:
            beside.chmod(0o755)  # a temporary folder is for its owner alone
            beside.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return [folder / name for name in texts]


def _refuse_foreign(folder: Path, names: Iterable[str], before: Mapping[str, Any]) -> None:
    for name in names:
        path = folder / name
        if not path.exists():
            continue
        mine = before.get(name)
        if not path.is_file() or mine is None or mine.get("sha256") != _hash(path.read_bytes()):
            what = "was changed since it was written" if mine else "was not written by groundup document"
            raise RequestError(f"{path} {what}; name another folder, or overwrite it with --force")


def _listed(folder: Path) -> dict[str, Any]:
    """The files that ``papers.json`` lists; none if there is no such file, or it is no such list."""
    try:
        found = json.loads((folder / LIST).read_text(encoding="utf-8"))
        return dict(found["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _list(subject: Subject, papers: Sequence[Paper], others: Mapping[str, Any]) -> str:
    files = {
        paper.file: {
            "sha256": _hash(paper.text.encode()),
            "facts": [json.loads(one) for one in dict.fromkeys(_plain(paper))],
        }
        for paper in papers
    }
    about = {"name": subject.record.name, "kind": subject.record.kind, "digest": subject.record.digest}
    return json.dumps({"artifact": about, "files": {**others, **files}}, indent=1, ensure_ascii=False) + "\n"


def _plain(paper: Paper) -> Iterable[str]:
    return (json.dumps(fact.as_json(), ensure_ascii=False, default=str) for fact in paper.facts)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
