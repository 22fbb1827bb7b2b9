"""Which linears a recipe quantizes, and whether its format can hold them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import chain
from math import gcd

from torch import nn

from catalog.formats import FORMATS
from quantizers.errors import QuantizeError, some
from quantizers.families.experts import of, stacks
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
    names = tuple(n for n in skeleton.linears if not any(fnmatchcase(n, pattern) for pattern in recipe.skip))
    stay = never_quantized(skeleton.model, names, recipe.format)
    names = tuple(name for name in names if name not in stay)
    if not names:
        raise QuantizeError(f"target {target}: {_nothing_left(skeleton, recipe)}")
    for name in names:
        if (weight := f"{name}.weight") in skeleton.tied:
            raise QuantizeError(
                f"target {target}: {name} shares its weights with {skeleton.tied[weight]}, so it cannot be quantized "
                f"on its own. Add {name} to skip."
            )
    _divides(skeleton, recipe, names, target)
    _overridden(recipe, names, target)
    _stackable(skeleton, recipe, names, target)
    if FORMATS[recipe.format].made_from is None:
        try:
            layout_of(recipe.format).refuse(skeleton, names)
        except QuantizeError as error:
            raise QuantizeError(f"target {target}: {error}") from error
    return names


def _nothing_left(skeleton: Skeleton, recipe: Recipe) -> str:
    if own := {name: type(module).__name__ for name, module in skeleton.model.named_modules() if _of_its_own(module)}:
        kinds = ", ".join(sorted(set(own.values())))
        return (
            f"the linears of a {skeleton.model.config.model_type}, {some(tuple(own))}, are {kinds}, a class of its own that "
            "no stock loader replaces by quantized linears. No recipe quantizes this architecture: name another model."
        )
    return f"skip {list(recipe.skip)} leaves no linear to quantize. The model's linears are {some(tuple(skeleton.linears))}."


def _of_its_own(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and type(module) is not nn.Linear


def other_formats(skeleton: Skeleton) -> str:
    """Advice, a sentence: the formats beside those made from another that hold all of the model's linears."""
    names = tuple(skeleton.linears)
    able = [name for name, row in FORMATS.items() if row.made_from is None and _reads_back(name, skeleton, names)]
    return f"Use format {' or '.join(able)}."


def _reads_back(format_: str, skeleton: Skeleton, names: tuple[str, ...]) -> bool:
    try:
        layout_of(format_).refuse(skeleton, names)
    except QuantizeError:
        return False
    return True


def _stackable(skeleton: Skeleton, recipe: Recipe, names: tuple[str, ...], target: str) -> None:
    """OpenVINO multiplies by one matrix of all experts at once, and NNCF compresses all three alike."""
    dtypes = recipe.dtypes_of(names)
    for path, experts in stacks(skeleton.model):
        matrices = [of(path, experts, matrix) for matrix in experts.names]
        if recipe.engine == "nncf":
            matrices = [list(chain(*matrices))]
        for each in matrices:
            if len({dtypes.get(name) for name in each}) > 1:
                raise QuantizeError(
                    f"target {target}: {some(tuple(each))} are one tensor in format {recipe.format}. Give them all the "
                    "same dtype, or add them all to skip."
                )


def _overridden(recipe: Recipe, names: tuple[str, ...], target: str) -> None:
    known, patterns = set(names), recipe.patterns()
    for pattern in recipe.overrides:
        if pattern not in known and not any(fnmatchcase(name, pattern) for name in names):
            raise QuantizeError(
                f"target {target}: overrides name {pattern}, which is no linear that the recipe quantizes. "
                f"These are {some(names)}."
            )
    for name in (name for name in names if name not in recipe.overrides):
        told = {pattern: dtype for pattern, dtype in patterns if fnmatchcase(name, pattern)}
        if len(set(told.values())) > 1:
            raise QuantizeError(
                f"target {target}: overrides {' and '.join(told)} give {name} different dtypes "
                f"({', '.join(told.values())}). Add {name} itself to overrides, or narrow the patterns."
            )


def _divides(skeleton: Skeleton, recipe: Recipe, names: tuple[str, ...], target: str) -> None:
    if recipe.group_size == -1:
        return
    uneven = tuple(n for n in names if skeleton.linears[n].in_features % recipe.group_size)
    if not uneven:
        return
    inputs = sorted({skeleton.linears[n].in_features for n in uneven})
    common = gcd(*(skeleton.linears[n].in_features for n in names))
    offers = [size for size in (1024, 512, 256, 128, 64, 32, 16, 8) if common % size == 0]
    offer = f"group sizes {', '.join(map(str, offers))} divide all of them, " if offers else ""
    raise QuantizeError(
        f"target {target}: group_size {recipe.group_size} does not divide the inputs ({', '.join(map(str, inputs))}) "
        f"of {some(uneven)}. {offer[:1].upper() + offer[1:]}{'as does' if offers else 'Use'} -1 "
        "(one scale per output channel), or add these layers to skip."
    )
