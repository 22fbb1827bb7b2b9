"""The door: a request in, files in a directory out; `result.json` last."""

from __future__ import annotations

import shutil
from pathlib import Path

from adapters.errors import AdapterError
from adapters.launch import launch
from adapters.request import Merged, MergeRequest, Trained, TrainRequest

WORK = ".work"
"""Directory of an unfinished training, below the one that takes the adapter."""


def run(request: TrainRequest | MergeRequest, out: Path) -> Trained | Merged:
    """Run the step that `request` names.

    Raises:
        AdapterError: the base, the recipe or the text is at fault.
    """
    if isinstance(request, MergeRequest):
        from adapters.merge import merge

        told: Trained | Merged = merge(request, out)
    else:
        if not (request.base.directory / "config.json").is_file():
            raise AdapterError(
                f"{request.base.directory}: no config.json. The base is a release that transformers loads: pull it first."
            )
        told = launch(request, out, out / WORK)
        shutil.rmtree(out / WORK)
    (out / "result.json").write_text(told.model_dump_json(indent=1) + "\n", "utf-8")
    return told
