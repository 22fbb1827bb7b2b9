"""A model that is larger than memory: its weights are read from its files whenever they are needed.

The model's own forward runs, whatever the architecture; accelerate's hooks bring the weights of each block before it and
drop them after it. As each run reads all that is not held, rows are run a batch at a time. An original is read in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from accelerate.hooks import attach_align_device_hook
from accelerate.utils import set_module_tensor_to_device
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, GenerationConfig

from catalog.processes import return_freed_memory
from gates.clients import transformers
from gates.clients.abreast import Run, brings, rounds, stops
from gates.clients.client import stock_class
from gates.clients.sources import Weights, faults, sources
from gates.clients.stored import StoredTensors
from gates.evaluation.activations import Watch, hooked
from gates.evaluation.lengths import ABREAST_TOKENS, STREAMED_TOKENS


@dataclass
class _Row:
    """A row that will be asked for."""

    ids: Tensor
    watch: Watch | None
    """Of its activations."""


@dataclass
class _Batch:
    """Rows that are run as one, padded behind, which changes nothing of what a causal model says of them."""

    rows: list[_Row]
    run: Run
    logits: list[Tensor] = field(default_factory=list)
    """Of each row, once one of them was asked for."""


@dataclass
class Model(transformers.Model):
    """A model whose weights stay in its files."""

    read: Mapping[str, Tensor] = field(default_factory=dict)
    """Its weights by its own names, each read anew."""
    _expected: list[_Row] = field(default_factory=list)
    _begun: list[_Batch] = field(default_factory=list)
    _watch: Watch | None = None

    @property
    def is_whole(self) -> bool:
        """Its weights are in its files."""
        return False

    def expect(self, rows: Sequence[Tensor]) -> None:
        """Take the rows whose logits will be asked for, so that the weights are read for many at once."""
        self._expected += [_Row(ids, self._watch) for ids in rows]

    def logits(self, ids: Tensor) -> Tensor:
        """Run an expected row together with others, and any other alone."""
        if not self._has_begun(ids) and any(torch.equal(row.ids, ids) for row in self._expected):
            self._begin(ids)
        for batch in self._begun:
            for number, row in enumerate(batch.rows):
                if torch.equal(row.ids, ids):
                    return self._taken(batch, number)
        return super().logits(ids)

    @contextmanager
    def watched(self, again: bool) -> Iterator[Watch | None]:
        """By hooks of torch, which leave out what rows are padded with."""
        with hooked(self.model) as self._watch:
            yield self._watch
        self._watch = None

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Read one linear at a time."""
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Linear):
                yield f"{name}.weight", self.read[f"{name}.weight"]

    def _has_begun(self, ids: Tensor) -> bool:
        return any(torch.equal(row.ids, ids) for batch in self._begun for row in batch.rows)

    def _begin(self, ids: Tensor) -> None:
        """Bring the batch of an expected row, and those that may go abreast with it, to where their logits are made."""
        first = next(number for number, row in enumerate(self._expected) if torch.equal(row.ids, ids))
        rows = [*self._expected[first:], *self._expected[:first]]
        head, tokens = self.model.get_output_embeddings(), 0
        # Without a place to stop before them, all logits would be held at once.
        abreast = isinstance(self.read, Weights) and self.read.shared and head is not None and brings(head)
        while rows and (not tokens or (abreast and tokens + len(rows[0].ids) <= ABREAST_TOKENS)):
            batch = _batch(rows)
            del rows[: len(batch)]
            tokens += sum(len(row.ids) for row in batch)
            self._begun.append(_Batch(batch, self._run(batch)))
        self._expected = rows
        try:
            for _ in rounds([batch.run for batch in self._begun], head if abreast else None):
                self._forget()
        except BaseException:
            self._end()
            raise

    def _forget(self) -> None:
        if isinstance(self.read, Weights):
            self.read.forget()

    def _end(self) -> None:
        """Let go of all that was begun."""
        for batch in self._begun:
            batch.run.end()
        self._begun.clear()
        self._forget()

    def _taken(self, batch: _Batch, number: int) -> Tensor:
        """Return the logits of a row, and let go of them."""
        if not batch.logits:
            made = batch.run.made()
            batch.logits = [torch.as_tensor(each[: len(row.ids)]) for each, row in zip(made, batch.rows, strict=True)]
            batch.run.end()
        logits = batch.logits.pop(number)
        del batch.rows[number]
        if not batch.rows:
            self._begun.remove(batch)
        if not self._begun:
            self._forget()
        return logits

    def _run(self, rows: list[_Row]) -> Run:
        ids = pad_sequence([row.ids for row in rows], batch_first=True)
        mask = pad_sequence([torch.ones_like(row.ids) for row in rows], batch_first=True)

        def work() -> Tensor:
            return torch.as_tensor(self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits)

        return Run(work, partial(self._seen, rows[0].watch, mask.bool()))

    @contextmanager
    def _seen(self, watch: Watch | None, real: Tensor) -> Iterator[None]:
        """Show a watch what is no padding, and nothing of rows that it is not to see."""
        if self._watch is None:
            yield
            return
        self._watch.real, self._watch.shut = real, watch is not self._watch
        yield
        self._watch.real, self._watch.shut = None, False


