"""The weights that the loader will multiply with, held against the original's, tensor by tensor.

Held-out text averages damage over all weights; one flipped sign of one scale drowns in it. A sound quantization keeps
the direction of every short run of weights: rounding is small against the run, and folded scales are positive.
"""

from __future__ import annotations

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
UNLIKE = 0.3
"""Cosine below which a whole tensor is not the original's."""


def weights(loaded: Loaded, model: Path) -> Check:
    """Compare every linear weight that both have under the same name; names the first that is at fault."""
    compared = 0
    originals = StoredTensors(model)
    for name, dense in loaded.weights():
        if name not in originals:
            continue
        compared += 1
        fault = _fault(dense.float(), originals[name].float())
        if fault:
            return Check(name="weights", passed=False, detail=f"{name}: {fault}")
    if not compared:
        return Check(name="weights", passed=False, detail="not one linear weight has a name that the original has")
    return Check(name="weights", passed=True, detail=f"{compared} linear weights point where the original's do")


def _fault(ours: Tensor, theirs: Tensor) -> str | None:
    if ours.shape != theirs.shape:
        return f"shape {tuple(ours.shape)}, the original's is {tuple(theirs.shape)}"
    if not torch.isfinite(ours).all():
        return "NaN or infinite weights"
    rows = ((ours == 0).all(-1) & (theirs != 0).any(-1)).nonzero()
    if len(rows):
        return f"{len(rows)} output channels are all zero, the first {int(rows[0])}; the original's are not"
    whole = _cosine(ours.flatten(), theirs.flatten())
    if whole < UNLIKE:
        return f"cosine {float(whole):.2f} to the original's weights: these are not its weights"
    pad = -ours.shape[-1] % RUN
    runs = [torch.nn.functional.pad(w, (0, pad)).reshape(len(w), -1, RUN) for w in (ours, theirs)]
    opposed = (_cosine(runs[0], runs[1]) < OPPOSED).nonzero()
    if len(opposed):
        row, run = opposed[0].tolist()
        return f"{len(opposed)} runs of {RUN} weights point against the original's, first row {row}, column {run * RUN}"
    return None


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine along the last dimension; 1 where either side is all zero."""
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return torch.where(norms > 0, (a * b).sum(-1) / norms.clamp_min(torch.finfo(torch.float32).tiny), 1.0)
