"""A file is whole or absent, and a folder belongs to one run at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groundup.base.errors import ResourceError
from groundup.base.files import folder_lock, sha256_path, write_atomic, write_text


def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_lock_is_exclusive_between_processes_and_ends_with_its_holder(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from groundup.base.files import folder_lock\n"
    script += "with folder_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ResourceError, match=f"process {holder.pid}"), folder_lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with folder_lock(tmp_path):
        pass


def test_folder_hash_depends_on_names_and_contents(tmp_path: Path) -> None:
    for name, text in (("a/x", "1"), ("b/x", "1")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert sha256_path(tmp_path / "a") == sha256_path(tmp_path / "b")
    (tmp_path / "b" / "y").write_text("")
    assert sha256_path(tmp_path / "a") != sha256_path(tmp_path / "b")
