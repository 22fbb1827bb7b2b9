"""What exporter and loaders do to modules of classes that are made from nn.Linear and nn.Embedding."""

import json
from pathlib import Path

import openvino
import pytest
import torch
from optimum.intel import OVConfig
from transformers import AutoModelForCausalLM

from bench import tiny
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests.quantizers.models import DEMO

IR = {
    "streaming": Recipe(format="openvino", dtype="int4", group_size=32, symmetric=False),
    "nncf": Recipe(engine="nncf", format="openvino", dtype="int4", group_size=32, symmetric=False),
}


def saved(kind: str, directory: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    tiny.make(kind).to(dtype).save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((DEMO / "model" / file).read_bytes())
    return directory


@pytest.mark.parametrize("engine", IR)
def test_position_embeddings_of_a_class_of_their_own_stay_in_sixteen_bits(engine: str, tmp_path: Path) -> None:
    model = saved("opt", tmp_path / "model")
    made = run(Request(model=model, targets={"ir": IR[engine]}), tmp_path / "out").targets["ir"]
    graph = openvino.Core().read_model(tmp_path / "out" / "ir" / "openvino_model.xml")
    wide = [
        op.get_friendly_name()
        for op in graph.get_ordered_ops()
        if op.get_type_name() == "Constant" and op.get_element_type() == openvino.Type.f32 and op.get_byte_size() > 4096
    ]
    assert not [name for name in wide if "embed" in name]
    assert abs(made.weights_bytes - made.expected_bytes) < 0.1 * made.expected_bytes


@pytest.mark.parametrize("engine", IR)
def test_a_release_says_how_it_was_quantized_as_optimum_does(engine: str, tmp_path: Path) -> None:
    model = saved("llama", tmp_path / "model")
    run(Request(model=model, targets={"ir": IR[engine]}), tmp_path / "out")
    told = OVConfig.from_pretrained(tmp_path / "out" / "ir")
    assert (told.dtype, told.quantization_config.group_size, told.quantization_config.sym) == ("int4", 32, False)
    assert str(tmp_path) not in (tmp_path / "out" / "ir" / "openvino_config.json").read_text()


@torch.no_grad()
def test_a_router_of_a_class_made_from_a_linear_is_left_alone_by_the_stock_loader(tmp_path: Path) -> None:
    model = saved("phimoe", tmp_path / "model", torch.float32)
    run(Request(model=model, targets={"ct": Recipe(dtype="int8", group_size=32)}), tmp_path / "out")
    ignored = json.loads((tmp_path / "out/ct/config.json").read_text())["quantization_config"]["ignore"]
    assert [name for name in ignored if name.endswith("router")]
    rows = torch.arange(2 * 16).view(2, 16) * 7 % 97
    original, own = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)(rows).logits
        for path in (model, tmp_path / "out/ct")
    )
    assert float((own - original).norm() / original.norm()) < 0.15
