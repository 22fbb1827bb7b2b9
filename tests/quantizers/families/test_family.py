"""What a table says about a configuration, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from quantizers.errors import QuantizeError
from quantizers.families import FAMILIES, family_of
from quantizers.families.family import Group, Heads

LLAMA = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4}


@pytest.mark.parametrize("config", [{"model_type": "falcon"}, {}, {"model_type": None}])
def test_an_unknown_model_type_is_refused_with_the_known_ones(config: dict[str, Any]) -> None:
    with pytest.raises(QuantizeError) as refused:
        family_of(config)
    assert all(known in str(refused.value) for known in FAMILIES)


def test_a_key_the_table_needs_is_named_when_absent() -> None:
    with pytest.raises(QuantizeError, match="num_attention_heads"):
        family_of({"model_type": "llama", "hidden_size": 32})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "gpt2", "n_embd": 8, "add_cross_attention": True}, "add_cross_attention"),
        ({**LLAMA, "model_type": "bert", "architectures": ["BertForPreTraining"]}, "BertForPreTraining"),
    ],
)
def test_a_variant_without_a_table_is_refused(config: dict[str, Any], named: str) -> None:
    with pytest.raises(QuantizeError, match=named):
        family_of(config)


def test_only_a_relu_lets_the_first_linear_absorb_for_the_second() -> None:
    opt = {**LLAMA, "model_type": "opt"}
    absorbers = {a: family_of({**opt, "activation_function": a}).groups[-1].absorber for a in ("relu", "gelu")}
    assert absorbers == {"relu": "fc1", "gelu": None}


def test_a_norm_on_the_residual_absorbs_nothing() -> None:
    for config in ({**LLAMA, "model_type": "opt", "do_layer_norm_before": False}, {**LLAMA, "model_type": "bert"}):
        assert not [group for group in family_of(config).groups if group.kind == "norm"]


def test_rows_of_shared_value_heads() -> None:
    rows = Heads(heads=4, kv_heads=2, head_dim=2).value_rows(offset=10)
    assert rows.of(8) == [10, 11, 10, 11, 12, 13, 12, 13]


def test_a_family_of_two_stacks_has_no_single_tuple_of_groups() -> None:
    t5 = family_of({"model_type": "t5"})
    assert t5.blocks == ("encoder.block", "decoder.block")
    with pytest.raises(ValueError, match="2 stacks"):
        _ = t5.groups


def test_an_absorber_without_a_kind_is_no_group() -> None:
    with pytest.raises(ValueError, match="come together"):
        Group(("a",), "b")
