import errno
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from catalog.errors import EnvironmentFault
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.models import DEMO, edit_json, edit_tensors, request

INT4 = {"group_size": 64}


def refused(model, out, *words, kind=QuantizeError, **recipes):
    with pytest.raises(kind) as caught:
        run(request(model, **(recipes or {"t": INT4})), out)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert not (out / "result.json").exists()
    assert not (out / "t").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"])
def test_not_finite(llama, tmp_path, name, value):
    edit_tensors(llama, lambda t: t[name].view(-1)[5].fill_(value))
    refused(llama, tmp_path / "out", name, "NaN or infinity")


def test_truncated_file(llama, tmp_path):
    file = llama / "model.safetensors"
    os.truncate(file, file.stat().st_size - 100)
    refused(llama, tmp_path / "out", "model.safetensors", "cut short")


def test_file_that_is_no_safetensors(llama, tmp_path):
    (llama / "model.safetensors").write_bytes(b"PK\x03\x04" * 40)
    refused(llama, tmp_path / "out", "model.safetensors", "damaged")


def test_missing_shard(sharded, tmp_path):
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    refused(sharded, tmp_path / "out", shard.name, "missing")


def test_truncated_shard(sharded, tmp_path):
    shard = sorted(sharded.glob("*.safetensors"))[1]
    os.truncate(shard, 40)
    refused(sharded, tmp_path / "out", shard.name, "cut short")


def test_index_that_names_a_missing_tensor(sharded, tmp_path):
    shard = sorted(sharded.glob("*.safetensors"))[0].name
    index = sharded / "model.safetensors.index.json"
    edit_json(index, lambda v: v["weight_map"].update({"model.layers.9.mlp.up_proj.weight": shard}))
    refused(sharded, tmp_path / "out", "model.layers.9.mlp.up_proj.weight", shard)


def test_index_that_leaves_the_directory(sharded, tmp_path):
    index = sharded / "model.safetensors.index.json"
    edit_json(index, lambda v: v["weight_map"].update({"x": "../other.safetensors"}))
    refused(sharded, tmp_path / "out", "../other.safetensors", "outside")


def test_duplicate_tensor(sharded, tmp_path):
    first, second = sorted(sharded.glob("*.safetensors"))[:2]
    tensors = load_file(second) | load_file(first)
    save_file(tensors, second, metadata={"format": "pt"})
    refused(sharded, tmp_path / "out", "two shards", first.name, second.name)


def test_missing_tensor(llama, tmp_path):
    edit_tensors(llama, lambda t: t.pop("model.layers.1.mlp.up_proj.weight"))
    refused(llama, tmp_path / "out", "model.layers.1.mlp.up_proj.weight", "config.json")


def test_left_over_tensor(llama, tmp_path):
    edit_tensors(llama, lambda t: t.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(4)}))
    refused(llama, tmp_path / "out", "model.layers.2.mlp.up_proj.weight", "no place")


def test_shape_that_disagrees_with_the_configuration(llama, tmp_path):
    edit_json(llama / "config.json", lambda v: v.update(intermediate_size=256))
    refused(llama, tmp_path / "out", "[192, 128]", "[256, 128]")


def test_tied_but_different(tied, tmp_path):
    edit_tensors(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] * 2}))
    refused(tied, tmp_path / "out", "lm_head.weight", "tie_word_embeddings")


def test_tied_head_cannot_be_quantized_alone(tied, tmp_path):
    refused(tied, tmp_path / "out", "lm_head", "model.embed_tokens", "Add lm_head to skip", t=INT4 | {"skip": []})


def test_group_size_that_does_not_divide(llama, tmp_path):
    refused(
        llama,
        tmp_path / "out",
        "group_size 128",
        "model.layers.0.mlp.down_proj",
        "192",
        "64, 32",
        "-1",
        t={"group_size": 128},
    )


def test_nothing_left_to_quantize(llama, tmp_path):
    refused(llama, tmp_path / "out", "skip", "q_proj", t=INT4 | {"skip": ["*"]})


def test_unknown_architecture(llama, tmp_path):
    edit_json(llama / "config.json", lambda v: v.update(model_type="llamb"))
    refused(llama, tmp_path / "out", "config.json", "llamb")


def test_already_quantized(llama, tmp_path):
    edit_json(llama / "config.json", lambda v: v.update(quantization_config={"quant_method": "gptq"}))
    refused(llama, tmp_path / "out", "already quantized", "gptq")


def test_configuration_that_is_no_json(llama, tmp_path):
    (llama / "config.json").write_text("{")
    refused(llama, tmp_path / "out", "config.json", "not JSON")


def test_no_configuration(llama, tmp_path):
    (llama / "config.json").unlink()
    refused(llama, tmp_path / "out", "config.json", "no such file")


def test_pickles_are_not_read(llama, tmp_path):
    shutil.move(llama / "model.safetensors", llama / "pytorch_model.bin")
    refused(llama, tmp_path / "out", "pytorch_model.bin", "safetensors")


def test_no_model(tmp_path):
    refused(tmp_path / "absent", tmp_path / "out", "no such directory")


def test_no_room_on_the_disk(llama, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    refused(llama, tmp_path / "out", "no room", "No space left on device", kind=EnvironmentFault)


def test_absent_device(tmp_path):
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=2, tokens=16, device="xpu")
    wanted = Request(model=DEMO / "model", targets={"t": Recipe(transform="awq")}, calibration=text)
    with pytest.raises(EnvironmentFault, match="no xpu device"):
        run(wanted, tmp_path / "out")
    assert not (tmp_path / "out").exists()
