"""The formats an artifact may have, as data. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from gates.errors import GateError

_TRANSFORMERS = "transformers.AutoModelForCausalLM"
_CHECKPOINT = ("config.json", "tokenizer_config.json", "*.safetensors")
_IR = (
    "config.json",
    "tokenizer_config.json",
    "openvino_model.xml",
    "openvino_model.bin",
    "openvino_tokenizer.xml",
    "openvino_detokenizer.xml",
)


@dataclass(frozen=True)
class Format:
    """How one format is loaded, and what its directory must hold."""

    loader: str
    """The stock class that its user will type."""
    method: str | None
    """`quantization_config.quant_method` in config.json; None: there is none."""
    files: tuple[str, ...]
    """Files, as patterns, without which it cannot be loaded."""
    libraries: tuple[str, ...] = ()
    """What has a hand in the numbers besides torch and transformers."""


FORMATS: dict[str, Format] = {
    "compressed-tensors": Format(_TRANSFORMERS, "compressed-tensors", _CHECKPOINT, ("compressed-tensors",)),
    "bitsandbytes": Format(_TRANSFORMERS, "bitsandbytes", _CHECKPOINT, ("bitsandbytes",)),
    "openvino": Format(
        "optimum.intel.OVModelForCausalLM", None, _IR, ("openvino", "openvino-tokenizers", "optimum-intel")
    ),
    "transformers": Format(_TRANSFORMERS, None, _CHECKPOINT),
}


def format_of(name: str) -> Format:
    """Look a format up by name."""
    if name not in FORMATS:
        raise GateError(f"No stock loader is known for format {name}; formats are {', '.join(sorted(FORMATS))}.")
    return FORMATS[name]


def tools(name: str) -> dict[str, str]:
    """Return the versions of all libraries that have a hand in scoring an artifact of this format."""
    libraries = ("torch", "transformers", "tokenizers", "safetensors", "numpy", *format_of(name).libraries)
    return {library: version(library) for library in sorted(libraries)}
