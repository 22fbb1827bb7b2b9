"""Programs that run a release beside the stock client of its format, for cards to show."""

from __future__ import annotations

from dataclasses import dataclass

from catalog import sentence_transformers


@dataclass(frozen=True)
class Runtime:
    """Another program that runs the artifact, for cards to show."""

    name: str
    package: str
    """What its user installs."""
    snippet: str
    """Python that runs a release; `{where}` is its name, and the version if it is pinned; `{device}` and `{properties}`,
    further arguments, are what it was judged with; `{draft}` is where its draft is, which guesses `{candidates}` tokens."""
    task: str = "text-generation"
    """What it does with a release."""
    needs: str | None = None
    """A file without which it is not shown."""
    architectures: tuple[str, ...] = ()
    """Model types that it reads from the format; empty: all that the format holds."""
    meter: str | None = None
    """Module that loads a release for its speed to be measured beside the stock client's; None: it is not."""


GENAI = """\
import openvino_genai
from huggingface_hub import snapshot_download

pipeline = openvino_genai.LLMPipeline(snapshot_download({where}), {device}{properties})
print(pipeline.generate("The function returns", max_new_tokens=32, do_sample=False))
"""

GENAI_DRAFTED = """\
import openvino_genai
from huggingface_hub import snapshot_download

draft = openvino_genai.draft_model(snapshot_download({draft}), {device})
pipeline = openvino_genai.LLMPipeline(snapshot_download({where}), {device}, draft_model=draft{properties})
asked = {{"max_new_tokens": 32, "do_sample": False, "num_assistant_tokens": {candidates}}}
print(pipeline.generate("The function returns", **asked))
"""

TRANSFORMERS_GGUF = """\
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

config = AutoConfig.from_pretrained({where})
tokenizer = AutoTokenizer.from_pretrained({where})
model = AutoModelForCausalLM.from_pretrained({where}, gguf_file="model.gguf", config=config)
inputs = tokenizer("The function returns", return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))
"""
_SENTENCES = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer({{where}}{backend})
vectors = model.encode(["A mill grinds grain into flour.", "The miller sleeps."])
print(model.similarity(vectors, vectors).tolist())
"""


def sentences(backend: str = "") -> Runtime:
    """Return sentence-transformers, with a backend of its own or another."""
    snippet = _SENTENCES.format(backend=backend and f', backend="{backend}"')
    return Runtime(
        "sentence-transformers", "sentence-transformers", snippet, "feature-extraction", sentence_transformers.LIST
    )
