"""Token embeddings and a head of its own in eight bits: the graph computes with what it stores of them."""

from __future__ import annotations

from pathlib import Path

import optimum.intel
import pytest
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, BertModel

from flows.manifest.presets import shipped
from gates.clients.optimum_intel import Model
from quantizers.entrypoint import run
from quantizers.request import Request
from tests import encoders
from tests.quantizers.formats.test_openvino import EXACT, constants, values
from tests.quantizers.models import edit_tensors

pytestmark = pytest.mark.xdist_group("openvino")
SPREAD = 0.3
"""Of weights: as they are initialized, heads say the same of everything."""


@torch.no_grad()
def answered(model) -> torch.Tensor:
    ids = torch.arange(2 * 12).view(2, 12) * 7 % 61 + 1
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    made = model(**given)
    return torch.as_tensor(made["logits"] if "logits" in made else made["last_hidden_state"]).float()


@pytest.mark.parametrize(
    ("task", "kind", "suffix", "ends"),
    [
        (
            "fill-mask",
            BertForMaskedLM,
            "ModelForMaskedLM",
            ["bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"],
        ),
        ("feature-extraction", BertModel, "ModelForFeatureExtraction", ["embeddings.word_embeddings.weight"]),
    ],
)
def test_presets_store_them_and_the_graph_computes_with_what_it_stores(task, kind, suffix, ends, tmp_path: Path):
    torch.manual_seed(0)
    model, recipe = tmp_path / "model", shipped().recipes["ov-w8-rtn"]
    model.mkdir()
    words = encoders.tokenizer(model)
    told = {"initializer_range": SPREAD, "tie_word_embeddings": False}
    kind(BertConfig(vocab_size=len(words), **encoders.SIZES, **told)).save_pretrained(model)
    words.save_pretrained(model)
    made = run(Request(model=model, task=task, targets={"ir": recipe}), tmp_path / "out").targets["ir"]
    assert (
        made.recipe.embeddings == "int8" and abs(made.weights_bytes - made.expected_bytes) < 0.1 * made.expected_bytes
    )
    nodes = constants(tmp_path / "out/ir")
    read = {each.removeprefix("self."): each for each in nodes if nodes[each].get_element_type().to_string() == "u8"}
    stored = {}
    for end in ends:
        parts = (torch.from_numpy(values(nodes[read[end] + part])) for part in ("", "/zero_point", "/scale"))
        codes, zero, scale = (part.view(len(words), -1) for part in parts)
        stored[end] = (codes - zero) * scale
    assert set(read) == {f"{end}{part}" for end in ends for part in ("", "/zero_point")}
    artifact = getattr(optimum.intel, f"OV{suffix}").from_pretrained(tmp_path / "out/ir", ov_config=EXACT)
    before, dense = answered(artifact), dict(Model(artifact).weights())
    stock = getattr(transformers, f"Auto{suffix.removesuffix('ForFeatureExtraction')}")
    plain = answered(stock.from_pretrained(model))
    assert 1e-4 * plain.norm() < (before - plain).norm() < 0.1 * plain.norm()
    edit_tensors(
        model, lambda own: own.update({each: dense[each].contiguous() for each in own.keys() & dense} | stored)
    )
    torch.testing.assert_close(before, answered(stock.from_pretrained(model)), rtol=1e-3, atol=1e-3)
