"""The weights that the loader will multiply with, held against the original's, tensor by tensor.

Held-out text averages damage over all weights; one flipped sign of one scale drowns in it. A sound quantization keeps
the direction of every short run of weights: rounding is small against the run, and folded scales are positive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor

from gates.clients.client import Loaded
from gates.clients.stored import StoredTensors
from gates.evidence import Check

RUN = 32
"""Weights along the input dimension compared at once; group sizes are multiples of it."""
OPPOSED = -0.5
"""Cosine below which a run points away from the original's. On the demo model the worst run of compensated rounding to
two bits has 0.1 in groups of 32 and -0.3 per channel, of four bits 0.9; a flipped sign turns that into -0.9."""
AT_ONCE = 1 << 17
"""Weights that are held in float32 at once. What fits into a core's cache takes 1.4 ns each, and 18 ns where 4 million do not."""
UNLIKE = 0.3
"""Cosine below which a whole tensor is not the original's."""
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight$")


def weights(loaded: Loaded, model: Path) -> Check:
    """Compare every linear weight that both have under the same name; names the first that is at fault."""
    compared = 0
    originals = StoredTensors(model)
    stored_as = loaded.stored_names(originals)
    for name, parts in groupby(loaded.weights(), itemgetter(0)):
        original = _original(stored_as.get(name, name), originals)
        if original is None:
            continue
        compared += 1
        fault = _fault((rows for _, rows in parts), original)
        if fault:
            return Check(name="weights", passed=False, detail=f"{name}: {fault}")
    if not compared:
        return Check(name="weights", passed=False, detail="not one linear weight has a name that the original has")
    return Check(name="weights", passed=True, detail=f"{compared} linear weights point where the original's do")


def _original(name: str, originals: StoredTensors) -> Tensor | None:
    """What an original holds under a linear's name, or in a stack `[experts, in, out]`, gate and up side by side (Llama 4)."""
    if name in originals:
        return originals[name]
    match = _EXPERT.match(name)
    if not match:
        return None
    stack = f"{match[1]}.{'down' if match[3] == 'down' else 'gate_up'}_proj"
    if stack not in originals:
        return None
    matrix = originals.part(stack, int(match[2])).mT
    if match[3] == "down":
        return matrix
    gate, up = matrix.chunk(2)
    return gate if match[3] == "gate" else up


@dataclass
class _Seen:
    """What was seen of a tensor so far. Numbers alone: tensors that are kept between large ones spread these over the heap."""

    finite: bool = True
    zero: int = 0
    """Rows that are all zero where the original's are not."""
    first_zero: int = -1
    opposed: int = 0
    """Runs that point against the original's."""
    first_opposed: tuple[int, int] = (-1, -1)
    """Row, and run."""
    own: float = 0.0
    """Sum of squares."""
    other: float = 0.0
    """The original's."""
    both: float = 0.0
    """Sum of their products."""

    def add(self, row: int, ours: Tensor, theirs: Tensor) -> None:
        """Look at some rows, float32 (rows, columns), the first of which is `row`."""
        pad = -ours.shape[-1] % RUN
        own, other = (torch.nn.functional.pad(each, (0, pad)) if pad else each for each in (ours, theirs))
        squares, others, products = (_runs(*pair) for pair in ((own, own), (other, other), (own, other)))
        total = float(squares.sum())
        # Squares may leave the range of float32 where weights do not.
        self.finite &= isfinite(total) or bool(torch.isfinite(ours).all())
        empty = (squares.sum(-1) == 0).nonzero().flatten()
        zero = empty[(ours[empty] == 0).all(-1) & (theirs[empty] != 0).any(-1)]
        if len(zero) and not self.zero:
            self.first_zero = row + int(zero[0])
        self.zero += len(zero)
        norms = squares.sqrt() * others.sqrt()
        opposed = (torch.where(norms > 0, products / norms, 1.0) < OPPOSED).nonzero()
        if len(opposed) and not self.opposed:
            first, run = opposed[0].tolist()
            self.first_opposed = row + first, run
        self.opposed += len(opposed)
        self.own += total
        self.other += float(others.sum())
        self.both += float(products.sum())

    def fault(self) -> str | None:
        """Return what is wrong with it."""
        if not self.finite:
            return "NaN or infinite weights"
        if self.zero:
            return f"{self.zero} output channels are all zero, the first {self.first_zero}; the original's are not"
        whole = self.both / (self.own * self.other) ** 0.5 if self.own * self.other > 0 else 1.0
        if whole < UNLIKE:
            return f"cosine {whole:.2f} to the original's weights: these are not its weights"
        if self.opposed:
            row, run = self.first_opposed
            return f"{self.opposed} runs of {RUN} weights point against the original's, first row {row}, column {run * RUN}"
        return None


def _fault(ours: Iterable[Tensor], theirs: Tensor) -> str | None:
    """Compare a weight, whose rows come in one part or several, with the original's."""
    seen, row = _Seen(), 0
    for part in ours:
        other = theirs[row : row + len(part)]
        if part.shape != other.shape:
            return f"shape {(row + len(part), *part.shape[1:])}, the original's is {tuple(theirs.shape)}"
        step = max(1, AT_ONCE // part[0].numel())
        for a, b in zip(torch.split(part, step), torch.split(other, step), strict=True):
            seen.add(row, a.float(), b.float())
            row += len(a)
    if row != len(theirs):
        return f"shape {(row, *theirs.shape[1:])}, the original's is {tuple(theirs.shape)}"
    return seen.fault()


def _runs(a: Tensor, b: Tensor) -> Tensor:
    """Sums of products over each run, float32 (rows, runs)."""
    return (a * b).view(len(a), -1, RUN).sum(-1)
