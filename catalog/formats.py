"""What an artifact is stored as: one row a format, read by all packages.

How its weights are laid out is code, in `quantizers.formats.<name>`, with underscores for dashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from catalog.dtypes import DTYPES
from catalog.engines import ENGINES
from catalog.programs import GENAI, TRANSFORMERS_GGUF, Runtime, sentences
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
    """What token embeddings, and a head that shares them, may be stored as; empty: its loader reads none quantized."""
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
    interpreter: str | None = None
    """What its client runs under (`catalog.interpreters`); None: our own."""
    multiplies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By dtype of products for which its client has kernels for some weights alone: their dtypes, `asymmetric` before some."""
    equals: tuple[str, ...] = ()
    """Formats that are kept up and hold the same, of one that its makers gave up: it is released only when a manifest says so."""
    runtimes: tuple[Runtime, ...] = ()
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

    def loader(self, task: str) -> str:
        """Full name of the stock class that loads it."""
        return f"{self.client.module}.{TASKS[task].clients[self.client.module].stock}"


_CHECKPOINT = ("config.json", "*.safetensors")
FORMATS: dict[str, Format] = {
    format_.name: format_
    for format_ in (
        Format(
            "compressed-tensors",
            dtypes=("int2", "int3", "int4", "int8", "int4_fullrange", "int4_clip"),
            engines=("streaming", "neural-compressor"),
            client=TRANSFORMERS,
            packages=("transformers", "compressed-tensors", "torch"),
            files=_CHECKPOINT,
            weights=("*.safetensors",),
            libraries=("compressed-tensors",),
            method="compressed-tensors",
            devices=("CPU", "cuda", "xpu"),
            computes={"bf16": {"dtype": "bfloat16"}, "fp32": {"dtype": "float32"}},
            mixes=True,
            vllm=True,
            # transformers unpacks it at the first forward.
            small_in_memory=False,
        ),
        Format(
            "bitsandbytes",
            dtypes=("nf4", "fp4_bnb"),
            engines=("streaming",),
            client=TRANSFORMERS,
            packages=("transformers", "bitsandbytes", "accelerate", "torch"),
            files=_CHECKPOINT,
            weights=("*.safetensors",),
            libraries=("bitsandbytes",),
            method="bitsandbytes",
            trains=True,
            devices=("CPU", "cuda", "xpu"),
            # No `computes`: it multiplies in `bnb_4bit_compute_dtype` of config.json, whatever from_pretrained is told.
            runtimes=(sentences(),),
            scale_bits=32,
            # What it has kernels for.
            group_sizes=(32, 64, 128, 256, 512, 1024, 2048, 4096),
        ),
        Format(
            "openvino",
            dtypes=("int2", "int3", "int4", "int8", "int4_fullrange", "int4_clip", "nf4", "fp4", "nvfp4", "mxfp4"),
            engines=("streaming", "nncf"),
            only=dict.fromkeys(("int2", "int3", "nf4", "fp4", "nvfp4", "mxfp4"), ("nncf",)),
            client=OPTIMUM_INTEL,
            packages=("optimum-intel", "openvino", "openvino-tokenizers"),
            files=("config.json", "openvino*_model.xml", "openvino*_model.bin"),
            tokenizer=("tokenizer_config.json", "openvino_tokenizer.xml", "openvino_detokenizer.xml"),
            weights=("openvino*_model.bin",),
            libraries=("openvino", "openvino-tokenizers", "optimum", "optimum-intel"),
            binaries=("openvino_*.bin",),
            devices=("CPU", "GPU", "NPU"),
            computes={
                "int8": {"ov_config": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32}},
                "bf16": {"ov_config": {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}},
                "fp32": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}},
            },
            properties=True,
            # NNCF stores these so.
            symmetric=("int2", "int3"),
            mixes=True,
            embeddings=("int8",),
            stacks=True,
            made_from="compressed-tensors",
            runtimes=(Runtime("OpenVINO GenAI", "openvino-genai", GENAI), sentences("openvino")),
            prefix="ov",
        ),
        Format(
            "gguf",
            dtypes=("int4", "int8", "int4_fullrange", "int4_clip"),
            engines=("streaming",),
            client=LLAMA_CPP,
            packages=("xllamacpp", "huggingface_hub"),
            files=("config.json", "model.gguf"),
            weights=("*.gguf",),
            libraries=("gguf", "xllamacpp"),
            binaries=("*.gguf",),
            architectures=("gemma", "llama", "mistral", "phi3", "qwen2", "qwen3"),
            # A block of GGML.
            group_sizes=(32,),
            symmetric=("int8",),
            # It stores what a zero point comes to.
            zero_bits=16,
            mixes=True,
            made_from="compressed-tensors",
            runtimes=(
                Runtime(
                    "transformers, which unpacks the weights",
                    "transformers gguf torch",
                    TRANSFORMERS_GGUF,
                    # It has no loader for gemma, and no names for the tensors of a mistral.
                    architectures=("llama", "phi3", "qwen2", "qwen3"),
                ),
            ),
            prefix="gguf",
        ),
        Format(
            "itrex",
            dtypes=("int4", "int8", "int4_fullrange", "int4_clip", "nf4"),
            engines=("itrex",),
            client=ITREX,
            packages=("intel-extension-for-transformers", "intel-extension-for-pytorch", "neural-compressor"),
            files=_CHECKPOINT,
            weights=("*.safetensors",),
            libraries=("itrex",),
            computes={name: {"compute_dtype": name} for name in ("int8", "bf16", "fp32")},
            # Of others they say: unsupported bestla_config, compute_type==int8 weight_type==nf4.
            multiplies={"int8": ("int4", "asymmetric int4", "int8", "int4_fullrange", "int4_clip")},
            group_sizes=(-1, 32, 64, 128, 256),
            architectures=("llama", "mistral", "qwen2"),
            interpreter="itrex",
            equals=("compressed-tensors", "bitsandbytes"),
        ),
    )
}
"""Formats of artifacts, by name."""

