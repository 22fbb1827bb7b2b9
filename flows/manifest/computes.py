"""What the client of a format multiplies in, which may depend on what weights are stored as."""

from __future__ import annotations

from catalog.format import Format
from quantizers.recipe import Recipe


def multiplying(format_: Format, recipe: Recipe) -> tuple[str, ...]:
    """Return the dtypes of products that a format's client has for a recipe's weights, in the format's order."""
    name = recipe.dtype if recipe.symmetric else f"asymmetric {recipe.dtype}"
    return tuple(
        dtype for dtype in format_.computes if dtype not in format_.multiplies or name in format_.multiplies[dtype]
    )
