"""What a configuration says about filters, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from groundup.base.errors import RequestError, nearest
from groundup.stages.curate.filters.modes import chain, modes


def check_filters(filters: Sequence[str], limits: Mapping[str, Mapping[str, float]], where: str) -> None:
    """RequestError that begins with ``where`` if a set of filters, or a filter or limit of theirs, is not known."""
    owners: dict[str, str] = {}
    for mode in filters:
        if mode not in modes():
            raise RequestError(f"{where}: no set of filters {mode!r}{nearest(mode, modes())}")
        owners.update({one.name: mode for one in modes()[mode].filters})
    for name, values in limits.items():
        if name not in owners:
            raise RequestError(f"{where}: limits for {name!r}, which is none of the filters{nearest(name, owners)}")
        try:
            chain(owners[name], {name: values})
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from None
