"""What the tables say a checkpoint holds is what transformers saves."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from quantizers.families.tensors import LAYOUTS, is_tied, tensors
from tests.quantizers.families.tiny_models import MODELS, make

DECODERS = [name for name in MODELS if name.partition("-")[0] in LAYOUTS]
ABSENT = (
    *("head_dim", "attention_bias", "mlp_bias", "tie_word_embeddings", "n_inner", "qkv_bias", "decoder_sparse_step"),
    *("mlp_only_layers", "enable_bias", "layer_norm_elementwise_affine", "qk_layernorm"),
)


def saved(directory: Path, name: str, **changed: Any) -> tuple[dict, dict]:
    make(name, **changed).save_pretrained(directory)
    with safe_open(directory / "model.safetensors", framework="np") as file:
        stored = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    return json.loads((directory / "config.json").read_text()), stored


@pytest.mark.parametrize("name", DECODERS)
def test_every_tensor_is_known_with_its_shape(name: str, tmp_path: Path) -> None:
    config, stored = saved(tmp_path, name)
    assert tensors(config) == stored


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2", "gpt_neox", "opt", "mixtral"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_head_is_stored_unless_it_is_tied(name: str, tied: bool, tmp_path: Path) -> None:
    config, stored = saved(tmp_path, name, tie_word_embeddings=tied)
    assert (is_tied(config), tensors(config)) == (tied, stored)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_keys_that_older_configurations_leave_out_have_the_values_that_transformers_gives_them(
    name: str, tmp_path: Path
) -> None:
    import transformers

    config = json.loads(transformers.AutoConfig.for_model(name).to_json_string(use_diff=False))
    config |= {"num_hidden_layers": 2} if name != "gpt2" else {"n_layer": 2}
    older = {key: value for key, value in config.items() if key not in ABSENT}
    assert tensors(older) == tensors(config) is not None
    del older["num_key_value_heads" if "num_key_value_heads" in older else "vocab_size"]
    assert tensors(older) == (tensors(config) if name in ("llama", "phi", "phi3") else None)


def test_a_configuration_that_leaves_out_what_decides_is_not_guessed_at() -> None:
    assert tensors({"model_type": "llama", "hidden_size": 64}) is None
    assert tensors({"model_type": "strange"}) is None
