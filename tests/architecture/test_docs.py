"""What the documents say is so: generated parts are fresh, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "examples" / "SOURCES.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_generated_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_in_the_readme_exist() -> None:
    verbs = set(re.findall(r"groundup (\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    helped = subprocess.run([sys.executable, "-m", "groundup", "--help"], capture_output=True, text=True, check=True)
    for verb in verbs & {"run", "list", "show", "lineage", "chat", "serve", "plan", "schema"}:
        assert verb in helped.stdout
    assert {"run", "list", "show", "lineage", "chat", "serve", "plan"} <= verbs


def test_every_stage_has_a_page() -> None:
    from groundup.recipe import STAGES

    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    covered = {"conversations": "source", "preferences": "source"}
    assert {covered.get(stage, stage) for stage in STAGES} <= pages


def test_no_path_of_a_machine_is_in_the_repository() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        if name.endswith((".py", ".md", ".yaml", ".toml", ".txt", "Makefile")) and "test_docs" not in name:
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"/(work|root|home)/[a-z]", text), name
