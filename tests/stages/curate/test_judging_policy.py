"""Under a policy, documents go by their own licence or their source's, whichever is stricter, and by their host."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from groundup.artifact.terms import Use
from groundup.rights.policy import Rules
from groundup.stages.curate.judging.policy import DecidePolicy

RULES = Rules.parse(
    {
        "rules": [
            {"use": "never", "domains": ["bad.org"]},
            {"use": "train", "domains": ["good.org"], "licences": ["unknown"]},
            {"use": "evaluate", "licences": ["non-commercial"]},
            {"use": "train", "licences": ["permissive", "share-alike"]},
        ]
    },
    "policy",
)


def judged(*rows: dict[str, Any], purpose: Use = "train") -> list[dict[str, Any]]:
    columns = ("licence", "found_licence", "source", "url", "step", "rule", "detail")
    table = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in columns}
    return DecidePolicy(RULES, purpose)(pa.RecordBatch.from_pydict(table)).to_pylist()


@pytest.mark.parametrize(
    ("declared", "found", "url", "to_train", "to_evaluate"),
    [
        ("CC-BY-4.0", None, None, None, None),
        ("CC-BY-4.0", "CC-BY-SA-4.0", None, None, None),
        ("CC-BY-4.0", "CC-BY-NC-4.0", None, "CC-BY-NC-4.0", None),
        ("CC-BY-NC-4.0", "CC-BY-4.0", None, "CC-BY-NC-4.0", None),
        ("CC-BY-4.0", "GPL-3.0-only", None, "GPL-3.0-only", "GPL-3.0-only"),
        ("LicenseRef-x", None, None, "LicenseRef-x", "LicenseRef-x"),
        ("LicenseRef-x", None, "https://www.good.org/a", None, None),
        ("CC-BY-4.0", None, "https://bad.org/a", "CC-BY-4.0", "CC-BY-4.0"),
        ("CC-BY-NC-4.0 OR MIT", None, None, None, None),
        ("CC-BY-4.0", "CC-BY-4.0 AND CC-BY-NC-4.0", None, "CC-BY-4.0 AND CC-BY-NC-4.0", None),
    ],
)
def test_documents(
    declared: str, found: str | None, url: str | None, to_train: str | None, to_evaluate: str | None
) -> None:
    row = {"licence": declared, "found_licence": found, "source": "s", "url": url}
    for purpose, rule in (("train", to_train), ("evaluate", to_evaluate)):
        (got,) = judged(row, purpose=purpose)
        assert (got["rule"], got["step"]) == (rule, rule and "policy")
        assert (got["detail"] is None) == (rule is None)


def test_a_row_that_went_before_keeps_its_reason() -> None:
    (got,) = judged({"licence": "GPL-3.0-only", "source": "s", "step": "url", "rule": "banned_url", "detail": "x"})
    assert (got["step"], got["rule"]) == ("url", "banned_url")


def test_rules_and_purpose_define_the_operator() -> None:
    digests = {
        DecidePolicy(rules, purpose).spec.digest
        for rules in (RULES, Rules(default="train"), Rules(default="never"))
        for purpose in ("train", "evaluate")
    }
    assert len(digests) == 6
    assert DecidePolicy(RULES, "train").spec.digest in digests
