"""The mainstream client that a release's user will type, per format; nothing of ours takes part in loading.

`load` is called once per process. What the loader itself reports (keys missing or left over, a quantization it skipped)
is kept: a model that loads with initialized weights or without its quantization is not the artifact.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catalog.errors import EnvironmentFault
from catalog.formats import LOADABLE, ORIGINAL


@dataclass
class Loaded:
    """A model as its stock loader returns it."""

    model: Any
    loader: str
    runtime: dict[str, str]
    faults: list[str] = field(default_factory=list)
    """What the loader reported that a sound artifact never causes."""

    def logits(self, ids: Tensor) -> Tensor:
        """Return logits, (tokens, vocabulary), for one row of token ids, int64 (tokens,)."""
        with torch.inference_mode():
            out = self.model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], use_cache=False)
        return torch.as_tensor(out.logits[0])


# What transformers logs when it goes on without the quantization that config.json asks for, or without weights.
_ALARMS = (
    "skip the quantization",
    "newly initialized",
    "not initialized from the model checkpoint",
    "were not used when",
)


def load_original(path: Path, task: str) -> Loaded:
    """Load the original in float32 on the CPU: the reference must not carry rounding of its own."""
    return _load_transformers(path, ORIGINAL.loader(task), "CPU", dtype=torch.float32)


def load(path: Path, format_: str, device: str, task: str) -> Loaded:
    """Load an artifact as its user will, with the loader's own defaults. Raises whatever the loader raises."""
    row = LOADABLE[format_]
    loaded = _BY_CLIENT[row.client.module](path, row.loader(task), device, **dict(row.options))
    method = _method(loaded.model)
    if row.method != method:
        loaded.faults.append(
            f"loads with quantization {method or 'none'}, where {row.method or 'none'} is what was made"
        )
    return loaded


def stock_class(loader: str) -> Any:
    """The class of that full name, from the library it is in."""
    module, _, name = loader.rpartition(".")
    return getattr(import_module(module), name)


def _load_transformers(path: Path, loader: str, device: str, **options: Any) -> Loaded:
    with _alarms() as faults:
        model, info = stock_class(loader).from_pretrained(
            path,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are faults, and told by name
            **options,
        )
    # What the loader logs of these is a table of all of them, for a terminal.
    faults[:] = _misfits(model, info) or faults
    model.eval()
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.is_floating_point()})
    return Loaded(model, loader, {"dtype": ", ".join(dtypes)}, faults)


def _misfits(model: Any, info: dict[str, Any]) -> list[str]:
    """Tensors that the weights lack, have in another shape, or have in vain: how many, and the first in the model's order."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    order = {name: index for index, name in enumerate(shapes)}
    misfits = []
    if missing := sorted(info["missing_keys"], key=lambda name: order.get(name, len(order))):
        misfits.append(
            f"config.json wants tensor {missing[0]} {shapes.get(missing[0], '')}{_more(missing)}, not in the weights"
        )
    if other := sorted(info["mismatched_keys"], key=lambda each: order.get(each[0], len(order))):
        name, stored, wanted = other[0]
        misfits.append(f"tensor {name}{_more(other)} is {list(stored)}, and config.json wants {list(wanted)}")
    if unknown := sorted(info["unexpected_keys"]):
        misfits.append(f"config.json has no place for tensor {unknown[0]}{_more(unknown)}")
    return misfits + [" ".join(str(each).split()) for each in info["error_msgs"]]


def _more(names: list[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _method(model: Any) -> str | None:
    """The quantization that was in force while loading, not the one that config.json names."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return None
    return str(getattr(quantizer.quantization_config.quant_method, "value", quantizer.quantization_config.quant_method))


def _load_openvino(path: Path, loader: str, device: str, **options: Any) -> Loaded:
    from openvino import Core

    present = Core().available_devices
    if device not in {name.split(".")[0] for name in present}:
        raise EnvironmentFault(
            f"device {device}: OpenVINO finds none on this machine ({', '.join(present)} is there). Run where it is, with "
            "its driver, or name another device for this target."
        )
    with _alarms() as faults:
        model = stock_class(loader).from_pretrained(
            path, device=device, local_files_only=True, trust_remote_code=False, **options
        )
        model.compile()
    compiled = model.request.get_compiled_model()
    hints = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE", "EXECUTION_DEVICES")
    supported = {str(name) for name in compiled.get_property("SUPPORTED_PROPERTIES")}
    runtime = {name: str(compiled.get_property(name)) for name in hints if name in supported}
    return Loaded(model, loader, runtime, faults)


_BY_CLIENT = {"transformers": _load_transformers, "optimum.intel": _load_openvino}


@contextmanager
def _alarms() -> Iterator[list[str]]:
    """Collect the log records that `_ALARMS` names while a loader runs."""
    faults: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if any(alarm in text for alarm in _ALARMS):
                faults.append(text.strip().splitlines()[0])

    listener, logger = Listener(logging.WARNING), logging.getLogger("transformers")
    logger.addHandler(listener)
    try:
        yield faults
    finally:
        logger.removeHandler(listener)
