"""The third loader: one GGUF with its tokenizer inside, in llama.cpp."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from lm_eval.api.instance import Instance

from catalog.runtime import RuntimeOptions
from gates.clients import client, xllamacpp
from gates.errors import GateError
from gates.evaluation import readers
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.spec import Gates
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests.gates.artifacts import edit_json
from tests.gates.conftest import TEMPLATE, Bench

pytestmark = pytest.mark.xdist_group("gguf-gates")
GATES = Gates.model_validate({"size": {"max_ratio": 3.0}, "perplexity": {"max_increase": "10%"}})


@pytest.fixture(scope="module")
def exported(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gguf")
    recipe = {"dtype": "int8", "group_size": 32}
    targets = {"gguf": Recipe(format="gguf", **recipe), "plain": Recipe(**recipe)}  # type: ignore[arg-type]
    run(Request(model=bench.model, targets=targets), out)
    return out / "gguf"


def score(bench: Bench, artifact: Path, out: Path) -> Evidence:
    return bench.evidence(artifact, out, format="gguf", speed=False)


def caught(evidence: Evidence) -> set[str]:
    return {
        gate.name
        for gate in judge(evidence, GATES).gates
        if gate.outcome == "failed" and "reached" not in gate.sentence
    }


def test_sound_gguf_passes(bench: Bench, exported: Path, tmp_path: Path) -> None:
    evidence = score(bench, exported, tmp_path)
    assert judge(evidence, GATES).passed, judge(evidence, GATES).sentence
    checks = {check.name: check for check in evidence.checks}
    assert "12 texts" in checks["gguf-tokenizer"].detail and "29 linear weights" in checks["weights"].detail
    assert evidence.loader == "xllamacpp.Server" and evidence.runtime["file_type"] == "7"
    assert evidence.summary and 0 < evidence.summary.values["kld"] < 0.001
    assert evidence.chat_summary and all(sample.artifact for sample in evidence.samples)


def test_a_tokenizer_or_template_that_is_another_inside_the_file_alone(
    bench: Bench, exported: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(bench.model, tmp_path / "model"))
    words = readers.load(bench.model, "text-generation").tokenizer.train_new_from_iterator(
        ["other text than before"] * 20, 2048
    )
    for number, change in enumerate(("tokenizer", "template")):
        if change == "tokenizer":
            words.save_pretrained(model)
        else:
            shutil.copyfile(bench.model / "tokenizer.json", model / "tokenizer.json")
            edit_json(model / "tokenizer_config.json", lambda config: config | {"chat_template": TEMPLATE + " "})
        out = tmp_path / str(number)
        run(Request(model=model, targets={"t": Recipe(format="gguf", dtype="int8", group_size=32)}), out)
        copy = Path(shutil.copytree(exported, tmp_path / f"{number}-copy"))
        shutil.copyfile(out / "t" / "model.gguf", copy / "model.gguf")
        assert caught(score(bench, copy, tmp_path / f"{number}-out")) == {"sanity.gguf-tokenizer"}


def test_one_flipped_scale(bench: Bench, exported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    (tensor,) = (each for each in GGUFReader(copy / "model.gguf").tensors if each.name == "blk.1.attn_q.weight")
    content = bytearray((copy / "model.gguf").read_bytes())
    content[int(tensor.data_offset) + 5 * 34 + 1] ^= 0x80
    (copy / "model.gguf").write_bytes(content)
    assert "sanity.weights" in caught(score(bench, copy, tmp_path / "out"))


@pytest.mark.parametrize("size", [100, 10_000, 1_000_000])
def test_a_file_that_is_cut_short(bench: Bench, exported: Path, tmp_path: Path, size: int) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    (copy / "model.gguf").write_bytes((copy / "model.gguf").read_bytes()[:size])
    assert "sanity.files" in caught(score(bench, copy, tmp_path / "out"))


def test_what_llama_cpp_says_of_a_file_that_it_refuses(bench: Bench, exported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    content = (copy / "model.gguf").read_bytes()
    (copy / "model.gguf").write_bytes(content.replace(b"blk.0.attn_norm.weight", b"blk.0.attn_morn.weight"))
    loads = {check.name: check for check in score(bench, copy, tmp_path / "out").checks}["loads"]
    assert not loads.passed and "attn_norm" in loads.detail


def test_the_harness_is_answered_as_by_the_twin(bench: Bench, exported: Path) -> None:
    tokenizer = readers.load(bench.model, "text-generation").tokenizer
    sides = [
        client.load(exported.with_name(name), row, RuntimeOptions(), "text-generation").harness(tokenizer)
        for name, row in (("gguf", "gguf"), ("plain", "compressed-tensors"))
    ]
    pairs = [("The function returns", " the value"), ("", "Return a list"), ("A class that ", "implements it.")]
    choices = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    texts = [Instance("loglikelihood_rolling", {}, ("The value of the argument. " * 300,), 0)]
    asked = Instance("generate_until", {}, ("The function", {"until": ["\n"], "max_gen_toks": 20}), 0)
    own, theirs = ([score for score, _ in side.loglikelihood(choices)] for side in sides)
    assert own == pytest.approx(theirs, rel=0.01)
    own, theirs = (side.loglikelihood_rolling(texts) for side in sides)
    assert own == pytest.approx(theirs, rel=0.01)
    assert sides[0].generate_until([asked]) == sides[1].generate_until([asked])


def test_the_harness_is_told_that_nothing_is_drawn(bench: Bench, exported: Path) -> None:
    model = client.load(exported, "gguf", RuntimeOptions(), "text-generation").harness(
        readers.load(bench.model, "text-generation").tokenizer
    )
    drawn = Instance("generate_until", {}, ("The function", {"do_sample": True, "temperature": 0.7}), 0)
    with pytest.raises(GateError, match=r"take the likeliest answer, or gate them on a target of the format `transf"):
        model.generate_until([drawn])


def test_logits_at_places_of_a_row_longer_than_a_batch(exported: Path) -> None:
    loaded = client.load(exported, "gguf", RuntimeOptions(), "text-generation")
    ids, places = torch.arange(2600) % 1900 + 5, torch.tensor([3, 900, 2047, 2048, 2599])
    assert torch.allclose(loaded.logits_at(ids, places), loaded.logits(ids)[places], atol=1e-4)
    assert loaded.threads == 4, "llama.cpp's own default"


def test_weights_dequantized_in_parts_are_those_of_the_whole(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = client.load(exported, "gguf", RuntimeOptions(), "text-generation")
    whole = dict(loaded.weights())
    monkeypatch.setattr(xllamacpp, "AT_ONCE", 1000)
    parts = dict(loaded.weights())
    assert len(parts) >= 29 and all(torch.equal(parts[name], whole[name]) for name in whole)
