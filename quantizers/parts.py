"""From the names that a recipe says to the code behind them."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from catalog.formats import FORMATS
from quantizers.formats.protocols import Exporter, Layout
from quantizers.ranges.minmax import minmax
from quantizers.ranges.mse import mse

RANGES = {"minmax": minmax, "mse": mse}


def layout_of(format_: str) -> Layout:
    """How the streaming engine lays out an artifact of a format, or the artifact that it is made from."""
    return cast(Layout, _module(FORMATS[format_].made_from or format_))


def exporter_of(format_: str) -> Exporter:
    """How a format is made from another one. Brings the libraries of the format, some hundred megabytes."""
    return cast(Exporter, _module(f"{format_}.export"))


def _module(name: str) -> object:
    # Imported when asked for: bitsandbytes takes two seconds and 150 MB.
    return import_module(f"quantizers.formats.{name.replace('-', '_')}")
