"""Models that are no chain of blocks: calibrated in one run of their own forward, and loaded by the stock loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn

from bench import tiny
from quantizers.calibration.rows import by_rows, countable
from quantizers.discovery.family import find_family
from quantizers.discovery.groups import find_groups
from quantizers.discovery.probe import Probe
from quantizers.entrypoint import run
from quantizers.hardware.device import Compute
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.given import of_ids
from quantizers.model.skeleton import build
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.models import DEMO

HERE = Compute(torch.device("cpu"), torch.float32)
# Inputs for each layer, an encoder with a decoder, a mask for each row, one block called many times, two lists in turn, tensors
# that the checkpoint calls otherwise, constants that it stores beside the weights.
NO_CHAIN = [
    ("causal", "gemma4_text", "compressed-tensors"),
    ("seq2seq", "bart", "compressed-tensors"),
    ("causal", "bloom", "compressed-tensors"),
    ("masked", "albert", "bitsandbytes"),
    ("masked", "xlm", "bitsandbytes"),
    ("causal", "gemma3", "bitsandbytes"),
    ("causal", "deepseek_v3", "compressed-tensors"),
]


@torch.no_grad()
def output(kind: str, path: Path) -> Tensor:
    ids = torch.randint(4, tiny.VOCABULARY - 4, (2, 24), generator=torch.Generator().manual_seed(0))
    decoder = {"decoder_input_ids": ids.flip(1)} if kind == "seq2seq" else {}
    model = getattr(transformers, tiny.KINDS[kind]).from_pretrained(path, dtype=torch.float32).eval()
    return model(input_ids=ids, **decoder).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize(("kind", "model_type", "format_"), NO_CHAIN)
def test_a_model_that_is_no_chain_is_calibrated(kind: str, model_type: str, format_: str, tmp_path: Path) -> None:
    made = tiny.make(model_type, kind=kind)
    for name, buffer in made.named_buffers():
        if name in made.state_dict() and buffer.is_floating_point():
            buffer.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(1))
    made.save_pretrained(tmp_path / "model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / file).write_bytes((DEMO / "model" / file).read_bytes())
    narrow = {
        "format": format_,
        "dtype": "int4" if format_ == "compressed-tensors" else "nf4",
        "group_size": 16 if format_ == "compressed-tensors" else 32,
    }
    recipes = {
        "best": Recipe(**narrow, transform="awq", rounding="compensated"),
        "plain": Recipe(**narrow),
    }
    calibration = Calibration(documents=DEMO / "calibration.jsonl", samples=40, tokens=64)
    run(Request(model=tmp_path / "model", targets=recipes, calibration=calibration), tmp_path / "out")
    wanted = output(kind, tmp_path / "model")
    errors = {
        name: float(((output(kind, tmp_path / "out" / name) - wanted).norm(dim=-1) / wanted.norm(dim=-1)).median())
        for name in recipes
    }
    assert errors["best"] < errors["plain"], errors


def test_a_block_called_many_times_is_counted(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.save("albert", tmp_path, "masked"))
    family = find_family(checkpoint, build(checkpoint))
    assert {path: each.times for path, each in family.calls.items()} == {
        "albert.encoder.albert_layer_groups.0": tiny.LAYERS
    }


class Many(nn.Module):
    """Reads rows in the first dimension, in the second, and folded with heads; returns some that have none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Linear(6, 6)

    def forward(
        self, states: Tensor, late: Tensor, folded: Tensor, shared: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, ...]:
        states = self.mix(states) + shared[0] + folded.view(len(states), 2, 6).sum(1, keepdim=True)
        return states, late * 2, shared[1]


def test_rows_are_computed_a_few_at_a_time_wherever_they_are_counted() -> None:
    block, rows = Many(), 7
    arguments = {
        "states": torch.randn(rows, 4, 6),
        "late": torch.randn(4, rows, 6),
        "folded": torch.randn(rows * 2, 6),
        "shared": (torch.randn(1, 4, 6), torch.randn(4, 4)),
    }
    with torch.no_grad():
        torch.testing.assert_close(by_rows(block, arguments, rows, 3, HERE), block(**arguments))


def test_rows_are_told_from_every_other_size() -> None:
    rows = of_ids(torch.zeros(9, 16, dtype=torch.int64))
    nine, seven = (countable(rows, nn.Linear(32, 8), {"heads": heads}) for heads in (4, 18))
    assert nine is not None and len(nine) == 9
    assert seven is not None and len(seven) == 7
    assert countable(rows.first(2), nn.Linear(32, 8), {}) is None


class Leaks(nn.Module):
    """A sound block, but for what it leaves behind for others to read."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way, self.norm, self.up = way, nn.LayerNorm(16), nn.Linear(16, 16)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)

    def forward(self, hidden_states: Tensor, memory: dict[str, Tensor]) -> tuple[Tensor, ...]:
        normed = self.norm(hidden_states)
        if self.way == "an argument":
            memory["normed"] = normed
        returned = (hidden_states + self.up(normed),)
        return (*returned, normed) if self.way == "a second output" else returned


@pytest.mark.parametrize(("way", "absorber"), [("nothing", "norm"), ("an argument", None), ("a second output", None)])
def test_what_a_block_leaves_for_others_is_a_reader(way: str, absorber: str | None) -> None:
    states = torch.randn(1, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    memory: dict[str, Tensor] = {}
    (group,) = find_groups(Probe(Leaks(way).eval(), {"hidden_states": states, "memory": memory}))
    assert group.absorber == absorber and not memory


def test_a_tied_head_stays_under_any_name_and_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    model = tiny.save("biogpt", tmp_path / "model")
    asked = Request(model=model, targets={"t": Recipe(dtype="int8", group_size=8)})
    assert run(asked, tmp_path / "out").targets["t"].quantized == 12
    with pytest.raises(ValueError, match="output_projection shares its weights"):
        run(Request(model=model, targets={"t": Recipe(dtype="int8", group_size=8, skip=())}), tmp_path / "other")
