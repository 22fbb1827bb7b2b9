"""Linears of one target in different dtypes."""

import json
from typing import Any

import pytest
from safetensors import safe_open

from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from tests.quantizers.models import request
from tests.quantizers.test_calibrated import MODEL
from tests.quantizers.test_calibrated import request as calibrated

MIXED = {"*.q_proj": "int8", "model.layers.1.mlp.down_proj": "int3"}


def test_a_recipe_has_one_order_of_overrides_and_a_name_goes_before_a_pattern():
    one = Recipe(overrides={"b.*": "int8", "b.c": "int3", "a": "int2"})
    other = Recipe(overrides={"a": "int2", "b.c": "int3", "b.*": "int8"})
    assert one.model_dump_json() == other.model_dump_json() and hash(one) == hash(other)
    assert one.dtypes_of(("a", "b.c", "b.d", "c")) == {"a": "int2", "b.c": "int3", "b.d": "int8", "c": "int4"}
    assert one.of(("b.d", "c")) == {"b.d": Recipe(dtype="int8"), "c": Recipe()}


def test_the_configuration_has_a_scheme_for_each_width(llama, tmp_path):
    run(request(llama, t={"group_size": 64, "overrides": MIXED}), tmp_path / "out")
    config = json.loads((tmp_path / "out/t/config.json").read_text())["quantization_config"]
    groups = [(group["weights"]["num_bits"], group["targets"]) for group in config["config_groups"].values()]
    assert groups == [
        (3, ["model.layers.1.mlp.down_proj"]),
        (8, ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]),
        (4, ["Linear"]),
    ]


def test_linears_that_share_an_input_and_differ_in_dtype_are_solved_apart(tmp_path):
    base = {"group_size": 64, "symmetric": False, "rounding": "compensated", "range": "mse"}
    recipes: dict[str, Any] = {"mixed": base | {"overrides": MIXED}, "int4": base, "int8": base | {"dtype": "int8"}}
    run(calibrated(MODEL, **recipes), tmp_path / "out")
    with (
        safe_open(tmp_path / "out/mixed/model.safetensors", "pt") as mixed,
        safe_open(tmp_path / "out/int4/model.safetensors", "pt") as int4,
        safe_open(tmp_path / "out/int8/model.safetensors", "pt") as int8,
    ):
        for part in ("weight_packed", "weight_scale", "weight_zero_point"):
            for linear, alike in (("q_proj", int8), ("k_proj", int4), ("v_proj", int4)):
                name = f"model.layers.2.self_attn.{linear}.{part}"
                assert mixed.get_tensor(name).equal(alike.get_tensor(name)), name


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"*.qproj": "int8"}, ("*.qproj", "no linear", "model.layers.0.self_attn.q_proj")),
        ({"lm_head": "int8"}, ("lm_head", "no linear")),
        ({"*.0.mlp.*": "int8", "*.up_proj": "int3"}, ("model.layers.0.mlp.up_proj", "different dtypes")),
    ],
)
def test_overrides_that_do_not_fit_the_model_are_refused(llama, tmp_path, overrides, words):
    with pytest.raises(QuantizeError) as caught:
        run(request(llama, t={"group_size": 64, "overrides": overrides}), tmp_path / "out")
    assert all(word in str(caught.value) for word in words), caught.value
