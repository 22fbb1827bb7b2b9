"""Absorbers that llm-compressor's AWQ registry names, architecture by architecture: found, or proven to be none.

The registry (`llmcompressor.modifiers.transform.awq.mappings`) says by name which module a scale is folded into. Those of types
that have a table here are held against that table (`test_groups.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench import tiny
from quantizers.discovery.calls import kind_of
from quantizers.discovery.family import find_family
from quantizers.discovery.forward import block_paths, run_model
from quantizers.discovery.groups import _proves, _together, norm_kind
from quantizers.discovery.probe import Probe
from quantizers.families import FAMILIES
from quantizers.families.family import Family, Group
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.skeleton import build, linear_shape
from quantizers.model.values import materialize

Mapping = tuple[tuple[str, str], ...]
"""Regular expressions of an absorber, and of the linears that read what it makes."""

VALUES = (r"self_attn\.v_proj", r"self_attn\.o_proj")
UP = (r"(.*)\.up_proj", r"\1.down_proj")
QKV = ("input_layernorm", r"self_attn\.[qkv]_proj")
LATENT: Mapping = (
    ("input_layernorm", r"self_attn\.(q_proj|q_a_proj|kv_a_proj_with_mqa)"),
    (r"self_attn\.q_a_layernorm", r"self_attn\.q_b_proj"),
    (r"self_attn\.kv_a_layernorm", r"self_attn\.kv_b_proj"),
)
GATED = ("post_attention_layernorm", r"(mlp|feed_forward)\.(.*\.)?(gate|up)_proj")
LLAMA: Mapping = (QKV, VALUES, GATED, UP)
GEMMA: Mapping = (QKV, VALUES, ("pre_feedforward_layernorm", r"mlp\.(gate|up)_proj"), UP)
COHERE: Mapping = (("input_layernorm", r"self_attn\.[qkv]_proj|mlp\.(gate|up)_proj"), VALUES, UP)
KNOWN: dict[str, Mapping] = {
    "afmoe": (
        ("input_layernorm", r"self_attn\.([qkv]|gate)_proj"),
        VALUES,
        ("pre_mlp_layernorm", r"mlp\.(.*\.)?(gate|up)_proj"),
        UP,
    ),
    "bloom": (
        ("input_layernorm", r"self_attention\.query_key_value"),
        ("post_attention_layernorm", r"mlp\.dense_h_to_4h"),
        (r"self_attention\.query_key_value", r"self_attention\.dense"),
    ),
    "cohere": COHERE,
    "cohere2": COHERE,
    "deepseek_v3": (*LATENT, GATED, UP),
    "ernie4_5_moe": LLAMA,
    "exaone4": (VALUES, UP),
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "glm4_moe": LLAMA,
    "glm4_moe_lite": (*LATENT, GATED, UP),
    "glm_moe_dsa": (*LATENT, GATED, UP),
    "granite": LLAMA,
    "llama4_text": LLAMA,
    "olmo3": (VALUES, UP),
    "seed_oss": LLAMA,
}
NOT_FOLDABLE = {
    # In a block with experts the norm feeds these as well, which are stacked in one parameter, and a router.
    "afmoe": {"pre_mlp_layernorm"},
    "deepseek_v3": {"post_attention_layernorm"},
    "ernie4_5_moe": {"post_attention_layernorm"},
    "glm4_moe": {"post_attention_layernorm"},
    "glm4_moe_lite": {"post_attention_layernorm"},
}
"""What is not found, of those that are named."""


def of_blocks(family: Family) -> Iterator[tuple[str, tuple[Group, ...]]]:
    for stack in family.stacks:
        yield from ((f"{stack.path}.{number}", stack.groups) for number in range(tiny.LAYERS))
    yield from ((path, called.groups) for path, called in family.calls.items())


def unfound(block: nn.Module, groups: tuple[Group, ...], mapping: Mapping) -> Iterator[Group]:
    """The folds of a mapping that are in none of the groups, as groups."""
    linears = {name for name, module in block.named_modules() if linear_shape(module)}
    found = {linear: group.absorber for group in groups for linear in group.linears}
    for absorber, readers in mapping:
        for name, module in block.named_modules():
            if not (match := re.fullmatch(absorber, name)):
                continue
            pattern = match.expand(readers) if r"\1" in readers else readers
            fed = tuple(sorted(linear for linear in linears if re.fullmatch(pattern, linear)))
            if fed and any(found.get(linear) != name for linear in fed):
                kind = "linear" if linear_shape(module) else norm_kind(module)
                assert kind
                yield Group(fed, name, kind)


@pytest.mark.parametrize("kind", KNOWN)
@torch.no_grad()
def test_what_the_registry_of_another_tool_names_is_found_or_proven_to_be_none(kind: str, tmp_path: Path) -> None:
    assert kind not in FAMILIES
    checkpoint = open_checkpoint(tiny.save(kind, tmp_path))
    skeleton = build(checkpoint)
    found = dict(of_blocks(find_family(checkpoint, skeleton)))
    missed: set[str | None] = set()
    seen: set[tuple[Any, ...]] = set()

    def call(path: str, arguments: dict[str, Any]) -> Any:
        block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
        if kind_of(block) not in seen:
            seen.add(kind_of(block))
            for group in unfound(block, found[path], KNOWN[kind]):
                missed.add(group.absorber)
                double = {k: v.double() if k == "hidden_states" else v for k, v in arguments.items()}
                probe = Probe(block, double)
                plain = probe.run()
                # Routers that read the same are scaled along.
                read = next(names for names in _together(plain) if group.linears[0] in names)
                followers = tuple(name for name in read if name not in group.linears)
                assert not _proves(probe, plain, Group(group.linears, group.absorber, group.kind, None, followers))
        return block(**arguments)

    run_model(checkpoint, skeleton, block_paths(skeleton.model), {"input_ids": torch.arange(24)[None] + 5}, call)
    assert missed == NOT_FOLDABLE.get(kind, set())
