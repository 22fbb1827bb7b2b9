"""The mission once, end to end: a trained model becomes five gated releases that stock tools load by name, offline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.errors import NetworkFault
from flows.planning.plan import plan, read
from flows.reports.outcomes import outcomes
from flows.store import Store
from tests.flows.conftest import Demo, quantmill

pytestmark = pytest.mark.xdist_group("demo")
TARGETS = ["int8", "int4", "int4-awq", "nf4", "ov-int4"]
STOCK = """
import json, math, sys, torch
from transformers import AutoTokenizer
name, revision, texts, rows, documents = *sys.argv[1:4], *map(int, sys.argv[4:])
if name.endswith("ov-int4"):
    from optimum.intel import OVModelForCausalLM as Model
    options = {}
else:
    from transformers import AutoModelForCausalLM as Model
    options = {"dtype": torch.float32}
model = Model.from_pretrained(name, revision=revision, **options)
tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
loss = count = 0
for line in list(open(texts))[:documents]:
    ids = torch.tensor([tokenizer(json.loads(line)["text"])["input_ids"][:rows]])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
    loss += torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum").item()
    count += ids.shape[1] - 1
ours = [m for m in ("flows", "gates", "quantizers", "publishers") if m in sys.modules]
print(json.dumps({"perplexity": math.exp(loss / count), "ours": ours}))
"""


def outside(home: Path, program: str, *arguments: str, cwd: Path) -> str:
    """Run a program in a fresh interpreter that knows nothing of this project, with the local hub as its only hub."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "PREFECT", "HF_"))}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_target_passes_and_is_released(demo: Demo) -> None:
    assert demo.ran.code == 0, demo.ran.stdout + demo.ran.stderr
    assert [(row["target"], row["state"], row["version"]) for row in demo.ran.json] == [
        (target, "released", "v1") for target in TARGETS
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_a_stock_process_measures_the_perplexity_that_the_card_states(demo: Demo, target: str, tmp_path: Path) -> None:
    name = f"demo/docstring-llama-{target}"
    shown = quantmill("show", name, "--json", home=demo.home).json
    card = (Path(shown["directory"]) / "README.md").read_text()
    row = re.search(r"^\| *Perplexity *\| *[\d.]+ *\| *([\d.]+) *\|", card, re.MULTILINE)
    assert row, card
    stated = float(row[1])
    evaluation = str(demo.manifest.parent / "evaluation.jsonl")
    scored = str(shown["evidence"]["looks"][-1])
    measured = json.loads(
        outside(demo.home, STOCK, name, "v1", evaluation, "256", scored, cwd=tmp_path).splitlines()[-1]
    )
    assert measured["ours"] == []
    assert measured["perplexity"] == pytest.approx(stated, rel=0.01)


def test_running_again_does_nothing_says_so_and_imports_no_torch(demo: Demo) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.home.rglob("record.json")}
    again = quantmill("run", demo.manifest, home=demo.home, PYTHONPROFILEIMPORTTIME="1")
    assert again.code == 0
    assert "Nothing to do" in again.stdout
    assert " torch\n" not in again.stderr
    assert " prefect\n" not in again.stderr
    assert " rich" in again.stderr  # the import log is really there
    assert {path: path.stat().st_mtime_ns for path in demo.home.rglob("record.json")} == before


def test_the_original_was_scored_once_for_all_targets(demo: Demo) -> None:
    assert len(list((demo.home / "store" / "baseline").iterdir())) == 1
    assert len(list((demo.home / "store" / "quantize").iterdir())) == len(TARGETS)


def test_list_pull_and_verify_by_name(demo: Demo, tmp_path: Path) -> None:
    listed = quantmill("list", "--json", home=demo.home).json
    assert sorted(row["release"] for row in listed) == sorted(f"demo/docstring-llama-{target}" for target in TARGETS)
    assert quantmill("verify", "demo/docstring-llama-nf4", home=demo.home).code == 0
    pulled = quantmill("pull", "demo/docstring-llama-int4@v1", "--to", tmp_path / "int4", "--json", home=demo.home).json
    printed = outside(demo.home, pulled["snippet"], cwd=tmp_path)
    assert printed.strip()


def test_the_differences_of_two_releases_are_listed(demo: Demo) -> None:
    rows = quantmill("diff", "demo/docstring-llama-int4", "demo/docstring-llama-int8", "--json", home=demo.home).json
    assert {"what": "recipe.dtype", "left": "int4", "right": "int8"} in rows
    same = quantmill("diff", "demo/docstring-llama-int4", "demo/docstring-llama-int4@v1", home=demo.home)
    assert "do not differ" in same.stdout


