"""Tensors that a checkpoint holds otherwise than the model: renamed, or one matrix for each expert of a stack.

transformers rewrites both when it loads a model; its own table says how. Experts that are linears here are merely renamed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from quantizers.errors import QuantizeError
from quantizers.model.checkpoint import Checkpoint

_STACKS = (("MergeModulelist",), ("MergeModulelist", "Concatenate"))
"""Operations understood here: stack the experts, side by side along their rows."""


@dataclass(frozen=True)
class Piece:
    """A tensor of the checkpoint, and what it is of a tensor of the model."""

    name: str
    """In the artifact."""
    key: str
    index: tuple[int | slice, ...]
    """Index into the model's tensor; empty: all of it."""


def pieces(
    checkpoint: Checkpoint, model: PreTrainedModel, wanted: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[Piece, ...]]:
    """Model tensor → its pieces, for all that the checkpoint does not hold under their names.

    Args:
        wanted: name and shape of every tensor of the model.

    Raises:
        QuantizeError: the pieces do not fill the tensor.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    prefix = model.base_model_prefix
    keys: dict[str, dict[str | None, list[str]]] = {}
    for key in sorted(checkpoint.tensors, key=_natural):
        if key in wanted or f"{prefix}.{key}" in wanted:
            continue
        name, pattern = rename_source_key(key, renamings, converters, prefix, dict(wanted))
        if name not in wanted:
            name, pattern = rename_source_key(key, renamings, [], prefix, dict(wanted))
        if name in wanted:
            keys.setdefault(name, {}).setdefault(pattern, []).append(key)
    by_name: dict[str, tuple[Piece, ...]] = {}
    for name, by_pattern in keys.items():
        if None in by_pattern:
            (key,) = by_pattern[None]
            by_name[name] = (Piece(_prefixed(key, name, prefix), key, ()),)
            continue
        converter = next(c for c in converters if set(by_pattern) <= set(c.source_patterns))
        if tuple(type(operation).__name__ for operation in converter.operations) in _STACKS:
            ordered = [by_pattern.get(pattern, []) for pattern in converter.source_patterns]
            by_name[name] = _stacked(checkpoint, name, wanted[name], ordered, prefix)
    return by_name


def split(checkpoint: Checkpoint, model: PreTrainedModel, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Have the checkpoint hold, one below the other, what it has in one and the model in several tensors: fused projections.

    Args:
        wanted: name and shape of every tensor of the model.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter) and _is_cut(each)]
    for key in list(checkpoint.tensors) if converters else []:
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, dict(wanted))
        converter = next((each for each in converters if pattern in each.source_patterns), None)
        if converter is None:
            continue
        first, *_ = converter.target_patterns
        names = [name.replace(first, target) for target in converter.target_patterns]
        rows = sum(wanted[part][0] for part in names if part in wanted)
        if len({wanted.get(part) for part in names}) == 1 and rows == checkpoint.tensors[key].shape[0]:
            checkpoint.split(key, names)


def _is_cut(converter: WeightConverter) -> bool:
    (operation, *further) = converter.operations
    return type(operation).__name__ == "Chunk" and operation.dim == 0 and not further


def _stacked(
    checkpoint: Checkpoint, name: str, shape: tuple[int, ...], matrices: list[list[str]], prefix: str
) -> tuple[Piece, ...]:
    parts, row = [], 0
    for experts in matrices:
        rows = checkpoint.tensors[experts[0]].shape[0] if experts else 0
        span = slice(row, row + rows)
        parts += [Piece(_prefixed(key, name, prefix), key, (expert, span)) for expert, key in enumerate(experts)]
        fits = len(experts) == shape[0] and all(checkpoint.tensors[k].shape == (rows, shape[2]) for k in experts)
        row += rows
        if not fits or row > shape[1]:
            break
    if not fits or row != shape[1]:
        raise QuantizeError(
            f"{checkpoint.directory}: config.json wants {shape[0]} experts in {name} {list(shape)}, and the weights hold "
            f"other ones ({', '.join(str(len(experts)) for experts in matrices)} matrices). "
            "The configuration and the weights are of different models, or a shard is missing: fetch the model again."
        )
    return tuple(parts)


def _prefixed(key: str, name: str, prefix: str) -> str:
    lacks = name.startswith(f"{prefix}.") and not key.startswith(f"{prefix}.")
    return f"{prefix}.{key}" if lacks else key


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"\.", key)]
