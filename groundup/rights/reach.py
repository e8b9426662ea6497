"""What the withdrawals of a workspace reach: which rows are left out of which material, and the digests that follow.

Material that enters (pages, conversations, preferences) has a *base* digest, of its definition alone. Rows that were
withdrawn are left out of it, and then its digest is of the base and of the ids left out. ``kept`` are those of the ids
that curation, or a stage that reads rows directly, had kept. A digest made with them alone is an artifact's *essence*:
what is trained takes the essence of its inputs, so that withdrawing what was never kept remakes nothing trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import ArtifactError
from groundup.base.files import read_json, sha256_json, write_json

_FILE: Final = "reach.json"


def withheld(digest: str, ids: Iterable[str]) -> str:
    """The digest of material without these rows: the same digest if there are none."""
    left_out = sorted(ids)
    return sha256_json({"base": digest, "withdrawn": sha256_json(left_out)}) if left_out else digest


@dataclass(frozen=True)
class Reach:
    """``register/reach.json``.

    ``left_out`` has the ids of rows by base digest. ``derived`` has the base of each digest that was ever made so, and
    ``essences`` the essence of each artifact whose essence is not its digest. ``searched`` says which requests were
    looked for in which material, by digest.
    """

    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    derived: Mapping[str, str] = field(default_factory=dict)
    essences: Mapping[str, str] = field(default_factory=dict)
    searched: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, workspace: Path) -> Reach:
        """What was written last, or nothing; ArtifactError if the file is damaged."""
        path = workspace / "register" / _FILE
        try:
            data = read_json(path)
            return cls(
                left_out={base: frozenset(ids) for base, ids in data["left_out"].items()},
                kept=frozenset(data["kept"]),
                derived=dict(data["derived"]),
                essences=dict(data["essences"]),
                searched={digest: frozenset(ids) for digest, ids in data["searched"].items()},
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(
                f"{path} is damaged ({error}); restore it from a copy: it says what was withdrawn from which material"
            ) from None

    def save(self, workspace: Path) -> None:
        """Write it, whole or not at all."""
        data: dict[str, Any] = {
            "format": 1,
            "left_out": {base: sorted(ids) for base, ids in sorted(self.left_out.items())},
            "kept": sorted(self.kept),
            "derived": dict(sorted(self.derived.items())),
            "essences": dict(sorted(self.essences.items())),
            "searched": {digest: sorted(ids) for digest, ids in sorted(self.searched.items())},
        }
        write_json(workspace / "register" / _FILE, data)

    def ids(self, base: str) -> frozenset[str]:
        """The ids left out of the material with this base."""
        return self.left_out.get(base, frozenset())

    def kept_ids(self, base: str) -> frozenset[str]:
        """Those of them that were kept somewhere."""
        return self.ids(base) & self.kept

    def base(self, digest: str) -> str:
        """The base of a digest: itself unless rows were left out."""
        return self.derived.get(digest, digest)

    def essence(self, digest: str) -> str:
        """The essence of an artifact that was made."""
        return self.essences.get(digest, digest)

    def now(self, base: str) -> str:
        """The digest of the material with this base, as it is to be."""
        return withheld(base, self.ids(base))

    def essence_now(self, base: str) -> str:
        """Its essence."""
        return withheld(base, self.kept_ids(base))

    def former(self, base: str) -> list[str]:
        """All digests that this material ever had."""
        return [base, *(digest for digest, known in self.derived.items() if known == base)]

    def without(self, left_out: Mapping[str, Iterable[str]], kept: Iterable[str]) -> Reach:
        """The same with more ids left out, by base digest, and more ids known to be kept."""
        merged = {base: self.ids(base) | frozenset(ids) for base, ids in left_out.items()}
        whole = {**self.left_out, **{base: ids for base, ids in merged.items() if ids}}
        made = {withheld(base, ids): base for base, ids in whole.items()}
        return Reach(whole, self.kept | frozenset(kept), {**self.derived, **made}, self.essences, self.searched)

    def knowing(self, essences: Mapping[str, str]) -> Reach:
        """The same with the essences of artifacts (by digest) that are made now."""
        whole = {**self.essences, **essences}
        other = {digest: essence for digest, essence in whole.items() if essence != digest}
        return Reach(self.left_out, self.kept, self.derived, other, self.searched)

    def after(self, digests: Iterable[str], requests: Iterable[str]) -> Reach:
        """The same after requests, by id, were looked for in material."""
        found = frozenset(requests)
        both = {digest: self.searched.get(digest, frozenset()) | found for digest in digests}
        return Reach(self.left_out, self.kept, self.derived, self.essences, {**self.searched, **both})


NOTHING: Final = Reach()
