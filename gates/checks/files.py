"""The artifact's files, before anything is loaded. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from catalog.foreign_errors import machine_fault
from catalog.formats import Format
from gates.evidence import Check, Sizes
from gates.sizes import in_words

NAMES = frozenset({"LICENSE", "NOTICE", "USE_POLICY", ".gitattributes"})
SLACK = 0.02, 65_536
"""Headers and alignment: share of the expected size plus bytes by which the weights may differ from it."""


def files(artifact: Path, expected: Format) -> Check:
    """Every file is of a kind that cannot run code, every weight file is whole, and the format's files are there."""
    name = "files"
    if not artifact.is_dir():
        return Check(name=name, passed=False, detail=f"{artifact.name} is not a directory")
    for path in sorted(p for p in artifact.rglob("*") if p.is_file()):
        if not (expected.takes(path.name) or path.name in NAMES):
            detail = f"{path.name} is neither plain text nor a weight file of this format"
            return Check(name=name, passed=False, detail=detail)
    for required in expected.files:
        if not any(artifact.glob(required)):
            return Check(name=name, passed=False, detail=f"{required} is missing")
    config = json.loads((artifact / "config.json").read_text())
    if "auto_map" in config:
        return Check(name=name, passed=False, detail="config.json asks for code of its own (auto_map)")
    quantization = config.get("quantization_config") or {}
    if expected.method and quantization.get("quant_method") != expected.method:
        asked = quantization.get("quant_method") or "no quantization_config"
        return Check(name=name, passed=False, detail=f"config.json says {asked}, the format is {expected.method}")
    fault = _shards(artifact)
    return Check(name=name, passed=fault is None, detail=fault or "whole, and nothing that runs code")


def _shards(artifact: Path) -> str | None:
    seen: dict[str, str] = {}
    for path in sorted(artifact.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as tensors:  # type: ignore[no-untyped-call]
                names = list(tensors.keys())
        except SafetensorError as error:
            if fault := machine_fault(error):
                raise fault from error
            return f"{path.name} is not a whole safetensors file ({error})"
        for name in names:
            if name in seen:
                return f"tensor {name} is in {seen[name]} and in {path.name}"
            seen[name] = path.name
    index = artifact / "model.safetensors.index.json"
    if index.is_file():
        listed: dict[str, Any] = json.loads(index.read_text())["weight_map"]
        astray = sorted(name for name in listed.keys() | seen.keys() if listed.get(name) != seen.get(name))
        if astray:
            return f"{index.name} and the shards disagree on tensor {astray[0]}"
    return None


def size(sizes: Sizes) -> Check:
    """The weights take the bytes that the recipe implies: neither missing nor stored twice."""
    if sizes.expected_bytes is None:
        return Check(
            name="size", passed=True, detail=f"{in_words(sizes.artifact_bytes)} of weights; no size was implied"
        )
    off = abs(sizes.artifact_bytes - sizes.expected_bytes)
    detail = f"{in_words(sizes.artifact_bytes)} of weights, {in_words(sizes.expected_bytes)} implied by the recipe"
    return Check(name="size", passed=off <= SLACK[0] * sizes.expected_bytes + SLACK[1], detail=detail)
