"""PDF and mail made in bad faith: each costs one row of what was left out, and the files around it are read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pdf_files import locked_pdf, packed_pdf, pdf, pdf_in_a_circle, pdf_that_draws_itself
from source_run import TERMS, counts, left_out, run_source, tar, zipped

from groundup.base.errors import DataError, RequestError
from groundup.base.guard import Guard, _Child
from groundup.stages.source.config import SourceFile
from groundup.stages.source.readers import mail, pdf_text
from groundup.stages.source.readers import pdf as pdf_reader
from groundup.stages.source.readers.reading import Reading

SLOW = b"BT /F1 12 Tf 72 700 Td (a) Tj ET " * 1000


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a hostile file of the test reaches soon."""
    monkeypatch.setattr(pdf_reader, "SECONDS", 1.0)
    monkeypatch.setattr(mail, "SECONDS", 0.5)
    monkeypatch.setattr(mail, "MEMORY_BYTES", 96 << 20)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "locked": (lambda: locked_pdf("Hello"), "encrypted"),
    "cut": (lambda: pdf("Hello", "World")[:400], "bad_pdf"),
    "noise": (lambda: b"%PDF-1.7\n" + bytes(range(256)) * 50, "bad_pdf"),
    "nothing": (lambda: b"", "empty"),
    "circle": (pdf_in_a_circle, "bad_pdf"),
    "itself": (pdf_that_draws_itself, "no_text_layer"),
    "bomb": (lambda: packed_pdf(bytes(1 << 20), 100), "unpacks_too_far"),
    "slow": (lambda: packed_pdf(SLOW, 400), "too_slow"),
    "long": (lambda: pdf("x" * 200_000, "y" * 200_000), "too_large"),
}


@pytest.mark.usefixtures("_small")
def test_hostile_documents_cost_themselves(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "folder").mkdir()
    for name, (make, _) in HOSTILE.items():
        (tmp_path / "folder" / f"{name}.pdf").write_bytes(make())
    (tmp_path / "folder" / "0.pdf").write_bytes(pdf("First"))
    (tmp_path / "folder" / "z.pdf").write_bytes(pdf("Last"))
    pages, outcome = run_source(tmp_path, "folder", max_page_size="300 kB")
    assert [(page["record"], page["content"]) for page in pages] == [("0.pdf", b"First"), ("z.pdf", b"Last")]
    rows = left_out(tmp_path)
    assert {row["record"]: row["reason"] for row in rows} == {f"{n}.pdf": reason for n, (_, reason) in HOSTILE.items()}
    assert counts(outcome)["bad_pdf"] == 3
    detail = next(row["detail"] for row in rows if row["record"] == "circle.pdf")
    assert detail == "folder: circle.pdf can't be parsed (PdfReadError)"


def test_a_document_that_takes_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypdf")
    monkeypatch.setattr(pdf_reader, "MEMORY_BYTES", 96 << 20)
    (tmp_path / "x.zip").write_bytes(
        zipped({"a.pdf": pdf("One"), "b.pdf": packed_pdf(bytes(1 << 20), 70), "c.pdf": pdf("Two")})
    )
    pages, outcome = run_source(tmp_path, "x.zip")
    assert [page["content"] for page in pages] == [b"One", b"Two"]
    assert counts(outcome) == {"out_of_memory": 1}
    assert left_out(tmp_path)[0]["detail"] == "x.zip: b.pdf can't be parsed in 96.0 MiB of memory"


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("locked", "is encrypted; unlock it first"),
        ("circle", r"can't be parsed \(PdfReadError\)"),
        ("bomb", "has a stream that unpacks too far"),
        ("slow", "can't be parsed in 1 seconds"),
    ],
)
def test_strict_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "x.zip").write_bytes(zipped({"a.pdf": pdf("One"), "b.pdf": HOSTILE[name][0]()}))
    with pytest.raises(DataError, match=f"x.zip: b.pdf {message}"):
        run_source(tmp_path, "x.zip", strict=True)


def test_text_that_unpacks_beyond_a_page_is_left_out_whole(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "x.zip").write_bytes(zipped({"a.pdf": packed_pdf(SLOW[:33], 900), "b.pdf": pdf("One")}))
    pages, outcome = run_source(tmp_path, "x.zip", max_page_size="860 B")
    assert [page["content"] for page in pages] == [b"One"]
    assert counts(outcome) == {"too_large": 1}