ORIGINAL = Format(
    "transformers",
    dtypes=(),
    engines=(),
    client=TRANSFORMERS,
    packages=("transformers", "torch"),
    files=_CHECKPOINT,
    weights=("*.safetensors",),
    libraries=(),
)
"""What originals are stored as."""

ADAPTER = Format(
    "peft",
    dtypes=(),
    engines=(),
    client=PEFT,
    packages=("peft", "transformers", "bitsandbytes", "accelerate", "torch"),
    files=("adapter_config.json", "adapter_model.safetensors"),
    tokenizer=(),
    weights=("adapter_model.safetensors",),
    libraries=("accelerate", "bitsandbytes", "peft"),
    # Of its base, which its configuration names.
    method="bitsandbytes",
)
"""What adapters are stored as, low-rank updates of a release."""

RELEASED = FORMATS | {ADAPTER.name: ADAPTER}
"""All that a release may be stored as."""

LOADABLE = RELEASED | {ORIGINAL.name: ORIGINAL}
"""All that a stock client loads: artifacts, adapters with their base, and originals as they are."""

DEVICES = tuple(dict.fromkeys(device for format_ in FORMATS.values() for device in format_.devices))

if TYPE_CHECKING:
    FormatName = str
    ReleasedName = str
    LoadableName = str
    Device = str
else:
    FormatName = Literal[tuple(FORMATS)]
    ReleasedName = Literal[tuple(RELEASED)]
    LoadableName = Literal[tuple(LOADABLE)]
    Device = Literal[DEVICES]

_unheld = DTYPES.keys() - {dtype for format_ in FORMATS.values() for dtype in format_.dtypes}
assert not _unheld, f"no format holds {sorted(_unheld)}: a manifest would offer what nobody can write"
