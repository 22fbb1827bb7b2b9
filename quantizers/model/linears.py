"""Which linears a recipe quantizes: rules about names and sizes alone, for the plan and for the work. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import gcd

from catalog.tasks import TASKS
from quantizers.errors import QuantizeError, some
from quantizers.recipe import Recipe

_GROUP_SIZES = (1024, 512, 256, 128, 64, 32, 16, 8)


class Misfit(QuantizeError):
    """A recipe that does not fit the model."""

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message)
        self.fields = fields
        """Fields of the recipe that say so."""


@dataclass(frozen=True)
class Linears:
    """The linears of a model."""

    inputs: Mapping[str, int]
    """Full module name → input features, in the model's order."""
    tied: Mapping[str, str]
    """Those that share their weights → the module they share them with."""
    stacks: Sequence[Sequence[str]] = ()
    """Matrices of all experts of a block, which are one tensor in formats that hold them."""


def quantized(recipe: Recipe, linears: Linears, stay: Collection[str]) -> tuple[str, ...]:
    """Names of the linears that a recipe quantizes, in the model's order.

    A head that shares its weights with the embedding stays where a recipe leaves `skip` as it is, whatever it is called.

    Args:
        stay: those that no artifact of the recipe's format holds quantized.

    Raises:
        Misfit: none is left, one shares its weights with the embedding, its input does not divide into groups, or
            overrides are for none or contradict each other.
    """
    if recipe.skip == Recipe.model_fields["skip"].default:
        stay = {*stay, *linears.tied}
    skipped = {name for name in linears.inputs if any(fnmatchcase(name, pattern) for pattern in recipe.skip)}
    names = tuple(name for name in linears.inputs if name not in skipped and name not in stay)
    if not names:
        raise Misfit(
            f"skip {list(recipe.skip)} leaves no linear to quantize. The model's linears are {some(tuple(linears.inputs))}.",
            "skip",
        )
    for name in names:
        if name in linears.tied:
            raise Misfit(
                f"{name} shares its weights with {linears.tied[name]}, so it cannot be quantized on its own. Add {name} to "
                "skip.",
                "skip",
            )
    _divides(recipe, {name: linears.inputs[name] for name in names})
    _overridden(recipe, names)
    _stackable(recipe, names, linears.stacks)
    return names


def heads(task: str, names: Collection[str]) -> frozenset[str]:
    """Return those linears that are a task's head: small beside the rest, and all that it says passes through them."""
    return frozenset(name for name in names if any(fnmatchcase(name, pattern) for pattern in TASKS[task].kept))


def unmatched(patterns: Sequence[str], linears: Linears) -> str | None:
    """Return the first of some patterns that fits the name of no linear, or None."""
    return next((p for p in patterns if not any(fnmatchcase(name, p) for name in linears.inputs)), None)


def _divides(recipe: Recipe, inputs: Mapping[str, int]) -> None:
    size = recipe.group_size
    if recipe.nncf and recipe.nncf.fallback != "error":
        return
    uneven = tuple(name for name, count in inputs.items() if count % size) if size != -1 else ()
    if not uneven:
        return
    common = gcd(*inputs.values())
    offers = ", ".join(str(each) for each in _GROUP_SIZES if common % each == 0)
    counts = ", ".join(str(each) for each in sorted({inputs[name] for name in uneven}))
    raise Misfit(
        f"group_size {size} does not divide the {counts} inputs of {some(uneven)}; allowed: {offers + ', or ' if offers else ''}"
        "-1 (one scale per output channel), or these layers in skip",
        "group_size",
    )


def _overridden(recipe: Recipe, names: tuple[str, ...]) -> None:
    known, patterns = set(names), recipe.patterns()
    for pattern in recipe.overrides:
        if pattern not in known and not any(fnmatchcase(name, pattern) for name in names):
            raise Misfit(
                f"overrides name {pattern}, which is no linear that the recipe quantizes. These are {some(names)}.",
                "overrides",
            )
    for name in (name for name in names if name not in recipe.overrides):
        told = {pattern: dtype for pattern, dtype in patterns if fnmatchcase(name, pattern)}
        if len(set(told.values())) > 1:
            raise Misfit(
                f"overrides {' and '.join(told)} give {name} different dtypes ({', '.join(told.values())}). Add {name} "
                "itself to overrides, or narrow the patterns.",
                "overrides",
            )


def _stackable(recipe: Recipe, names: tuple[str, ...], stacks: Sequence[Sequence[str]]) -> None:
    dtypes = recipe.dtypes_of(names)
    for each in stacks:
        if len({dtypes.get(name) for name in each}) > 1:
            raise Misfit(
                f"{some(tuple(each))} are one tensor in format {recipe.format}. Give them all the same dtype, or add them all "
                "to skip.",
                "overrides",
                "skip",
            )
