"""OpenVINO GenAI, whose speed is measured beside that of the client that judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
from torch import Tensor


@dataclass(frozen=True)
class Pipeline:
    """What it loaded."""

    stock: Any
    threads: None = None
    """It does not say how many it has."""

    def generate(self, prompts: Tensor, new_tokens: int, *, through_ends: bool) -> None:
        """Continue a prompt, int64 (1, tokens), by the likeliest tokens."""
        config = openvino_genai.GenerationConfig(max_new_tokens=new_tokens, ignore_eos=through_ends, do_sample=False)
        self.stock.generate(openvino.Tensor(prompts.numpy().astype(np.int64)), config)


def load(path: Path, device: str, ov_config: dict[str, Any] | None = None) -> Pipeline:
    """Load an IR with its tokenizer for a device."""
    return Pipeline(openvino_genai.LLMPipeline(path, device, **(ov_config or {})))
