"""The classes that a model knows: as labels of rows name them, and as its logits tell them apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gates.errors import GateError


def target(config: Any, label: Any) -> int | None:
    """Return the class that a label means; None where there is none, or where it is no class but a grade.

    Raises GateError for a label that is none of the model's, whose configuration is given.
    """
    if label is None or config.problem_type == "multi_label_classification":
        return None
    if isinstance(label, str) and label in config.label2id:
        return int(config.label2id[label])
    number = float(label) if isinstance(label, int | float) or label.replace(".", "", 1).isdigit() else None
    classes = max(config.num_labels, 2)
    if number is not None and number == int(number) and 0 <= number < classes:
        return int(number)
    if number is not None and config.num_labels == 1:
        return None
    raise GateError(f"label {label!r} is none of the model's, which are {', '.join(map(str, config.label2id))}.")


def distributions(config: Any, logits: Tensor) -> Tensor:
    """Return a row's logits, (classes,), as those of one distribution over classes, or of one over no and yes for each."""
    apart = len(logits) == 1 or config.problem_type == "multi_label_classification"
    return torch.stack([torch.zeros_like(logits), logits], dim=-1) if apart else logits[None]
