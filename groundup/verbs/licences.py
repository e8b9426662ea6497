"""What ``groundup show --licences`` prints: how much of an artifact stands under which licence."""

from __future__ import annotations

import json
from pathlib import Path

from groundup.verbs.options import open_store


def show_licences(reference: str, policy: str | None, workspace: Path | None, as_json: bool) -> None:
    """Print the table, with what the policy allows if one is named."""
    from groundup.rights.policy import Policy
    from groundup.rights.shares import shares, table

    store = open_store(workspace)
    rules = Policy.load(policy) if policy else None
    found = shares(store, store.find(reference, verify=False).record, rules)
    if as_json:
        print(json.dumps([one.as_json() for one in found], indent=2))
        return
    print("\n".join(table(found)) if found else "no sources are recorded for this artifact")
