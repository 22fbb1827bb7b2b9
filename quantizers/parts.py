"""The one table of parts: a recipe names them, this says which function each name is."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from quantizers.formats.format import Format
from quantizers.ranges.minmax import minmax
from quantizers.ranges.mse import mse

RANGES = {"minmax": minmax, "mse": mse}
FORMATS = {
    "compressed-tensors": "quantizers.formats.compressed_tensors",
    "bitsandbytes": "quantizers.formats.bitsandbytes",
    # IR is made from a compressed-tensors artifact of the same recipe, when that is whole.
    "openvino": "quantizers.formats.compressed_tensors",
}
"""Imported when asked for: bitsandbytes takes two seconds and 150 MB."""


def format_of(name: str) -> Format:
    """The format a recipe names."""
    return cast(Format, import_module(FORMATS[name]))
