"""Tensors under the names that the stock model has for them: what a checkpoint holds renamed, or an expert at a time.

Beside quantized weights transformers 5.5 loads a tensor in the dtype that is asked for only if it needs neither renaming nor
stacking (`core_model_loading.py`, "Handle dtype casting"): under the checkpoint's own names routers and experts would stay as
they are stored, and a model that is asked for in float32 could not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quantizers.artifact.weights import Part, Slot
from quantizers.families.experts import of, stacks
from quantizers.model.conversion import Piece
from quantizers.model.skeleton import Skeleton


def native_parts(skeleton: Skeleton, slots: Mapping[str, Slot]) -> dict[str, Part]:
    """Of `slots`, those that lie in a tensor of another name, and where in it."""
    inside: dict[str, Part] = {}
    ours: set[str] = set()
    for stack, pieces in _experts(skeleton):
        inside |= _inside(stack, pieces, slots)
        ours.update(piece for piece, _, _ in pieces)
    for name, each in skeleton.pieces.items():
        if each[0].name in ours or each[0].name not in slots:
            continue
        if each[0].index:
            inside |= _inside(name, [_place_in_stack(piece) for piece in each], slots)
        else:
            inside[each[0].name] = Part(name, slots[each[0].name], 0)
    return inside


Piled = tuple[str, int, int]
"""Name of a slot that is a matrix of one expert; which expert's, and its first row in that expert's part of the stack."""


def _experts(skeleton: Skeleton) -> Iterator[tuple[str, list[Piled]]]:
    """The two stacks of every mixture whose experts are linears here, and what lies in each."""
    for path, experts in stacks(skeleton.model):
        gate, up, down = experts.names
        for stack, matrices in (("gate_up_proj", (gate, up)), ("down_proj", (down,))):
            yield (
                f"{path}.{stack}",
                [
                    (skeleton.kept_as(f"{linear}.weight"), expert, number * experts.inner)
                    for number, matrix in enumerate(matrices)
                    for expert, linear in enumerate(of(path, experts, matrix))
                ],
            )


def _place_in_stack(piece: Piece) -> Piled:
    expert, rows = piece.index
    assert isinstance(expert, int) and isinstance(rows, slice)
    return piece.name, expert, rows.start


def _inside(stack: str, pieces: list[Piled], slots: Mapping[str, Slot]) -> dict[str, Part]:
    """Where each piece lies in its stack `[experts, rows, columns]`; nothing if their dtypes differ."""
    dtypes = {slots[name].dtype for name, _, _ in pieces}
    if len(dtypes) > 1:
        return {}
    (dtype,) = dtypes
    columns = slots[pieces[0][0]].shape[1]
    rows = max(first + slots[name].shape[0] for name, _, first in pieces)
    whole = Slot(dtype, (1 + max(expert for _, expert, _ in pieces), rows, columns))
    width = dtype.itemsize * columns
    return {name: Part(stack, whole, width * (expert * rows + first)) for name, expert, first in pieces}
