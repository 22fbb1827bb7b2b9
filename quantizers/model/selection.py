"""Which linears a recipe quantizes, and whether its format can hold them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import chain
from math import gcd

from torch import nn

from quantizers.errors import QuantizeError
from quantizers.families.experts import of, stacks
from quantizers.model.loadable import never_quantized, unreadable
from quantizers.model.skeleton import Skeleton
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
    if recipe.format == "compressed-tensors":
        _compressible(skeleton, names, target)
    return names


def _nothing_left(skeleton: Skeleton, recipe: Recipe) -> str:
    if own := {name: type(module).__name__ for name, module in skeleton.model.named_modules() if _of_its_own(module)}:
        kinds = ", ".join(sorted(set(own.values())))
        return (
            f"the linears of a {skeleton.model.config.model_type}, {_some(tuple(own))}, are {kinds}, a class of its own that "
            "no stock loader replaces by quantized linears. No recipe quantizes this architecture: name another model."
        )
    return f"skip {list(recipe.skip)} leaves no linear to quantize. The model's linears are {_some(tuple(skeleton.linears))}."


def _of_its_own(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and type(module) is not nn.Linear


def other_formats(skeleton: Skeleton) -> str:
    """Advice, a sentence: the formats beside OpenVINO IR that hold all of the model's linears."""
    names = tuple(skeleton.linears)
    if any(skeleton.linears[name].transposed for name in names) or unreadable(skeleton.model, names):
        return f"Use {_BITSANDBYTES}."
    return "Use format compressed-tensors or bitsandbytes."


_BITSANDBYTES = "format bitsandbytes with dtype nf4 or fp4_bnb"


def _compressible(skeleton: Skeleton, names: tuple[str, ...], target: str) -> None:
    if lost := unreadable(skeleton.model, names):
        raise QuantizeError(
            f"target {target}: transformers cannot load {_some(lost)} of a {skeleton.model.config.model_type} from "
            "format compressed-tensors: it initializes the modules that hold them by weights that are not there. "
            f"Use {_BITSANDBYTES}, or add these layers to skip."
        )
    conv = [n for n in names if skeleton.linears[n].transposed]
    if conv:
        raise QuantizeError(
            f"target {target}: {_some(tuple(conv))} are Conv1D modules, which format compressed-tensors cannot hold. "
            f"Use format openvino, or {_BITSANDBYTES}."
        )


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
                    f"target {target}: {_some(tuple(each))} are one tensor in format {recipe.format}. Give them all the "
                    "same dtype, or add them all to skip."
                )


def _overridden(recipe: Recipe, names: tuple[str, ...], target: str) -> None:
    known, patterns = set(names), recipe.patterns()
    for pattern in recipe.overrides:
        if pattern not in known and not any(fnmatchcase(name, pattern) for name in names):
            raise QuantizeError(
                f"target {target}: overrides name {pattern}, which is no linear that the recipe quantizes. "
                f"These are {_some(names)}."
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
        f"of {_some(uneven)}. {offer[:1].upper() + offer[1:]}{'as does' if offers else 'Use'} -1 "
        "(one scale per output channel), or add these layers to skip."
    )


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
