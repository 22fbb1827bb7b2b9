"""Groups and absorbers of a block: those of every table are found without it, and what only looks like one is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from catalog.errors import EnvironmentFault
from quantizers.discovery.groups import find_groups, norm_kind
from quantizers.discovery.probe import Probe
from quantizers.families.experts import unstack
from quantizers.families.family import Group
from quantizers.transforms.fold import in_features, present
from tests.quantizers.families.test_fold import family, record
from tests.quantizers.families.tiny_models import MODELS, make

GATES = {"shared_expert_gate"}
"""Linears of one output, which the tables scale along and discovery takes for linears as others are."""


def feeding(block: nn.Module, group: Group) -> list[int]:
    channels = in_features(block, group)
    return group.rows.of(channels) if group.rows else list(range(channels))


def said(block: nn.Module, group: Group) -> tuple[Any, ...]:
    linears = {name for name in group.linears if name.rpartition(".")[2] not in GATES}
    followers = {name for name in group.followers if name.rpartition(".")[2] not in GATES}
    absorber = (group.absorber, group.kind, *(feeding(block, group) if group.absorber else ()))
    return frozenset(linears), frozenset(followers) if group.absorber else frozenset(), absorber, group.experts


@pytest.mark.parametrize("name", [name for name in MODELS if name != "bert-classifier"])
def test_what_every_table_says_is_found_without_it(name: str) -> None:
    model = make(name)
    unstack(model, model.config.model_type)
    for stack in family(model).stacks:
        inputs, _ = record(model, stack.path)[0]
        block = model.get_submodule(stack.path)[0]
        double = {"hidden_states", "encoder_hidden_states"}
        groups = find_groups(
            Probe(block, {k: v.double() if k in double and v is not None else v for k, v in inputs.items()})
        )
        wanted = {said(block, group) for group in present(block, stack.groups)}
        assert {said(block, group) for group in groups} == wanted


class Block(nn.Module):
    """A norm, linears and a way to put them together."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.other = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.gate, self.down = nn.Linear(16, 24), nn.Linear(16, 24), nn.Linear(24, 16)
        self.table = nn.Parameter(torch.randn(16, 16))
        for norm in (self.norm, self.other):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)


def with_forward(name: str, forward: Any) -> type[Block]:
    return type(name, (Block,), {"forward": forward})


def sound(b: Any, h: Tensor) -> Tensor:
    return h + b.down(b.gate(x := b.norm(h)).tanh() * b.up(x))  # type: ignore[no-any-return]


# Each breaks one absorber of the sound block, in which the norm absorbs for up and gate, and up for down: the block, and
# whose group loses it.
FALSE: dict[str, tuple[Any, str]] = {
    "the norm's output is a residual, too": (
        lambda b, h: (x := b.norm(h)) + b.down(b.gate(x).tanh() * b.up(x)),
        "gate",
    ),
    "a matrix that is no module reads it": (
        lambda b, h: h + (x := b.norm(h)) @ b.table.double() + b.down(b.gate(x).tanh() * b.up(x)),
        "gate",
    ),
    "an activation behind the norm": (lambda b, h: h + b.down(b.gate(x := b.norm(h).tanh()).tanh() * b.up(x)), "gate"),
    "a shift behind the norm": (lambda b, h: h + b.down(b.gate(x := b.norm(h) + 0.5).tanh() * b.up(x)), "gate"),
    "a mix of channels behind the norm": (
        lambda b, h: h + b.down(b.gate(x := b.norm(h).cumsum(-1)).tanh() * b.up(x)),
        "gate",
    ),
    "a second norm behind the norm": (
        lambda b, h: h + b.down(b.gate(x := nn.functional.normalize(b.norm(h), dim=-1)).tanh() * b.up(x)),
        "gate",
    ),
    "the square of the norm": (lambda b, h: h + b.down(b.gate(x := b.norm(h).square()).tanh() * b.up(x)), "gate"),
    "two norms added": (lambda b, h: h + b.down(b.gate(x := b.norm(h) + b.other(h)).tanh() * b.up(x)), "gate"),
    "a clamp behind the norm": (
        lambda b, h: h + b.down(b.gate(x := b.norm(h).clamp(-0.1, 0.1)).tanh() * b.up(x)),
        "gate",
    ),
    "an activation behind up": (lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * b.up(x).sigmoid()), "down"),
    "a shift behind up": (lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * (b.up(x) + 1.0)), "down"),
    "up added, not multiplied": (lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() + b.up(x)), "down"),
    "up is a residual, too": (
        lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * (u := b.up(x))) + u[..., :16],
        "down",
    ),
    "up chooses, too": (
        lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * (u := b.up(x)) * u.softmax(-1)),
        "down",
    ),
    "a softmax over up": (lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * b.up(x).softmax(-1)), "down"),
    "the product is normed": (
        lambda b, h: h + b.down(nn.functional.normalize(b.gate(x := b.norm(h)).tanh() * b.up(x), dim=-1)),
        "down",
    ),
    "the product is clamped": (
        lambda b, h: h + b.down((b.gate(x := b.norm(h)).tanh() * b.up(x)).clamp(-0.02, 0.02)),
        "down",
    ),
    "channels of up are mixed": (
        lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * (b.up(x) + b.up(x).roll(1, -1))),
        "down",
    ),
    "gate alone, behind an activation": (
        lambda b, h: h + b.down(b.gate(x := b.norm(h)).sigmoid()) + 0 * b.up(x)[..., :16],
        "down",
    ),
    "tokens are mixed by size": (
        lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * b.up(x) * b.up(x).abs().mean(-1, keepdim=True)),
        "down",
    ),
}


def groups_of(forward: Any) -> dict[str, Group]:
    block = with_forward("Planted", lambda b, hidden_states: forward(b, hidden_states))().eval()
    states = torch.randn(1, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return {name: group for group in find_groups(Probe(block, {"hidden_states": states})) for name in group.linears}


def test_the_sound_block_has_both_absorbers() -> None:
    groups = groups_of(sound)
    assert (groups["gate"].absorber, groups["gate"].linears, groups["down"].absorber) == ("norm", ("gate", "up"), "up")


@pytest.mark.parametrize("what", FALSE)
def test_a_false_absorber_is_refused(what: str) -> None:
    forward, group = FALSE[what]
    assert groups_of(forward)[group].absorber is None


def test_a_norm_that_two_groups_read_serves_them_as_one() -> None:
    groups = groups_of(lambda b, h: h + b.down(b.gate(x := b.norm(h)).tanh() * b.up(x)) + 0 * b.other(h))
    assert groups["gate"] == groups["up"]


def test_a_norm_that_memory_runs_out_for_is_not_taken_for_another_kind_of_module() -> None:
    class Large(nn.LayerNorm):
        def forward(self, states: Tensor) -> Tensor:
            return torch.empty(1 << 46, dtype=torch.float64)

    with pytest.raises(EnvironmentFault, match="memory"):
        norm_kind(Large(16))
