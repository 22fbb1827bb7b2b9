"""Directories in the layout of sentence-transformers: a model, and beside it what makes one vector of its tokens.

`modules.json` lists the steps: the model itself at the top, then pooling, projections and normalization, each in a directory
of its own with a `config.json`. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIST = "modules.json"
BESIDE = (LIST, "config_sentence_transformers.json", "sentence_bert_config.json")
"""Files of the layout at the top of a directory."""
KEPT = (".json", ".safetensors", ".txt")
"""Suffixes of files of a module that travel along."""


@dataclass(frozen=True)
class Module:
    """One step after the model."""

    kind: str
    """Last part of its class's name, such as `Pooling`."""
    path: str
    """Directory below the model's."""


def modules(directory: Path) -> tuple[Module, ...] | None:
    """Return the steps after the model, in order; None where the layout is not used."""
    path = directory / LIST
    if not path.is_file():
        return None
    rows: list[dict[str, Any]] = json.loads(path.read_bytes())
    return tuple(Module(str(row["type"]).rpartition(".")[2], str(row["path"])) for row in rows if row["path"])


def settings(directory: Path, name: str) -> dict[str, Any]:
    """Return what a JSON file of the layout says; nothing where it is absent."""
    path = directory / name
    read: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return read


def prompt(directory: Path) -> str:
    """Return what the client puts before a text of itself, by `default_prompt_name`."""
    said = settings(directory, "config_sentence_transformers.json")
    return str((said.get("prompts") or {}).get(said.get("default_prompt_name"), ""))


def files(directory: Path) -> Iterator[Path]:
    """Yield the files of the modules, below the directory of each; those at the top are not among them."""
    for module in modules(directory) or ():
        inside = directory / module.path
        yield from sorted(path for path in inside.rglob("*") if path.is_file() and path.suffix in KEPT)
