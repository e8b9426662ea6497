"""Writes small files of PDF 1.4, sound and hostile ones, object by object."""

from __future__ import annotations

import io
import zlib

FONT = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def pdf_of(objects: list[str | bytes]) -> bytes:
    """A file of these objects, numbered from 1; the first is the catalogue."""
    buffer = io.BytesIO(b"%PDF-1.4\n")
    buffer.seek(0, io.SEEK_END)
    offsets = []
    for number, one in enumerate(objects, 1):
        offsets.append(buffer.tell())
        body = one.encode() if isinstance(one, str) else one
        buffer.write(b"%d 0 obj%bendobj\n" % (number, body))
    start = buffer.tell()
    buffer.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    buffer.write("".join(f"{offset:010d} 00000 n \n" for offset in offsets).encode())
    buffer.write(f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF".encode())
    return buffer.getvalue()


def pdf(*lines: str) -> bytes:
    """A line of text a sheet."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(lines)))
    objects: list[str | bytes] = [
        "<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Count {len(lines)}/Kids[{kids}]>>", FONT,
    ]  # fmt: skip
    for number, line in enumerate(lines):
        drawn = f"BT /F1 12 Tf 72 700 Td ({line}) Tj ET" if line else ""
        objects.append(_sheet(5 + 2 * number))
        objects.append(f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream")
    return pdf_of(objects)


def packed_pdf(drawn: bytes, times: int) -> bytes:
    """One sheet whose drawing is ``drawn`` so many times over, compressed."""
    worker = zlib.compressobj()
    packed = b"".join([*(worker.compress(drawn) for _ in range(times)), worker.flush()])
    content = b"<</Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (len(packed), packed)
    return pdf_of(["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[4 0 R]>>", FONT, _sheet(5), content])


def pdf_in_a_circle() -> bytes:
    """A page tree whose root is its own child."""
    return pdf_of(["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[2 0 R]>>"])


def pdf_that_draws_itself() -> bytes:
    """A form that is drawn in itself."""
    drawn = "/X Do"
    form = f"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>/Length {len(drawn)}>>"
    sheet = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 5 0 R/Resources<</XObject<</X 6 0 R>>>>>>"
    return pdf_of(
        [
            "<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[4 0 R]>>", FONT, sheet,
            f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream", f"{form}stream\n{drawn}\nendstream",
        ]
    )  # fmt: skip


def locked_pdf(*lines: str) -> bytes:
    """The same as :func:`pdf`, with a password."""
    import pypdf

    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(pdf(*lines))))
    writer.encrypt("secret", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def _sheet(contents: int) -> str:
    return f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {contents} 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
