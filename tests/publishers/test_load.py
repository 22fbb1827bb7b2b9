"""Releases are loaded by name, offline, by stock clients in fresh processes: with the code that the card shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from publishers.destinations.hub import Hub
from publishers.destinations.local import Local
from publishers.pull import pull
from publishers.request import Subject
from publishers.stage import stage
from publishers.verify import verify
from tests.publishers.loopback_hub import LoopbackHub
from tests.releases import say

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load")]

LANGCHAIN = """
from langchain_huggingface import HuggingFacePipeline
asked = {"max_new_tokens": 32, "do_sample": False}
model = HuggingFacePipeline.from_model_id("acme/demo-int4", task="text-generation", pipeline_kwargs=asked)
print(model.invoke("The function returns"))
"""


def blocks(released: Path, name: str) -> list[str]:
    """The Python on a release's card."""
    local = Local("", released)
    card = local.read(local.find(name), "README.md").decode()
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_transformers_loads_by_name_and_the_card_is_right(released: Path, tmp_path: Path) -> None:
    in_place = pull(Local("", released), "acme/demo-int4")
    copied = pull(Local("", released), "acme/demo-int4", "v1", tmp_path / "copied")
    [int4], [nf4] = blocks(released, "acme/demo-int4"), blocks(released, "acme/demo-nf4")
    pinned = int4.replace('"acme/demo-int4"', f'"acme/demo-int4", revision="{in_place.commit}"')
    by_name, by_card, by_commit, by_path, other, by_chain = say(
        [in_place.snippet, int4, pinned, copied.snippet, nf4, LANGCHAIN], tmp_path, HF_HUB_OFFLINE="1"
    )
    assert len(by_name) > len("The function returns") and by_name.startswith("The function returns")
    assert by_name == by_card == by_commit == by_path == by_chain
    assert other.startswith("The function returns")
    assert verify(Local("", released), "acme/demo-int4").commit == in_place.commit, (
        "loading leaves the release as it was"
    )


def test_openvino_loads_by_name_and_the_card_is_right(released: Path, tmp_path: Path) -> None:
    optimum, genai = blocks(released, "acme/demo-ov-int4")
    pinned = optimum.replace('"acme/demo-ov-int4"', '"acme/demo-ov-int4", revision="v1"')
    by_name, by_version, by_genai = say([optimum, pinned, genai], tmp_path, HF_HOME=str(released), HF_HUB_OFFLINE="1")
    assert by_name.startswith("The function returns") and by_name == by_version
    assert by_genai.strip()
    verify(Local("", released), "acme/demo-ov-int4")


def test_llama_cpp_loads_by_name_and_from_a_directory_and_so_does_transformers(released: Path, tmp_path: Path) -> None:
    pulled = pull(Local("", released), "acme/demo-gguf", "v1", tmp_path / "pulled")
    llama_cpp, transformers = blocks(released, "acme/demo-gguf")
    pinned = llama_cpp.replace('"acme/demo-gguf"', '"acme/demo-gguf", revision="v1"')
    programs = [llama_cpp, pinned, pulled.snippet, transformers]
    by_name, by_version, by_path, other = say(programs, tmp_path, HF_HOME=str(released), HF_HUB_OFFLINE="1")
    assert len(by_name.strip()) > 20 and by_name == by_version == by_path
    assert other.startswith("The function returns")
    verify(Local("", released), "acme/demo-gguf")


def test_from_the_hub_and_back(subjects: dict[str, Subject], loopback: LoopbackHub, tmp_path: Path) -> None:
    hub, staged = Hub("", tmp_path), stage(subjects["int4"], tmp_path / "stage", tmp_path)
    published = hub.publish(staged)
    pulled = pull(hub, staged.name, "v1", tmp_path / "pulled")
    [code] = re.findall(r"```python\n(.*?)```", (tmp_path / "pulled/README.md").read_text(), re.DOTALL)
    pinned = code.replace(f'"{staged.name}"', f'"{staged.name}", revision="{published.commit}"')
    online = {"HF_ENDPOINT": loopback.url, "HF_TOKEN": loopback.token, "HF_HOME": str(tmp_path / "cache")}
    by_path, by_name, by_commit = say([pulled.snippet, code, pinned], tmp_path, HF_HUB_DISABLE_XET="1", **online)
    assert by_path.startswith("The function returns") and by_path == by_name == by_commit
