"""A trained model held against copies of itself whose tensors were changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gates import entrypoint
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation, EvidenceRequest
from gates.spec import Gates
from tests import encoders

Change = Callable[[dict[str, torch.Tensor]], object]
Rows = Sequence[dict[str, Any]]


class Room:
    """A model in `root/model`, trained for a task, with a baseline for each set of rows, made when it is first asked for."""

    def __init__(self, root: Path, task: str, make: Callable[[Path], object], rows: Mapping[str, Rows]) -> None:
        self.root, self.task, self.model = root, task, root / "model"
        root.mkdir(exist_ok=True)
        make(self.model)
        for name, each in rows.items():
            encoders.write_rows(root / f"{name}.jsonl", each)

    def evaluation(self, name: str) -> Evaluation:
        return Evaluation(documents=self.root / f"{name}.jsonl", tokens=60)

    def baseline(self, name: str) -> Path:
        directory = self.root / name
        if not directory.exists():
            directory.mkdir()
            asked = BaselineRequest(model=self.model, task=self.task, evaluation=self.evaluation(name))
            entrypoint.run(asked, directory)
        return directory

    def evidence(self, name: str, change: Change, out: Path) -> Evidence:
        """Hold a copy of the model, its tensors changed, against the model; a copy that is in `out` already is taken."""
        copy = out / "copy"
        if not copy.exists():
            shutil.copytree(self.model, copy)
        tensors = load_file(copy / "model.safetensors")
        change(tensors)
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        return self.beside(name, copy, "transformers", out)

    def beside(self, name: str, artifact: Path, format_name: str, out: Path) -> Evidence:
        """Hold an artifact against the model."""
        fields = {"model": self.model, "task": self.task, "artifact": artifact, "format": format_name}
        fields |= {"baseline": self.baseline(name), "evaluation": self.evaluation(name)}
        evidence = entrypoint.run(EvidenceRequest.model_validate(fields), out)
        assert isinstance(evidence, Evidence)
        return evidence


def outcomes(evidence: Evidence, **asked: Any) -> dict[str, str]:
    """What the gates that are asked for say, and no others."""
    gates = Gates.model_validate({"size": None, "divergence": None, "perplexity": None, **asked})
    return {row.name: row.outcome for row in judge(evidence, gates).gates if not row.name.startswith("sanity.")}
