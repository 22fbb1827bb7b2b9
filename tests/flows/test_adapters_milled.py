"""`adapters:` in a manifest, end to end: trained beside a release, judged on two texts, released, pulled, merged."""

import json
import re
from pathlib import Path

import pytest
import yaml

from flows.cli.commands.run import outcome_rows
from tests.flows.conftest import Demo, quantmill, room
from tests.flows.test_adapters import NAME, PAGE, manifest_of
from tests.flows.test_demo import outside

pytestmark = pytest.mark.xdist_group("adapters")
MEASURE = """
import json, math, sys, torch
loss = count = 0
for line in open(sys.argv[1]):
    ids = torch.tensor([tokenizer(json.loads(line)["text"])["input_ids"][:64]])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
    loss += torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum").item()
    count += ids.shape[1] - 1
print(json.dumps([math.exp(loss / count), [m for m in ("flows", "gates", "adapters") if m in sys.modules]]))
"""


@pytest.fixture(scope="module")
def own(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The least that an adapter takes: its base, judged on few documents, beside a target for another machine."""
    directory = tmp_path_factory.mktemp("adapters")
    manifest = manifest_of(room(directory))
    said = yaml.safe_load(manifest.read_text())
    said["evaluation"] |= {"tokens": 64, "documents": 16}
    said["targets"] = {"nf4": "nf4", "npu": {"preset": "ov-w4-rtn-cw", "device": "NPU"}}
    manifest.write_text(yaml.safe_dump(said))
    return Demo(manifest, directory / "home", quantmill("run", manifest, "--json", home=directory / "home"))


def test_an_adapter_passes_beside_a_target_that_is_left_out(own: Demo) -> None:
    assert own.ran.code == 4, own.ran.stdout + own.ran.stderr
    rows = {row["target"]: row for row in own.ran.json}
    assert {name: row["state"] for name, row in rows.items()} == {
        "nf4": "released",
        "npu": "left out",
        "functions": "released",
    }
    gates = rows["functions"]["gates"]
    assert gates["gain"]["interval"][0] >= 0.3 and gates["forgetting"]["interval"][1] <= 0.3
    assert gates["sanity.control"]["outcome"] == "passed"
    assert rows["npu"]["why"].startswith("refused on this machine: device NPU is not on this machine, where OpenVINO")
    assert rows["npu"]["fault"] == "environment"
    (table,) = outcome_rows(own.ran.json)
    assert [row[2].plain for row in table.cells] == ["passed", "left out", "passed"]
    assert '<b class="left">left out</b>' in (own.home / "report.html").read_text()


@pytest.mark.slow
def test_an_adapter_is_released_with_its_card_and_does_what_that_says(own: Demo, tmp_path: Path) -> None:
    pulled = quantmill("pull", NAME, "--json", home=own.home).json
    card = (Path(pulled["directory"]) / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    base = {"base_model": "demo/docstring-llama-nf4", "base_model_relation": "adapter", "library_name": "peft"}
    assert base.items() <= metadata.items()
    commit = json.loads((Path(pulled["directory"]) / "adapter_config.json").read_bytes())["revision"]
    assert commit in card and (own.home / "hub/models--demo--docstring-llama-nf4/snapshots" / commit).is_dir()
    stated = re.search(r"^\| held-out text of the task \| [\d.]+ \| ([\d.]+) \|", card, re.MULTILINE)
    assert stated
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program, held_out = block + pulled["snippet"] + MEASURE, own.manifest.with_name("held-out.jsonl")
    said = outside(own.home, program, str(held_out), cwd=tmp_path).splitlines()
    adapted, alone = said[:2]
    assert adapted != alone and all(text.startswith("'def parse_list(file):") for text in (adapted, alone))
    measured, ours = json.loads(said[-1])
    assert ours == []
    assert measured == pytest.approx(float(stated[1]), rel=0.01)


def test_what_is_released_is_whole_and_is_not_done_again(own: Demo) -> None:
    assert quantmill("verify", NAME, home=own.home).code == 0
    again = quantmill("run", own.manifest, "--target", "functions", home=own.home)
    assert (again.code, "Nothing to do: all 2 jobs" in again.stdout) == (0, True), again.stdout + again.stderr
    kept = quantmill("gc", "--json", home=own.home).stdout
    assert "train" not in kept and "adapter" not in kept


@pytest.mark.slow
def test_a_merged_adapter_is_a_model_that_a_manifest_may_name(own: Demo) -> None:
    directory = own.manifest.with_name("merged")
    ran = quantmill("merge", NAME, directory, "--json", home=own.home)
    assert (ran.code, ran.json["linears"]) == (0, 8), ran.stdout + ran.stderr
    said = yaml.safe_load(own.manifest.read_text()) | {"model": {"source": "./merged"}}
    del said["adapters"]
    manifest = own.manifest.with_name("of-merged.yaml")
    manifest.write_text(yaml.safe_dump(said))
    planned = quantmill("plan", manifest, "--target", "nf4", "--json", home=own.home)
    assert [job["state"] for job in planned.json["jobs"]] == ["stale"], planned.stderr
    assert quantmill("merge", "demo/docstring-llama-nf4", own.manifest.with_name("other"), home=own.home).code == 2
