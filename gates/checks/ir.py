"""The tokenizer and detokenizer that lie beside an OpenVINO model, as OpenVINO GenAI runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gates.evidence import Check

TEXTS = 8
"""Texts compared, the first of the evaluation."""
CHARACTERS = 400
"""Of each text: the graphs cut off what exceeds the model's context, the tokenizer beside it does not."""


def tokenizers(artifact: Path, original: Any, texts: list[str]) -> Check:
    """Both graphs agree with the original's tokenizer on the first `TEXTS` texts, there and back."""
    import openvino
    import openvino_tokenizers  # noqa: F401  registers the operations that the graphs are made of

    core = openvino.Core()
    split, join = (
        core.compile_model(artifact / f"openvino_{part}.xml", "CPU") for part in ("tokenizer", "detokenizer")
    )
    for text in (text[:CHARACTERS] for text in texts[:TEXTS]):
        expected = original(text)["input_ids"]
        ids = split([text])["input_ids"][0].tolist()
        if ids != expected:
            return _check(
                False, f"openvino_tokenizer.xml splits {text[:40]!r} differently from the original's tokenizer"
            )
        back = str(join([[expected]])["string_output"][0])
        if back.strip() != original.decode(expected, skip_special_tokens=True).strip():
            return _check(False, f"openvino_detokenizer.xml does not give {text[:40]!r} back as the original's does")
    return _check(True, f"both agree with the original's tokenizer on {min(TEXTS, len(texts))} texts")


def _check(passed: bool, detail: str) -> Check:
    return Check(name="ir-tokenizer", passed=passed, detail=detail)
