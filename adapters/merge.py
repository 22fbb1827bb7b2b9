"""One model of a base and its adapter: what both computed together, as weights in bfloat16."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.request import Merged, MergeRequest


def merge(request: MergeRequest, out: Path) -> Merged:
    """Unpack the base to the very numbers that its adapter was trained beside, add the updates, write `out/merged`.

    Added to the packed weights, updates would be rounded to 4 bits again at once.
    """
    model = AutoModelForCausalLM.from_pretrained(
        request.base, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    )
    model = model.dequantize()
    adapted = PeftModel.from_pretrained(model, request.adapter)
    linears = sum(hasattr(module, "lora_A") for module in adapted.modules())
    merged = adapted.merge_and_unload(safe_merge=True).to(torch.bfloat16)
    # How the weights were unpacked cannot be undone, nor is it to be: they are saved as those of a model that never was packed.
    merged._weight_conversions = None
    merged.save_pretrained(out / "merged")
    AutoTokenizer.from_pretrained(request.base, local_files_only=True).save_pretrained(out / "merged")
    return Merged(linears=linears)
