"""Statistics of activations that NNCF's algorithms go by, collected once for all recipes of a model and a text.

NNCF keeps, for what every matrix product reads, the mean of each channel in each row, and one number by each of its measures
of sensitivity: what AWQ, scale estimation, LoRA correction and the choice by `ratio` go by, whatever the bits. Of stored ones it
asks that each product it is about to compress has some, by the name of a node, and not that they are of this model or this
text: keys say that here, and the graph's fingerprint. Its GPTQ runs layer after layer over what was compressed before, and
stores nothing of that.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import openvino
from nncf import Dataset
from nncf.common.factory import build_graph
from nncf.openvino.graph.model_utils import remove_friendly_name_duplicates
from nncf.quantization.statistics_caching import cache_weight_compression_statistics

from quantizers.request import Statistics

KEPT = "nncf"
"""Where NNCF's own files are."""
TOLD = "result.json"
_PATH = ("nncf", "weight_compression", "advanced_parameters")


def collected(graph: openvino.Model, rows: list[dict[str, Any]], given: Path | None, out: Path) -> Path:
    """Return a directory for NNCF's `statistics_path`: below `given`, or below `out`, where it is made if it is not there.

    The graph's nodes are named by their places (`ir.number`), so that another process finds them by the same names.

    Raises:
        AssertionError: those that are there were collected over another graph.
    """
    fingerprint, directory = _fingerprint(graph), given or out
    if directory.is_dir():
        told = Statistics.model_validate_json((directory / TOLD).read_text("utf-8"))
        if told.graph != fingerprint:
            raise AssertionError(
                f"the statistics in {directory} were collected over another graph than was exported now: remove them, and run "
                "again"
            )
        return directory / KEPT
    scratch = out.with_name(f"{out.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    plain = remove_friendly_name_duplicates(graph)
    cache_weight_compression_statistics(plain, build_graph(plain), Dataset(rows), len(rows), scratch / KEPT)
    told = Statistics(graph=fingerprint, rows=len(rows))
    (scratch / TOLD).write_text(told.model_dump_json(indent=2) + "\n", "utf-8")
    scratch.rename(out)
    return out / KEPT


def forget(graph: openvino.Model, path: Path) -> None:
    """Take out of a compressed graph where its statistics were: NNCF writes what it is told into it."""
    if graph.has_rt_info(list(_PATH)):
        told = graph.get_rt_info(list(_PATH)).value
        graph.set_rt_info(str(told).replace(repr(str(path)), repr(None)), list(_PATH))


def _fingerprint(graph: openvino.Model) -> str:
    """SHA-256 over the type, the name and the shapes of every node, in order."""
    digest = hashlib.sha256()
    for op in graph.get_ordered_ops():
        shapes = [f"{output.get_element_type()}{output.get_partial_shape()}" for output in op.outputs()]
        digest.update(f"{op.get_type_name()} {op.get_friendly_name()} {' '.join(shapes)}\n".encode())
    return digest.hexdigest()
