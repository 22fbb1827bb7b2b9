"""Which models become no GGUF, from configuration and tokenizer. Imports no torch.

llama.cpp computes an architecture in one way: a configuration that asks for another is refused, and not written as if it
had not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import log
from pathlib import Path
from typing import Any

from quantizers.formats.limits import Facts

PERMUTED = frozenset({"llama", "mistral"})
"""Model types whose queries and keys llama.cpp rotates in pairs of neighbours, and transformers in halves."""
_ACTIVATIONS = {"gemma": ("gelu", "gelu_new", "gelu_pytorch_tanh"), "phi3": ("silu", "swish")}
_SCALED = {
    "default": frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "phi3"}),
    "linear": frozenset({"llama", "mistral", "qwen2", "qwen3"}),
    "llama3": PERMUTED,
    "yarn": frozenset({"llama", "mistral", "qwen2", "qwen3"}),
    "longrope": frozenset({"phi3"}),
}
"""Scaling of rotary positions → model types that llama.cpp scales so."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = {
    _CONTRACTIONS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _CONTRACTIONS + r"\p{N}" + _REST: "qwen2",
}
"""Pattern that a tokenizer splits text by → what llama.cpp calls that."""


def refusal(facts: Facts) -> str | None:
    """Return why a model cannot be written as GGUF, or None."""
    return next((text for rule in _RULES if (text := rule(facts))), None)


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions as a config.json of any age has them: `rope_type`, `rope_theta` and what the type needs."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    rope.setdefault("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    return rope


def pre_tokenizer(tokenizer: Mapping[str, Any]) -> str | None:
    """What llama.cpp calls the way in which a tokenizer.json of byte-level BPE splits text; None: it has none like it."""
    pre = tokenizer.get("pre_tokenizer") or {}
    parts = pre.get("pretokenizers", [pre])
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True) and not parts[0].get("add_prefix_space"):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits") and parts[1].get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        name = _PATTERNS.get(parts[0]["pattern"].get("Regex", ""))
        # llama.cpp takes a whole word that is a token as it is for the one, and merges for the other.
        merges = not tokenizer["model"].get("ignore_merges", False)
        return name if name is None or merges == (name != "llama-bpe") else None
    return None


def _positions(facts: Facts) -> str | None:
    rope = rope_of(facts.config)
    kind = rope["rope_type"]
    if facts.kind not in _SCALED.get(kind, ()):
        return f"llama.cpp does not scale the rotary positions of a {facts.kind} by {kind!r} (rope_type in config.json)"
    if rope["partial_rotary_factor"] != 1 and facts.kind != "phi3":
        return f"llama.cpp rotates all dimensions of a {facts.kind}, and partial_rotary_factor is {rope['partial_rotary_factor']}"
    usual = {"truncate": True, "mscale": None, "mscale_all_dim": None} if kind == "yarn" else {}
    if odd := next((key for key, value in usual.items() if rope.get(key, value) != value), None):
        return f"llama.cpp has no {odd} for the rotary positions of a {facts.kind}, and config.json sets it"
    stated = rope.get("attention_factor") if kind == "yarn" else None
    if stated is not None and abs(stated - (0.1 * log(rope["factor"]) + 1)) > 1e-6:
        return f"llama.cpp works out the attention_factor of yarn from its factor, and config.json sets it to {stated}"
    return None


def _activation(facts: Facts) -> str | None:
    able = _ACTIVATIONS.get(facts.kind, ("silu", "swish"))
    config = facts.config
    used = config.get("hidden_activation") or config.get("hidden_act") or able[0]
    return None if used in able else f"llama.cpp's {facts.kind} has activation {able[0]}, and config.json says {used!r}"


def _head(facts: Facts) -> str | None:
    if facts.kind == "gemma" and not facts.config.get("tie_word_embeddings", True):
        return "the head of a gemma is its embedding in llama.cpp, and config.json does not tie them"
    return None


def _bias(facts: Facts) -> str | None:
    if facts.kind in ("qwen3", "gemma", "phi3") and facts.config.get("attention_bias"):
        return (
            f"llama.cpp's {facts.kind} has no biases in its attention, and config.json asks for them (attention_bias)"
        )
    return None


def _tokenizer(facts: Facts) -> str | None:
    return tokenizer_refusal(facts.directory) if facts.directory else None


def tokenizer_refusal(model: Path) -> str | None:
    """Return why llama.cpp has no tokenizer like the one in a model's directory, or None."""
    path = model / "tokenizer.json"
    if not path.is_file():
        return f"GGUF holds the tokenizer, which is read from tokenizer.json, and {model} has none; save it with a fast tokenizer"
    tokenizer = json.loads(path.read_text("utf-8"))
    kind = tokenizer["model"].get("type")
    if kind != "BPE":
        return f"its tokenizer is of type {kind!r}, and BPE is what is written for llama.cpp"
    if not tokenizer["model"].get("byte_fallback") and pre_tokenizer(tokenizer) is None:
        names = ", ".join(("gpt-2", "smollm", *_PATTERNS.values()))
        return f"its tokenizer splits text in a way that is none of llama.cpp's {names}"
    return None


_RULES: tuple[Callable[[Facts], str | None], ...] = (_positions, _activation, _head, _bias, _tokenizer)
