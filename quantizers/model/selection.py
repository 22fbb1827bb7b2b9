"""Which linears a recipe quantizes, and whether its format can hold them."""

from __future__ import annotations

from itertools import chain

from catalog.formats import FORMATS
from quantizers.errors import QuantizeError
from quantizers.families.experts import of, stacks
from quantizers.model.linears import Linears, Misfit, heads, quantized
from quantizers.model.loadable import never_quantized
from quantizers.model.skeleton import Skeleton
from quantizers.parts import layout_of
from quantizers.recipe import Recipe


def select_linears(skeleton: Skeleton, recipe: Recipe, target: str) -> tuple[str, ...]:
    """Names of the linears that `recipe` quantizes, in the model's order.

    Raises:
        QuantizeError: none is left, one of them shares its weights with the embedding, its input does not divide
            into groups, or the format cannot hold it; the message names target and layers.
    """
    linears = _linears(skeleton, recipe)
    stay = never_quantized(skeleton.model, tuple(linears.inputs), recipe.format)
    try:
        names = quantized(recipe, linears, stay | heads(skeleton.task, linears.inputs))
    except Misfit as error:
        raise QuantizeError(f"target {target}: {error}") from error
    if FORMATS[recipe.format].laid_out:
        try:
            layout_of(recipe.format).refuse(skeleton, names)
        except QuantizeError as error:
            raise QuantizeError(f"target {target}: {error}") from error
    return names


def _linears(skeleton: Skeleton, recipe: Recipe) -> Linears:
    """The model's linears, and which are one: OpenVINO multiplies by one matrix of all experts at once, and NNCF
    compresses all three alike."""
    matrices = [[of(path, experts, matrix) for matrix in experts.names] for path, experts in stacks(skeleton.model)]
    if recipe.engine == "nncf":
        matrices = [[list(chain(*each))] for each in matrices]
    return Linears(
        inputs={name: linear.in_features for name, linear in skeleton.linears.items()},
        tied={name.removesuffix(".weight"): twin for name, twin in skeleton.tied.items()},
        stacks=list(chain(*matrices)),
    )


def other_formats(skeleton: Skeleton) -> str:
    """Advice, a sentence: the formats beside those made from another that hold all of the model's linears."""
    names = tuple(skeleton.linears)
    able = [name for name, row in FORMATS.items() if row.laid_out and _reads_back(name, skeleton, names)]
    return (
        f"Use format {' or '.join(able)}." if able else "No format here holds all of its linears: name another model."
    )


def _reads_back(format_: str, skeleton: Skeleton, names: tuple[str, ...]) -> bool:
    try:
        layout_of(format_).refuse(skeleton, names)
    except QuantizeError:
        return False
    return True
