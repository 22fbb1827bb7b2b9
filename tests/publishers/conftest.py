"""A small artifact with its evidence, as the steps before publishing hand it over."""

from __future__ import annotations

import copy
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "0")
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from publishers.request import Source, Subject
from tests.publishers.loopback_hub import LoopbackHub

SOURCE_CARD = """---
license: mit
language: [en]
tags: [demo]
---
# Demo
"""


def estimate(value: float, margin: float) -> dict[str, Any]:
    return {"value": value, "low": value - margin, "high": value + margin, "confidence": 0.95, "documents": 2}


SUMMARY: dict[str, Any] = {
    "tokens": 620,
    "perplexity_original": 21.5,
    "perplexity": 21.715,
    "increase": estimate(0.01, 0.004),
    "loss_change": estimate(0.00995, 0.004),
    "kld": estimate(0.0042, 0.0006),
    "agreement": estimate(0.962, 0.008),
    "flips": estimate(0.02, 0.005),
}
DOCUMENT = {"tokens": 310, "loss_original": 950.0, "loss": 955.0, "kld": 1.3, "agree": 298, "lost": 4, "gained": 2}
EVIDENCE: dict[str, Any] = {
    "format": "compressed-tensors",
    "loader": "transformers.AutoModelForCausalLM",
    "row_tokens": 512,
    "available": 2,
    "looks": [2],
    "documents": [{"index": 0, **DOCUMENT}, {"index": 1, **DOCUMENT}],
    "summary": SUMMARY,
    "size": {"original_bytes": 400_000, "artifact_bytes": 130_000, "expected_bytes": 129_000, "ratio": 0.325},
    "checks": [{"name": "loads", "passed": True, "detail": "every tensor of the model came from the artifact"}],
    "speed": None,
    "tools": {"transformers": "5.5.4", "torch": "2.13.0"},
}
VERDICT: dict[str, Any] = {
    "passed": True,
    "outcome": "passed",
    "more": False,
    "sentence": "Passed all 2 gates: KL divergence from the original 0.0042 nats, at most 0.0048, limit 0.0500.",
    "gates": [
        {"name": "sanity.loads", "outcome": "passed", "sentence": "every tensor of the model came from the artifact"},
        {
            "name": "divergence",
            "outcome": "passed",
            "value": 0.0042,
            "interval": [0.0036, 0.0048],
            "confidence": 0.95,
            "limit": 0.05,
            "sentence": "KL divergence from the original 0.0042 nats, at most 0.0048 nats at 95.0% confidence over 2 items",
        },
    ],
}
RECIPE: dict[str, Any] = {
    "engine": "streaming",
    "format": "compressed-tensors",
    "dtype": "int4",
    "symmetric": True,
    "group_size": 64,
    "transform": "awq",
    "range": "minmax",
    "rounding": "nearest",
    "ratio": 1.0,
    "skip": ["lm_head"],
}


def hashes(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def subject_of(artifact: Path, source: Path, **changes: Any) -> Subject:
    fields: dict[str, Any] = {
        "name": "acme/demo-int4",
        "target": "int4",
        "artifact": artifact,
        "files": hashes(artifact),
        "source": Source(name="demo", id="acme-labs/demo", revision="a" * 40, directory=source),
        "format": "compressed-tensors",
        "recipe": copy.deepcopy(RECIPE),
        "calibration": {"source": "calibration.jsonl", "samples": 8, "tokens": 128, "sha256": "c" * 64},
        "evaluation": {"source": "evaluation.jsonl", "documents": 2, "tokens": 512, "sha256": "e" * 64},
        "evidence": copy.deepcopy(EVIDENCE),
        "verdict": copy.deepcopy(VERDICT),
        "tools": {"quantmill": "0.1.0", "safetensors": "0.7.0"},
        "key": "k" * 64,
    }
    return Subject.model_validate({**fields, **changes})


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a byte-level tokenizer, saved as stock tools save it. Read only."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("model")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)} | {"</s>": 256}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(directory)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=257, max_position_embeddings=256, bos_token_id=256, eos_token_id=256, **shape)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    (directory / "README.md").write_text(SOURCE_CARD)
    (directory / "LICENSE").write_text("The MIT License\n")
    (directory / "NOTICE.txt").write_text("Made of docstrings.\n")
    return directory


@pytest.fixture
def artifact(model: Path, tmp_path: Path) -> Path:
    """What a quantizer leaves: weights, config and tokenizer. May be changed by the test."""
    directory = tmp_path / "artifact"
    directory.mkdir()
    for path in model.iterdir():
        if path.suffix in (".safetensors", ".json", ".jinja"):
            (directory / path.name).write_bytes(path.read_bytes())
    return directory


@pytest.fixture
def subject(artifact: Path, model: Path) -> Subject:
    return subject_of(artifact, model)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Hub of our own on the loopback interface, which the client of this process talks to."""
    from huggingface_hub import constants

    with LoopbackHub(token="hf_loopback_secret") as server:
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        yield server
