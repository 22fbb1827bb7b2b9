"""Seven ways to break an artifact that a mean over short text does not show: each is caught, and the verdict names by what.

The model recalls what its row said (`tests.recallers`). Tails, long rows and what both say when left to themselves are judged
beside the mean divergence at its default tolerance, which lets all of these pass.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MixtralForCausalLM

from gates import entrypoint
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation
from gates.spec import Gates
from tests import recallers
from tests.gates.artifacts import Tensors, edit_json, edit_tensors
from tests.gates.conftest import LONG, Recalling

Break = Callable[[Path], object]
LAST = "model.layers.1."
WORDS = recallers.tokenizer().get_vocab()
GATES = {
    "size": None,
    "perplexity": None,
    "tail": {"max_p999": 0.5, "max_token": 2.0, "max_flips": 0.02},
    "generation": {"min_tokens": 8},
    "long_context": {**LONG, "min_recall": 0.85},
}


def tensors(change: Callable[[Tensors], object]) -> Break:
    return lambda artifact: edit_tensors(artifact, change)


def config(**said: Any) -> Break:
    return lambda artifact: edit_json(artifact / "config.json", lambda before: before | said)


def rope(**said: Any) -> Break:
    return lambda artifact: edit_json(
        artifact / "config.json", lambda before: before | {"rope_parameters": before["rope_parameters"] | said}
    )


def generating(**said: Any) -> Break:
    return lambda artifact: edit_json(artifact / "generation_config.json", lambda before: before | said)


def rounded(tensor: torch.Tensor, bits: int) -> torch.Tensor:
    """Symmetric, a scale a row."""
    scale = tensor.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    return (tensor / scale).round() * scale


def round_block(t: Tensors, prefix: str, *bits: int) -> None:
    for name in [name for name in t if name.startswith(prefix) and t[name].dim() == 2]:
        for each in bits:
            t[name] = rounded(t[name], each)


def scale(name: str, factor: float, rows: slice = slice(None), columns: slice = slice(None)) -> Break:
    def change(t: Tensors) -> None:
        if t[name].dim() == 1:
            t[name][rows] *= factor
        else:
            t[name][rows, columns] *= factor

    return tensors(change)


BREAKAGES: dict[str, tuple[Break, str]] = {
    "a scale left out of queries": (scale("model.layers.0.self_attn.q_proj.weight", 0.55), "long_context.recall"),
    "the last block rounded twice": (tensors(lambda t: round_block(t, LAST, 5, 4)), "tail.flips"),
    "one channel of a norm too loud": (scale("model.norm.weight", 3.0, slice(5, 6)), "generation"),
    "one token's row of the head too small": (
        scale("lm_head.weight", 0.3, slice(WORDS["anna"], WORDS["anna"] + 1)),
        "tail.p999",
    ),
    "a repetition penalty": (generating(repetition_penalty=1.3), "generation"),
    "another end of texts": (generating(eos_token_id=WORDS["the"]), "generation"),
}


@pytest.mark.slow
@pytest.mark.xdist_group("recallers")
@pytest.mark.parametrize("name", BREAKAGES)
def test_what_a_mean_hides_is_caught_and_named(
    name: str, recalling: Recalling, copied: Callable[[Break], Path], tmp_path: Path
) -> None:
    breaks, catcher = BREAKAGES[name]
    verdict = judge(recalling.evidence(copied(breaks), tmp_path / "out"), Gates.model_validate(GATES))
    rows = {row.name: row for row in verdict.gates}
    assert rows["divergence"].outcome == "passed", rows["divergence"].sentence
    assert rows[catcher].outcome == "failed" and catcher in verdict.sentence, rows[catcher].sentence


@pytest.mark.slow
@pytest.mark.xdist_group("recallers")
def test_one_expert_of_eight_that_is_zero_is_caught_and_named(recalling: Recalling, tmp_path: Path) -> None:
    """The busiest of the first block, of the same function as a mixture; stacked experts are no linears whose weights are held
    against the original's."""
    recallers.mixture(recalling.model, tmp_path / "model")
    mixed = replace(recalling, model=tmp_path / "model", baseline=tmp_path / "baseline")
    mixed.baseline.mkdir()
    evaluation = Evaluation(documents=mixed.evaluation, tokens=48)
    entrypoint.run(BaselineRequest(model=mixed.model, evaluation=evaluation), mixed.baseline)
    ids = torch.tensor([recallers.tokenizer()(row["text"])["input_ids"][:48] for row in recallers.texts(8, 31)])
    routed = MixtralForCausalLM.from_pretrained(mixed.model)(ids, output_router_logits=True).router_logits[0]
    busiest = int(routed.topk(2).indices.flatten().bincount(minlength=8).argmax())
    copy = Path(shutil.copytree(mixed.model, tmp_path / "artifact"))
    name = f"model.layers.0.block_sparse_moe.experts.{busiest}.w2.weight"
    edit_tensors(copy, lambda t: t[name].zero_())
    gates = Gates.model_validate({**GATES, "long_context": None})
    verdict = judge(mixed.evidence(copy, tmp_path / "out", measured={}), gates)
    rows = {row.name: row for row in verdict.gates}
    assert rows["divergence"].outcome == "passed", rows["divergence"].sentence
    assert rows["tail.flips"].outcome == "failed" and "tail.flips" in verdict.sentence, verdict.sentence
