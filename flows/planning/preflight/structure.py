"""Whether the weights are those that config.json describes: names and shapes of tensors, from headers alone.

Of known architectures every tensor is known (`quantizers.families.tensors`). Of others only what holds for all is asked: as
many blocks as configured, an embedding of as many rows as there are tokens, and no block that lacks what all others have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from flows.planning.preflight.blocks import odd_one
from flows.planning.preflight.files import Subject
from quantizers.families.tensors import LAYOUTS, is_tied, tensors

_COMPUTED = re.compile(r"(rotary_emb\.inv_freq|\.(attn|attention)\.(masked_)?bias|position_ids)$")
"""Tensors that older versions stored and the model now computes: rotary tables, causal masks."""
_BLOCK = re.compile(r"^(?:.*?\.)??(?:layers|h|blocks|block|layer)\.(\d+)\.")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings)\.weight$")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_STORED = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"})
_ADVICE = "the configuration and the weights are not of one model, or a file is missing: fetch the model again"


@lru_cache(maxsize=1024)
def problem(subject: Subject) -> str | None:
    """Return the first tensor that config.json and the weights disagree on, in a sentence, or None."""
    if not subject.tensors:
        return f"{subject.where} holds no tensor; fetch the model again"
    for name, tensor in subject.tensors.items():
        if tensor.dtype not in _STORED:
            return (
                f"{subject.where} stores {name} as {tensor.dtype}; weights are read from float32, float16 or bfloat16: name "
                "a model that is stored in one of these"
            )
    wanted = tensors(subject.config)
    fault = next(_general(subject), None) if wanted is None else next(_exact(subject, wanted), None)
    return f"{subject.where}: {fault}; {_ADVICE}" if fault else None


def stored_as(name: str, subject: Subject) -> str | None:
    """Return the name that the weights hold a tensor under, which may lack that of the model's body; None: they do not."""
    bare = name.partition(".")[2]
    return next((key for key in (name, bare) if key in subject.tensors), None)


def _exact(subject: Subject, wanted: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    layout = LAYOUTS[subject.config["model_type"]]
    configured = int(subject.config[layout.layers])
    blocks = {name: int(match[1]) for name in subject.tensors if (match := _BLOCK.match(name))}
    stored = max(blocks.values(), default=-1) + 1
    if stored != configured:
        yield f"config.json says {layout.layers} is {configured}, and the weights hold {stored} blocks"
    keys = {name: stored_as(name, subject) for name in wanted}
    missing = [name for name, key in keys.items() if key is None]
    if missing:
        yield f"config.json wants tensor {missing[0]} {list(wanted[missing[0]])}{_more(missing)}, not in the weights"
    held = {name: subject.tensors[key].shape for name, key in keys.items() if key is not None}
    other = [name for name, shape in held.items() if shape != wanted[name]]
    if other:
        name = other[0]
        yield f"tensor {name}{_more(other)} is {list(held[name])}, and config.json wants {list(wanted[name])}"
    # A head that is tied may be stored all the same.
    spare = set(layout.head) if is_tied(subject.config) else set()
    unknown = [key for key in subject.tensors if key not in {*keys.values(), *spare} and not _COMPUTED.search(key)]
    if unknown:
        yield f"config.json has no place for tensor {unknown[0]}{_more(unknown)}"


def _general(subject: Subject) -> Iterator[str]:
    config = subject.config
    blocks = {int(match[1]) for name in subject.tensors if (match := _BLOCK.match(name))}
    key = next((key for key in _LAYERS if isinstance(config.get(key), int)), None)
    if key and blocks and not config.get("is_encoder_decoder") and len(blocks) < config[key]:
        yield f"config.json says {key} is {config[key]}, and the weights hold {len(blocks)} blocks"
    rows = [(name, t.shape[0]) for name, t in subject.tensors.items() if _EMBEDDING.search(name) and len(t.shape) == 2]
    vocabulary = config.get("vocab_size")
    if len(rows) == 1 and isinstance(vocabulary, int) and rows[0][1] != vocabulary:
        yield f"config.json says vocab_size is {vocabulary}, and tensor {rows[0][0]} has {rows[0][1]} rows"
    if fault := odd_one(subject.tensors):
        yield fault


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
