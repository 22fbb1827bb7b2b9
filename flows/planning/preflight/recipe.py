"""Whether a model can be quantized by a recipe: its linears, its architecture, its format and who writes that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache

from catalog.dtypes import DTYPES
from catalog.engines import ENGINES
from catalog.formats import FORMATS
from flows.manifest.model import Auto, Target
from flows.planning.preflight.files import Subject
from flows.planning.preflight.finding import Problem
from flows.planning.preflight.linears import experts, in_headers, seen, stacks
from quantizers.errors import QuantizeError
from quantizers.families import FAMILIES, family_of
from quantizers.families.limits import refusal
from quantizers.formats import limits
from quantizers.formats.limits import Facts
from quantizers.model.linears import Linears, Misfit, heads, quantized, unmatched
from quantizers.recipe import Recipe


@lru_cache(maxsize=4096)
def problem(subject: Subject, recipe: Recipe) -> Problem | None:
    """Return why a recipe does not fit a model that has no other `problem`, or None."""
    return next((misfit for rule in _RULES if (misfit := rule(subject, recipe))), None)


def patterns(subject: Subject, recipe: Recipe) -> Problem | None:
    """Return which of a recipe's `skip` fits no linear, or None; a preset's may be for other models."""
    shown = seen(subject)
    if recipe.skip == Recipe().skip:
        return None
    if not shown.whole:
        useless = next((pattern for pattern in recipe.skip if not in_headers(pattern, subject)), None)
        return (
            Problem(f"skips {useless!r}, which fits no tensor of the weights{_some(subject)}", ("skip",))
            if useless
            else None
        )
    if (useless := unmatched(recipe.skip, shown.linears)) is None:
        return None
    names = list(shown.linears.inputs)
    return Problem(
        f"skips {useless!r}, which fits the name of no linear; they are called {names[0]}, …, {names[-1]}", ("skip",)
    )


def search(subject: Subject, target: Target) -> Problem | None:
    """Return why a target's search cannot end well, or None."""
    if target.search is None:
        return None
    return _searched(subject, target.search.base, target.search.auto)


def _fits(subject: Subject, recipe: Recipe) -> Problem | None:
    shown = seen(subject)
    linears = replace(shown.linears, stacks=stacks(shown.linears, recipe))
    stay = frozenset[str]() if FORMATS[recipe.format].stacks else experts(linears)
    stay |= heads(subject.task, linears.inputs)
    if not shown.whole:
        # What headers do not show cannot be held against names.
        recipe = recipe.model_copy(update={"overrides": {}})
        linears = Linears({n: size for n, size in linears.inputs.items() if not _skipped(n, recipe)}, {})
    try:
        names = quantized(recipe, linears, stay) if shown.whole or linears.inputs else ()
    except Misfit as misfit:
        return Problem(str(misfit), misfit.fields)
    if text := refusal(subject.config["model_type"], names, recipe.format):
        return Problem(text, ("format", "skip"))
    return None


def _skipped(name: str, recipe: Recipe) -> bool:
    # Some checkpoints leave out the first part of a module's name.
    return any(fnmatchcase(name, p) or fnmatchcase(name, p.partition(".")[2]) for p in recipe.skip)


def _some(subject: Subject) -> str:
    names = list(seen(subject).linears.inputs)
    return f"; they are called {names[0]}, …, {names[-1]}" if names else ""


def _overrides(subject: Subject, recipe: Recipe) -> Problem | None:
    """An override that no tensor of an unknown architecture can be meant by."""
    if seen(subject).whole:
        return None
    useless = next((pattern for pattern in recipe.overrides if not in_headers(pattern, subject)), None)
    if useless is None:
        return None
    return Problem(f"overrides name {useless}, which fits no tensor of the weights{_some(subject)}", ("overrides",))


def _tied(subject: Subject, recipe: Recipe) -> Problem | None:
    """The head of an unknown architecture, of which it is known that it has no weights of its own."""
    if seen(subject).whole or recipe.skip or not subject.config.get("tie_word_embeddings"):
        return None
    return Problem(
        "skips no layer, and the model ties its head to its embedding (tie_word_embeddings), so that the head cannot be "
        "quantized on its own; add its name, mostly lm_head, to skip",
        ("skip",),
    )


def _calibrates(subject: Subject, recipe: Recipe) -> Problem | None:
    """What a table of the architecture refuses; without a table, its blocks are found by running them."""
    kind, streams = subject.config["model_type"], ENGINES[recipe.engine].streams
    needs = ENGINES[recipe.engine].families
    if not recipe.calibrated or not needs or (streams and kind not in FAMILIES):
        return None
    try:
        family = family_of(subject.config)
    except QuantizeError as error:
        return Problem(str(error), ("transform" if recipe.transform else "rounding",))
    if not streams and len(family.stacks) > 1:
        return Problem(
            f"engine {recipe.engine} scales one stack of blocks, and {kind} has {len(family.stacks)}; use engine streaming",
            ("engine",),
        )
    return None


def _exports(subject: Subject, recipe: Recipe) -> Problem | None:
    """What a format that is made from another one does not take."""
    facts = Facts(
        subject.directory,
        subject.config,
        {name: tensor.shape for name, tensor in subject.tensors.items()},
        seen(subject).linears.inputs,
        subject.task,
        ENGINES[recipe.engine].streams,
    )
    if (text := limits.refusal(recipe.format, facts)) is None:
        return None
    others = [name for name in FORMATS if name != recipe.format]
    able = [n for n in others if not refusal(facts.kind, subject.tensors, n) and not limits.refusal(n, facts)]
    advice = f"use format {' or '.join(able)}" if able else "name another model"
    return Problem(f"{text}; {advice}", ("format",))


_RULES: tuple[Callable[[Subject, Recipe], Problem | None], ...] = (_calibrates, _exports, _fits, _overrides, _tied)


@lru_cache(maxsize=1024)
def _searched(subject: Subject, base: Recipe, auto: Auto) -> Problem | None:
    if subject.config.get("is_encoder_decoder"):
        return Problem(
            f"model_type {subject.config['model_type']} has an encoder and a decoder, and a search takes models with one stack "
            "of blocks; give a recipe with overrides, or a ladder",
            ("auto", "ratio"),
        )
    if auto.max_ratio is None or not seen(subject).whole:
        return None
    whole = sum(tensor.bytes for tensor in subject.tensors.values())
    least = _least_bytes(subject, base, min(auto.dtypes, key=lambda name: DTYPES[name].bits)) / whole
    if least <= auto.max_ratio:
        return None
    return Problem(
        f"is {auto.max_ratio:.1%} of the original's bytes, and with all linears in the narrowest of "
        f"its dtypes {least:.1%} are left: what is not quantized, embeddings above all, stays; ask for that, or name "
        "narrower dtypes",
        ("auto.max_ratio", "auto"),
    )


def _least_bytes(subject: Subject, base: Recipe, narrowest: str) -> int:
    """A bound from below: codes of the linears of blocks and a scale for each group; all else as it is."""
    shown = seen(subject)
    stay = frozenset[str]() if FORMATS[base.format].stacks else experts(shown.linears)
    chosen = {shown.stored[name] for name in quantized(base, shown.linears, stay) if name in shown.stored}
    total = 0
    for name, tensor in subject.tensors.items():
        if name not in chosen:
            rounded = base.embeddings and ("embed" in name or "head" in name)
            total += tensor.elements if rounded else tensor.bytes
            continue
        groups = tensor.shape[0] if base.group_size == -1 else tensor.elements // base.group_size
        total += tensor.elements * DTYPES[narrowest].bits // 8 + 2 * groups
    return total
