"""What the Hugging Face Hub understands in the front matter of a card: its names of licences, languages and sizes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from groundup.artifact.present import clean

# Identifiers that the Hugging Face Hub accepts in `license`; each is an SPDX identifier in lower case.
_HUB_LICENCES: Final = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "epl-1.0", "epl-2.0",
    "eupl-1.1", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ncsa", "ofl-1.1", "osl-3.0",
    "pddl-1.0", "postgresql", "unlicense", "wtfpl", "zlib",
}  # fmt: skip
# ISO 639-3 to the two-letter codes that the Hub shows; a language that has none keeps three letters.
_TWO_LETTERS: Final = {
    "ara": "ar", "arb": "ar", "bul": "bg", "ces": "cs", "cmn": "zh", "dan": "da", "deu": "de", "ell": "el",
    "eng": "en", "fin": "fi", "fra": "fr", "heb": "he", "hin": "hi", "hun": "hu", "ind": "id", "ita": "it",
    "jpn": "ja", "kor": "ko", "nld": "nl", "nob": "no", "pes": "fa", "pol": "pl", "por": "pt", "ron": "ro",
    "rus": "ru", "spa": "es", "swe": "sv", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip
_SIZES: Final = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"), (10**12, "100B<n<1T"),
)  # fmt: skip


def licence_fields(licences: Sequence[str], link: str | None) -> dict[str, Any]:
    """The front matter about licences: one by its name there, several or another as ``other`` with the list.

    >>> licence_fields(["CC-BY-4.0"], None)
    {'license': 'cc-by-4.0'}
    >>> licence_fields([], None)
    {'license': 'unknown'}
    """
    hub = re.sub(r"-(only|or-later)$", "", licences[0].lower()) if len(licences) == 1 else ""
    if not licences:
        return {"license": "unknown"}
    if hub in _HUB_LICENCES:
        return {"license": hub}
    return {
        "license": "other",
        "license_name": "mixed" if len(licences) > 1 else re.sub(r"[^a-z0-9.]+", "-", licences[0].lower()),
        **({"license_link": link} if link else {}),
        "source_licenses": [one_line(licence) for licence in licences],
    }


def language_code(name: str) -> str:
    """A language as the Hub writes it; what is no code stays readable, but can't end the front matter.

    >>> language_code("eng_Latn"), language_code("haw_Latn"), language_code("---\\nx")
    ('en', 'haw', '-x')
    """
    code = re.sub(r"[^A-Za-z0-9]+", "-", name.partition("_")[0])[:40]
    return _TWO_LETTERS.get(code, code)


def size_category(documents: int) -> str:
    """The Hub's name for a number of rows.

    >>> size_category(999), size_category(1000), size_category(10**13)
    ('n<1K', '1K<n<10K', 'n>1T')
    """
    return next((name for limit, name in _SIZES if documents < limit), "n>1T")


def one_line(text: str) -> str:
    """Text without controls, on one line."""
    return " ".join(clean(text).split())
