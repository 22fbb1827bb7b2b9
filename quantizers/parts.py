"""The one table of parts: a recipe names them, this says which function each name is."""

from __future__ import annotations

from quantizers.formats import bitsandbytes, compressed_tensors
from quantizers.formats.format import Format
from quantizers.ranges.minmax import minmax
from quantizers.ranges.mse import mse

RANGES = {"minmax": minmax, "mse": mse}
FORMATS: dict[str, Format] = {"compressed-tensors": compressed_tensors, "bitsandbytes": bitsandbytes}