@pytest.mark.parametrize("columns", ["40", "60", "100", "200"])
def test_nothing_is_cut_off_whatever_the_terminal_s_width(demo: Demo, columns: str) -> None:
    """Lines that may be longer than the terminal hold a path or a command, to be copied whole."""
    name, other = "demo/docstring-llama-int4", "demo/docstring-llama-ov-int4"
    shown: dict[str, list[str]] = {
        "plan": ["int4-awq", "w4-awq-compensated-asym-g64", "released", "nothinghaschanged"],
        "run": ["int4-awq", "w4-awq-compensated-asym-g64", "passed", "KLD≤", "v1", "Nothingtodo:all5jobs"],
        "list": [name, other, "compressed-tensors", "bitsandbytes", "w4-awq-compensated-asym-g64", "KLD≤", "MB"],
        "show": [name, "KLdivergence", "model.safetensors", "tokenizer_config.json"],
        "diff": [f"A{name}", f"B{other}", "recipe.format", "compressed-tensors", "openvino", "KLdivergence"],
        "doctor": ["neural_compressor_pt", "avx", "endpoint", "missingpackages"],
    }
    arguments: dict[str, list[object]] = {
        "plan": [demo.manifest],
        "run": [demo.manifest],
        "show": [name],
        "diff": [name, other],
    }
    for verb, words in shown.items():
        ran = quantmill(verb, *arguments.get(verb, []), home=demo.home, cwd=None, COLUMNS=columns)
        assert ran.code == 0, ran.stderr
        assert "…" not in ran.stdout.replace("sha256:", ""), ran.stdout
        rest = [line for line in ran.stdout.splitlines() if str(demo.home) not in line and "quantmill pull" not in line]
        assert [line for line in rest if len(line) > int(columns)] == []
        for word in words:
            letters = iter("".join(ran.stdout.split()))
            assert all(letter in letters for letter in word), (verb, word, ran.stdout)


def test_what_the_local_hub_holds_is_told_when_publishing_failed_at_a_place_that_comes_later(
    demo: Demo, tmp_path: Path
) -> None:
    store = Store(demo.home)
    planned = plan(read([demo.manifest]), store, targets=["int4"]).jobs[0]
    step = planned.job.publish(planned.rung)
    record = store.directory(step).rename(tmp_path / "aside")
    try:
        store.fail(step, NetworkFault("the Hub is away"))
        row = outcomes(plan(read([demo.manifest]), store, targets=["int4"]), store)[0]
    finally:
        record.rename(store.directory(step))
        for failure in (demo.home / "failures").glob("publish-*"):
            failure.unlink()
    assert (row["state"], row["passed"], row["version"]) == ("step failed", True, "v1")
    assert [published["to"] for published in row["places"]] == ["local"]


def test_a_release_that_is_not_there_is_an_error_that_helps(demo: Demo) -> None:
    missing = quantmill("pull", "demo/docstring-llama-int5", home=demo.home)
    assert missing.code == 2
    assert "demo/docstring-llama-int4" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_an_impossible_gate_leaves_no_trace_in_the_hub(demo: Demo) -> None:
    text = demo.manifest.read_text().replace("max_kld: 0.05", "max_kld: 0.000001").replace("demo}", "tight}")
    tight = demo.manifest.with_name("tight.yaml")
    tight.write_text(text)
    before = sorted(demo.home.rglob("hub/**"))
    ran = quantmill("run", tight, "--target", "int4", home=demo.home)
    assert ran.code == 1, ran.stdout + ran.stderr
    assert sorted(demo.home.rglob("hub/**")) == before
    reason = [line for line in ran.stdout.splitlines() if line.startswith("✗ tight/docstring-llama-int4:")]
    assert len(reason) == 1
    assert "divergence" in reason[0]
    # Only the judgement was new: the artifact and the evidence were there.
    assert len(list((demo.home / "store" / "evidence").iterdir())) == len(TARGETS)
    again = quantmill("run", tight, "--target", "int4", home=demo.home)
    assert (again.code, "Nothing to do" in again.stdout) == (1, True)


def test_a_ladder_climbs_until_its_gates_pass_and_keeps_every_attempt(demo: Demo) -> None:
    text = demo.manifest.read_text()
    head, gates = text.split("targets:")[0], text.split("gates:")[1]
    ladder = demo.manifest.with_name("ladder.yaml")
    gates = gates.replace("max_kld: 0.05", "max_kld: 0.001").replace("demo}", "ladder}")
    ladder.write_text(f"{head}targets:\n  auto: {{ladder: [w4-rtn-g64, nf4, w8-rtn-g128]}}\n\ngates:{gates}")
    ran = quantmill("run", ladder, "--json", home=demo.home)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert [(row["recipe"], row["state"]) for row in ran.json] == [("w8-rtn-g128", "released")]
    verdicts = [json.loads(path.read_text()) for path in demo.home.glob("store/verdict/*/record.json")]
    attempts = [v["result"]["passed"] for v in verdicts if v["inputs"]["gates"]["divergence"]["max_kld"] == 0.001]
    assert sorted(attempts) == [False, False, True]


