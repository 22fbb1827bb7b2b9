"""A small artifact with its evidence, as the steps before publishing hand it over."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from publishers.destinations.client import apply_hub_settings
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
SUMS = {"loss_original": 950.0, "loss": 955.0, "kld": 1.3, "agree": 298.0, "lost": 4.0, "gained": 2.0}
DOCUMENT = {"tokens": 310, "sums": SUMS}
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
    "sentence": "Passed 1 gate and 1 check: KL divergence from the original 0.0042 nats, at most 0.0048, limit 0.0500.",
    "gates": [
        {"name": "sanity.loads", "outcome": "passed", "sentence": "every tensor of the model came from the artifact"},
        {
            "name": "divergence",
            "outcome": "passed",
            "value": 0.0042,
            "interval": [0.0036, 0.0048],
            "confidence": 0.95,
            "limit": 0.05,
            "shown": {
                "label": "KL divergence, nats per token",
                "measured": "0.00420",
                "bound": "0.00480",
                "allowed": "≤ 0.05000",
                "column": "KLD ≤",
                "cell": "0.0048",
            },
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


def hashes(directory: Path | None) -> dict[str, str]:
    assert directory
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def subject_of(artifact: Path, original: Path, /, **changes: Any) -> Subject:
    fields: dict[str, Any] = {
        "name": "acme/demo-int4",
        "target": "int4",
        "artifact": artifact,
        "files": hashes(artifact),
        "source": Source(name="demo", id="acme-labs/demo", revision="a" * 40, directory=original),
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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The source's directory as far as publishing reads it: card, licence, notice and config."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "README.md").write_text(SOURCE_CARD)
    (directory / "LICENSE").write_text("The MIT License\n")
    (directory / "NOTICE.txt").write_text("Made of docstrings.\n")
    (directory / "config.json").write_text("{}")
    return directory


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Files of the kinds that a quantizer leaves; no loader reads them here."""
    directory = tmp_path / "artifact"
    directory.mkdir()
    weights = {f"model.layers.{i}.weight": np.arange(4096, dtype=np.float32) + i for i in range(4)}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64}
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    (directory / "generation_config.json").write_text('{"eos_token_id": 256}')
    vocabulary = {"/home/": 0, "a": 1}
    (directory / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary, "merges": [["/home", "/"]]}}))
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return directory


@pytest.fixture
def subject(artifact: Path, model: Path) -> Subject:
    return subject_of(artifact, model)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Hub of our own on the loopback interface, which the client of this process talks to as every process of ours does."""
    apply_hub_settings()
    from huggingface_hub import constants

    with LoopbackHub(token="hf_loopback_secret") as server:
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for constant, value in {
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
        }.items():
            monkeypatch.setattr(constants, constant, value)
        yield server


@pytest.fixture
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
