"""A model's tokenizer as OpenVINO graphs: without tokenizer and detokenizer OpenVINO GenAI cannot run the model."""

from __future__ import annotations

from pathlib import Path

from openvino_tokenizers import convert_tokenizer
from transformers import AutoTokenizer

from catalog.foreign_errors import machine_fault
from quantizers.errors import QuantizeError
from quantizers.formats.openvino import ir

FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""One of them is in a model directory that has a tokenizer."""


def require(model: Path) -> None:
    """Refuse a model without a tokenizer, of which transformers would make up an empty one.

    Raises:
        QuantizeError: `model` holds no tokenizer file.
    """
    if not any((model / name).is_file() for name in FILES):
        raise QuantizeError(
            f"{model}: no tokenizer ({', '.join(FILES)}). OpenVINO GenAI needs one beside the model: "
            "save the model with its tokenizer, or use format compressed-tensors or bitsandbytes."
        )


def convert(model: Path, directory: Path) -> None:
    """Write openvino_tokenizer and openvino_detokenizer, xml and bin, of the tokenizer in `model`.

    Raises:
        QuantizeError: there is none, or OpenVINO cannot express it.
    """
    require(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, padding_side="left")
        pair = convert_tokenizer(tokenizer, with_detokenizer=True)
    except Exception as error:
        raise machine_fault(error) or QuantizeError(
            f"{model}: its tokenizer cannot be converted for OpenVINO ({error}). OpenVINO GenAI needs tokenizer and "
            "detokenizer: use format compressed-tensors or bitsandbytes, or a model with a fast tokenizer."
        ) from error
    for part, name in zip(pair, ("openvino_tokenizer.xml", "openvino_detokenizer.xml"), strict=True):
        ir.save(part, directory / name)
