"""The weights that the loader will multiply with, held against the original's, tensor by tensor.

Held-out text averages damage over all weights; one flipped sign of one scale drowns in it. A sound quantization keeps
the direction of every short run of weights: rounding is small against the run, and folded scales are positive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
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
AT_ONCE = 1 << 22
"""Weights that are held in float32 at once: a head of half a billion would take 6 GB."""
UNLIKE = 0.3
"""Cosine below which a whole tensor is not the original's."""


def weights(loaded: Loaded, model: Path) -> Check:
    """Compare every linear weight that both have under the same name; names the first that is at fault."""
    compared = 0
    originals = StoredTensors(model)
    stored_as = loaded.stored_names(originals)
    for name, parts in groupby(loaded.weights(), itemgetter(0)):
        key = stored_as.get(name, name)
        if key not in originals:
            continue
        compared += 1
        fault = _fault((rows for _, rows in parts), originals[key])
        if fault:
            return Check(name="weights", passed=False, detail=f"{name}: {fault}")
    if not compared:
        return Check(name="weights", passed=False, detail="not one linear weight has a name that the original has")
    return Check(name="weights", passed=True, detail=f"{compared} linear weights point where the original's do")


@dataclass(frozen=True)
class _Rows:
    """What some rows of a tensor, and the original's, say."""

    finite: bool
    zero: Tensor
    """bool (rows,): whether all of a row is zero, and the original's is not."""
    opposed: Tensor
    """bool (rows, runs): whether a run points against the original's."""
    products: Tensor
    """float32 (3,): the sums of squares of both, and that of their products."""


def _fault(ours: Iterable[Tensor], theirs: Tensor) -> str | None:
    """Compare a weight, whose rows come in one part or several, with the original's."""
    parts, row = [], 0
    for part in ours:
        other = theirs[row : row + len(part)]
        row += len(part)
        if part.shape != other.shape:
            return f"shape {(row, *part.shape[1:])}, the original's is {tuple(theirs.shape)}"
        step = max(1, AT_ONCE // part[0].numel())
        pairs = zip(torch.split(part, step), torch.split(other, step), strict=True)
        parts += [_rows(a.float(), b.float()) for a, b in pairs]
    if row != len(theirs):
        return f"shape {(row, *theirs.shape[1:])}, the original's is {tuple(theirs.shape)}"
    if not all(part.finite for part in parts):
        return "NaN or infinite weights"
    zero = torch.cat([part.zero for part in parts]).nonzero()
    if len(zero):
        return f"{len(zero)} output channels are all zero, the first {int(zero[0])}; the original's are not"
    own, other, both = torch.stack([part.products for part in parts]).double().sum(0)
    whole = both / (own * other).sqrt() if own * other > 0 else 1.0
    if whole < UNLIKE:
        return f"cosine {float(whole):.2f} to the original's weights: these are not its weights"
    opposed = torch.cat([part.opposed for part in parts]).nonzero()
    if len(opposed):
        row, run = opposed[0].tolist()
        return f"{len(opposed)} runs of {RUN} weights point against the original's, first row {row}, column {run * RUN}"
    return None


def _rows(ours: Tensor, theirs: Tensor) -> _Rows:
    pad = -ours.shape[-1] % RUN
    runs = [torch.nn.functional.pad(w, (0, pad)).reshape(len(w), -1, RUN) for w in (ours, theirs)]
    return _Rows(
        bool(torch.isfinite(ours).all()),
        (ours == 0).all(-1) & (theirs != 0).any(-1),
        _cosine(runs[0], runs[1]) < OPPOSED,
        torch.stack([(a * b).sum() for a, b in ((ours, ours), (theirs, theirs), (ours, theirs))]),
    )


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine along the last dimension; 1 where either side is all zero."""
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return torch.where(norms > 0, (a * b).sum(-1) / norms.clamp_min(torch.finfo(torch.float32).tiny), 1.0)
