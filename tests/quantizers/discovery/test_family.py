"""Models of types that have no table, calibrated from what was found in them, and loaded by the stock loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench import tiny
from catalog.errors import EnvironmentFault
from quantizers.calibration.activations import Activations
from quantizers.calibration.blocks import first_inputs
from quantizers.discovery.family import _merged, find_chain, find_family
from quantizers.discovery.structure import find_structure
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.families import FAMILIES, family_of
from quantizers.families.family import Group
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.skeleton import build
from quantizers.model.values import materialize
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.families.tiny_models import MODELS, make
from tests.quantizers.models import DEMO

ROW = torch.arange(24)[None] + 5
CAUSAL = [name for name in MODELS if not name.startswith(("t5", "switch", "bert"))]
# Sliding and full attention in turn, norms behind the sublayers, layer norms without bias, rotary parts, one norm for two.
WITHOUT_TABLE = ["gemma2", "olmo2", "cohere2", "glm4", "starcoder2", "exaone4", "granite"]


@pytest.mark.parametrize("name", CAUSAL)
def test_the_chain_of_blocks_that_every_table_says_is_found_without_it(name: str, tmp_path: Path) -> None:
    make(name).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    structure, wanted = find_structure(checkpoint, build(checkpoint)), family_of(checkpoint.config)
    behind = [path for path in (wanted.stacks[0].final_norm, *wanted.before_head) if path]
    assert (structure.blocks, structure.head) == (wanted.stacks[0].path, wanted.head)
    assert set(structure.embeddings) == set(wanted.embeddings)
    assert [path for path in (structure.final_norm, *structure.before_head) if path] == behind


@pytest.mark.parametrize("kind", WITHOUT_TABLE)
@torch.no_grad()
def test_blocks_called_as_they_were_seen_compute_what_the_model_does(kind: str, tmp_path: Path) -> None:
    assert kind not in FAMILIES
    checkpoint = open_checkpoint(tiny.save(kind, tmp_path / "model"))
    skeleton = build(checkpoint)
    family = find_family(checkpoint, skeleton)
    stack = family.stacks[0]
    rows = torch.arange(6 * 48).view(6, 48) * 7 % 97 + 1
    stream = Activations(tmp_path / "stream", None)
    blocks = first_inputs(checkpoint, skeleton, family, 0, rows, stream, None)
    for index in range(blocks.count):
        path = f"{stack.path}.{index}"
        block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
        for at in range(len(stream)):
            stream[at] = blocks.forward(block, stream[at], blocks.of_batch(index, at))
    assert stack.final_norm
    norm = materialize(skeleton.model.get_submodule(stack.final_norm), stack.final_norm, checkpoint, skeleton)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    wanted = model(rows, output_hidden_states=True, use_cache=False).hidden_states[-1]
    torch.testing.assert_close(norm(torch.cat(list(stream))), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", WITHOUT_TABLE)
def test_a_model_without_a_table_is_calibrated(kind: str, tmp_path: Path) -> None:
    model = tiny.save(kind, tmp_path / "model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (model / file).write_bytes((DEMO / "model" / file).read_bytes())
    shared = {"group_size": 32, "symmetric": False}
    recipes = {
        "int8": Recipe(dtype="int8", transform="awq", rounding="compensated", **shared),
        "int4": Recipe(dtype="int4", transform="awq", rounding="compensated", **shared),
        "nearest": Recipe(dtype="int4", **shared),
    }
    calibration = Calibration(documents=DEMO / "calibration.jsonl", samples=16, tokens=64)
    run(Request(model=model, targets=recipes, calibration=calibration), tmp_path / "out")
    rows = torch.randint(1, tiny.VOCABULARY, (4, 48), generator=torch.Generator().manual_seed(5))
    original = logits(model, rows)
    errors = {
        name: float((logits(tmp_path / "out" / name, rows) - original).norm() / original.norm()) for name in recipes
    }
    assert 10 * errors["int8"] < errors["int4"] < errors["nearest"]


@torch.no_grad()
def logits(path: Path, rows: torch.Tensor) -> torch.Tensor:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()(rows).logits  # type: ignore[no-any-return]


def test_a_model_whose_blocks_read_more_than_hidden_states_is_no_chain(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.save("gemma4_text", tmp_path))
    with pytest.raises(QuantizeError, match="per_layer_input, which depends on the text"):
        find_chain(checkpoint, build(checkpoint), ROW)


def test_a_model_with_two_lists_in_turn_is_no_chain(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.save("xlm", tmp_path))
    with pytest.raises(QuantizeError, match="does not read what block 0 returns"):
        find_chain(checkpoint, build(checkpoint), ROW)


@pytest.mark.parametrize("where", ["embeddings", "block"])
def test_memory_that_runs_out_says_nothing_of_the_model(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = open_checkpoint(tiny.save("granite", tmp_path))
    skeleton = build(checkpoint)

    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    kind = type(skeleton.model.model.embed_tokens if where == "embeddings" else skeleton.model.model.layers[0].mlp)
    monkeypatch.setattr(kind, "forward", out_of_memory)
    with pytest.raises(EnvironmentFault):
        find_family(checkpoint, skeleton)


def test_experts_that_two_kinds_of_blocks_absorb_differently_are_experts_still() -> None:
    linears = ("experts.0.up", "experts.1.up")
    routed, read_by_all = Group(linears, "norm", "norm", experts=True), Group(linears)
    assert _merged({("dense",): (read_by_all,), ("mixture",): (routed,)}) == (Group(linears, experts=True),)
    assert _merged({("mixture",): (routed,), ("dense",): (read_by_all,)}) == (Group(linears, experts=True),)
