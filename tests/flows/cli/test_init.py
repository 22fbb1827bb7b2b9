"""A first manifest is one that `plan` accepts, wherever it is written."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from catalog.tasks import TASKS
from flows.cli.app import main
from flows.files.documents import documents
from flows.manifest.load import load
from flows.planning.first_manifest import first_gates, task_of_directory
from gates.safeguards.contamination import overlap
from gates.spec import Gates
from tests import translators
from tests.flows.conftest import ROOT, quantmill
from tests.flows.manifest.room import safetensors

Told = pytest.CaptureFixture[str]
MODEL = ROOT / "manifests" / "demo" / "model"


def shapes(hidden: int, inner: int) -> dict[str, tuple[int, ...]]:
    vocabulary = json.loads((MODEL / "config.json").read_text())["vocab_size"]
    square, layer = (hidden, hidden), "model.layers.0."
    attention = {f"{layer}self_attn.{name}_proj.weight": square for name in "qkvo"}
    mlp = {f"{layer}mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
    norms = {f"{layer}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    ends = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    return ends | attention | mlp | norms | {f"{layer}mlp.down_proj.weight": (hidden, inner)}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "empty"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("QUANTMILL_HOME", str(tmp_path / "home"))
    return directory


def test_from_an_empty_directory_without_a_network(empty: Path, capsys: Told) -> None:
    assert main(["init", str(MODEL)]) == 0
    told = capsys.readouterr().out
    assert f"quantmill plan {empty / 'model.yaml'} --allow-path" in told
    assert main(["plan", "model.yaml", "--allow-path", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["jobs"]
    assert [row["target"] for row in rows] == ["int8", "int4", "nf4", "ov-int8", "ov-int4"]
    manifest = load("model.yaml", allow_path=True)
    assert manifest.gates.size and manifest.gates.size.max_ratio < 0.8
    before = (empty / "model.yaml").read_text()
    assert main(["init", str(MODEL)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (empty / "model.yaml").read_text() == before
    assert not [path for path in empty.iterdir() if path.name.startswith(".")]


def test_a_model_below_needs_no_flag_and_texts_beside_are_used(empty: Path, capsys: Told) -> None:
    shutil.copytree(MODEL, empty / "mine")
    for section in ("calibration", "evaluation"):
        shutil.copy(ROOT / "manifests" / "demo" / f"{section}.jsonl", empty)
    assert main(["init", "./mine", "--to", "first.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flags"] == []
    assert [path.name for path in load("first.yaml").evaluation.files] == ["evaluation.jsonl"]
    assert main(["plan", "first.yaml"]) == 0


def test_the_texts_that_are_made_share_no_passage(empty: Path) -> None:
    assert main(["init", str(MODEL)]) == 0
    calibration, evaluation = (
        [(name, text) for text in documents(empty / f"{name}.jsonl", "text")] for name in ("calibration", "evaluation")
    )
    assert len(calibration) > 128 and len(evaluation) > 64
    assert overlap(calibration, evaluation).share < 0.1


def test_a_group_size_that_fits_is_chosen(empty: Path, capsys: Told) -> None:
    """Inputs of 64 and 96: 128 divides neither, and 64 not both."""
    shutil.copytree(MODEL, empty / "small")
    (empty / "small" / "model.safetensors").write_bytes(safetensors(shapes(64, 96)))
    config = json.loads((MODEL / "config.json").read_text())
    config |= {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "head_dim": 16}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 4}
    (empty / "small" / "config.json").write_text(json.dumps(config))
    assert main(["init", "./small", "--json"]) == 0, capsys.readouterr().err
    made = json.loads(capsys.readouterr().out)
    recipes = {name: target.rungs[0].name for name, target in load(made["manifest"]).targets.items()}
    assert recipes["int8"] == "w8-rtn" and recipes["int4"] == "w4-awq-compensated-asym-g32"
    assert main(["plan", made["manifest"], "--json"]) == 0
    assert {row["target"] for row in json.loads(capsys.readouterr().out)["jobs"]} == set(made["targets"])


@pytest.mark.parametrize(("source", "words"), [("./nothing", "does not exist"), ("a/b/c", "neither a directory")])
def test_what_is_no_model_is_one_error_and_leaves_nothing(source: str, words: str, empty: Path, capsys: Told) -> None:
    assert main(["init", source]) == 2
    assert words in capsys.readouterr().err
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("architecture", "kind", "layout", "task"),
    [
        ("LlamaForCausalLM", "llama", False, "text-generation"),
        ("GPT2LMHeadModel", "gpt2", False, "text-generation"),
        ("LlamaModel", "llama", False, "text-generation"),
        ("Qwen3Model", "qwen3", True, "feature-extraction"),
        ("BertModel", "bert", False, "feature-extraction"),
        ("BertForMaskedLM", "bert", False, "fill-mask"),
        ("XLMRobertaForSequenceClassification", "xlm-roberta", False, "text-classification"),
        ("BertForTokenClassification", "bert", False, "token-classification"),
        ("LlavaForConditionalGeneration", "llava", False, "image-text-to-text"),
        ("T5ForConditionalGeneration", "t5", False, "text2text-generation"),
        ("ViTForImageClassification", "vit", False, "image-classification"),
        ("DeiTForImageClassificationWithTeacher", "deit", False, "image-classification"),
        ("RobertaForQuestionAnswering", "roberta", False, "question-answering"),
        ("WhisperForConditionalGeneration", "whisper", False, "automatic-speech-recognition"),
    ],
)
def test_the_task_is_what_the_head_is_made_for(
    architecture: str, kind: str, layout: bool, task: str, tmp_path: Path
) -> None:
    config = {"architectures": [architecture], "model_type": kind}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if layout:
        (tmp_path / "modules.json").write_text("[]")
    assert task_of_directory(tmp_path) == task


@pytest.mark.parametrize("task", TASKS)
def test_the_gates_of_a_first_manifest_are_the_task_s_own(task: str) -> None:
    written = yaml.safe_load(first_gates(task))
    assert set(written) | {"size"} == set(TASKS[task].defaults)
    assert Gates.model_validate(written).of_task(task)


def test_sequences_into_sequences_are_tried_with_texts_of_their_own_column(tmp_path: Path) -> None:
    translators.translator(tmp_path / "model", steps=1)
    done = quantmill("init", "model", home=tmp_path / "home", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert done.code == 0, done.stderr
    written = (tmp_path / "model.yaml").read_text()
    assert "task: text2text-generation" in written and "ov-int8: ov-w8-rtn" in written and "null" not in written
    assert json.loads((tmp_path / "evaluation.jsonl").read_text().splitlines()[0]).keys() == {"source"}
    planned = quantmill("plan", "model.yaml", home=tmp_path / "home", cwd=tmp_path)
    assert planned.code == 0, planned.stderr
