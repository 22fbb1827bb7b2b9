"""Configurations and tokenizers as transformers 4.41 and tokenizers 0.19 read them. Imports no torch: planning reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def positions(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of rotary positions, wherever a version of transformers has put them."""
    told = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if "type" in told:
        told.setdefault("rope_type", told.pop("type"))
    if config.get("rope_theta") is not None:
        told.setdefault("rope_theta", config["rope_theta"])
    return told


def configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json with positions and dtype under their old names beside the new ones."""
    told, scaling = positions(config), None
    if told.get("rope_type", "default") != "default":
        scaling = {"type": told["rope_type"], "factor": told["factor"]}
    theta = {"rope_theta": told["rope_theta"]} if "rope_theta" in told else {}
    return {**config, **theta, "rope_scaling": scaling, "torch_dtype": "float32"}


def refuse_tokenizer(directory: Path) -> str | None:
    """Say why the tokenizer of a directory cannot be written for tokenizers 0.19, or None."""
    path = directory / "tokenizer.json"
    merges = json.loads(path.read_bytes()).get("model", {}).get("merges", []) if path.is_file() else []
    if any(isinstance(pair, list) and any(" " in part for part in pair) for pair in merges):
        return "format itrex runs on tokenizers 0.19, which cannot read merges of pieces that hold a space"
    return None


def write_tokenizer(artifact: Path) -> None:
    """Rewrite an artifact's tokenizer for it: each merge as one text, and a class that it knows."""
    path = artifact / "tokenizer.json"
    if path.is_file():
        told = json.loads(path.read_bytes())
        merges = told.get("model", {}).get("merges")
        if merges:
            told["model"]["merges"] = [" ".join(pair) if isinstance(pair, list) else pair for pair in merges]
            path.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
    path = artifact / "tokenizer_config.json"
    if path.is_file():
        told = json.loads(path.read_bytes())
        told.pop("backend", None)
        if told.get("tokenizer_class") == "TokenizersBackend":
            told["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
