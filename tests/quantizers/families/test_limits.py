"""What the tables say of architectures is what the formats say when they ask the models."""

import pytest
import transformers
from accelerate import init_empty_weights
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.pytorch_utils import Conv1D

from bench import tiny
from quantizers.families.heads import task_of
from quantizers.families.limits import OF_ITS_OWN, TRANSPOSED, UNREADABLE, refusal
from quantizers.formats.compressed_tensors import _unreadable
from quantizers.model.linears import heads

READABLE = ("llama", "gemma2", "olmo2", "granite", "bloom", "mpt", "phi3", "stablelm", "beit", "swin", "convnext")


def linears(kind: str) -> tuple[nn.Module, tuple[str, ...]]:
    use = next((use for use in tiny.KINDS if kind in tiny.types(use)), None)
    if use is None:
        return pictured(kind)
    config = tiny.shrunk(kind, use)
    if kind == "recurrent_gemma":
        config.num_hidden_layers = 3
    built = getattr(transformers, tiny.KINDS[use])._model_mapping[type(config)]
    config = config if built.config_class is type(config) else config.get_text_config()
    with init_empty_weights(include_buffers=False):
        model = built._from_config(config)
    head = model.get_output_embeddings()
    return model, tuple(n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head)


def pictured(kind: str) -> tuple[nn.Module, tuple[str, ...]]:
    """A model that classifies images, and its linears but those of its head."""
    config = CONFIG_MAPPING[kind](architectures=[], num_hidden_layers=2)
    with init_empty_weights(include_buffers=False):
        model = transformers.AutoModelForImageClassification.from_config(config)
    names = tuple(n for n, m in model.named_modules() if type(m) is nn.Linear)
    return model, tuple(name for name in names if name not in heads("image-classification", names))


@pytest.mark.parametrize("kind", [*UNREADABLE, *READABLE])
def test_what_compressed_tensors_cannot_be_loaded_into_is_known(kind: str) -> None:
    model, names = linears(kind)
    lost = _unreadable(model, tuple(n for n in names if type(model.get_submodule(n)) is nn.Linear))
    ends = UNREADABLE.get(kind, ())
    assert {name for name in names if name.endswith(ends or "none")} == set(lost)
    assert (refusal(kind, names, "compressed-tensors") is not None) == bool(lost)
    assert refusal(kind, names, "bitsandbytes") is None


@pytest.mark.parametrize("kind", sorted(TRANSPOSED))
def test_conv1d_is_known(kind: str) -> None:
    model, names = linears(kind)
    assert {type(model.get_submodule(name)) for name in names} == {Conv1D}
    assert "Conv1D" in str(refusal(kind, names, "compressed-tensors"))


@pytest.mark.parametrize("kind", sorted(OF_ITS_OWN))
def test_linears_of_a_class_of_their_own_are_known(kind: str) -> None:
    model, names = linears(kind)
    assert {type(model.get_submodule(name)).__name__ for name in names} == {OF_ITS_OWN[kind]}
    assert all("format openvino" in str(refusal(kind, names, name)) for name in ("compressed-tensors", "bitsandbytes"))
    assert refusal(kind, names, "openvino") is None


def test_what_a_head_is_for_is_told_by_its_name() -> None:
    assert task_of("BertForSequenceClassification") == "classification"
    assert task_of("WhatForEver") == "another task"
