"""Which quantized linears the stock loader reads back: transformers' own rules, asked of the model itself."""

from __future__ import annotations

from transformers import PreTrainedModel

from catalog.formats import FORMATS
from quantizers.families import routers
from quantizers.families.experts import stacked
from quantizers.parts import layout_of


def never_quantized(model: PreTrainedModel, names: tuple[str, ...], format_: str) -> frozenset[str]:
    """Those of `names` that stay as they are in any artifact of this format.

    Routers, whose choice of experts is no place to save a byte; experts that transformers stacks, where it is the one to
    load them, for it loads quantized linears alone; and what the format's loader never reads quantized.
    """
    router_names = routers(model.config.to_dict()).intersection(n.rpartition(".")[2] for n in names)
    stay = {name for name in names if name.rpartition(".")[2] in router_names or "router" in name.split(".")[-2:]}
    if not FORMATS[format_].stacks:
        stay |= stacked(model)
    if FORMATS[format_].laid_out:
        stay |= layout_of(format_).stays(model, names)
    return frozenset(stay)
