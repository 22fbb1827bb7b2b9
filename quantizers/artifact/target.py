"""One target in the making: which linears its recipe quantizes, and the artifact they are written to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from catalog.formats import FORMATS
from quantizers.artifact.native import native_parts
from quantizers.artifact.weights import Part, Slot, Weights, laid_out, open_weights
from quantizers.dtypes import Codes, grouped
from quantizers.errors import QuantizeError
from quantizers.families.experts import of, stacked, stacks, unknown
from quantizers.formats.protocols import Layout
from quantizers.model.checkpoint import Checkpoint, read_headers
from quantizers.model.companions import copy_companions
from quantizers.model.conversion import Piece
from quantizers.model.selection import select_linears
from quantizers.model.skeleton import Skeleton
from quantizers.parts import RANGES, layout_of
from quantizers.recipe import Recipe
from quantizers.request import Made
from quantizers.rounding.nearest import nearest

KEPT_STACKS = ": transformers loads quantized linears, and these are none"
NAMED = 64
"""Linears of experts that a record names one by one."""
_BLOCK = re.compile(r"(.*?\.\d+)\..*")
FEW = "tokens read, too few"
"""What `Target.measured` is told of an expert that was rounded to nearest, and how many tokens it read."""


@dataclass
class Target:
    """A recipe against one model. `weights` is open while the target is being written."""

    name: str
    recipe: Recipe
    layout: Layout
    dtype: torch.dtype
    linears: dict[str, Recipe]
    """What is quantized, in the model's order, and the recipe of each alone."""
    slots: dict[str, Slot]
    pieces: Mapping[str, tuple[Piece, ...]]
    """Of the skeleton."""
    directory: Path
    """Where it is written until it is whole."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """Of the slots, those that are no tensors of their own in the file."""
    weights: Weights | None = None
    notes: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    """What the search and the training found, per group of linears."""

    @property
    def stored(self) -> torch.dtype:
        """Dtype its scales are stored in."""
        return self.layout.stored(self.dtype)

    def keep(self, name: str, tensor: Tensor) -> None:
        """Write a tensor, or the next rows of it, as it is."""
        self.opened.write(name, tensor)

    def holds(self, name: str) -> bool:
        """Whether a tensor of the model is kept as it is: some buffers are computed."""
        return self.pieces.get(name, (Piece(name, name, ()),))[0].name in self.slots

    def keep_whole(self, name: str, tensor: Tensor) -> None:
        """Write a tensor of the model at once, in the pieces that the checkpoint has it in."""
        for piece in self.pieces.get(name, (Piece(name, name, ()),)):
            self.keep(piece.name, tensor[piece.index].to(self.slots[piece.name].dtype))

    def round_nearest(self, linear: str, rows: Tensor, whole: tuple[int, int]) -> None:
        """Quantize and write the next float32 rows `[n, in]` of a linear whose shape is `whole`."""
        recipe, grid = self.linears[linear], self.linears[linear].grid
        scale, zero = RANGES[recipe.range](grouped(rows, recipe.group_size), grid, self.stored)
        self.write(linear, nearest(rows, scale, zero, grid, recipe.group_size), whole)

    def write(self, linear: str, q: Codes, whole: tuple[int, int]) -> None:
        """Write the codes of the next rows of a linear whose shape is `whole`; its constants with the first rows."""
        recipe = self.linears[linear]
        constants = self.layout.constants(*whole, recipe, self.dtype)
        if self.opened.filled[f"{linear}.{next(iter(constants))}"] == 0:
            for suffix, tensor in constants.items():
                self.opened.write(f"{linear}.{suffix}", tensor)
        for suffix, tensor in self.layout.pack(q, recipe, self.dtype).items():
            self.opened.write(f"{linear}.{suffix}", tensor)

    def measured(self, what: str, value: float) -> None:
        """Remember a finding of the search, for the record."""
        self.measures[what] = value

    def note_uncalibrated(self, blocks: tuple[str, ...]) -> None:
        """Note which linears lie outside the blocks, whose tensors begin like one of `blocks`: no moment is known there."""
        if outside := [name for name in self.linears if not name.startswith(blocks)]:
            self.notes.append(f"outside the calibrated blocks, rounded to nearest: {', '.join(outside)}")

    def begin(self, skeleton: Skeleton, finished: tuple[str, ...]) -> None:
        """Lay out the artifact; tensors whose names in the model begin like one of `finished`
        are there from an interrupted run."""
        self.directory.mkdir(parents=True, exist_ok=True)
        filled = {name for name in self.slots if skeleton.model_name(name).startswith(finished)}
        self.weights = open_weights(self.directory, self.slots, filled, self.parts)

    def finish(self, checkpoint: Checkpoint, skeleton: Skeleton) -> Made:
        """Check what was written and add the files beside it."""
        weights = self.opened
        with weights:
            weights.close()
        self.weights = None
        left_out = self.linears.keys() | stacked(skeleton.model)
        # Routers may be of a class made from nn.Linear, which loaders take for one.
        kept = tuple(name for name in (*skeleton.linears, *skeleton.like_linears) if name not in left_out)
        config = {k: v for k, v in checkpoint.config.items() if k != "torch_dtype"}
        config["dtype"] = str(self.dtype).removeprefix("torch.")
        config["quantization_config"] = self.layout.config(self.recipe, self.linears, self.dtype, kept)
        written = _verify(self.directory, laid_out(self.slots, self.parts))
        copy_companions(checkpoint.directory, self.directory, config)
        return Made(
            recipe=self.recipe,
            expected_bytes=weights.expected_bytes,
            weights_bytes=written,
            quantized=len(self.linears),
            kept=len(skeleton.source) - len(self.linears),
            notes=tuple(self.notes) + self._findings(),
        )

    def _findings(self) -> tuple[str, ...]:
        """The searched parameters, summed up: for each measure its least, middle and greatest value."""
        kinds: dict[str, list[float]] = {}
        few = {}
        for what, value in self.measures.items():
            name, kind = what.split(": ")
            if kind == FEW:
                few[name] = int(value)
            else:
                kinds.setdefault(kind, []).append(value)
        rounded = f"linears that read fewer tokens than they have inputs, rounded to nearest: {starved(few)}"
        return (
            *([rounded] if few else []),
            *(
                f"{kind}: {min(v):.3g} … {median(v):.3g} … {max(v):.3g} over {len(v)} groups of linears"
                for kind, v in kinds.items()
            ),
        )

    @property
    def opened(self) -> Weights:
        """The weights being written."""
        if self.weights is None:
            raise AssertionError(f"target {self.name} is not open for writing")
        return self.weights


def starved(few: dict[str, int]) -> str:
    """Linears of experts and the tokens they read, by name, or block by block if there are too many to name."""
    if len(few) <= NAMED:
        return ", ".join(f"{name} ({tokens})" for name, tokens in few.items())
    blocks: dict[str, list[int]] = {}
    for name, tokens in few.items():
        blocks.setdefault(_BLOCK.sub(r"\1", name), []).append(tokens)
    return ", ".join(f"{len(read)} linears of {block} ({min(read)} to {max(read)})" for block, read in blocks.items())


def prepare(name: str, recipe: Recipe, skeleton: Skeleton, checkpoint: Checkpoint, directory: Path) -> Target:
    """Decide, from shapes alone, all that the artifact will hold.

    Raises:
        QuantizeError: the recipe does not fit the model.
    """
    linears = recipe.of(select_linears(skeleton, recipe, name))
    layout = layout_of(recipe.format)
    slots: dict[str, Slot] = {}
    picked = {skeleton.kept_as(f"{linear}.weight"): skeleton.linears[linear] for linear in linears}
    for tensor, key in skeleton.source.items():
        if tensor not in picked:
            slots[tensor] = Slot(checkpoint.tensors[key].dtype, checkpoint.tensors[key].shape)
            continue
        linear = picked[tensor]
        try:
            parts = layout.slots(linear.out_features, linear.in_features, linears[linear.name], skeleton.dtype)
        except QuantizeError as error:
            raise QuantizeError(f"target {name}: {error}") from error
        slots |= {f"{linear.name}.{suffix}": slot for suffix, slot in parts.items()}
    native = {} if FORMATS[recipe.format].stacks else native_parts(skeleton, slots)
    target = Target(name, recipe, layout, skeleton.dtype, linears, slots, skeleton.pieces, directory, native)
    others = len(unknown(skeleton.model))
    if kept := others + sum(linears.keys().isdisjoint(stack) for stack in _stacks(skeleton)):
        why = "" if FORMATS[recipe.format].stacks else KEPT_STACKS
        target.notes.append(f"{kept} stacks of experts are kept as they are{why}")
    return target


def _stacks(skeleton: Skeleton) -> list[list[str]]:
    return [of(path, experts, matrix) for path, experts in stacks(skeleton.model) for matrix in experts.names]


def _verify(directory: Path, tensors: dict[str, Slot]) -> int:
    """Read the headers back, as a loader would, and hold them against what was planned; bytes of all tensors."""
    written = {name: Slot(stored.dtype, stored.shape) for name, stored in read_headers(directory).items()}
    if written != tensors:
        raise AssertionError(f"{directory}: the tensors read back are not the ones the recipe implies")
    return sum(slot.bytes for slot in written.values())
