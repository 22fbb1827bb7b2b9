"""From sensitivities to recipes: which mixes of dtypes a target with `auto` tries, in order. Imports no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from catalog.dtypes import DTYPES
from flows.manifest.model import Auto, Rung, Search
from flows.manifest.presets import name_of
from flows.planning.jobs import Job
from flows.store import Store
from quantizers.recipe import Recipe
from quantizers.request import GroupCost, SensitivityResult

OPTIMISM = 1.1
"""Predicted divergence of the first rung over the budget: predictions are up to a sixth too low on the demo model, and
the gate wants the unfavourable end of its interval within the budget."""
STEP = 1.03
"""Size of a rung over that of the one before it, at the most, where there is a mix in between."""
RUNGS = 8
"""Rungs of a budget of quality at the most; the last stores everything in the widest dtype."""

Mix = tuple[str, ...]
"""A dtype for each choice of an answer."""


def with_known_recipes(job: Job, store: Store) -> Job:
    """Return the job with the recipes that follow from its sensitivities, or as it is while these are not known."""
    search = job.target.search
    if job.recipes_known or search is None:
        return job
    record = store.record(job.sensitivity(search))
    if record is None:
        return job
    gate = job.manifest.gates.size
    most = gate.max_ratio * job.original.bytes if gate else None
    rungs = ladder(search, record.result, job.original.bytes, most)
    return replace(job, target=job.target.model_copy(update={"rungs": rungs}), recipes_known=True)


def ladder(search: Search, answer: SensitivityResult, original: int, most: float | None) -> tuple[Rung, ...]:
    """Return the recipes to try, the smallest first.

    Args:
        search: base recipe and budget.
        answer: what each dtype costs.
        original: bytes of the original's weights.
        most: bytes of weights that the size gate lets pass; larger mixes are left out, but for the smallest.
    """
    mixes = mixes_of(search, answer, original)
    fitting = [mix for mix in mixes if most is None or answer.rest_bytes + size_of(answer, mix) <= most]
    named: dict[str, Rung] = {}
    for mix in fitting or mixes[:1]:
        recipe = recipe_of(search.base, answer, mix)
        name = _name(recipe, answer, mix)
        taken = sum(other.partition("_")[0] == name for other in named)
        name = f"{name}_{taken + 1}" if taken else name
        named[name] = Rung(name=name, recipe=recipe)
    return tuple(named.values())


def mixes_of(search: Search, answer: SensitivityResult, original: int) -> list[Mix]:
    """Return the mixes that a search tries, the smallest first, whatever gates may say."""
    if search.auto.max_kld is None:
        return _within(search, answer, original)
    return _climbing(search.auto.max_kld, answer)


def _within(search: Search, answer: SensitivityResult, original: int) -> list[Mix]:
    from flows.planning.pareto import front

    room = _room(search.auto, answer, original)
    pareto = front(answer.choices)
    return [pareto.mix(max(pareto.fitting(room), 0))]


def _room(auto: Auto, answer: SensitivityResult, original: int) -> float:
    """Return the bytes that linears may take."""
    if auto.share is None:
        return (auto.max_ratio or 1.0) * original - answer.rest_bytes
    narrow, wide = sorted(auto.dtypes, key=_bits)
    least, most = (sum(choice.bytes[dtype] for choice in answer.choices) for dtype in (narrow, wide))
    return most - auto.share * (most - least)


def _climbing(budget: float, answer: SensitivityResult) -> list[Mix]:
    from flows.planning.pareto import front

    pareto = front(answer.choices)
    point = next((n for n, kld in enumerate(pareto.kld) if kld <= OPTIMISM * budget), len(pareto.kld) - 1)
    points = [point]
    while len(points) < RUNGS - 1 and points[-1] < len(pareto.kld) - 1:
        size = answer.rest_bytes + int(pareto.bytes[points[-1]])
        points.append(max(pareto.fitting(STEP * size - answer.rest_bytes), points[-1] + 1))
    widest = tuple(max(choice.bytes, key=_bits) for choice in answer.choices)
    mixes = [pareto.mix(point) for point in points]
    return mixes if widest in mixes else [*mixes, widest]


def size_of(answer: SensitivityResult, mix: Mix) -> int:
    """Return the bytes of a mix's linears."""
    return sum(choice.bytes[dtype] for choice, dtype in zip(answer.choices, mix, strict=True))


def recipe_of(base: Recipe, answer: SensitivityResult, mix: Mix) -> Recipe:
    """Return the recipe of a mix: the dtype that most weights have, and the linears of the others by name."""
    dtypes = {name: dtype for c, dtype in zip(answer.choices, mix, strict=True) for name in c.linears}
    dtypes |= dict.fromkeys(answer.fixed, base.dtype)
    weights: Counter[str] = Counter()
    for choice, dtype in zip(answer.choices, mix, strict=True):
        weights[dtype] += _weights(choice)
    usual = min(weights, key=lambda dtype: (-weights[dtype], _bits(dtype)))
    overrides = {name: dtype for name, dtype in dtypes.items() if dtype != usual}
    return Recipe.model_validate({**base.model_dump(), "dtype": usual, "overrides": overrides})


def _name(recipe: Recipe, answer: SensitivityResult, mix: Mix) -> str:
    """Return the recipe's name with the mean width of its weights, such as `w4.75-rtn-g64`."""
    if not recipe.overrides:
        return name_of(recipe)
    bits = sum(_weights(choice) * _bits(dtype) for choice, dtype in zip(answer.choices, mix, strict=True))
    width = bits / sum(map(_weights, answer.choices))
    plain = name_of(recipe.model_copy(update={"overrides": {}}))
    return f"w{width:.3g}{plain.removeprefix(f'w{recipe.bits}')}"


def _weights(choice: GroupCost) -> int:
    """Return how many weights a choice is about: scales take the same room in every dtype, the difference is theirs."""
    one, other = sorted(choice.bytes, key=_bits)[:2]
    return 8 * (choice.bytes[other] - choice.bytes[one]) // (_bits(other) - _bits(one))


def _bits(dtype: str) -> int:
    return DTYPES[dtype].bits
