"""What turns rows into tensors: the tokenizer of text, and the processor of images or sounds, beside a model's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.tasks import TASKS


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
