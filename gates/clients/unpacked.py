"""An artifact whose stock loader unpacks it whole, in less memory: unpacked tensor by tensor whenever a weight is needed.

The configuration is read, and each tensor unpacked, by the code that transformers loads it with; what is ours is when that
is done. `gates.checks.stock` holds this against the stock loader.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from torch import Tensor
from transformers.modeling_utils import local_torch_dtype
from transformers.quantizers import AutoHfQuantizer

from gates.clients import beginnings, streamed
from gates.clients.client import Beginning
from gates.clients.sources import Weights, faults, sources
from gates.clients.stored import StoredTensors
from gates.clients.transformers import method_of

AT_ONCE = 1 << 18
"""Weights that are unpacked at once."""
WORD = 32
"""Bits of what codes are packed in: so many rows of zero points are packed in whole ones, whatever their bits."""


class Unpacked(Mapping[str, Tensor]):
    """What a directory holds, by its own names, with `weight` for the tensors that a quantized weight is packed in."""

    def __init__(self, stored: StoredTensors, schemes: Mapping[str, Any]) -> None:
        self._stored, self._schemes = stored, schemes
        self._parts: dict[str, list[str]] = {}
        """Stored tensors by what is made of them."""
        for name in stored:
            module, _, part = name.rpartition(".")
            packed = module in schemes and part != "bias"
            self._parts.setdefault(f"{module}.weight" if packed else name, []).append(name)

    def __getitem__(self, name: str) -> Tensor:
        scheme = self._schemes.get(name.removesuffix(".weight"))
        if scheme is None or not name.endswith(".weight"):
            return self._stored[name]
        parts = {part.rpartition(".")[2]: self._stored[part] for part in self._parts[name]}
        try:
            return _unpacked(parts, scheme)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"{name} cannot be unpacked: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def load(path: Path, loader: str, hold_bytes: int, device: str, **options: Any) -> streamed.Model:
    """As `Streamer.load`, for the dtype that the configuration names. The bytes are of weights unpacked."""
    return _load(path, loader, hold_bytes, None)


def first_blocks(
    path: Path, loader: str, blocks: int, rows: Sequence[Tensor], device: str, **options: Any
) -> Beginning:
    """As `Streamer.first_blocks`."""
    return beginnings.compared(path, loader, blocks, rows, partial(_load, path, loader, 0))


def _load(path: Path, loader: str, hold_bytes: int, blocks: int | None) -> streamed.Model:
    """As `load`; `blocks`: the first that are run, all where it is None."""
    config = beginnings.cut(path, blocks)
    dtype, stored = config.dtype or torch.float32, StoredTensors(path)
    packed = _packed(path, loader, config, dtype)
    tensors = sources(packed, stored)
    schemes = {name: scheme for name in tensors if (scheme := _scheme(packed, name)) is not None}
    misfits = faults(packed, stored, tensors, schemes)
    model = streamed.skeleton(path, loader, config, dtype)
    # Experts in stacks, of which it makes linears to load them (Llama 4).
    with local_torch_dtype(dtype, type(model).__name__):
        packed.hf_quantizer._convert_model_for_quantization(model)
    read: Mapping[str, Tensor] = {}
    # What is left over belongs to the blocks that are not run.
    if blocks is not None or not misfits:
        by_module = {tensors[name].keys[0][1].rpartition(".")[0]: scheme for name, scheme in schemes.items()}
        unpacked = Unpacked(stored, by_module)
        read = streamed.brought(model, Weights(model, unpacked, sources(model, unpacked), hold_bytes))
    named = str(dtype).removeprefix("torch.")
    told = {"dtype": named, "weights": "unpacked from the files when they are needed"}
    return streamed.Model(model, told, misfits, method=method_of(packed), read=read)


def _unpacked(parts: Mapping[str, Tensor], scheme: Any) -> Tensor:
    """Unpack a weight some rows at a time, where its parts have rows: what is made on the way stays in a core's cache."""
    compressor = BaseCompressor.get_value_from_registry(scheme.format.value)
    rows, features = _shape(parts)
    step = max(WORD, AT_ONCE // max(1, features) // WORD * WORD)
    dense: Tensor | None = None
    for start in range(0, rows, step):
        some = _some(parts, rows, start, min(start + step, rows), scheme.weights.num_bits)
        if some is None:
            return torch.as_tensor(compressor.decompress(dict(parts), scheme)["weight"])
        made = compressor.decompress(some, scheme)["weight"]
        dense = made.new_empty(rows, features) if dense is None else dense
        dense[start : start + len(made)] = made
    return torch.as_tensor(compressor.decompress(dict(parts), scheme)["weight"]) if dense is None else dense


def _shape(parts: Mapping[str, Tensor]) -> tuple[int, int]:
    """Rows and features of a weight; no rows where it is no matrix."""
    said = parts["weight_shape"].tolist() if "weight_shape" in parts else list(parts["weight"].shape)
    rows, features = said if len(said) == 2 else (0, 0)
    return (rows, features) if rows % WORD == 0 else (0, features)


def _some(parts: Mapping[str, Tensor], rows: int, start: int, stop: int, bits: int) -> dict[str, Tensor] | None:
    """Return what some rows are packed in; None where a part has neither rows nor words of them."""
    some = {}
    for name, part in parts.items():
        if name == "weight_shape":
            some[name] = torch.tensor([stop - start, int(part[1])])
        elif part.dim() and len(part) == rows:
            some[name] = part[start:stop]
        elif part.dim() and len(part) * WORD == rows * bits:
            some[name] = part[start * bits // WORD : stop * bits // WORD]
        else:
            return None
    return some


def _packed(path: Path, loader: str, config: Any, dtype: torch.dtype) -> Any:
    """The model as transformers prepares it before it loads the tensors: no weights, the names and shapes of the packed ones."""
    config = copy.deepcopy(config)
    model = streamed.skeleton(path, loader, config, dtype).to("meta")
    quantizer = AutoHfQuantizer.from_config(config.quantization_config, pre_quantized=True)
    with torch.device("meta"):
        quantizer.preprocess_model(model, dtype=dtype)
    model.hf_quantizer = quantizer
    return model


def _scheme(packed: Any, name: str) -> Any:
    """How the tensor of that name is packed with others of its module; None: it is stored as it is."""
    module, _, part = name.rpartition(".")
    return None if part == "bias" else getattr(packed.get_submodule(module), "quantization_scheme", None)
