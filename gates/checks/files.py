"""The artifact's files, before anything is loaded. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from catalog.format import Format
from catalog.sizes import in_words
from gates.evidence import Check, Sizes

NAMES = frozenset({"LICENSE", "NOTICE", "USE_POLICY", ".gitattributes"})
SLACK = 0.02, 65_536
"""Headers and alignment: share of the expected size plus bytes by which the weights may differ from it."""


def files(artifact: Path, expected: Format, damage: Callable[[Path], str | None], tokenizer: bool = True) -> Check:
    """Every file is of a kind that cannot run code, every weight file is whole, and the format's files are there.

    `damage` is what the client says of the weight files (`gates.clients.client.Client`); `tokenizer`, whether there is one.
    """
    name = "files"
    if not artifact.is_dir():
        return Check(name=name, passed=False, detail=f"{artifact.name} is not a directory")
    for path in sorted(p for p in artifact.rglob("*") if p.is_file()):
        if not (expected.takes(path.name) or path.name in NAMES):
            detail = f"{path.name} is neither plain text nor a weight file of this format"
            return Check(name=name, passed=False, detail=detail)
    for required in (*expected.files, *(expected.tokenizer if tokenizer else ())):
        if not any(artifact.glob(required)):
            return Check(name=name, passed=False, detail=f"{required} is missing")
    fault = _configuration(artifact, expected) or damage(artifact)
    return Check(name=name, passed=fault is None, detail=fault or "whole, and nothing that runs code")


def _configuration(artifact: Path, expected: Format) -> str | None:
    if "config.json" not in expected.files:
        return None
    config = json.loads((artifact / "config.json").read_text())
    if "auto_map" in config:
        return "config.json asks for code of its own (auto_map)"
    method = (config.get("quantization_config") or {}).get("quant_method")
    if expected.method and method != expected.method:
        return f"config.json says {method or 'no quantization_config'}, the format is {expected.method}"
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
