"""A directory with everything a manifest can name: a model of a few kilobytes, and texts."""

import json
import struct
from pathlib import Path

from quantizers.families.tensors import tensors

REPOSITORY = Path(__file__).parents[3]
PROSE = ("The mill turns at night.", "Every release is measured first.", "A gate stands before each hub.")
HELD_OUT = ("What nobody read while calibrating.", "Another document, held out.")
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 10,
}
SHAPES = tensors(CONFIG) or {}
WORDS = ("[UNK]", "the", "mill", "turns", "at", "night", ".", "release", "document", "read")
TOKENIZER = {
    "version": "1.0",
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {word: n for n, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
}


def safetensors(shapes: dict[str, tuple[int, ...]]) -> bytes:
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def jsonl(documents: tuple[str, ...]) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in documents)


def furnish(room: Path) -> Path:
    model = room / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (model / "model.safetensors").write_bytes(safetensors(SHAPES))
    (room / "calibration.jsonl").write_text(jsonl(PROSE))
    (room / "evaluation.jsonl").write_text(jsonl(HELD_OUT))
    return room
