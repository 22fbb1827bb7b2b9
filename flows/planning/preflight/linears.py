"""The linears of a model, from headers alone: exactly for known architectures, and for others those that are certain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from flows.planning.preflight.files import Subject
from flows.planning.preflight.structure import stored_as
from quantizers.families import family_of
from quantizers.families.limits import TRANSPOSED
from quantizers.families.tensors import LAYOUTS, is_tied, tensors
from quantizers.model.linears import Linears
from quantizers.recipe import Recipe

_PASSED_OVER = ("embed", "wte", "wpe", "relative_attention_bias", "router", "gate.weight", ".experts.")
"""Two-dimensional tensors of a block that are looked up, that route, or that are stored otherwise than they run."""
_EXPERT = re.compile(r"(.*)\.experts\.\d+\.(\w+)$")
_NUMBERED = re.compile(r"\w+\.(\d+|\*|\?)\..*$")
"""What follows the name of a list of blocks, and that name."""
_OUTSIDE = (".project_in", ".project_out")
"""Linears before and after the blocks: OPT's, where its embedding is narrower."""
_TIED = ("lm_head", "proj_out")
"""What heads are called that may be tied, and then have no tensor; the second is Whisper's."""
_RENAMED = {"mixtral": (".block_sparse_moe.", ".mlp.")}
"""What a checkpoint calls a module, and what the model does."""


@dataclass(frozen=True)
class Seen:
    """The linears of a model, as far as headers show them."""

    linears: Linears
    whole: bool
    """Whether these are all."""
    stored: dict[str, str]
    """Linear → its tensor in the weights; a head that is tied has none."""


@lru_cache(maxsize=1024)
def seen(subject: Subject) -> Seen:
    """Return the linears of a model that has no other `problem`."""
    known = _known(subject)
    return known or Seen(Linears(_likely(subject), {}), False, {name: f"{name}.weight" for name in _likely(subject)})


def in_headers(pattern: str, subject: Subject) -> bool:
    """Whether a pattern of linears may fit one of a model whose headers alone are known.

    Checkpoints leave out the first part of a module's name, or have parts before the blocks in another order, so from the
    blocks on is compared, too. Experts are stored under names of their own, and may always be meant.
    """
    if any(_EXPERT.search(name.removesuffix(".weight")) or ".experts." in name for name in subject.tensors):
        return True
    modules = {name.removesuffix(".weight") for name in subject.tensors if name.endswith(".weight")}
    written = (pattern, pattern.partition(".")[2], _from_blocks(pattern))
    stored = {each for name in modules for each in (name, name.partition(".")[2], _from_blocks(name))}
    return any(fnmatchcase(name, each) for each in written if each for name in {*stored, *_TIED})


def _from_blocks(name: str) -> str:
    match = _NUMBERED.search(name)
    return match[0] if match else name


def experts(linears: Linears) -> frozenset[str]:
    """Return those of a mixture's experts, which transformers stacks."""
    return frozenset(name for name in linears.inputs if _EXPERT.match(name))


def _known(subject: Subject) -> Seen | None:
    config = subject.config
    wanted = tensors(config)
    if wanted is None:
        return None
    old, new = _RENAMED.get(config["model_type"], ("", ""))
    family = family_of(config)
    quantizable = {name for group in family.groups for name in group.linears}
    axis = 0 if config["model_type"] in TRANSPOSED else 1
    inputs: dict[str, int] = {}
    stored: dict[str, str] = {}
    prefix = f"{LAYOUTS[config['model_type']].blocks}."
    for tensor, shape in wanted.items():
        name = tensor.removesuffix(".weight")
        module = name.replace(old, new, 1) if old else name
        in_block = name.startswith(prefix) and module.removeprefix(prefix).partition(".")[2] in quantizable
        if name != tensor and (in_block or name.endswith(_OUTSIDE)):
            inputs[module] = shape[axis]
            stored[module] = stored_as(tensor, subject) or tensor
    # The embedding comes first in every layout, and a head has its shape.
    embedding, head = next(iter(wanted)), next(iter(LAYOUTS[config["model_type"]].head))
    linear = head.removesuffix(".weight")
    inputs[linear] = wanted[embedding][1]
    if is_tied(config):
        return Seen(Linears(inputs, {linear: embedding.removesuffix(".weight")}), True, stored)
    return Seen(Linears(inputs, {}), True, {**stored, linear: head})


def stacks(linears: Linears, recipe: Recipe) -> list[list[str]]:
    """Return matrices of all experts of a block: one tensor each in OpenVINO IR, and all three alike where NNCF compresses."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in linears.inputs:
        if match := _EXPERT.match(name):
            groups.setdefault((match[1], "" if recipe.engine == "nncf" else match[2]), []).append(name)
    return list(groups.values())


def _likely(subject: Subject) -> dict[str, int]:
    """Input features of what the headers show to be a linear of a block, or the head.

    A tensor that only looks like one would refuse a good recipe, so what is doubtful is left to the quantizer.
    """
    axis = 0 if subject.config["model_type"] in TRANSPOSED else 1
    linears = {}
    for name, tensor in subject.tensors.items():
        linear = name.removesuffix(".weight")
        in_block = any(part.isdigit() for part in linear.split("."))
        if linear == name or len(tensor.shape) != 2 or any(word in name for word in _PASSED_OVER):
            continue
        if in_block or linear == "lm_head":
            linears[linear] = tensor.shape[axis if in_block else 1]
    return linears
