"""Base and adapter as one model: it says what both said, and is quantized as any other."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from adapters.entrypoint import run
from adapters.request import Merged, MergeRequest
from quantizers.entrypoint import run as quantize
from quantizers.recipe import Recipe
from quantizers.request import Request


@pytest.fixture(scope="module")
def adapter(nf4: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Updates of every query and value projection, large enough to turn choices."""
    directory = tmp_path_factory.mktemp("adapter")
    model = AutoModelForCausalLM.from_pretrained(nf4, dtype=torch.float32)
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(directory)
    return directory


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits.float()


def test_a_merged_model_says_what_base_and_adapter_said_and_is_quantized(nf4, adapter, tmp_path: Path) -> None:
    merged = run(MergeRequest(base=nf4, adapter=adapter), tmp_path)
    assert merged == Merged(linears=8)
    ids = torch.randint(2, 2000, (1, 64), generator=torch.Generator().manual_seed(0))
    # A base each: bitsandbytes lays weights out anew for the CPU when they first run, and peft's linears do not read those.
    base, other = (AutoModelForCausalLM.from_pretrained(nf4, dtype=torch.float32) for _ in range(2))
    alone, together = logits(base, ids), logits(PeftModel.from_pretrained(other, adapter), ids)
    moved = (together - alone).abs().mean()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert "quantization_config" not in plain.config.to_dict()
    # bfloat16 rounds weights by one part in 512 at the most.
    assert (logits(plain, ids) - together).abs().mean() < 0.1 * moved
    quantize(Request(model=tmp_path / "merged", targets={"int8": Recipe(dtype="int8")}), tmp_path / "quantized")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "quantized/int8", dtype=torch.float32)
    assert (logits(again, ids) - together).abs().mean() < 0.2 * moved
