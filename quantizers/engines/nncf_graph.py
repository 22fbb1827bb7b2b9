"""The graph that NNCF compresses, from optimum-intel's exporter, and the calibration rows as its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from optimum import intel
from torch import Tensor

from catalog.tasks import TASKS
from quantizers.calibration.files import read_given
from quantizers.model.skeleton import Skeleton
from quantizers.request import Calibration


def exported(model: Path, skeleton: Skeleton) -> Any:
    """Return optimum-intel's object around the graph, whose weights are as they were."""
    stock = getattr(intel, TASKS[skeleton.task].clients["optimum.intel"].stock)
    return stock.from_pretrained(
        model, export=True, compile=False, use_cache=True, local_files_only=True, load_in_8bit=False
    )


def rows(graph: Any, calibration: Calibration, model: Path, skeleton: Skeleton) -> list[dict[str, Any]]:
    """The calibration rows as the graph's inputs, each by itself."""
    inputs = {name for port in graph.inputs for name in port.names}
    given = read_given(calibration, model, skeleton)
    if given.ids is None:
        count = range(len(given))
        return [{n: v[row : row + 1].numpy() for n, v in given.tensors.items() if n in inputs} for row in count]

    def fed(row: Tensor) -> dict[str, Any]:
        ids = row[None].numpy()
        whole = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.arange(ids.shape[1], dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        return {name: value for name, value in whole.items() if name in inputs}

    return [fed(row) for row in given.ids]
