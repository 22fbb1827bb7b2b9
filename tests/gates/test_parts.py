"""A decoder of OpenVINO that is scored a part of its graph at a time: the figures of the whole graph, in less memory."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.tiny import shrunk
from catalog.runtime import RuntimeOptions
from gates.checks import stock
from gates.clients import client, graph_parts, graph_runs, optimum_intel, optimum_intel_parts
from gates.evidence import Evidence
from gates.request import Streamed
from tests.gates.conftest import Bench

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ir")]
LOADER = "optimum.intel.OVModelForCausalLM"
TASK = "text-generation"
STREAMED = Streamed(hold_bytes=0, stock_blocks=2)
ROWS = [torch.arange(24), torch.arange(7, 90)]


@pytest.fixture(scope="module")
def both(bench: Bench, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, Evidence]:
    out = tmp_path_factory.mktemp("both")
    return bench.evidence(exported, out / "whole", format="openvino"), bench.evidence(
        exported, out / "read", format="openvino", streamed=STREAMED
    )


def opened(artifact: Path, hold_bytes: int | None, **options: object) -> client.Loaded:
    return client.load(artifact, "openvino", RuntimeOptions.model_validate(options), TASK, hold_bytes)


def test_the_figures_are_those_of_the_whole_graph(both: tuple[Evidence, Evidence]) -> None:
    whole, read = both
    assert whole.summary and read.summary and all(check.passed for check in read.checks), read.checks
    assert read.summary == whole.summary, "to the last bit"
    assert {check.name for check in read.checks} - {check.name for check in whole.checks} == {stock.NAME}
    assert "a part of the graph at a time" in read.runtime["weights"] and not read.samples


@pytest.mark.parametrize("compute", ["bf16", "fp32", "int8"])
def test_logits_are_those_of_the_whole_graph(exported: Path, compute: str) -> None:
    whole, read = (opened(exported, hold, compute=compute) for hold in (None, 0))
    read.expect(ROWS)
    for row in [*ROWS, torch.arange(3, 40)]:
        assert torch.equal(read.logits(row), whole.logits(row))


@pytest.mark.parametrize(("model_type", "parts"), [("gpt2", 5), ("gptj", 3), ("mixtral", 6), ("phi3", 6)])
def test_every_graph_is_cut_between_its_blocks(model_type: str, parts: int, tmp_path: Path) -> None:
    from optimum.intel import OVModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(shrunk(model_type)).save_pretrained(tmp_path / "model")
    OVModelForCausalLM.from_pretrained(tmp_path / "model", export=True, load_in_8bit=True).save_pretrained(
        tmp_path / "ir"
    )
    whole, read = (opened(tmp_path / "ir", hold) for hold in (None, 0))
    assert isinstance(read, optimum_intel_parts.Model) and read.parts.count == parts
    for row in (torch.arange(3, 20), torch.arange(30, 41)):
        assert torch.equal(read.logits(row), whole.logits(row))


def test_a_long_row_is_read_in_pieces_through_the_cache(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (optimum_intel, optimum_intel_parts):
        monkeypatch.setattr(module, "AT_ONCE", 16)
    ids, places = torch.arange(5, 60), torch.tensor([0, 15, 16, 17, 40, 54])
    whole, read = (opened(exported, hold) for hold in (None, 0))
    assert torch.equal(read.logits_at(ids, places), whole.logits_at(ids, places))


def test_parts_are_compiled_once_for_all_rows(
    bench: Bench, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, times = graph_runs.Parts.compiled, Counter[int]()

    def counted(self: graph_runs.Parts, number: int, shapes: bool = False) -> object:
        times[number] += not shapes
        return compiled(self, number, shapes)

    monkeypatch.setattr(graph_runs.Parts, "compiled", counted)
    evidence = bench.evidence(exported, tmp_path / "out", format="openvino", streamed=STREAMED)
    assert evidence.chat and all(check.passed for check in evidence.checks), evidence.checks
    # For documents and conversations, and for the long row and prompts; at most twice more beside the stock loader.
    assert max(times.values()) <= 5, times


def test_a_part_is_let_go_of_with_what_no_later_one_takes(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = graph_runs.Running.__init__, graph_runs.Running.end
    alive = Counter[str]()

    def counts(self: graph_runs.Running, *given: Any) -> None:
        alive["now"] += 1
        alive["most"] = max(alive["most"], alive["now"])
        begun(self, *given)

    def lets_go(self: graph_runs.Running) -> None:
        alive["now"] -= 1
        ended(self)

    monkeypatch.setattr(graph_runs.Running, "__init__", counts)
    monkeypatch.setattr(graph_runs.Running, "end", lets_go)
    read = opened(exported, 0)
    assert isinstance(read, optimum_intel_parts.Model)
    read.expect(ROWS)
    read.logits(ROWS[0])
    (left,) = read._begun
    assert set(left.carried[0]) == {graph_parts.Tensor(read.parts.cuts[-1], 0)}, "what makes logits, and nothing else"
    # A part and the one that tells its shapes; the last part stays for further rows.
    assert (alive["most"], alive["now"]) == (2, 1)


def test_what_the_first_parts_say_must_be_what_they_say_as_one_graph(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> client.Beginning:
        return client.first_blocks(exported, "openvino", RuntimeOptions(), TASK, 2, ROWS)

    sound = stock.agrees(said(), LOADER)
    assert sound.passed and "the first 4 of 10 parts of the graph in one gives the states" in sound.detail
    advance = graph_runs.Parts.advance

    def left_out(self: graph_runs.Parts, number: int, rows: Sequence[Any]) -> None:
        before, after = (graph_parts.Tensor(self.cuts[part], 0) for part in (number - 1, number))
        stood = [row.carried[0].get(before) for row in rows]
        advance(self, number, rows)
        for row, state in zip(rows, stood, strict=True):
            if number == 2:
                row.carried[0][after] = state

    monkeypatch.setattr(graph_runs.Parts, "advance", left_out)
    check = stock.agrees(said(), LOADER)
    assert not check.passed and "does not give" in check.detail


@pytest.mark.parametrize("damage", ["short", "cut"])
def test_damage_is_told(bench: Bench, exported: Path, damage: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "artifact"))
    weights = copy / "openvino_model.bin"
    if damage == "short":
        weights.write_bytes(weights.read_bytes()[:-4096])
    else:
        graph = copy / "openvino_model.xml"
        graph.write_text(graph.read_text()[:-4096])
    evidence = bench.evidence(copy, tmp_path / "out", format="openvino", streamed=STREAMED)
    assert next(check.name for check in evidence.checks if not check.passed) in ("stock", "loads", "files", "size")
