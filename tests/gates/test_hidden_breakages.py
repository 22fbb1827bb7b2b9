"""Eleven ways to break an artifact that a mean over short text does not show: each is caught, and the verdict names by what.

Most models here recall what their row said (`tests.recallers`). Tails, long rows and what both say when left to themselves are
judged beside the mean divergence at its default tolerance, which lets all of these pass. A twelfth, a cache of too few bits, is
in `tests/gates/test_openvino.py`.
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
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.kinds.divergence import Divergence
from gates.request import BaselineRequest, Evaluation
from gates.spec import Gates
from tests import encoders, recallers
from tests.gates.artifacts import Tensors, edit_json, edit_tensors
from tests.gates.conftest import LONG, Bench, Recalling

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


def assert_hidden_and_caught(evidence: Evidence, gates: Gates, catcher: str) -> None:
    """The mean passes it; the verdict fails it, at the gate that is named."""
    verdict = judge(evidence, gates)
    rows = {row.name: row for row in verdict.gates}
    for mean in (name for name in rows if name.endswith("divergence")):
        assert rows[mean].outcome == "passed", rows[mean].sentence
    assert rows["divergence"].limit == Divergence().max_kld
    assert rows[catcher].outcome == "failed" and catcher in verdict.sentence, rows[catcher].sentence


BREAKAGES: dict[str, tuple[Break, str]] = {
    "a rope scaling lost": (rope(rope_type="default"), "long_context.recall"),
    "a scale left out of queries": (scale("model.layers.0.self_attn.q_proj.weight", 0.5), "long_context.recall"),
    "the last block rounded twice": (tensors(lambda t: round_block(t, LAST, 5, 4)), "tail.flips"),
    "dead channels": (scale(LAST + "mlp.down_proj.weight", 0.0, columns=slice(0, 8)), "tail.flips"),
    "one channel of a norm too loud": (scale("model.norm.weight", 3.0, slice(5, 6)), "generation"),
    "one token's row of the head too small": (
        scale("lm_head.weight", 0.4, slice(WORDS["anna"], WORDS["anna"] + 1)),
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
    evidence = recalling.evidence(copied(breaks), tmp_path / "out")
    assert_hidden_and_caught(evidence, Gates.model_validate(GATES), catcher)


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
    assert_hidden_and_caught(mixed.evidence(copy, tmp_path / "out", measured={}), gates, "tail.flips")


@pytest.mark.slow
def test_one_head_that_is_zero_is_caught_and_named(bench: Bench, tmp_path: Path) -> None:
    """One of the demo model's 32, at what its block's last linear reads of it."""
    copy, columns = Path(shutil.copytree(bench.model, tmp_path / "artifact")), slice(3 * 32, 4 * 32)
    edit_tensors(copy, lambda t: t["model.layers.3.self_attn.o_proj.weight"][:, columns].zero_())
    gates = Gates.model_validate({**GATES, "long_context": None})
    assert_hidden_and_caught(bench.evidence(copy, tmp_path / "out", format="transformers"), gates, "tail.p999")


@pytest.mark.slow
def test_attention_sinks_that_are_lost_are_caught_and_named(tmp_path: Path) -> None:
    """Of the last block of a model that has a learned one in each head, as gpt-oss (arXiv:2508.10925)."""
    recallers.sinking(tmp_path / "model")
    rows = encoders.write_rows(tmp_path / "evaluation.jsonl", recallers.texts(40, 31))
    sinking = Recalling(tmp_path / "model", rows, tmp_path / "baseline")
    sinking.baseline.mkdir()
    entrypoint.run(
        BaselineRequest(model=sinking.model, evaluation=Evaluation(documents=rows, tokens=48)), sinking.baseline
    )
    copy = Path(shutil.copytree(sinking.model, tmp_path / "artifact"))
    edit_tensors(copy, lambda t: t[LAST + "self_attn.sinks"].zero_())
    gates = Gates.model_validate({**GATES, "long_context": None})
    assert_hidden_and_caught(sinking.evidence(copy, tmp_path / "out", measured={}), gates, "tail.flips")
