"""Folding changes the weights and nothing that the model computes."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from quantizers.errors import QuantizeError
from quantizers.families import family_of
from quantizers.families.experts import unstack
from quantizers.families.family import Family
from quantizers.transforms.fold import attainable, bind, check_fold, fold, hidden_states, in_features, present
from tests.quantizers.families.tiny_models import MODELS, make

IDS = torch.arange(2 * 12).reshape(2, 12) * 7 % 61 + 1


def inputs_of(model: nn.Module) -> dict[str, torch.Tensor]:
    seq2seq = getattr(model.config, "is_encoder_decoder", False)
    return {"input_ids": IDS, "decoder_input_ids": IDS.flip(1)} if seq2seq else {"input_ids": IDS}


def record(model: Any, path: str) -> list[tuple[dict[str, Any], torch.Tensor]]:
    """Arguments and hidden states of every block of a stack in one run of the model."""
    seen: list[tuple[dict[str, Any], torch.Tensor]] = []

    def hook(block: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        seen.append((bind(block, args, kwargs), hidden_states(output)))

    hooks = [block.register_forward_hook(hook, with_kwargs=True) for block in model.get_submodule(path)]
    with torch.no_grad():
        model(**inputs_of(model), use_cache=False)
    for handle in hooks:
        handle.remove()
    return seen


def random_scale(block: nn.Module, group: Any, generator: torch.Generator) -> torch.Tensor:
    scale = torch.empty(in_features(block, group)).uniform_(0.5, 4.0, generator=generator)
    return attainable(block, group, scale)


def unstacked(name: str) -> Any:
    """The model with experts as the tables know them."""
    model = make(name)
    unstack(model, model.config.model_type)
    return model


def family(model: Any) -> Family:
    return family_of({**model.config.to_dict(), "architectures": [type(model).__name__]})


@pytest.mark.parametrize("name", MODELS)
def test_a_folded_model_computes_what_it_did(name: str) -> None:
    model = make(name)
    with torch.no_grad():
        logits = model(**inputs_of(model)).logits
    unstack(model, model.config.model_type)
    generator = torch.Generator().manual_seed(1)
    folds = 0
    for stack in family(model).stacks:
        seen = record(model, stack.path)
        for block, (inputs, before) in zip(model.get_submodule(stack.path), seen, strict=True):
            for group in present(block, stack.groups):
                if group.absorber is not None:
                    fold(block, group, random_scale(block, group, generator))
                    folds += 1
            assert check_fold(block, before, inputs) < 1e-5
    assert folds >= 2
    with torch.no_grad():
        folded = model(**inputs_of(model)).logits
    assert float((folded - logits).norm() / logits.norm()) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_every_fold_changes_what_its_group_reads(name: str) -> None:
    """Linears of a group see one and the same input, and after a fold that input over the scale."""
    model = unstacked(name)
    generator = torch.Generator().manual_seed(2)
    for stack in family(model).stacks:
        inputs, _ = record(model, stack.path)[0]
        block = model.get_submodule(stack.path)[0]
        for group in present(block, stack.groups):
            modules = [block.get_submodule(n) for n in group.linears]
            if group.experts:
                continue
            read = inputs_read(block, modules, inputs)
            assert all(torch.equal(read[0], other) for other in read)
            if group.absorber is None:
                continue
            scale = random_scale(block, group, generator)
            fold(block, group, scale)
            torch.testing.assert_close(inputs_read(block, modules, inputs)[0] * scale, read[0], rtol=1e-4, atol=1e-4)


def inputs_read(block: nn.Module, modules: list[nn.Module], inputs: dict[str, Any]) -> list[torch.Tensor]:
    read: dict[nn.Module, torch.Tensor] = {}
    hooks = [m.register_forward_pre_hook(lambda m, a: read.__setitem__(m, a[0].detach().clone())) for m in modules]
    with torch.no_grad():
        block(**inputs)
    for handle in hooks:
        handle.remove()
    return [read[m] for m in modules]


@pytest.mark.parametrize("name", MODELS)
def test_every_linear_of_a_block_is_in_exactly_one_group(name: str) -> None:
    model = unstacked(name)
    for stack in family(model).stacks:
        for block in model.get_submodule(stack.path):
            groups = present(block, stack.groups)
            grouped = [name for group in groups for name in (*group.linears, *group.followers)]
            assert len(grouped) == len(set(grouped))
            matrices = {
                key.removesuffix(".weight")
                for key, parameter in block.named_parameters()
                if parameter.dim() >= 2 and "relative_attention_bias" not in key
            }
            assert matrices == set(grouped)


@pytest.mark.parametrize("name", MODELS)
def test_the_paths_of_a_family_exist(name: str) -> None:
    model = make(name)
    table = family(model)
    norms = [stack.final_norm for stack in table.stacks if stack.final_norm]
    alone = [path for stack in table.stacks for path in stack.embeddings]
    paths = (*table.blocks, *table.embeddings, *alone, *norms, *table.before_head, table.head)
    inside = {id(parameter) for path in paths for parameter in model.get_submodule(path).parameters()}
    assert [key for key, parameter in model.named_parameters() if id(parameter) not in inside] == []


@pytest.mark.parametrize("name", MODELS)
def test_a_reader_left_out_of_its_group_is_caught(name: str) -> None:
    model = unstacked(name)
    for stack in family(model).stacks:
        inputs, before = record(model, stack.path)[0]
        original = model.get_submodule(stack.path)[0]
        for group in present(original, stack.groups):
            readers = (*group.linears, *group.followers)
            if group.absorber is None or len(readers) < 2:
                continue
            for left_out in readers:
                linears = tuple(n for n in group.linears if n != left_out)
                followers = tuple(n for n in group.followers if n != left_out)
                block = copy.deepcopy(original)
                wrong = dataclasses.replace(group, linears=linears or followers, followers=followers if linears else ())
                fold(block, wrong, random_scale(block, group, torch.Generator().manual_seed(3)))
                with pytest.raises(QuantizeError, match="missing from its group"):
                    check_fold(block, before, inputs)


def test_heads_that_share_a_value_head_must_share_a_scale() -> None:
    block = make("llama").model.layers[0]
    group = family_of(make("llama").config.to_dict()).groups[1]
    scale = torch.linspace(0.5, 4.0, in_features(block, group))
    with pytest.raises(QuantizeError, match="attainable"):
        fold(block, group, scale)
    shared = attainable(block, group, scale).reshape(2, 2, 16)
    assert torch.equal(shared[:, 0], shared[:, 1])
    torch.testing.assert_close(shared[:, 0].log(), scale.log().reshape(2, 2, 16).mean(1))


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_degenerate_scale_is_refused(bad: float) -> None:
    block = make("llama").model.layers[0]
    scale = torch.ones(32)
    scale[3] = bad
    with pytest.raises(QuantizeError, match="degenerate"):
        fold(block, family_of(make("llama").config.to_dict()).groups[0], scale)
