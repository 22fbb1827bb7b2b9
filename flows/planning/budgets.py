"""The gates that one target is judged by: those of its manifest, and what its own budget, device and draft ask."""

from __future__ import annotations

from flows.manifest.model import Manifest, Target
from gates.kinds.acceptance import Acceptance
from gates.kinds.divergence import Divergence
from gates.kinds.overflow import Overflow
from gates.kinds.size import Size


def budgeted(manifest: Manifest, target: Target) -> Manifest:
    """Return the manifest as it judges one target.

    The budget of a search is a gate, too, unless a tighter one stands, what runs on a GPU must stay within fp16 unless
    the manifest has a word of its own on that, and a draft is judged where there is one.
    """
    gates = manifest.gates
    if target.runtime.device == "GPU" and "overflow" not in gates.model_fields_set:
        gates = gates.model_copy(update={"overflow": Overflow()})
    gates = gates.model_copy(update={"acceptance": (gates.acceptance or Acceptance()) if target.draft else None})
    if target.search is None:
        return manifest.model_copy(update={"gates": gates})
    auto = target.search.auto
    if auto.max_kld is not None:
        limit = min(auto.max_kld, gates.divergence.max_kld if gates.divergence else auto.max_kld)
        gates = gates.model_copy(update={"divergence": Divergence(max_kld=limit)})
    if auto.max_ratio is not None:
        limit = min(auto.max_ratio, gates.size.max_ratio if gates.size else auto.max_ratio)
        gates = gates.model_copy(update={"size": Size(max_ratio=limit)})
    return manifest.model_copy(update={"gates": gates})
