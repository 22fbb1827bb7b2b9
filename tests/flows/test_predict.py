"""Predictions against what runs took: the figures that bench/memory.py and bench/depth.py measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.files.headers import Tensor
from flows.planning.cost import predict, quantizing
from flows.planning.jobs import Job
from flows.planning.plan import plan, read
from flows.store import Store
from tests.flows.conftest import room

SHAPES = {"1.1 B": (2048, 256, 5632, 32000, 22), "8 B, 4 blocks": (4096, 1024, 14336, 128256, 4)}
"""Hidden size, width of keys, width of the feed-forward, vocabulary, blocks."""
MEASURED = [
    ("1.1 B", "rtn", 0.69e9, 12),
    ("1.1 B", "calibrated", 1.26e9, 232),
    ("8 B, 4 blocks", "rtn", 0.69e9, 11),
    ("8 B, 4 blocks", "calibrated", 3.64e9, 200),
]
"""Shape, recipe, peak bytes and seconds of the whole process on two cores, 32 rows of 256 tokens."""
IR = "format: openvino, symmetric: false, group_size: 64"
MIXTURE = [
    (f"{{{IR}}}", 1.90e9, 30),
    (f"{{{IR}, transform: awq, rounding: compensated}}", 2.77e9, 110),
]
"""Recipe, peak bytes and seconds of a mixture: 6 blocks, 32 experts of 768 channels inside, 2048 outside, 2.2 GB."""


def tensors(hidden: int, keys: int, inner: int, vocabulary: int, blocks: int) -> dict[str, Tensor]:
    linears = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    found = {f"model.layers.{n}.{name}.weight": shape for n in range(blocks) for name, shape in linears.items()}
    found |= {"model.embed_tokens.weight": (vocabulary, hidden), "lm_head.weight": (vocabulary, hidden)}
    return {name: Tensor("BF16", shape, 2 * shape[0] * shape[1]) for name, shape in found.items()}


def mixture() -> dict[str, Tensor]:
    one = tensors(2048, 512, 768, 32000, 6)
    experts = {
        name.replace("mlp.", f"mlp.experts.{number}."): tensor
        for name, tensor in one.items()
        for number in range(32)
        if ".mlp." in name
    }
    return {name: tensor for name, tensor in one.items() if ".mlp." not in name} | experts


def job(tmp_path: Path, recipe: str, shape: str) -> Job:
    manifest = room(tmp_path)
    written = {"rtn": "w4-rtn-asym-g64", "calibrated": "w4-awq-compensated-asym-g64"}.get(recipe, recipe)
    manifest.write_text(
        "model: {source: ./model}\n"
        f"targets: {{t: {written}}}\n"
        "calibration: {files: [calibration.jsonl], samples: 32, tokens: 256}\n"
        "evaluation: {files: [evaluation.jsonl]}\n"
    )
    (found,) = (planned.job for planned in plan(read([manifest]), Store(tmp_path / "home")).jobs)
    config = {"hidden_size": SHAPES[shape][0], "vocab_size": SHAPES[shape][3]}
    return replace(found, original=replace(found.original, tensors=tensors(*SHAPES[shape]), config=config))


@pytest.mark.parametrize(("shape", "recipe", "peak", "seconds"), MEASURED)
def test_a_quantizing_step_is_predicted_within_a_factor_of_two(shape, recipe, peak, seconds, tmp_path):
    found = job(tmp_path, recipe, shape)
    cost = quantizing(found, found.target.rungs[0])
    assert peak / 2 < cost.memory_bytes < 2 * peak
    assert seconds / 2 < cost.seconds < 2 * seconds


@pytest.mark.parametrize(("recipe", "peak", "seconds"), MIXTURE)
def test_experts_in_ir_are_predicted_within_a_factor_of_two(recipe, peak, seconds, tmp_path):
    found = job(tmp_path, recipe, "1.1 B")
    config = {"hidden_size": 2048, "vocab_size": 32000, "num_experts": 32, "num_experts_per_tok": 4}
    found = replace(found, original=replace(found.original, tensors=mixture(), config=config))
    cost = quantizing(found, found.target.rungs[0])
    assert peak / 2 < cost.memory_bytes < 2 * peak
    assert seconds / 2 < cost.seconds < 2 * seconds
    rung = found.target.rungs[0]
    kept = rung.model_copy(update={"recipe": rung.recipe.model_copy(update={"format": "compressed-tensors"})})
    assert quantizing(found, kept).disk_bytes > 2.5 * cost.disk_bytes, "other formats keep the experts"


def test_a_search_is_predicted_until_its_outcome_is_known(tmp_path):
    unknown = job(tmp_path, "{preset: w4-awq-compensated-asym-g64, auto: {max_kld: 0.01}}", "1.1 B")
    known = replace(unknown, recipes_known=True)
    rung = unknown.target.rungs[0]
    assert predict(unknown, rung).seconds > predict(known, rung).seconds + 200
