"""What bitsandbytes' kernels on the CPU would read wrongly is kept as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from bench import tiny
from bench.tiny import shrunk
from quantizers.entrypoint import run
from quantizers.formats.bitsandbytes import stays
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests.quantizers.models import DEMO

NF4 = Recipe(format="bitsandbytes", dtype="nf4", group_size=32)


def logits(directory: Path, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)(input_ids=ids).logits.float()


@pytest.mark.parametrize("model_type", ["mamba", "jamba"])
def test_linears_that_are_given_a_transposed_view_are_kept(model_type: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(shrunk(model_type), dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        if name.endswith("out_proj.weight"):
            parameter.data *= 4  # or nothing would be seen of what the mixers make
    model.save_pretrained(tmp_path / "model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / file).write_bytes((DEMO / "model" / file).read_bytes())
    run(Request(model=tmp_path / "model", targets={"nf4": NF4}), tmp_path / "out")
    stored = load_file(tmp_path / "out/nf4/model.safetensors")
    packed = {name.split(".")[-2] for name in stored if stored[name].dtype == torch.uint8 and name.endswith(".weight")}
    assert "in_proj" in packed and not packed & {"x_proj", "out_proj"}
    ids = torch.arange(24).view(2, 12)
    together, alone = logits(tmp_path / "out/nf4", ids), logits(tmp_path / "out/nf4", ids[:1])
    torch.testing.assert_close(together[:1], alone, rtol=0.05, atol=0.05)
    original = logits(tmp_path / "model", ids)
    assert (together - original).norm() < 0.3 * original.norm()


@pytest.mark.parametrize(
    ("kind", "model_type"),
    [
        ("causal", "falcon_mamba"),
        ("causal", "jamba"),
        ("causal", "recurrent_gemma"),
        ("masked", "convbert"),
        ("causal", "llama"),
    ],
)
def test_all_that_are_given_one_are_known(kind: str, model_type: str) -> None:
    model, seen = tiny.make(model_type, kind=kind), set()
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}

    def see(name: str, given: torch.Tensor) -> None:
        if given.stride(-1) != 1:
            seen.add(name)

    for name, module in linears.items():
        module.register_forward_pre_hook(lambda _, given, name=name: see(name, given[0]))
    with torch.no_grad():
        model(input_ids=torch.arange(24).view(2, 12) + 3)
    assert seen <= stays(model, tuple(linears)) and bool(seen) == (model_type != "llama")
