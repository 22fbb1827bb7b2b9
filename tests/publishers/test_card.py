"""The card: metadata that hubs read, evidence a reader can judge, and nothing that varies."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from safetensors.numpy import save_file

from catalog.format import Format
from catalog.formats import FORMATS
from publishers.errors import PublishError
from publishers.request import Equal, Source
from publishers.stage import stage
from tests.publishers.conftest import EVIDENCE, RECIPE, SUMMARY, subject_of


def card_of(artifact: Path, model: Path, tmp_path: Path, **changes: Any) -> str:
    stage(subject_of(artifact, model, **changes), tmp_path / "stage", tmp_path / "home")
    return (tmp_path / "stage" / "README.md").read_text()


def metadata_of(card: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return loaded


def test_metadata(artifact: Path, model: Path, tmp_path: Path) -> None:
    metadata = metadata_of(card_of(artifact, model, tmp_path))
    results = metadata.pop("model-index")[0]["results"][0]
    assert metadata == {
        "base_model": "acme-labs/demo",
        "base_model_relation": "quantized",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "mit",
        "language": ["en"],
        "tags": ["quantmill", "quantized", "compressed-tensors", "int4", "awq"],
        "quantized_by": "quantmill",
    }
    assert results["metrics"][0] == {"type": "perplexity", "name": "Perplexity", "value": 21.715}


def test_model_from_a_directory_has_no_base_model(artifact: Path, model: Path, tmp_path: Path) -> None:
    source = Source(name="demo", id=None, revision="sha256:" + "d" * 64, directory=model)
    card = card_of(artifact, model, tmp_path, source=source)
    assert not metadata_of(card).keys() & {"base_model", "base_model_relation"}
    assert "`demo`" in card and "sha256:" + "d" * 64 in card


def test_openvino_names_its_library_and_genai(artifact: Path, model: Path, tmp_path: Path) -> None:
    card = card_of(artifact, model, tmp_path, format="openvino")
    assert metadata_of(card)["library_name"] == "openvino"
    assert "OVModelForCausalLM.from_pretrained" in card and "openvino_genai.LLMPipeline" in card


def test_a_release_is_loaded_as_it_was_judged(artifact: Path, model: Path, tmp_path: Path) -> None:
    runtime: dict[str, Any] = {
        "compute": "fp32",
        "device": "CPU",
        "ov_config": {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": True},
    }
    text = card_of(artifact, model, tmp_path, format="openvino", runtime=runtime)
    optimum, genai = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    properties = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, **runtime["ov_config"]}
    typed = ast.literal_eval(re.search(r"from_pretrained\(.*ov_config=(\{.*?\})\)", optimum)[1])
    assert typed == properties and "device=" not in optimum
    assert 'tokenizer = AutoTokenizer.from_pretrained("acme/demo-int4")' in optimum
    assert (
        '"CPU", INFERENCE_PRECISION_HINT="f32", DYNAMIC_QUANTIZATION_GROUP_SIZE=0, PERFORMANCE_HINT="LATENCY"' in genai
    )
    assert "on CPU, with products in fp32, as the code above runs it" in text
    [target] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    said = yaml.safe_load(target)["targets"]["int4"]
    assert said["runtime"] == {"compute": "fp32"} and said["ov_config"] == runtime["ov_config"]


def test_the_dtype_of_products_and_the_device_are_in_the_code(artifact: Path, model: Path, tmp_path: Path) -> None:
    for name in ("gpu", "xpu"):
        (tmp_path / name).mkdir()
    bf16 = card_of(artifact, model, tmp_path, runtime={"compute": "bf16"})
    assert 'AutoModelForCausalLM.from_pretrained("acme/demo-int4", dtype="bfloat16")' in bf16
    gpu = card_of(artifact, model, tmp_path / "gpu", format="openvino", runtime={"device": "GPU"})
    assert 'device="GPU")' in gpu and ', "GPU")' in gpu and ".to(model.device)" not in gpu
    xpu = card_of(artifact, model, tmp_path / "xpu", runtime={"device": "xpu"})
    assert 'from_pretrained("acme/demo-int4", device_map="xpu")' in xpu and ".to(model.device)" in xpu


@pytest.mark.parametrize(
    ("format_", "held"), [("compressed-tensors", "original_bytes"), ("openvino", "artifact_bytes")]
)
def test_what_weights_take_in_memory_follows_from_the_format(
    format_: str, held: str, artifact: Path, model: Path, tmp_path: Path
) -> None:
    size = EVIDENCE["size"]
    row = re.search(
        r"\| Weights in memory, computed \| (.*?) \| (.*?) \|", card_of(artifact, model, tmp_path, format=format_)
    )
    assert row and row[1] == f"{size['original_bytes'] / 1e6:,.2f} MB" and row[2] == f"{size[held] / 1e6:,.2f} MB"


def test_activations_beyond_fp16_are_told(artifact: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    beyond = {"largest": 81234.6, "layer": "model.layers.1", "beyond": {"model.layers.1": 7, "model.layers.2.up": 1200}}
    within = {"largest": 61.4, "layer": "model.norm", "beyond": {}}
    evidence = {**EVIDENCE, "activations_original": within, "activations": beyond}
    card = card_of(artifact, model, tmp_path, evidence=evidence)
    assert "| Largest activation | 61, in `model.norm` | 81,235, in `model.layers.1` | fp16 ends at 65,504 |" in card
    assert "Not for fp16: 1,207 activations, 1,200 of them in `model.layers.2.up`, are beyond 65,504" in card
    plain = card_of(artifact, model, tmp_path / "plain", evidence={**EVIDENCE, "activations": within})
    assert "Not for fp16" not in plain and "| Largest activation | – | 61, in `model.norm` |" in plain


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "By the rules of vLLM, that reads it packed"),
        ({"symmetric": False}, "By the rules of vLLM, from 0.8.5, that reads it packed"),
        ({"dtype": "int3"}, "It is not for vLLM: vLLM reads 4 and 8 bits, not 3."),
        (
            {"group_size": 256},
            "It is not for vLLM: vLLM reads a scale per channel or per 32, 64, 128 weights, not per 256.",
        ),
    ],
)
def test_what_vllm_reads_is_said(
    changes: dict[str, Any], words: str, artifact: Path, model: Path, tmp_path: Path
) -> None:
    assert words in card_of(artifact, model, tmp_path, recipe={**RECIPE, **changes})


def test_a_mixture_whose_experts_are_one_tensor_is_said_not_to_be_for_vllm(
    artifact: Path, model: Path, tmp_path: Path
) -> None:
    stack = "model.layers.0.mlp.experts.down_proj"
    save_file({stack: np.zeros((2, 2, 2), np.float32)}, artifact / "model-experts.safetensors")
    assert f"It is not for vLLM: vLLM looks for experts one by one, and {stack} is all" in card_of(
        artifact, model, tmp_path
    )


def test_linears_of_another_type_are_summed_up_and_given_in_full_below(
    artifact: Path, model: Path, tmp_path: Path
) -> None:
    names = [f"model.layers.{layer}.mlp.down_proj" for layer in range(6)]
    overrides = dict.fromkeys(names, "int8") | {"lm_head": "int3"}
    card = card_of(artifact, model, tmp_path, recipe={**RECIPE, "overrides": overrides})
    shown = ", ".join(f"`{name}`" for name in names[:4])
    assert f"| In another type | `int3`: `lm_head`; `int8`: {shown} and 2 more |" in card
    assert yaml.safe_load(card.split("```yaml\n")[-1].split("```")[0])["targets"]["int4"]["overrides"] == overrides


def test_every_figure_of_the_evidence_is_shown_with_its_bounds(artifact: Path, model: Path, tmp_path: Path) -> None:
    card = card_of(artifact, model, tmp_path)
    for row in (
        "| Perplexity | 21.5000 | 21.7150 | +1.00% (+0.60% to +1.40%) |",
        "| KL divergence from the original, nats per token | 0 | 0.00420 (0.00360 to 0.00480) |",
        "| Same first choice as the original (top-1) | 100% | 96.20% (95.40% to 97.00%) |",
        "| Weights on disk | 0.40 MB | 0.13 MB | 32.5% |",
        "| KL divergence, nats per token | 0.00420 | 0.00480 | ≤ 0.05000 | passed |",
    ):
        assert row in card


def test_every_field_of_the_recipe_is_shown_and_repeatable(artifact: Path, model: Path, tmp_path: Path) -> None:
    subject = subject_of(artifact, model)
    card = card_of(artifact, model, tmp_path, recipe={**subject.recipe, "novelty": 7})
    block = re.search(r"```yaml\n(.*?)```", card, re.DOTALL)
    assert block and yaml.safe_load(block[1]) == {"targets": {"int4": {**subject.recipe, "novelty": 7}}}
    assert block[1].index("engine") < block[1].index("dtype") < block[1].index("novelty")
    assert "| Transformation before rounding | AWQ" in card and "| novelty | 7 |" in card


def test_files_and_their_hashes_are_listed(artifact: Path, model: Path, tmp_path: Path) -> None:
    subject = subject_of(artifact, model)
    card = card_of(artifact, model, tmp_path)
    assert all(sha256 in card for sha256 in subject.files.values())


def test_tasks_and_chat_are_shown_when_measured(artifact: Path, model: Path, tmp_path: Path) -> None:
    subject = subject_of(artifact, model)
    tasks = {"arc_easy": {"metric": "acc", "original": [1.0, 1.0, 0.0, 1.0], "artifact": [1.0, 0.0, 0.0, 1.0]}}
    evidence = {**subject.evidence, "chat_summary": SUMMARY, "tasks": tasks}
    card = card_of(artifact, model, tmp_path, evidence=evidence)
    assert "| arc_easy (acc, 4 items) | 0.7500 | 0.5000 | 66.7% kept |" in card
    assert "| Perplexity, through the chat template | 21.5000 | 21.7150 |" in card


def test_bounds_that_the_documents_cannot_give_are_said(artifact: Path, model: Path, tmp_path: Path) -> None:
    subject = subject_of(artifact, model)
    subject.evidence["summary"]["kld"]["high"] = None
    assert "0.00420 (0.00360 to unbounded)" in card_of(artifact, model, tmp_path, evidence=subject.evidence)


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
def test_small_in_memory_is_said_of_what_is(format_: Format, artifact: Path, model: Path, tmp_path: Path) -> None:
    card = card_of(artifact, model, tmp_path, format=format_.name)
    assert ("stay packed in memory" in card) == format_.small_in_memory
    assert ("small on disk alone" in card) != format_.small_in_memory


LICENSES: dict[str, tuple[str, dict[str, Any]]] = {
    "id": ("---\nlicense: apache-2.0\n---\n", {"license": "apache-2.0"}),
    "list": ("---\nlicense: [mit, apache-2.0]\n---\n", {"license": "mit"}),
    "named": (
        "---\nlicense: other\nlicense_name: llama3\nlicense_link: https://example.org/l\n---\n",
        {"license": "other", "license_name": "llama3", "license_link": "https://example.org/l"},
    ),
    "none": ("# A card without metadata\n", {}),
    "unfinished block": ("---\nlicense: mit\n", {}),
}


@pytest.mark.parametrize("readme, expected", LICENSES.values(), ids=LICENSES.keys())
def test_licence_is_carried_over(
    artifact: Path, model: Path, tmp_path: Path, readme: str, expected: dict[str, Any]
) -> None:
    (model / "README.md").write_text(readme)
    card = card_of(artifact, model, tmp_path)
    assert {key: value for key, value in metadata_of(card).items() if key.startswith("license")} == expected
    assert ("states no licence" in card) == (not expected)


def test_licence_of_the_config_when_there_is_no_card(artifact: Path, model: Path, tmp_path: Path) -> None:
    (model / "README.md").unlink()
    (model / "config.json").write_text('{"license": "mit"}')
    assert metadata_of(card_of(artifact, model, tmp_path))["license"] == "mit"


def test_card_of_the_source_that_is_not_yaml_is_named(artifact: Path, model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("---\nlicense: [mit\n---\n")
    with pytest.raises(PublishError, match=r"metadata block of .*README\.md is not YAML"):
        card_of(artifact, model, tmp_path)


def test_other_tasks_are_refused_by_name(artifact: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="'text-generation'"):
        card_of(artifact, model, tmp_path, task="object-detection")


NATIVE = {"engine": "streaming", "format": "compressed-tensors", "dtype": "int4_clip", "group_size": 64}
MEASURED = {"target": "int4", "documents": 12, "harm": "kld", "own": 0.0144, "theirs": 0.0141, "bytes": 2_500_000}


@pytest.mark.parametrize("measured", [{}, MEASURED], ids=["not gated", "gated"])
def test_the_card_of_an_archived_format_names_its_equal_and_the_difference(
    measured: dict[str, Any], artifact: Path, model: Path, tmp_path: Path
) -> None:
    equal = Equal(name="w4-clip-rtn-g64", recipe=NATIVE, **measured)
    card = " ".join(card_of(artifact, model, tmp_path, format="itrex", equal=equal).split())
    assert "**Archived.** intel-extension-for-transformers is no longer maintained" in card
    assert (
        "the recipe `w4-clip-rtn-g64`, int4_clip in groups of 64 by engine streaming in format compressed-tensors"
        in card
    )
    assert ("It was not gated beside this one" in card) == (not measured)
    if measured:
        assert "As target `int4` of the same manifest, on the 12 documents that both were scored on" in card
        assert "it measured 0.01410 where this one measured 0.01440" in card and "difference +0.00030" in card
        assert "in 2.50 MB instead of" in card
    assert "**Archived.**" not in card_of(artifact, model, tmp_path / "native")


def test_the_card_of_bytes_for_one_kind_of_cpu_names_its_instruction_set(
    artifact: Path, model: Path, tmp_path: Path
) -> None:
    recipe = {**RECIPE, "engine": "itrex", "dtype": "nf4", "transform": None}
    card = card_of(artifact, model, tmp_path, format="itrex", recipe=recipe, instructions="AVX512")
    said = "Its nf4 is stored as the kernels of intel-extension-for-transformers read it, for the instruction set of"
    assert f"{said} the CPU that made it: AVX512." in " ".join(card.split())
    assert "instruction set" not in card_of(artifact, model, tmp_path / "native")
