"""The licence of source files and folders: tags, headers, full texts, manifests; held against installed packages."""

from __future__ import annotations

import re
import sys
import types
from email.parser import HeaderParser
from importlib.metadata import distributions
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.rights.licences import texts
from groundup.rights.licences.expression import normal, try_normal
from groundup.rights.licences.files import (
    Folder,
    file_licence,
    folder_licence,
    header_licence,
    is_licence_file,
    licence_file,
    licence_files,
    manifest_licence,
)
from groundup.rights.licences.found import found_licence
from groundup.rights.licences.texts import fingerprint, fingerprints, licences_in, runs, text_licence

COMMON = Path("/usr/share/common-licenses")
MIT = """MIT License

Copyright (c) 2024 Somebody Else

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */\n", "GPL-2.0-only WITH Linux-syscall-note"),
        ("// SPDX-License-Identifier: (MIT OR Apache-2.0)\n", "Apache-2.0 OR MIT"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: ISC\n", "ISC AND MIT"),
        ("# SPDX-License-Identifier: not-a-licence\n", None),
        ('# Licensed under the Apache License, Version 2.0 (the "License");\n', "Apache-2.0"),
        ("# Released under the MIT license.\n", "MIT"),
        (
            "# This program is free software; you can redistribute it under the GNU General Public License,\n"
            "# either version 3, or (at your option) any later version.\n",
            "GPL-3.0-or-later",
        ),
        ("x = 1\n", None),
        ("x = 1\n" * 60 + "# SPDX-License-Identifier: MIT\n", None),
    ],
)
def test_files(text: str, licence: str | None) -> None:
    assert file_licence(text) == licence
    assert found_licence(text.encode(), "text/x-code; language=python") == licence


def test_headers_say_what_stands_there() -> None:
    assert header_licence("# SPDX-License-Identifier: mit OR Apache-2.0\n") == "mit OR Apache-2.0"


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("package.json", '{"license": "MIT"}', "MIT"),
        ("package.json", '{"license": "(MIT OR Apache-2.0)"}', "Apache-2.0 OR MIT"),
        ("package.json", '{"license": {"type": "ISC"}}', "ISC"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "ISC"}]}', "ISC OR MIT"),
        ("package.json", '{"license": "SEE LICENSE IN x"}', None),
        ("package.json", '["no object"]', None),
        ("package.json", "{", None),
        ("Cargo.toml", '[package]\nlicense = "MIT OR Apache-2.0"\n', "Apache-2.0 OR MIT"),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "Apache-2.0 OR MIT"),
        ("Cargo.toml", '[workspace.package]\nlicense = "MPL-2.0"\n', "MPL-2.0"),
        ("pyproject.toml", '[project]\nlicense = "BSD-3-Clause"\n', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nlicense = {text = "MIT License"}\n', "MIT"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}\n', None),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]\n', "MIT"),
        ("pyproject.toml", '[tool.poetry]\nlicense = "Apache-2.0"\n', "Apache-2.0"),
        ("METADATA", "Metadata-Version: 2.4\nLicense-Expression: MIT\n\nText\n", "MIT"),
        ("METADATA", "License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License\n", None),
        ("METADATA", "License: Apache 2.0\n", "Apache-2.0"),
        ("other.json", '{"license": "MIT"}', None),
    ],
)  # fmt: skip
def test_manifests(name: str, text: str, licence: str | None) -> None:
    assert manifest_licence(name, text) == licence


def test_full_texts_are_known_however_they_are_set() -> None:
    assert text_licence(MIT) == "MIT"
    assert text_licence("\n".join("# " + line for line in MIT.splitlines())) == "MIT"
    assert text_licence(re.sub(r"\s+", " ", MIT).upper()) == "MIT"
    assert text_licence(MIT.replace("any person", "some people").replace("Software", "Program", 1)) == "MIT"


def test_a_part_of_a_text_is_not_the_licence() -> None:
    assert licences_in(MIT[: len(MIT) // 2]) == []
    assert text_licence(" ".join(f"nothing{at} of the kind" for at in range(300)) + MIT) is None
    assert text_licence("") is None


def test_a_short_notice_names_a_licence() -> None:
    assert licence_file("Licensed under the Apache License, Version 2.0.") == "Apache-2.0"
    assert licence_file("See elsewhere.") is None


@pytest.mark.skipif(not COMMON.is_dir(), reason="no texts of Debian's")
@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("Apache-2.0", "Apache-2.0"), ("BSD", "BSD-3-Clause"), ("CC0-1.0", "CC0-1.0"), ("GFDL-1.3", "GFDL-1.3-only"),
        ("GFDL-1.2", "GFDL-1.2-only"), ("GPL-1", "GPL-1.0-only"), ("GPL-2", "GPL-2.0-only"), ("GPL-3", "GPL-3.0-only"),
        ("LGPL-2", "LGPL-2.0-only"), ("LGPL-2.1", "LGPL-2.1-only"), ("LGPL-3", "LGPL-3.0-only"),
        ("MPL-1.1", "MPL-1.1"), ("MPL-2.0", "MPL-2.0"), ("Artistic", "Artistic-1.0-Perl"),
    ],
)  # fmt: skip
def test_texts_of_debian(name: str, licence: str) -> None:
    text = (COMMON / name).read_text()
    assert text_licence(text) == licence
    assert text_licence(f"{text}\n\n{MIT}") in (normal(f"{licence} AND MIT"), None)


def test_table_of_fingerprints_is_sound() -> None:
    assert len(fingerprints()) >= 40
    for one in fingerprints():
        assert try_normal(one.licence) == one.licence
        assert one.size >= 50 and 0 < len(one.hashes) <= 96
    assert len({one.hashes for one in fingerprints()}) == len(fingerprints())


def test_a_fingerprint_keeps_what_copies_share() -> None:
    copies = [MIT.replace("Somebody Else", name) + name * 9 for name in ("Ann ", "Bob ", "Cleo ")]
    one = fingerprint("MIT", copies)
    assert one.hashes <= set.intersection(*(runs(copy) for copy in copies))


def test_installed_packages() -> None:
    """What packages declare against what their licence files hold; none of the differences is a wrong plain id."""
    equal = told = total = 0
    for one in distributions():
        text = one.read_text("METADATA") or ""
        fields = HeaderParser().parsestr(text.partition("\n\n")[0] + "\n\n")
        declared = try_normal(str(fields.get("License-Expression") or "-"))
        if declared is None:
            continue
        assert manifest_licence("METADATA", text) == declared
        files = [path for path in one.files or () if is_licence_file(path.name) and ".dist-info" in str(path)]
        top = min((len(path.parts) for path in files), default=0)
        found = licence_files(
            {
                path.name: licence_file(Path(str(path.locate())).read_text("utf-8", "replace"))
                for path in files
                if len(path.parts) == top
            }
        )
        total += bool(files)
        told += found is not None
        equal += found is not None and re.sub("-only|-or-later", "", found) == re.sub("-only|-or-later", "", declared)
    if total < 30:
        pytest.skip("too few packages with a licence expression")
    assert equal >= 0.8 * total
    assert equal >= 0.88 * told


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LICENSE", True), ("LICENCE.md", True), ("license.txt", True), ("COPYING", True), ("COPYING.LESSER", True),
        ("LICENSE-MIT", True), ("UNLICENSE", True), ("MIT-LICENSE.txt", True), ("license.py", False),
        ("licenses.json", False), ("LICENSE.html", False), ("my-license", False), ("README", False),
    ],
)  # fmt: skip
def test_names_of_licence_files(name: str, expected: bool) -> None:
    assert is_licence_file(name) is expected


def test_several_licence_files() -> None:
    assert licence_files({"LICENSE-MIT": "MIT", "LICENSE-APACHE": "Apache-2.0"}) == "Apache-2.0 OR MIT"
    assert licence_files({"LICENSE-MIT": "MIT", "LICENSE-APACHE": "Apache-2.0", "LICENSE": None}) == "Apache-2.0 OR MIT"
    assert licence_files({"LICENSE": "MIT", "COPYING": "ISC"}) == "ISC AND MIT"
    assert licence_files({"LICENSE": "MIT", "COPYING": None}) is None
    assert licence_files({"LICENSE.txt": "MIT", "LICENSE.md": "ISC"}) == "ISC AND MIT"
    assert licence_files({}) is None


def test_the_nearest_folder_speaks_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "a" / "package.json").write_text('{"license": "ISC"}')
    (tmp_path / "c" / "LICENSE").write_text("words that nobody knows\n" * 30)
    folder = Folder(tmp_path)
    assert folder.licence_of("x.py") == "MIT"
    assert folder.licence_of("a/x.py") == "ISC"
    assert folder.licence_of("a/b/x.py") == "ISC"
    assert folder.licence_of("c/x.py") == "MIT"
    assert folder.licence_of("../x.py") is None
    assert folder.licence_of("/etc/x.py") is None
    assert folder_licence(tmp_path / "missing") is None


def test_links_out_of_a_folder_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "in" / "LICENSE").symlink_to(tmp_path / "LICENSE")
    assert folder_licence(tmp_path / "in") is None


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["package.json", "Cargo.toml", "pyproject.toml", "METADATA"]))
def test_any_manifest_is_read(text: str, name: str) -> None:
    found = manifest_licence(name, text)
    assert found is None or normal(found) == found


class FakeMatch:
    """What ScanCode's index gives: a rule, the share of its text that was found, and its length in words."""

    def __init__(self, expression: str, coverage: float, length: int) -> None:
        self.rule = type("Rule", (), {"license_expression": expression})()
        self._found = coverage, length

    def coverage(self) -> float:
        return self._found[0]

    def len(self) -> int:
        return self._found[1]


@pytest.mark.parametrize(
    ("matches", "licence"),
    [
        ([("x11", 99, 190), ("other", 50, 80), ("short", 100, 2)], "X11"),
        ([("x11", 99, 190), ("other", 95, 80)], None),
        ([("x11", 60, 190)], None),
        ([("unheard-of", 99, 190)], None),
        ([], None),
    ],
)
def test_scancode_is_asked_about_what_is_not_known(
    monkeypatch: pytest.MonkeyPatch, matches: list[tuple[str, float, int]], licence: str | None
) -> None:
    found = [FakeMatch(*one) for one in matches]
    index = type("Index", (), {"match": lambda self, query_string: found})()
    cache = types.ModuleType("licensedcode.cache")
    cache.get_index = lambda: index  # type: ignore[attr-defined]
    cache.build_spdx_license_expression = str.upper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "licensedcode", types.ModuleType("licensedcode"))
    monkeypatch.setitem(sys.modules, "licensedcode.cache", cache)
    texts._scancode.cache_clear()
    try:
        assert text_licence("words of a licence that is in no table " * 9) == licence
        assert text_licence(MIT) == "MIT"
        assert text_licence("words of a licence that is in no table " * 9, whole=False) is None
    finally:
        texts._scancode.cache_clear()
