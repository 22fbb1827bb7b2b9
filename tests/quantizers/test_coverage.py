"""Types of transformers made tiny, by every kind of recipe: a sample of the bench that tries all, and what it found once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import LongT5Config, LongT5EncoderModel

from bench.coverage import SAMPLE
from bench.coverage_page import PAGE, page
from bench.milled import HOW, INT8, mill
from bench.table import RESULTS
from catalog.tasks import TASKS
from flows.planning.preflight.configuration import _does_the_task
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.request import Request

# What each was broken by: a weight that is read and not called, positions that are computed, a projection that is stored in
# one, a matrix of one row, a head that is no module call, input embeddings that are no table, equal products in a graph,
# cross-attention that a decoder alone does not run, one linear that is called twice, an encoder without its decoder,
# experts in stacks that become linears when they are loaded.
MENDED = [
    ("seq2seq", "longt5", "rtn"),
    ("causal", "rwkv", "rtn"),
    ("seq2seq", "marian", "awq"),
    ("masked", "nomic_bert", "awq"),
    ("masked", "esm", "rtn"),
    ("masked", "mobilebert", "compensated"),
    ("masked", "perceiver", "compensated"),
    ("causal", "falcon", "openvino"),
    ("causal", "bart", "openvino"),
    ("masked", "albert", "openvino"),
    ("encoder", "t5", "awq"),
    ("encoder", "umt5", "rtn"),
    ("causal", "llama4_text", "awq"),
]


@pytest.mark.parametrize(("kind", "model_type"), SAMPLE)
def test_a_sample_of_types_works_by_every_recipe(kind: str, model_type: str, tmp_path: Path) -> None:
    *_, row = mill(kind, model_type, tmp_path, tuple(HOW))
    assert {name: each["outcome"] for name, each in row["outcomes"].items()} == dict.fromkeys(HOW, "works"), row


@pytest.mark.parametrize(("kind", "model_type", "recipe"), MENDED)
def test_what_was_broken_works(kind: str, model_type: str, recipe: str, tmp_path: Path) -> None:
    *_, row = mill(kind, model_type, tmp_path, (recipe,))
    assert row["outcomes"][recipe]["outcome"] == "works", row


def test_an_encoder_that_its_stock_loader_gives_a_random_decoder_is_refused_by_plan_and_engine(tmp_path: Path) -> None:
    LongT5EncoderModel(
        LongT5Config(d_model=64, d_ff=96, d_kv=16, num_layers=2, num_heads=4, vocab_size=64)
    ).save_pretrained(tmp_path)
    request = Request(model=tmp_path, task="feature-extraction", targets={"t": INT8})
    with pytest.raises(QuantizeError, match="LongT5EncoderModel, an encoder alone"):
        run(request, tmp_path / "out")
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert "a LongT5Model with a decoder of random weights" in str(_does_the_task(config, TASKS["feature-extraction"]))
    config |= {"model_type": "t5", "architectures": ["T5EncoderModel"]}
    assert _does_the_task(config, TASKS["feature-extraction"]) is None


def test_the_page_is_what_was_found() -> None:
    results = json.loads((RESULTS / "coverage.json").read_text("utf-8"))
    assert PAGE.read_text("utf-8") == page(results)
    assert not [key for key, row in results["types"].items() if "broken" in str(row.get("outcomes"))]
