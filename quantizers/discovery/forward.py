"""A model's own forward, of which a block is real only while it is called: whatever way the model calls it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from catalog.foreign_errors import machine_fault
from quantizers.errors import QuantizeError
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton, linear_shape
from quantizers.model.values import beside, real
from quantizers.transforms.fold import bind

Tensors = Mapping[str, Tensor]
"""By the names of a forward's arguments, rows in the first dimension."""
Call = Callable[[str, dict[str, Any]], Any]
"""Path of a block and keyword arguments of a call to it → what it returns."""


class _Enough(Exception):
    """What follows in a forward is of no interest."""


def block_paths(model: nn.Module) -> tuple[str, ...]:
    """Paths of the members of the outermost lists of modules that hold linears; a list of lists is taken apart."""
    paths: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{path}.") for path in paths):
            paths += [f"{name}.{member}" for member, child in module.named_children() if _is_block(child)]
    return tuple(paths)


def _is_block(module: nn.Module) -> bool:
    return not isinstance(module, nn.ModuleList) and any(
        linear_shape(each) for each in module.modules() if each is not module
    )


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Have `forward` answer the calls of a module."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def run_model(checkpoint: Checkpoint, skeleton: Skeleton, blocks: Sequence[str], given: Tensors, call: Call) -> None:
    """Run the model on what it is given up to its head; `call` answers for the blocks.

    What is neither in the blocks nor in the head has its values. A decoder behind an encoder of text reads the same
    rows shifted right, if it is given none of its own.

    Raises:
        QuantizeError: the forward fails.
    """
    model = skeleton.model
    head = model.get_output_embeddings()
    if isinstance(head, nn.Embedding):  # a decoder that multiplies by its own embeddings, which it looks up first
        head = None
    path = next((name for name, module in model.named_modules() if module is head), None)
    apart = (*blocks, path) if path else blocks
    with ExitStack() as stack:
        stack.enter_context(real(beside(skeleton, apart), checkpoint, skeleton))
        for name in blocks:
            block = model.get_submodule(name)
            stack.enter_context(replaced(block, partial(_answered, call, name, block)))
        if path:
            stack.enter_context(replaced(model.get_submodule(path), end_forward))
            stack.enter_context(_ending(model.get_submodule(path)))
        try:
            model(**_inputs(model, given))
        except _Enough:
            return
        except QuantizeError:
            raise
        except Exception as error:  # whatever the model's own code raises
            raise machine_fault(error) or QuantizeError(
                f"model_type {model.config.model_type} cannot be run on {_what(given)} ({type(error).__name__}: {error}). A "
                "recipe without transform and with nearest rounding runs no model."
            ) from error


_ASKED = (Tensor.dtype.__get__, Tensor.device.__get__, Tensor.shape.__get__)  # type: ignore[attr-defined]
"""What a forward may ask of a weight without reading it."""


class _End(nn.Parameter):
    """A weight that ends the forward where it is read."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _ASKED:
            return super().__torch_function__(function, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        raise _Enough


@contextmanager
def _ending(head: nn.Module) -> Iterator[None]:
    """Have the forward end where it multiplies by the head's weight without calling the head (MobileBERT)."""
    before = dict(head._parameters)
    head._parameters.update(dict.fromkeys(before, _End(torch.empty(0), requires_grad=False)))
    try:
        yield
    finally:
        head._parameters.update(before)


def _answered(call: Call, path: str, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return call(path, bind(block, args, kwargs))


def end_forward(*_: Any, **__: Any) -> NoReturn:
    """End the forward that `run_model` began: what follows in it is of no interest."""
    raise _Enough


def _what(given: Tensors) -> str:
    return "text alone" if set(given) == {"input_ids"} else f"{', '.join(given)} alone"


def _inputs(model: Any, given: Tensors) -> dict[str, Any]:
    takes = inspect.signature(model.forward).parameters
    inputs: dict[str, Any] = dict(given)
    if "decoder_input_ids" in takes and "input_ids" in given:
        inputs.setdefault("decoder_input_ids", shifted(model.config, given["input_ids"]))
    if "use_cache" in takes:
        inputs["use_cache"] = False
    return inputs


def shifted(config: Any, rows: Tensor) -> Tensor:
    """What a decoder behind an encoder reads for int64 ids `[rows, tokens]`: its first token, and all of these but the last."""
    told = (getattr(config, name, None) for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"))
    first = next((token for token in told if isinstance(token, int)), 0)
    return torch.cat([torch.full_like(rows[:, :1], first), rows[:, :-1]], 1)
