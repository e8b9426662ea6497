"""The type of a field in a recipe that holds a licence: an SPDX expression, kept in its normal form."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from groundup.base.errors import RequestError
from groundup.rights.licences.expression import normal


def _expression(value: str) -> str:
    if not value.strip():
        return ""
    try:
        return normal(value)
    except RequestError as error:
        raise ValueError(str(error)) from None


Licence = Annotated[str, AfterValidator(_expression)]
"""An SPDX expression or LicenseRef-NAME; empty where the field may be."""
