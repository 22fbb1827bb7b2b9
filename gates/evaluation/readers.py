"""What turns rows into tensors: the tokenizer of text, and the processor of images or sounds, beside a model's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.tasks import TASKS
from gates.errors import GateError


@dataclass(frozen=True)
class Readers:
    """What lies beside one model."""

    tokenizer: Any
    """None of a model that reads and writes no text."""
    processor: Any
    """None of a model that reads text alone."""


def load(path: Path, task: str) -> Readers:
    """Load what a task reads rows with, as its user will. Raises what transformers raises."""
    from transformers import AutoProcessor, AutoTokenizer

    options = {"local_files_only": True, "trust_remote_code": False}
    return Readers(
        tokenizer=AutoTokenizer.from_pretrained(path, **options) if TASKS[task].tokenizes else None,
        processor=AutoProcessor.from_pretrained(path, **options) if TASKS[task].processes else None,
    )


def extractor(model: Path) -> Any:
    """Return the feature extractor that lies beside a model, as its user will load it.

    Raises GateError where there is none.
    """
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise GateError(
            f"{model}: no feature extractor can be read ({' '.join(str(error).split())[:200]}). A model that hears has "
            "preprocessor_config.json or processor_config.json beside it: save it with its processor."
        ) from error
