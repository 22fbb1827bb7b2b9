"""The control: an artifact known to be bad, which the gates must refuse on the very path that sound ones take.

It is a copy of the artifact in which every matrix of every block has its rows in reverse: files, sizes, names and every
single number stay plausible, and the model says nothing any more. It is loaded by the stock loader, scored on the first
documents and judged, so that a loader that reads other files, scores of something else, and a judgement that lets
everything pass are all seen. It says that the gates see, not how sharply.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from catalog.formats import LOADABLE
from gates.clients.client import client_of
from gates.errors import GateError
from gates.request import EvidenceRequest
from gates.statistics.sequential import FIRST


@contextmanager
def planted(request: EvidenceRequest, out: Path) -> Iterator[EvidenceRequest]:
    """Yield the request for a spoiled copy of its artifact, which lies below `out` as long as it is scored."""
    copy = out / "spoiled"
    try:
        spoil(request.artifact, copy, request.format)
        few = request.evaluation.model_copy(update={"max_documents": FIRST})
        changes = {
            "artifact": copy,
            "control": False,
            "evaluation": few,
            "tasks": (),
            "measured": {},
            "speed": False,
            "overflow": False,
        }
        yield request.model_copy(update=changes)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def spoil(artifact: Path, copy: Path, format_: str) -> None:
    """Copy an artifact with the rows of its matrices in reverse. Raises GateError when it holds none."""
    weights = {path for pattern in LOADABLE[format_].weights for path in artifact.glob(pattern)}
    shutil.copytree(artifact, copy, copy_function=lambda a, b: (shutil.copy if Path(a) in weights else _linked)(a, b))
    spoiled = 0
    for matrix in client_of(format_).matrices(copy):
        with matrix.file.open("r+b") as file:
            file.seek(matrix.offset)
            stored = np.frombuffer(file.read(matrix.rows * matrix.row_bytes), np.uint8)
            # bitsandbytes stores rows of one byte: half as many as there are weights.
            rows = stored.reshape(matrix.rows, matrix.row_bytes)[::-1]
            file.seek(matrix.offset)
            file.write(np.ascontiguousarray(rows).data)
        spoiled += 1
    if not spoiled:
        raise GateError(f"{artifact}: no matrix of a block is stored in it, so no copy can be spoiled as a control.")


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
