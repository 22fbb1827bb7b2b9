"""peft: a base by the name and commit that the adapter's configuration has, and the adapter's updates beside its linears."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gates.clients import transformers
from gates.clients.client import Matrix, TokenizerCheck, stock_class

TOKENIZERS: Mapping[str, TokenizerCheck] = {}
_ALARM = "adapter keys"
"""What peft warns of when the adapter's tensors are not those that its configuration says."""


def load(path: Path, loader: str, device: str, **options: Any) -> transformers.Model:
    """Load on the CPU; the base is found as transformers finds any model."""
    with warnings.catch_warnings(record=True) as told, transformers.alarms() as faults:
        warnings.simplefilter("always")
        model = stock_class(loader).from_pretrained(path, **options)
    model.eval()
    faults += [" ".join(str(each.message).split()) for each in told if _ALARM in str(each.message)]
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.is_floating_point()})
    method = transformers.method_of(model.get_base_model())
    return transformers.Model(model, {"dtype": ", ".join(dtypes)}, faults, method=method)


def damage(artifact: Path) -> str | None:
    """Files that are cut short."""
    return transformers.damage(artifact)


def matrices(artifact: Path) -> Iterator[Matrix]:
    """Both factors of every update."""
    return transformers.matrices(artifact)