def test_the_process_is_started_for_the_first_document_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pypdf")
    started: list[_Child] = []
    begin = _Child.__init__

    def watched(self: _Child, *arguments: object) -> None:
        begin(self, *arguments)  # type: ignore[arg-type]
        started.append(self)

    monkeypatch.setattr(_Child, "__init__", watched)
    (tmp_path / "a.txt").write_text("text")
    run_source(tmp_path, "a.txt")
    assert not started
    (tmp_path / "x.tar").write_bytes(tar({f"{n}.pdf": pdf(f"Sheet {n}") for n in range(5)}))
    run_source(tmp_path, "x.tar")
    (child,) = started
    assert child._process.returncode is not None


def test_what_the_process_loads_is_little() -> None:
    pytest.importorskip("pypdf")
    heavy = {"numpy", "pyarrow", "pydantic", "numba", "torch", "resiliparse", "yaml"}
    code = (
        "import sys, groundup.base.guard, groundup.stages.source.readers.mail_text\n"
        "from groundup.stages.source.readers import pdf_text; pdf_text.prepare()\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_without_pypdf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(RequestError, match=r"pypdf is not installed; run: pip install 'groundup\[pdf\]'"):
        pdf_text.prepare()


# -- mail ----------------------------------------------------------------------------------------------------------


def _letter(header: bytes, text: bytes = b"text\n") -> bytes:
    return b"From a@b Mon Jan  1 00:00:00 2024\nFrom: a@example.org\n" + header + b"\n\n" + text + b"\n"


def _nested(depth: int) -> bytes:
    """Parts within parts, each behind a line that ends none of them."""
    parts = [b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number) for number in range(depth)]
    return b"".join(parts) + b"\n" + b"x\n" * 1000


@pytest.mark.usefixtures("_small")
def test_hostile_mail_costs_itself(tmp_path: Path) -> None:
    many = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 200_000
    letters = [
        _letter(b"Subject: one"),
        _letter(b"Subject: " + b"a " * 500_000),
        _letter(b"Subject: two"),
        _letter(b"MIME-Version: 1.0\n" + many),
        _letter(b"MIME-Version: 1.0\n" + _nested(3000)),
        _letter(b"Subject: three"),
    ]
    (tmp_path / "l.mbox").write_bytes(b"".join(letters))
    pages, outcome = run_source(tmp_path, "l.mbox")
    assert [page["content"] for page in pages] == [b"one\n\ntext\n", b"two\n\ntext\n", b"three\n\ntext\n"]
    assert [page["record"] for page in pages] == ["message 1", "message 3", "message 6"]
    reasons = {row["record"]: row["reason"] for row in left_out(tmp_path)}
    assert reasons["message 2"] == "too_slow"
    assert reasons["message 4"] in ("too_slow", "out_of_memory")
    assert reasons["message 5"] in ("bad_message", "no_text", "too_slow")
    assert sum(counts(outcome).values()) == 3


def test_more_messages_than_go_together(tmp_path: Path) -> None:
    sizes = [10, 700_000, 10, 400_000, *[10] * 150]
    letters = [_letter(b"Subject: %d" % n, b"x" * size + b"\n") for n, size in enumerate(sizes)]
    (tmp_path / "l.mbox").write_bytes(b"".join(letters))
    pages, outcome = run_source(tmp_path, "l.mbox", max_page_size="500 kB")
    assert [page["record"] for page in pages] == [f"message {n + 1}" for n in range(len(sizes)) if n != 1]
    assert [page["content"].split(b"\n")[0] for page in pages] == [b"%d" % n for n in range(len(sizes)) if n != 1]
    assert counts(outcome) == {"too_large": 1}
    assert [row["record"] for row in left_out(tmp_path)] == ["message 2"]


def test_a_reading_has_one_guard_a_parser() -> None:
    reading = Reading(SourceFile.parse({"path": "x", **TERMS}, "t"))

    def make(most: int) -> Guard[str, str]:
        return Guard(str, 1.0, most)

    assert reading.guard(make) is reading.guard(make)
    assert reading.guard(make).memory_bytes == reading.max_size
    reading.close()
