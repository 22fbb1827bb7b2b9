"""One row of the tables of wrong inputs, and what rows are written with: each changes one thing of a sound room."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantizers.families.tensors import tensors
from tests.flows.manifest.room import CONFIG, SHAPES, safetensors
from tests.flows.manifest.wrong.case import MODEL, TARGETS, TEXTS

Arrange = Callable[[Path], object]
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 10, "n_positions": 32},
    "mixtral": {**CONFIG, "num_local_experts": 2, "num_experts_per_tok": 1},
}
"""Configurations of other architectures, of which every tensor is known."""
OUTLINES: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "falcon": (
        {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10},
        {"transformer.word_embeddings.weight": (10, 32), "transformer.h.0.mlp.dense_h_to_4h.weight": (64, 32)},
    ),
    "gpt_bigcode": (
        {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 10, "n_positions": 32},
        {"transformer.wte.weight": (10, 32), "transformer.h.0.attn.c_proj.weight": (32, 32)},
    ),
    "gemma2": (
        {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10},
        {"model.embed_tokens.weight": (10, 32), "model.layers.0.mlp.down_proj.weight": (32, 64)},
    ),
    "helium": (
        {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10},
        {"model.embed_tokens.weight": (10, 32), "model.layers.0.mlp.down_proj.weight": (32, 64)},
    ),
    "olmo2": (
        {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "vocab_size": 10,
            "intermediate_size": 64,
        },
        {
            "model.embed_tokens.weight": (10, 32),
            "lm_head.weight": (10, 32),
            **{
                f"model.layers.{block}.{name}.weight": shape
                for block in range(4)
                for name, shape in (
                    ("self_attn.q_proj", (32, 32)),
                    ("mlp.up_proj", (64, 32)),
                    ("mlp.down_proj", (32, 64)),
                    ("post_attention_layernorm", (32,)),
                )
            },
        },
    ),
    "phimoe": (
        {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10, "num_local_experts": 1},
        {"model.embed_tokens.weight": (10, 32), "model.layers.0.block_sparse_moe.experts.0.w1.weight": (64, 32)},
    ),
}
"""Configurations of architectures without a table, and a few of their tensors."""


@dataclass(frozen=True)
class Input:
    """What is wrong, the key that is blamed, and the words that its author must be told."""

    name: str
    arrange: Arrange
    says: tuple[str, ...]
    key: str = "model.source"
    manifest: str = MODEL + TEXTS + TARGETS
    exit_code: int = 2


def targets(written: str) -> str:
    return MODEL + TEXTS + "targets:\n  t: " + written + "\n"


def nothing(room: Path) -> None:
    """Leave the room as it is: the manifest is at fault."""


def file(name: str, content: str | bytes | dict[str, Any]) -> Arrange:
    """Write a file of the room."""
    data = json.dumps(content) if isinstance(content, dict) else content
    return lambda room: (room / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def config(**changed: Any) -> Arrange:
    """Change what config.json says; None takes a key away."""
    settings = {key: value for key, value in {**CONFIG, **changed}.items() if value is not None}
    return file("model/config.json", settings)


def weights(change: Callable[[dict[str, tuple[int, ...]]], object]) -> Arrange:
    """Change which tensors are stored."""

    def arrange(room: Path) -> None:
        shapes = dict(SHAPES)
        change(shapes)
        (room / "model" / "model.safetensors").write_bytes(safetensors(shapes))

    return arrange


def model(kind: str, **changed: Any) -> Arrange:
    """Put another architecture in the model's place."""

    def arrange(room: Path) -> None:
        if kind in SIZES:
            sound = {**SIZES[kind], "model_type": kind, "architectures": None}
            said, shapes = {**sound, **changed}, tensors(sound) or {}
        else:
            said, shapes = {**OUTLINES[kind][0], "model_type": kind, **changed}, OUTLINES[kind][1]
        (room / "model" / "config.json").write_text(json.dumps(said))
        (room / "model" / "model.safetensors").write_bytes(safetensors(shapes))

    return arrange


def outlined(kind: str, change: Callable[[dict[str, tuple[int, ...]]], object]) -> Arrange:
    """Put an architecture without a table in the model's place, with other tensors."""

    def arrange(room: Path) -> None:
        model(kind)(room)
        shapes = dict(OUTLINES[kind][1])
        change(shapes)
        (room / "model" / "model.safetensors").write_bytes(safetensors(shapes))

    return arrange


def architecture(kind: str, name: str | None = None) -> Arrange:
    """Say that the model is of another type and has another head."""
    return config(model_type=kind, architectures=[name] if name else None)


def instead(name: str, make: Callable[[Path], object]) -> Arrange:
    """Put something that is no file in a file's place."""

    def arrange(room: Path) -> None:
        (room / name).unlink()
        make(room / name)

    return arrange


def plug(path: Path) -> None:
    """Make a socket. Paths of sockets are short, so it is bound where it lies."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)
