"""A policy's judgement: a truth table, the laws it keeps, and what is wrong with a policy in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.artifact.terms import USES, Use, strictest
from groundup.base.errors import RequestError
from groundup.rights.licences.expression import normal
from groundup.rights.policy import Policy, Rules, host_of, packaged

TRAIN_OPEN = {"use": "train", "licences": ["public-domain", "permissive"]}


def policy(*rules: dict[str, object], default: str = "never") -> Rules:
    return Rules.parse({"default": default, "rules": list(rules)}, "policy")


@pytest.mark.parametrize(
    ("licence", "opened", "permissive", "research"),
    [
        ("CC0-1.0", "train", "train", "train"),
        ("LicenseRef-public-domain", "train", "train", "train"),
        ("MIT", "train", "train", "train"),
        ("Apache-2.0", "train", "train", "train"),
        ("CC-BY-4.0", "train", "train", "train"),
        ("CC-BY-3.0-DE", "train", "train", "train"),
        ("LicenseRef-CC-BY", "train", "train", "train"),
        ("CC-BY-SA-4.0", "train", "never", "train"),
        ("CDLA-Sharing-1.0", "train", "never", "train"),
        ("ODbL-1.0", "train", "never", "train"),
        ("CC-BY-NC-4.0", "never", "never", "train"),
        ("CC-BY-NC-SA-4.0", "never", "never", "train"),
        ("CC-BY-ND-4.0", "never", "never", "evaluate"),
        ("CC-BY-NC-ND-4.0", "never", "never", "evaluate"),
        ("GPL-3.0-only", "never", "never", "train"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "never", "never", "train"),
        ("BUSL-1.1", "never", "never", "evaluate"),
        ("LicenseRef-mine", "never", "never", "evaluate"),
        ("LicenseRef-proprietary", "never", "never", "never"),
        ("LicenseRef-all-rights-reserved", "never", "never", "never"),
        ("no expression at all", "never", "never", "evaluate"),
        ("MIT OR GPL-3.0-only", "train", "train", "train"),
        ("MIT AND GPL-3.0-only", "never", "never", "train"),
        ("CC-BY-SA-4.0 OR CC-BY-NC-4.0", "train", "never", "train"),
        ("MIT AND (GPL-3.0-only OR CC0-1.0)", "train", "train", "train"),
        ("(MIT AND CC-BY-ND-4.0) OR LicenseRef-proprietary", "never", "never", "evaluate"),
    ],
)
def test_packaged_policies(licence: str, opened: Use, permissive: Use, research: Use) -> None:
    wanted = {"open": opened, "permissive": permissive, "research": research}
    assert {name: Policy.load(name).judge(licence).use for name in wanted} == wanted
    assert set(packaged()) == set(wanted)


@pytest.mark.parametrize(
    ("rules", "licence", "use"),
    [
        # To allow share-alike allows nothing that is non-commercial too; to forbid non-commercial forbids all of it.
        ([{"use": "train", "licences": ["share-alike"]}], "CC-BY-NC-SA-4.0", "never"),
        ([{"use": "train", "licences": ["share-alike", "non-commercial"]}], "CC-BY-NC-SA-4.0", "train"),
        ([{"use": "evaluate", "licences": ["non-commercial"]}, {"use": "train"}], "CC-BY-NC-SA-4.0", "evaluate"),
        # The first rule that fits decides.
        ([{"use": "train", "licences": ["CC-BY-NC-4.0"]}, {"use": "never", "licences": ["non-commercial"]}],
         "CC-BY-NC-4.0", "train"),
        ([{"use": "never", "licences": ["non-commercial"]}, {"use": "train", "licences": ["CC-BY-NC-4.0"]}],
         "CC-BY-NC-4.0", "never"),
        # Ids as people write them, patterns.
        ([{"use": "train", "licences": ["gpl-2.0+"]}], "GPL-2.0-or-later", "train"),
        ([{"use": "train", "licences": ["GPL-*-or-later"]}], "GPL-3.0-or-later", "train"),
        ([{"use": "train", "licences": ["GPL-*-or-later"]}], "GPL-3.0-only", "never"),
        ([{"use": "train", "licences": ["* WITH Classpath-exception-2.0"]}],
         "GPL-2.0-only WITH Classpath-exception-2.0", "train"),
        ([{"use": "train", "licences": ["* WITH Classpath-exception-2.0"]}], "GPL-2.0-only", "never"),
        ([{"use": "train", "licences": ["LicenseRef-acme-*"]}], "LicenseRef-acme-1", "train"),
        ([{"use": "train", "licences": ["unknown"]}], "LicenseRef-acme-1", "train"),
        ([{"use": "train", "licences": ["unknown"]}], "MIT", "never"),
        ([{"use": "train", "licences": ["Unknown"]}], "not spdx", "train"),
    ],
)  # fmt: skip
def test_rules_on_licences(rules: list[dict[str, object]], licence: str, use: Use) -> None:
    assert policy(*rules).judge(licence).use == use


@pytest.mark.parametrize(
    ("rule", "source", "url", "use"),
    [
        ({"domains": ["example.org"]}, "a", "https://example.org/x", "train"),
        ({"domains": ["example.org"]}, "a", "https://www.example.org:8080/x", "train"),
        ({"domains": ["*.Example.org."]}, "a", "https://EXAMPLE.org./x", "train"),
        ({"domains": ["example.org"]}, "a", "https://badexample.org/x", "never"),
        ({"domains": ["example.org"]}, "a", "https://example.org.evil.net/", "never"),
        ({"domains": ["example.org"]}, "a", "https://evil.net/?example.org", "never"),
        ({"domains": ["example.org"]}, "a", "https://example.org@evil.net/", "never"),
        ({"domains": ["example.org"]}, "a", None, "never"),
        ({"domains": ["example.org"]}, "a", "http://[broken", "never"),
        ({"sources": ["wiki-*"]}, "wiki-de", None, "train"),
        ({"sources": ["wiki-*"]}, "other", None, "never"),
        ({"sources": ["wiki"], "domains": ["example.org"]}, "wiki", "https://example.org", "train"),
        ({"sources": ["wiki"], "domains": ["example.org"]}, "other", "https://example.org", "never"),
        ({"sources": ["wiki"], "licences": ["permissive"]}, "wiki", None, "never"),
    ],
)
def test_rules_on_places(rule: dict[str, object], source: str, url: str | None, use: Use) -> None:
    assert policy({"use": "train", **rule}).judge("CC-BY-NC-4.0", source, url).use == use


def test_the_reason_names_the_rule() -> None:
    rules = policy({"use": "train", "licences": ["permissive"]}, {"use": "never", "licences": ["MIT"], "because": "no"})
    assert rules.judge("MIT AND GPL-3.0-only").reason == "default: never"
    assert rules.judge("ISC").reason == "rule 1, train: permissive"
    placed = policy({"use": "evaluate", "sources": ["a"], "domains": ["b.org"], "because": "asked to"})
    assert placed.judge("MIT", "a", "https://b.org").reason == "rule 1, evaluate: sources a, domains b.org (asked to)"


def test_the_best_of_a_source_minds_rules_for_domains() -> None:
    rules = policy({"use": "train", "domains": ["example.org"], "licences": ["unknown"]})
    assert rules.judge("LicenseRef-x", "a").use == "never"
    assert rules.best("LicenseRef-x", "a").use == "train"
    assert rules.best("MIT", "a").use == "never"


names = st.sampled_from(["MIT", "CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "GPL-3.0-only", "LicenseRef-x"])
some_rules = st.lists(
    st.fixed_dictionaries(
        {
            "use": st.sampled_from(USES),
            "licences": st.lists(
                st.sampled_from(
                    ["permissive", "share-alike", "non-commercial", "copyleft", "MIT", "CC-BY-*", "unknown"]
                ),
                max_size=2,
            ),
        }
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(some_rules, st.sampled_from(USES), names, names)
def test_laws(rules: list[dict[str, object]], default: Use, one: str, other: str) -> None:
    judge = policy(*rules, default=default).judge
    first, second = judge(one).use, judge(other).use
    assert judge(normal(f"{one} AND {other}")).use == strictest([first, second])
    assert judge(normal(f"{one} OR {other}")).use == max(first, second, key=USES.index)
    assert judge(one).use in {default, *(str(rule["use"]) for rule in rules)}
    forbidding = policy({"use": "never", "licences": [one]}, *rules, default=default)
    assert forbidding.judge(one).use == "never"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"rules": [TRAIN_OPEN], "defualt": "never"}, "did you mean 'default'?"),
        ({"rules": [{"use": "train", "licences": ["permisive"]}]}, "did you mean 'permissive'?"),
        ({"rules": [{"use": "train", "licences": ["MIT OR ISC"]}]}, "is no SPDX id"),
        ({"rules": [{"use": "train", "licences": ["CC-XX-*"]}]}, "no SPDX id fits the pattern"),
        ({"rules": [{"use": "sell"}]}, "rules.0.use"),
        ({"rules": [{"use": "train", "domains": ["https://example.org/"]}]}, "is no host"),
        ({"rules": [TRAIN_OPEN], "signals": {"recheck_within": "30"}}, "needs a number and a unit"),
        ({"rules": [{"use": "never", "licences": ["MIT"]}]}, "excludes everything"),
        ({}, "excludes everything"),
        ([], "must be a mapping"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, data: object, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(RequestError, match=r"^[^\n]+$") as caught:
        Policy.load(str(path))
    assert told in str(caught.value) and "mine" in str(caught.value)


def test_policies_are_found_by_name_and_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text(yaml.safe_dump({"rules": [TRAIN_OPEN]}))
    assert Policy.load("house.yaml", tmp_path).name == "house"
    with pytest.raises(RequestError, match=r"no policy 'opne'; did you mean 'open'\?"):
        Policy.load("opne")
    with pytest.raises(RequestError, match=r"policy file 'gone\.yaml' does not exist"):
        Policy.load("gone.yaml", tmp_path)


def test_hosts() -> None:
    assert [host_of(url) for url in ("https://A.b:1/x", "a.b/x", "http://[::1]/", "http://[::x")] == [
        "a.b",
        "",
        "::1",
        "",
    ]


def test_the_policy_in_the_guide_is_one(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "terms.md").read_text("utf-8")
    lines = guide[guide.index("    description: What our house") :].split("\n\n")[0].splitlines()
    path = tmp_path / "house.yaml"
    path.write_text("\n".join(line.removeprefix("    ") for line in lines), "utf-8")
    house = Policy.load(str(path))
    assert house.judge("MIT", "a", "https://www.example.com/").use == "never"
    assert house.judge("LicenseRef-x", "our-wiki-de").use == "train"
    assert house.judge("CC-BY-ND-4.0").use == "evaluate" and house.judge("CC-BY-NC-SA-4.0").use == "never"
    assert house.signals.recheck_within == 30 * 86400
