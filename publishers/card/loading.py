"""How a user loads a release with the stock client of its format: code that cards show, pulls print and tests run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from publishers.errors import PublishError


@dataclass(frozen=True)
class Client:
    """The mainstream library that reads one format."""

    library: str
    """`library_name` of the card."""
    module: str
    auto_class: str
    packages: tuple[str, ...]
    """What a user installs, the loader first."""


CLIENTS = {
    "compressed-tensors": Client(
        "transformers", "transformers", "AutoModelForCausalLM", ("transformers", "compressed-tensors", "torch")
    ),
    "bitsandbytes": Client(
        "transformers", "transformers", "AutoModelForCausalLM", ("transformers", "bitsandbytes", "accelerate", "torch")
    ),
    "openvino": Client(
        "openvino", "optimum.intel", "OVModelForCausalLM", ("optimum-intel", "openvino", "openvino-tokenizers")
    ),
}

STOCK = """\
{imports}

tokenizer = AutoTokenizer.from_pretrained({where})
model = {auto_class}.from_pretrained({where})
inputs = tokenizer("The function returns", return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""

LOCAL = """\
import os

os.environ["HF_HOME"] = {home}
os.environ["HF_HUB_OFFLINE"] = "1"
"""

GENAI = """\
import openvino_genai
from huggingface_hub import snapshot_download

pipeline = openvino_genai.LLMPipeline(snapshot_download({where}), "CPU")
print(pipeline.generate("The function returns", max_new_tokens=32, do_sample=False))
"""


def client_of(format_: str, task: str) -> Client:
    """The client of a format.

    Raises:
        PublishError: the task has no stock loader here.
    """
    if task != "text-generation":
        raise PublishError(
            f"No loading code is known for task {task!r}, so a release of it could not say how to use it: "
            "releases are of task text-generation."
        )
    return CLIENTS[format_]


def snippet(format_: str, task: str, name: str, version: str | None = None, home: Path | None = None) -> str:
    """Python that loads and runs a release, by name or from a directory.

    `version` pins it; `home` is the store whose local hub holds it, when it is not to come from the Hub.
    """
    client = client_of(format_, task)
    imports = [f"from {client.module} import {client.auto_class}", "from transformers import AutoTokenizer"]
    if client.module == "transformers":
        imports = [f"from transformers import {client.auto_class}, AutoTokenizer"]
    if home is not None:
        imports = [LOCAL.format(home=_literal(str(home))), *imports]
    return STOCK.format(imports="\n".join(imports), auto_class=client.auto_class, where=_where(name, version))


def genai_snippet(name: str, version: str | None = None) -> str:
    """Python that runs an OpenVINO release with OpenVINO GenAI."""
    return GENAI.format(where=_where(name, version))


def _where(name: str, version: str | None) -> str:
    return _literal(name) if version is None else f"{_literal(name)}, revision={_literal(version)}"


def _literal(text: str) -> str:
    """A Python string in double quotes; JSON's escapes are Python's."""
    return json.dumps(text, ensure_ascii=False)
