"""Tiny models in GGUF and as their compressed-tensors twins, for the tests of that format."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader

from catalog.runtime import RuntimeOptions
from gates.clients import client, transformers
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.families.tiny_models import make
from tests.quantizers.models import DEMO

ARCHITECTURES = ("llama", "llama-biased", "mistral", "qwen2", "qwen3", "gemma", "phi3")
RECIPES: dict[str, dict[str, Any]] = {
    "Q4_0": {"overrides": {"*.down_proj": "int8", "*.o_proj": "int4_fullrange"}},
    "Q4_1": {"symmetric": False},
}
NEAR = 0.15
"""llama.cpp rounds activations to eight bits, and the noise grows in models of large random weights."""
IDS = torch.arange(48) * 37 % 2000
SIZES = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 2048, "max_position_embeddings": 512}
TEXTS = [json.loads(line)["text"] for line in (DEMO / "evaluation.jsonl").open()][:20]
WORDS = [
    "don't we'll  two spaces\tand a tab\n\n\na line 1234567 x=3.14; Grüße 你好 🙂",
    "",
    " ",
    "I'M <s> here</s>",
    *TEXTS,
]


def saved(kind: str, directory: Path, dtype: torch.dtype = torch.bfloat16, **changed: Any) -> Path:
    """A tiny random model with the demo's tokenizer; heads are wider than their share of the model where that may be."""
    wide = {"head_dim": 32} if kind.partition("-")[0] in ("llama", "qwen3", "gemma") else {}
    window: dict[str, Any] = {"sliding_window": None} if kind in ("mistral", "phi3") else {}
    make(kind, **SIZES, **wide, **window, **changed).to(dtype).save_pretrained(directory)
    return with_tokenizer(directory)


def with_tokenizer(model: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO / "model" / name, model / name)
    return model


def quantized(model: Path, out: Path, **recipes: dict[str, Any]) -> Path:
    """Each recipe in both formats: `name`, and `name.gguf`."""
    both = {}
    for name, recipe in recipes.items():
        both[name] = Recipe(group_size=32, **recipe)
        both[f"{name}.gguf"] = Recipe(group_size=32, format="gguf", **recipe)
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=64)
    run(Request(model=model, targets=both, calibration=text), out)
    return out


def tensors_of(artifact: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(artifact / "model.gguf").tensors}


def load(artifact: Path, format_: str = "gguf") -> client.Loaded:
    return client.load(artifact, format_, RuntimeOptions(), "text-generation")


def twin(artifact: Path) -> transformers.Model:
    """The compressed-tensors artifact in float32."""
    return transformers.load(artifact, "transformers.AutoModelForCausalLM", "CPU", dtype=torch.float32)


def off(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())
