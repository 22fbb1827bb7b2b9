"""What a format is: the stock client that loads it, what it holds, and who writes it. The rows are `catalog.formats`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from catalog.engines import ENGINES
from catalog.programs import Runtime
from catalog.tasks import TASKS

PLAIN = (".safetensors", ".json", ".xml", ".txt", ".md", ".jinja", ".model")
"""Suffixes of files that hold nothing that is run, whatever the format."""


@dataclass(frozen=True)
class Client:
    """A mainstream library that loads artifacts, with no code of ours in it."""

    module: str
    """What its user imports; `Task.clients` says which class of it, and how it is used."""
    library: str
    """What the Hub calls it: `library_name` of a card."""
    device: str = "device"
    """The argument of its classes' `from_pretrained` that names a device."""
    activations: bool = True
    """Whether what is computed within a model can be looked at."""


TRANSFORMERS = Client("transformers", "transformers", "device_map")
OPTIMUM_INTEL = Client("optimum.intel", "openvino")
LLAMA_CPP = Client("xllamacpp", "gguf", activations=False)
PEFT = Client("peft", "peft")
ITREX = Client("intel_extension_for_transformers.transformers", "transformers", activations=False)


@dataclass(frozen=True)
class Format:
    """One format: what it holds, who writes it, and the stock client that loads it."""

    name: str
    dtypes: tuple[str, ...]
    """What one weight may be stored as."""
    engines: tuple[str, ...]
    """Who writes it."""
    client: Client
    packages: tuple[str, ...]
    """What its user installs, the client first."""
    files: tuple[str, ...]
    """Files, as patterns, without which it cannot be loaded."""
    tokenizer: tuple[str, ...] = field(default=("tokenizer_config.json",), kw_only=True)
    """Further ones of models that have a tokenizer."""
    weights: tuple[str, ...]
    """Files, as patterns, that hold the weights: their bytes are its size."""
    libraries: tuple[str, ...]
    """Distributions that have a hand in its bits and in their scores besides torch's; their versions are in keys."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Dtypes that some of its engines alone can write it with → these."""
    binaries: tuple[str, ...] = ()
    """Files, as patterns, that are not plain and hold nothing that is run."""
    method: str | None = None
    """`quantization_config.quant_method` in config.json; None: there is none."""
    options: tuple[tuple[str, str], ...] = ()
    """Further arguments of the client's `from_pretrained`, of models and tokenizers alike."""
    devices: tuple[str, ...] = ("CPU",)
    """Where it can be judged: `GPU` and `NPU` are OpenVINO's names, `cuda` and `xpu` torch's."""
    computes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Dtypes of products on the CPU that its user can choose, the fastest where the CPU has the instructions first → the
    arguments of the client's `from_pretrained` that choose it."""
    properties: bool = False
    """Whether the client takes properties of OpenVINO (`ov_config`)."""
    group_sizes: tuple[int, ...] = ()
    """Weights per scale that it holds; empty: any."""
    architectures: tuple[str, ...] = ()
    """Model types that it holds; empty: all that its loader takes."""
    symmetric: tuple[str, ...] = ()
    """Integer dtypes that it holds without zero points alone."""
    scale_bits: int = 16
    """Bits of a scale."""
    zero_bits: int | None = None
    """Bits of a group's zero point; None: as many as of a weight."""
    mixes: bool = False
    """Whether each linear may have a dtype of its own."""
    embeddings: tuple[str, ...] = ()
    """What token embeddings and the head may be stored as by themselves; empty: its loader reads no quantized embeddings."""
    stacks: bool = False
    """Whether it holds the experts that transformers stacks; else these are kept as they are."""
    made_from: str | None = None
    """The format that the streaming engine lays weights out in first, of which it makes this one when that is whole."""
    vllm: bool = False
    """Whether vLLM reads it where the weights are as `catalog.vllm` says."""
    trains: bool = False
    """Whether peft trains adapters beside its packed weights."""
    small_in_memory: bool = True
    """Whether the client keeps the weights packed; if not, the artifact is small on disk alone."""
    streamer: str | None = None
    """The module of `gates.clients` that holds a part of its weights at a time (`judge: streamed`); None: there is none."""
    interpreter: str | None = None
    """What its client runs under (`catalog.interpreters`); None: our own."""
    multiplies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By dtype of products for which its client has kernels for some weights alone: their dtypes, `asymmetric` before some."""
    bound: tuple[str, ...] = ()
    """Dtypes that it stores as bytes for the instruction set of the CPU that made them."""
    equals: tuple[str, ...] = ()
    """Formats that are kept up and hold the same, of one that its makers gave up: it is released only when a manifest says so."""
    runtimes: tuple[Runtime, ...] = ()
    drafts: Runtime | None = None
    """The program that runs it with a draft, another release of the format (speculative decoding); None: none does."""
    prefix: str | None = None
    """How names of its recipes begin."""

    @property
    def laid_out(self) -> bool:
        """Whether the streaming engine lays its tensors out as they are written."""
        return self.made_from is None and "streaming" in self.engines

    def takes(self, file: str) -> bool:
        """Whether a file of that name may be in an artifact: it is plain, or one of the format's own."""
        return file.endswith(PLAIN) or any(fnmatchcase(file, pattern) for pattern in self.binaries)

    def holds(self, engine: str) -> tuple[str, ...]:
        """The dtypes that an engine can write it with; none if it does not write it."""
        able = [name for name in self.dtypes if engine in self.only.get(name, self.engines)]
        return tuple(name for name in able if engine in self.engines and name in ENGINES[engine].dtypes)

    def group_bits(self, symmetric: bool, bits: int) -> int:
        """Bits of what a group of weights of so many bits shares: its scale, and its zero point."""
        return self.scale_bits + (0 if symmetric else self.zero_bits or bits)

    def resident(self, artifact_bytes: int, original_bytes: int) -> int:
        """Bytes that the weights take in memory once the client has run: an artifact's, or what unpacking makes of them."""
        return artifact_bytes if self.small_in_memory else original_bytes

    def loader(self, task: str, architectures: Sequence[str] = ()) -> str:
        """Full name of the stock class that loads it, of a model whose config.json names these architectures."""
        return f"{self.client.module}.{TASKS[task].used(architectures)[self.client.module].stock}"
