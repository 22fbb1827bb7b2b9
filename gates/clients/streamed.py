"""A model that is larger than memory: its weights are read from its files whenever they are needed.

The model's own forward runs, whatever the architecture; accelerate's hooks bring the weights of each block before it and
drop them after it. As each run reads all that is not held, rows are run a batch at a time. An original is read in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
from transformers.utils.loading_report import LoadStateDictInfo

from catalog.processes import return_freed_memory
from gates.clients import transformers
from gates.clients.abreast import Run, brings, rounds, running, stops
from gates.clients.client import stock_class
from gates.clients.stored import StoredTensors
from gates.evaluation.activations import Watch, hooked
from gates.evaluation.lengths import ABREAST_TOKENS, STREAMED_TOKENS

Stored = Mapping[str, Tensor]
"""What files hold, by their own names."""


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


@dataclass(frozen=True)
class Source:
    """What one tensor of the model, or several, are read from."""

    name: str
    """The first of the model's."""
    keys: tuple[tuple[str | None, str], ...]
    """Stored tensors, each with the pattern of transformers' table that takes it; None: it is the tensor itself."""
    converter: WeightConverter | None = None
    """How transformers makes the model's tensors of them, such as experts that it stacks."""

    def read(self, stored: Stored, model: Any) -> dict[str, Tensor]:
        """Return the model's tensors by name."""
        if self.converter is None:
            ((_, key),) = self.keys
            return {self.name: stored[key]}
        converter = copy.deepcopy(self.converter)
        for pattern, key in self.keys:
            converter.add_tensor(self.name, key, pattern, partial(stored.__getitem__, key))  # type: ignore[arg-type]
        made = converter.convert(self.name, model=model, config=model.config)
        return {name: each[0] if isinstance(each, list) else each for name, each in made.items()}


class Weights(Mapping[str, Tensor]):
    """The model's tensors by its own names, in its own dtypes; the first that fit are held."""

    def __init__(self, model: Any, stored: Stored, sources: Mapping[str, Source], hold_bytes: int) -> None:
        self._model, self._stored, self._sources, self._left = model, stored, sources, hold_bytes
        self._held: dict[str, Tensor] = {}
        self._shared: dict[str, Tensor] = {}
        self._dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        self.shared = False
        """Whether runs go abreast, which all need what one has read; until `forget`."""

    def __getitem__(self, name: str) -> Tensor:
        tied = self._model.all_tied_weights_keys
        name = tied[name] if tied.get(name) in self._sources else name
        if name in self._held:
            return self._held[name]
        if name in self._shared:
            return self._shared[name]
        tensor = self._sources[name].read(self._stored, self._model)[name]
        dtype = self._dtypes[name] if tensor.is_floating_point() else tensor.dtype
        # What is held must not keep a file mapped, and what is not may be its pages.
        tensor = tensor.to(dtype, copy=tensor.nbytes <= self._left)
        if tensor.nbytes <= self._left:
            self._left -= tensor.nbytes
            self._held[name] = tensor
        elif self.shared and running():
            self._shared[name] = tensor
        return tensor

    def forget(self) -> None:
        """Let go of what runs shared."""
        self._shared.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


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
    return Model(model, told, misfits, read={} if misfits else brought(model, stored, found, hold_bytes))


def skeleton(path: Path, loader: str, config: Any, dtype: torch.dtype) -> Any:
    """Return the model of a directory without its weights. Buffers are computed, and have to be real."""
    with init_empty_weights(include_buffers=False):
        model = stock_class(loader).from_config(config, dtype=dtype).eval()
    for word, kept in model._get_dtype_plan(dtype).items():
        for name, module in model.named_modules():
            if f".{word}." in f".{name}.":
                module.to(kept)
    if (path / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(path)
    return model


def brought(model: Any, stored: Stored, found: Mapping[str, Source], hold_bytes: int) -> Weights:
    """Have a model's weights brought from their sources whenever they are needed, and return these."""
    return_freed_memory()
    weights = Weights(model, stored, found, hold_bytes)
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


def sources(model: Any, stored: Stored) -> dict[str, Source]:
    """Return what each tensor of the model is read from, as `from_pretrained` would have it."""
    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    wanted, prefix = model.state_dict(), model.base_model_prefix
    keys: dict[str, list[tuple[str | None, str]]] = {}
    for key in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, prefix, wanted)
        if name not in wanted and key in wanted:
            name, pattern = rename_source_key(key, [], [], prefix, wanted)
        if name in wanted:
            keys.setdefault(name, []).append((pattern, key))
    found: dict[str, Source] = {}
    for name, parts in keys.items():
        converter = by_pattern[parts[0][0]] if parts[0][0] else None
        source = Source(name, tuple(parts), converter)
        targets = converter.target_patterns if converter else ("",)
        found |= {name.replace(targets[0], target, 1): source for target in targets}
    tied = {name: found[twin] for name, twin in model.all_tied_weights_keys.items() if twin in found}
    return found | tied


def faults(model: Any, stored: StoredTensors, sources: Mapping[str, Source], packed: Collection[str] = ()) -> list[str]:
    """Return what transformers would report of these files; it looks at no shape of those tensors that are `packed`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    plain = {
        name: source.keys[0][1] for name, source in sources.items() if source.converter is None and name not in packed
    }
    info = LoadStateDictInfo(
        missing_keys=shapes.keys() - sources.keys(),
        unexpected_keys=stored.keys() - {key for source in sources.values() for _, key in source.keys},
        mismatched_keys={
            (name, stored.shape(key), shapes[name]) for name, key in plain.items() if stored.shape(key) != shapes[name]
        },
        error_msgs=[],
        conversion_errors={},
    )
    # Those that a model type is known to compute by itself, or to have left over.
    model._adjust_missing_and_unexpected_keys(info)
    return transformers.misfits(model, info.to_dict())
