"""An artifact of bitsandbytes in less memory than its stock loader takes: linears get their packed weights when they multiply.

transformers replaces the linears, puts their weights together and says what else the files hold; bitsandbytes multiplies. What is
ours is when weights are read. Its linears pack a weight anew where the CPU has products of bfloat16, which stays with the weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import Tensor, nn
from transformers.quantizers import AutoHfQuantizer

from gates.clients import beginnings, streamed
from gates.clients.client import Beginning
from gates.clients.sources import Weights, faults, sources
from gates.clients.stored import StoredTensors
from gates.clients.transformers import method_of, unpacked


class Packed(Weights):
    """Weights by name, those of linears as bitsandbytes multiplies with them."""

    def anew(self, name: str) -> Tensor:
        """As the files hold it, and of no linear yet: that would keep what scales it."""
        try:
            tensor = super().anew(name)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"{name} cannot be put together: {error}") from error
        if isinstance(tensor, Params4bit):
            tensor.module.quant_state = tensor.module = None
        return tensor

    def bytes_of(self, tensor: Tensor) -> int:
        """With the magnitudes of its groups."""
        state = getattr(tensor, "quant_state", None)
        return tensor.nbytes + (state.absmax.nbytes if state else 0)

    def taken(self, name: str, tensor: Tensor, copied: bool) -> Tensor:
        """Keep packed what is."""
        if not isinstance(tensor, Params4bit):
            return super().taken(name, tensor, copied)
        if copied:
            tensor.data, tensor.quant_state.absmax = tensor.data.clone(), tensor.quant_state.absmax.clone()
        return torch.as_tensor(tensor)


@dataclass
class Model(streamed.Model):
    """A model whose weights stay in its files, those of linears packed."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Read and unpack one linear at a time: of one that was multiplied with, magnitudes may have been rounded."""
        assert isinstance(self.read, Packed)
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Linear):
                yield f"{name}.weight", unpacked(self.read.anew(f"{name}.weight"))


def load(path: Path, loader: str, hold_bytes: int, device: str, **options: Any) -> Model:
    """As `Streamer.load`, in the dtype that the configuration names. The bytes are of weights as they are stored."""
    return _load(path, loader, hold_bytes, None)


def first_blocks(
    path: Path, loader: str, blocks: int, rows: Sequence[Tensor], device: str, **options: Any
) -> Beginning:
    """As `Streamer.first_blocks`."""
    return beginnings.compared(path, loader, blocks, rows, partial(_load, path, loader, 0))


def _load(path: Path, loader: str, hold_bytes: int, blocks: int | None) -> Model:
    """As `load`; `blocks`: the first that are run, all where it is None."""
    config = beginnings.cut(path, blocks)
    dtype, stored = config.dtype or torch.float32, StoredTensors(path)
    model = streamed.skeleton(path, loader, config, dtype)
    quantizer = AutoHfQuantizer.from_config(config.quantization_config, pre_quantized=True)
    quantizer.preprocess_model(model, dtype=dtype, device_map=None)
    model.hf_quantizer = quantizer
    model.eval()  # its linears are new
    found = sources(model, stored)
    linears = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    misfits = faults(model, stored, found, linears)
    read: Mapping[str, Tensor] = {}
    # What is left over belongs to the blocks that are not run.
    if blocks is not None or not misfits:
        weights = Packed(model, stored, found, hold_bytes)
        for name, module in linears.items():
            _give(module, name, weights)
        read = streamed.brought(model, weights)
    named = str(dtype).removeprefix("torch.")
    told = {"dtype": named, "weights": "read from the files when they are needed"}
    return Model(model, told, misfits, method=method_of(model), read=read)


def _give(module: Any, name: str, weights: Packed) -> None:
    """Give a linear its weight for as long as it multiplies. Else it has an empty one, which is no parameter to be brought."""
    nothing = Params4bit(torch.empty(0, dtype=torch.uint8))
    del module._parameters["weight"]
    module.__dict__["weight"] = nothing

    def bring(*_: Any) -> None:
        module.__dict__["weight"] = weights[name]

    def drop(*_: Any) -> None:
        module.__dict__["weight"] = nothing

    module.register_forward_pre_hook(bring)
    module.register_forward_hook(drop, always_call=True)
