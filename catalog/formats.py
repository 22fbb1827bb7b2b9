"""What an artifact is stored as: one row a format, read by all packages.

How its weights are laid out is code, in `quantizers.formats.<name>`, with underscores for dashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from catalog.dtypes import DTYPES
from catalog.format import ITREX, LLAMA_CPP, OPTIMUM_INTEL, PEFT, TRANSFORMERS, Format
from catalog.programs import GENAI, GENAI_DRAFTED, TRANSFORMERS_GGUF, Runtime, sentences

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
            streamer="unpacked",
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
            streamer="packed",
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
            runtimes=(
                Runtime("OpenVINO GenAI", "openvino-genai", GENAI, meter="gates.clients.openvino_genai"),
                sentences("openvino"),
            ),
            streamer="optimum_intel_parts",
            drafts=Runtime("OpenVINO GenAI and its draft", "openvino-genai", GENAI_DRAFTED),
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
            bound=("nf4",),
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