def _batch(rows: list[_Row]) -> list[_Row]:
    """The first rows that take no more than `STREAMED_TOKENS` with their padding, which is less than a quarter of them."""
    longest = tokens = count = 0
    for row in rows:
        longest, tokens = max(longest, len(row.ids)), tokens + len(row.ids)
        padded = (count + 1) * longest
        if count and (padded > STREAMED_TOKENS or 3 * padded > 4 * tokens or row.watch is not rows[0].watch):
            break
        count += 1
    return rows[:count]


def load(path: Path, loader: str, hold_bytes: int) -> Model:
    """Open an original for float32 on the CPU.

    Args:
        path: its directory.
        loader: full name of the stock class that loads it.
        hold_bytes: of weights, in float32, that may stay in memory.
    """
    model = skeleton(path, loader, AutoConfig.from_pretrained(path, local_files_only=True), torch.float32)
    stored = StoredTensors(path)
    found = sources(model, stored)
    misfits = faults(model, stored, found)
    told = {"dtype": "float32", "weights": "read from the files when they are needed"}
    return Model(
        model, told, misfits, read={} if misfits else brought(model, Weights(model, stored, found, hold_bytes))
    )


def skeleton(path: Path, loader: str, config: Any, dtype: torch.dtype) -> Any:
    """Return the model of a directory without its weights. Buffers are computed, and have to be real."""
    # Torch allocates each parameter before it is thrown away: none of it is touched, and the heap would be as large as the
    # model, for all later tensors to be strewn over.
    return_freed_memory()
    with init_empty_weights(include_buffers=False):
        model = stock_class(loader).from_config(config, dtype=dtype).eval()
    for word, kept in model._get_dtype_plan(dtype).items():
        for name, module in model.named_modules():
            if f".{word}." in f".{name}.":
                module.to(kept)
    if (path / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(path)
    return model


def brought(model: Any, weights: Weights) -> Weights:
    """Have a model's weights brought whenever they are needed, and return these."""
    for name in dict(model.named_buffers()).keys() & weights.keys():
        set_module_tensor_to_device(model, name, "cpu", value=weights[name])
    # A block's code may use the weights of what is in it without calling that.
    whole = sorted(model._no_split_modules or ())
    attach_align_device_hook(
        model, torch.device("cpu"), offload=True, weights_map=weights, preload_module_classes=whole
    )
    _say_where(model)
    weights.shared = stops(model)
    return weights


def _say_where(model: Any) -> None:
    """Have the embeddings of tokens be on the CPU, without memory, while they are in their files.

    Llama 4 brings token ids to where they are before it calls them. They are NaN, which none takes for weights.
    """

    def stand_in(module: torch.nn.Module, *_: Any) -> None:
        for name, weight in module.named_parameters(recurse=False):
            nothing = torch.full((), torch.nan, dtype=weight.dtype).expand(weight.shape)
            module.register_parameter(name, torch.nn.Parameter(nothing, requires_grad=False))

    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:  # what reads no tokens may have none
        return
    embeddings.register_forward_hook(stand_in)
    stand_in(embeddings)