def test_a_budget_of_quality_releases_a_mix_of_dtypes(demo: Demo) -> None:
    text = demo.manifest.read_text()
    head, gates = text.split("targets:")[0], text.split("gates:")[1].replace("demo}", "mixed}")
    mixed = demo.manifest.with_name("mixed.yaml")
    mixed.write_text(f"{head}targets:\n  small: {{preset: w4-rtn-g64, auto: {{max_kld: 0.0145}}}}\n\ngates:{gates}")
    ran = quantmill("run", mixed, "--json", home=demo.home)
    assert ran.code == 0, ran.stdout + ran.stderr
    (row,) = ran.json
    assert (row["state"], row["gates"]["divergence"]["limit"]) == ("released", 0.0145)
    assert row["gates"]["divergence"]["interval"][1] <= 0.0145
    shown = quantmill("show", "mixed/docstring-llama-small", "--json", home=demo.home).json
    assert set(shown["recipe"]["overrides"].values()) == {"int8"} and shown["recipe"]["dtype"] == "int4"
    verdicts = [json.loads(path.read_text()) for path in demo.home.glob("store/verdict/*/record.json")]
    attempts = [v["result"] for v in verdicts if v["inputs"]["gates"]["divergence"]["max_kld"] == 0.0145]
    assert sorted(attempt["passed"] for attempt in attempts)[-2:] == [False, True], "the first rung is plain int4"
    assert len(list(demo.home.glob("store/sensitivity/*"))) == 1
    again = quantmill("run", mixed, home=demo.home)
    assert (again.code, "Nothing to do" in again.stdout) == (0, True)


def test_a_gguf_is_gated_released_and_pulled_by_name_for_llama_cpp(demo: Demo, tmp_path: Path) -> None:
    text = demo.manifest.read_text()
    head, gates = text.split("targets:")[0], text.split("gates:")[1].replace("demo}", "gguf}")
    manifest = demo.manifest.with_name("gguf.yaml")
    manifest.write_text(f"{head}targets:\n  q4: gguf-w4-awq-compensated-asym\n\ngates:{gates}")
    ran = quantmill("run", manifest, "--json", home=demo.home)
    assert ran.code == 0, ran.stdout + ran.stderr
    (row,) = ran.json
    assert (row["state"], row["gates"]["divergence"]["outcome"]) == ("released", "passed")
    pulled = quantmill("pull", "gguf/docstring-llama-q4", "--json", home=demo.home).json
    assert "xllamacpp.Server" in pulled["snippet"] and "model.gguf" in pulled["files"]
    assert len(outside(demo.home, pulled["snippet"], cwd=tmp_path).strip()) > 20
    assert quantmill("verify", "gguf/docstring-llama-q4", home=demo.home).code == 0


LANGCHAIN = """
import sys
from langchain_huggingface import HuggingFacePipeline
model = HuggingFacePipeline.from_model_id(
    sys.argv[1], task="text-generation", model_kwargs={"revision": "v1"}, pipeline_kwargs={"max_new_tokens": 8}
)
print(repr(model.invoke("Return a list of")))
"""


@pytest.mark.parametrize("target", ["int4"])
def test_langchain_loads_a_release_by_name(demo: Demo, target: str, tmp_path: Path) -> None:
    said = outside(demo.home, LANGCHAIN, f"demo/docstring-llama-{target}", cwd=tmp_path)
    assert len(said.splitlines()[-1]) > len(repr("Return a list of"))


TASK = """
task: order
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{[good, bad]}}"
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1}
"""


def test_a_local_task_of_the_harness_is_judged_from_the_manifest(demo: Demo) -> None:
    texts = [json.loads(line)["text"].split() for line in (demo.manifest.parent / "evaluation.jsonl").open()]
    rows = [words[start : start + 14] for words in texts for start in (0, 20)][:40]
    items = [{"context": " ".join(w[:10]), "good": " ".join(w[10:]), "bad": " ".join(w[10:][::-1])} for w in rows]
    (demo.manifest.parent / "task").mkdir()
    (demo.manifest.parent / "task" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (demo.manifest.parent / "task" / "order.yaml").write_text(TASK)
    text = demo.manifest.read_text().replace(
        "gates:", "gates:\n  tasks: {order: {file: task/order.yaml, min_recovery: 50%}}"
    )
    manifest = demo.manifest.with_name("task.yaml")
    manifest.write_text(text.replace("namespace: demo}", "namespace: task}"))
    ran = quantmill("run", manifest, "--target", "int8", "--json", home=demo.home)
    assert ran.code == 0, ran.stdout + ran.stderr
    gate = ran.json[0]["gates"]["tasks.order"]
    assert (gate["outcome"], gate["limit"]) == ("passed", 0.5)
    items[0]["good"] = "something else"
    (demo.manifest.parent / "task" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    again = quantmill("plan", manifest, "--target", "int8", "--json", home=demo.home).json["jobs"][0]
    assert (again["state"], again["steps"][0]) == ("stale", "baseline")


def test_the_report_is_one_page_that_fetches_nothing(demo: Demo) -> None:
    written = quantmill("report", demo.manifest, "--to", demo.home / "again.html", home=demo.home)
    assert written.code == 0, written.stderr
    text = (demo.home / "again.html").read_text()
    assert all(f">{target}<" in text for target in TARGETS)
    assert text.count("<svg") >= 1
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", text) and re.search(r"[\d.]+ MB</td>", text)
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert (demo.home / "report.html").exists()  # every run that did something leaves one
