"""Names and shapes of all tensors that a checkpoint of a known decoder holds, from its config.json alone.

What transformers builds on its meta device, for those architectures, without importing it: a checkpoint that lacks a tensor,
or has one of another shape, is told before any work. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quantizers.families import block_tensors as stored
from quantizers.families.block_tensors import Shapes
from quantizers.families.family import Heads
from quantizers.families.mixture import MATRICES, experts_of

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """Where the tensors of one model type are."""

    sizes: Callable[[Config], dict[str, int]]
    """Extents by name."""
    layers: str
    """Key of config.json that counts the blocks."""
    blocks: str
    """Path of the list of blocks."""
    block: Callable[[Config, int], Shapes]
    """Tensors of the block at a place."""
    outside: Callable[[Config], Shapes]
    """Tensors before and after the blocks, the head aside."""
    head: Shapes
    """The head, which a model that ties it to its embedding does not store."""
    tied: bool = False
    """Whether the head is tied when config.json does not say."""


def tensors(config: Config) -> dict[str, tuple[int, ...]] | None:
    """Names and shapes of what must be stored; None where no table knows, or config.json leaves out what decides.

    The head of a model that ties it is left out.
    """
    layout = LAYOUTS.get(str(config.get("model_type")))
    if layout is None:
        return None
    try:
        sizes = layout.sizes(config)
        shapes = dict(layout.outside(config))
        for index in range(int(config[layout.layers])):
            prefix = f"{layout.blocks}.{index}."
            shapes |= {prefix + name: shape for name, shape in layout.block(config, index).items()}
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not is_tied(config):
        shapes |= layout.head
    return {name: tuple(sizes[extent] for extent in shape) for name, shape in shapes.items()}


def is_tied(config: Config) -> bool:
    """Whether the head has the weights of the embedding; False for a model type without a table."""
    layout = LAYOUTS.get(str(config.get("model_type")))
    return layout is not None and bool(config.get("tie_word_embeddings", layout.tied))


_AS_MANY_VALUES = frozenset({"llama", "phi", "phi3"})
"""Model types with as many heads of keys and values as of queries when config.json does not say; others have a number of
their own."""


def _llama_sizes(config: Config, head_dim: int | None = None) -> dict[str, int]:
    if "num_key_value_heads" not in config and config["model_type"] not in _AS_MANY_VALUES:
        raise KeyError("num_key_value_heads")
    heads = Heads.of(config, head_dim)
    queries, values = heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim
    attention = {"queries": queries, "values": values, "qkv": queries + 2 * values, "head": heads.head_dim}
    return {**attention, "hidden": int(config["hidden_size"]), "vocab": int(config["vocab_size"])}


def _dense_sizes(config: Config, head_dim: int | None = None) -> dict[str, int]:
    inner = int(config["intermediate_size"])
    return {**_llama_sizes(config, head_dim), "inner": inner, "twice_inner": 2 * inner}


def _mixture_sizes(config: Config) -> dict[str, int]:
    routed = int(config["moe_intermediate_size" if config["model_type"] != "mixtral" else "intermediate_size"])
    shared = int(config.get("shared_expert_intermediate_size", 0))
    counted = {"experts": experts_of(config), "routed": routed, "shared": shared, "one": 1}
    return {**_dense_sizes(config), **counted}


def _gpt2_sizes(config: Config) -> dict[str, int]:
    hidden = int(config["n_embd"])
    inner = int(config.get("n_inner") or 4 * hidden)
    rows = {"vocab": int(config["vocab_size"]), "positions": int(config["n_positions"])}
    return {"hidden": hidden, "qkv": 3 * hidden, "inner": inner, **rows}


def _neox_sizes(config: Config) -> dict[str, int]:
    hidden = int(config["hidden_size"])
    rows = {"vocab": int(config["vocab_size"])}
    return {"hidden": hidden, "qkv": 3 * hidden, "inner": int(config["intermediate_size"]), **rows}


def _opt_sizes(config: Config) -> dict[str, int]:
    hidden = int(config["hidden_size"])
    # The first two positions are for padding.
    rows = {"vocab": int(config["vocab_size"]), "positions": int(config["max_position_embeddings"]) + 2}
    narrow = int(config.get("word_embed_proj_dim") or hidden)
    return {"hidden": hidden, "inner": int(config["ffn_dim"]), "narrow": narrow, **rows}


def _llama(config: Config, index: int) -> Shapes:
    biased = {**stored.BIASED_QKV, **stored.BIASED_O} if config.get("attention_bias") else {}
    return {
        **stored.RMS,
        **stored.ATTENTION,
        **stored.GATED,
        **biased,
        **(stored.BIASED_GATED if config.get("mlp_bias") else {}),
    }


def _plain(config: Config, index: int) -> Shapes:
    return {**stored.RMS, **stored.ATTENTION, **stored.GATED}


def _qwen2(config: Config, index: int) -> Shapes:
    return {**_plain(config, index), **stored.BIASED_QKV}


def _qwen3(config: Config, index: int) -> Shapes:
    return {**_llama(config, index), **stored.QK_NORM}


def _mixtral(config: Config, index: int) -> Shapes:
    return {**stored.RMS, **stored.ATTENTION, **_routed(config, "block_sparse_moe")}


def _routed(config: Config, path: str) -> Shapes:
    gate, up, down = MATRICES[config["model_type"]]
    shapes: dict[str, tuple[str, ...]] = {f"{path}.gate.weight": ("experts", "hidden")}
    for expert in range(experts_of(config)):
        shapes |= {f"{path}.experts.{expert}.{matrix}.weight": ("routed", "hidden") for matrix in (gate, up)}
        shapes[f"{path}.experts.{expert}.{down}.weight"] = ("hidden", "routed")
    return shapes


def _sparse(config: Config, index: int) -> bool:
    """Whether a block of a Qwen mixture has experts."""
    step = int(config.get("decoder_sparse_step", 1))
    return index not in (config.get("mlp_only_layers") or ()) and experts_of(config) > 0 and (index + 1) % step == 0


def _qwen2_moe(config: Config, index: int) -> Shapes:
    shapes = {**stored.RMS, **stored.ATTENTION, **(stored.BIASED_QKV if config.get("qkv_bias", True) else {})}
    if not _sparse(config, index):
        return {**shapes, **stored.GATED}
    shared = {
        "mlp.shared_expert.gate_proj.weight": ("shared", "hidden"),
        "mlp.shared_expert.up_proj.weight": ("shared", "hidden"),
        "mlp.shared_expert.down_proj.weight": ("hidden", "shared"),
        "mlp.shared_expert_gate.weight": ("one", "hidden"),
    }
    return {**shapes, **_routed(config, "mlp"), **shared}


def _qwen3_moe(config: Config, index: int) -> Shapes:
    biased = {**stored.BIASED_QKV, **stored.BIASED_O} if config.get("attention_bias") else {}
    mlp = _routed(config, "mlp") if _sparse(config, index) else stored.GATED
    return {**stored.RMS, **stored.ATTENTION, **stored.QK_NORM, **biased, **mlp}


def _neox(config: Config, index: int) -> Shapes:
    return {**stored.NEOX, **(stored.BIASED_NEOX if config.get("attention_bias", True) else {})}


def _phi(config: Config, index: int) -> Shapes:
    return {**stored.PHI, **(stored.PHI_NORMED if config.get("qk_layernorm") else {})}


def _opt(config: Config, index: int) -> Shapes:
    biased = stored.BIASED_OPT if config.get("enable_bias", True) else {}
    return {**stored.OPT, **biased, **(stored.OPT_NORMS if config.get("layer_norm_elementwise_affine", True) else {})}


def _opt_outside(config: Config) -> Shapes:
    path, norm = "model.decoder", "model.decoder.final_layer_norm"
    shapes: dict[str, tuple[str, ...]] = {
        f"{path}.embed_tokens.weight": ("vocab", "narrow"),
        f"{path}.embed_positions.weight": ("positions", "hidden"),
    }
    if (config.get("word_embed_proj_dim") or config["hidden_size"]) != config["hidden_size"]:
        shapes |= {
            f"{path}.project_in.weight": ("hidden", "narrow"),
            f"{path}.project_out.weight": ("narrow", "hidden"),
        }
    final = config.get("do_layer_norm_before", True) and not config.get("_remove_final_layer_norm", False)
    if final and config.get("layer_norm_elementwise_affine", True):
        shapes |= {f"{norm}.weight": ("hidden",), f"{norm}.bias": ("hidden",)}
    return shapes


_HEAD: Shapes = {"lm_head.weight": ("vocab", "hidden")}


def _decoder(
    block: Callable[[Config, int], Shapes], sizes: Callable[[Config], dict[str, int]], tied: bool = False
) -> Layout:
    outside: Shapes = {"model.embed_tokens.weight": ("vocab", "hidden"), "model.norm.weight": ("hidden",)}
    return Layout(sizes, "num_hidden_layers", "model.layers", block, lambda config: outside, _HEAD, tied)


def _outside(*paths: tuple[str, tuple[str, ...]]) -> Callable[[Config], Shapes]:
    return lambda config: dict(paths)


LAYOUTS: dict[str, Layout] = {
    "llama": _decoder(_llama, _dense_sizes),
    "mistral": _decoder(_plain, _dense_sizes),
    "qwen2": _decoder(_qwen2, _dense_sizes),
    "qwen3": _decoder(_qwen3, lambda config: _dense_sizes(config, 128)),
    "gemma": _decoder(_llama, lambda config: _dense_sizes(config, 256), tied=True),
    "phi3": _decoder(lambda config, index: stored.PHI3, _dense_sizes),
    "mixtral": _decoder(_mixtral, _mixture_sizes),
    "qwen2_moe": _decoder(_qwen2_moe, _mixture_sizes),
    "qwen3_moe": _decoder(_qwen3_moe, _mixture_sizes),
    "gpt2": Layout(
        _gpt2_sizes,
        "n_layer",
        "transformer.h",
        lambda config, index: stored.GPT2,
        _outside(
            ("transformer.wte.weight", ("vocab", "hidden")),
            ("transformer.wpe.weight", ("positions", "hidden")),
            ("transformer.ln_f.weight", ("hidden",)),
            ("transformer.ln_f.bias", ("hidden",)),
        ),
        _HEAD,
        tied=True,
    ),
    "gpt_neox": Layout(
        _neox_sizes,
        "num_hidden_layers",
        "gpt_neox.layers",
        _neox,
        _outside(
            ("gpt_neox.embed_in.weight", ("vocab", "hidden")),
            ("gpt_neox.final_layer_norm.weight", ("hidden",)),
            ("gpt_neox.final_layer_norm.bias", ("hidden",)),
        ),
        {"embed_out.weight": ("vocab", "hidden")},
    ),
    "phi": Layout(
        _dense_sizes,
        "num_hidden_layers",
        "model.layers",
        _phi,
        _outside(
            ("model.embed_tokens.weight", ("vocab", "hidden")),
            ("model.final_layernorm.weight", ("hidden",)),
            ("model.final_layernorm.bias", ("hidden",)),
            ("lm_head.bias", ("vocab",)),
        ),
        _HEAD,
    ),
    "opt": Layout(
        _opt_sizes,
        "num_hidden_layers",
        "model.decoder.layers",
        _opt,
        _opt_outside,
        {"lm_head.weight": ("vocab", "narrow")},
        tied=True,
    ),
}
"""By model type."""
