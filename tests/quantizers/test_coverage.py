"""Types of transformers made tiny, by every kind of recipe: a sample of the bench that tries all, and what it found once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.coverage import SAMPLE
from bench.coverage_page import PAGE, page
from bench.milled import HOW, mill
from bench.table import RESULTS
from catalog.tasks import TASKS
from flows.planning.preflight.configuration import _does_the_task

# What each was broken by: a weight that is read and not called, positions that are computed, a projection that is stored in
# one, a matrix of one row, a head that is no module call, input embeddings that are no table, equal products in a graph,
# cross-attention that a decoder alone does not run, one linear that is called twice.
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
    *_, row = mill("encoder", "t5", tmp_path, ("rtn",))
    assert row["outcomes"]["rtn"]["outcome"] == "refused" and "an encoder alone" in row["outcomes"]["rtn"]["why"]
    config = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert "a T5Model with a decoder of random weights" in str(_does_the_task(config, TASKS["feature-extraction"]))


def test_the_page_is_what_was_found() -> None:
    results = json.loads((RESULTS / "coverage.json").read_text("utf-8"))
    assert PAGE.read_text("utf-8") == page(results)
    assert not [key for key, row in results["types"].items() if "broken" in str(row.get("outcomes"))]
