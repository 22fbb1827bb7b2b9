"""Architecture knowledge as data: one small table per kin of model types.

A table says which linears share an input and which norm or linear can absorb a scale on it. For a causal model without one
`quantizers.discovery` finds the same. Imports no torch; folding is in `quantizers.transforms.fold`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from quantizers.errors import QuantizeError
from quantizers.families import bert, gpt, llama, mixture, switch, t5
from quantizers.families.family import Family, Group, Rows, Stack

FAMILIES: dict[str, Callable[[Mapping[str, Any]], Family]] = {
    **llama.TABLES,
    **gpt.TABLES,
    **mixture.TABLES,
    **t5.TABLES,
    **switch.TABLES,
    **bert.TABLES,
}
"""Model type in config.json to the function that reads the rest of it."""


_ROUTERS = dict.fromkeys(mixture.TABLES, mixture.ROUTERS) | dict.fromkeys(switch.TABLES, switch.ROUTERS)


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of the model whose config.json is `config`.

    Raises:
        QuantizeError: the model type is absent or has no table here, or the table needs a key that is absent.
    """
    model_type = config.get("model_type")
    table = FAMILIES.get(str(model_type))
    if table is None:
        raise QuantizeError(
            f"config.json: model_type is {model_type!r}, whose blocks are unknown here, and they are not guessed; "
            f"known are {', '.join(sorted(FAMILIES))}. A recipe without transform and with nearest rounding needs no "
            "table; for the others, a table goes below quantizers/families/."
        )
    try:
        return table(config)
    except KeyError as absent:
        raise QuantizeError(
            f"config.json: {absent.args[0]} is absent, and the table of {model_type} needs it; "
            "complete the file as transformers saves it."
        ) from absent


def routers(config: Mapping[str, Any]) -> frozenset[str]:
    """Last names of the modules that choose experts in the model whose config.json is `config`; most have none."""
    return _ROUTERS.get(str(config.get("model_type")), frozenset())


__all__ = ["FAMILIES", "Family", "Group", "Rows", "Stack", "family_of", "routers"]
