"""A share in a manifest: a number, or a percentage as text."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_PERCENT = r"^[0-9]+(\.[0-9]+)? ?%$"


def _fraction(value: Any) -> Any:
    """Read `3%` as 0.03, and `-3%` as -0.03, so that it is refused for its sign; leave anything else to pydantic."""
    if isinstance(value, str) and re.fullmatch(_PERCENT, value.removeprefix("-")):
        return float(value[:-1]) / 100
    return value


Fraction = Annotated[
    float, BeforeValidator(_fraction, json_schema_input_type=float | Annotated[str, Field(pattern=_PERCENT)])
]
