"""A decoder of OpenVINO that is larger than memory: its graph is run a part at a time, by OpenVINO as the stock loader calls it.

Each part is cut out of a graph that is read anew (`gates.clients.graph_parts`), compiled, run for all rows that are expected, and
let go of. What it leaves for the next is given in the precision that OpenVINO computes with, so that logits are those of
the whole graph to the last bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalog.processes import return_freed_memory
from gates.clients import graph_parts, optimum_intel, transformers
from gates.clients.client import Beginning, stock_class
from gates.clients.graph_weights import weights_of
from gates.clients.optimum_intel import AT_ONCE, HINTS, THREADS, properties_of
from gates.evaluation.activations import Watch
from gates.evaluation.lengths import ABREAST_TOKENS

_KEEPS_NOTHING = {"CPU_RUNTIME_CACHE_CAPACITY": 0}
"""What is kept for shapes to come outlives what was compiled: 17 MB a part of a billion-parameter model, and 63 for a long row
without `release_memory`."""
Carried = dict[graph_parts.Tensor, Any]
"""What parts leave for others: `openvino.Tensor`, by what it is in the graph."""
_PRECISIONS = {"bfloat16": "bf16", "float16": "f16"}
"""What OpenVINO may compute in besides float32, as it says and as it is told."""


@dataclass
class _Row:
    """A row on its way through the parts, in pieces that each read what the cache holds of those before."""

    ids: Tensor
    feeds: list[dict[str, Any]]
    """Of each piece, what the stock class gives the graph."""
    carried: list[Carried]
    """Of each piece, what parts have left for others."""


@dataclass
class Parts:
    """The graph of a directory, a part of it at a time."""

    open: Callable[[], Any]
    """Read it, as an object of the stock class that is not compiled."""
    device: str
    graph: graph_parts.Graph
    """Where it is cut."""
    dtype: str = "f32"
    """What parts leave for each other."""

    @property
    def cuts(self) -> list[str]:
        """Nodes that parts end with."""
        return self.graph.cuts

    @property
    def count(self) -> int:
        """How many there are."""
        return self.graph.parts

    def cut(self, cuts: list[str]) -> Parts:
        """Return the same graph cut elsewhere."""
        return replace(self, graph=graph_parts.Graph(self.open().model, cuts))

    def compiled(self, number: int, shapes: bool = False) -> tuple[graph_parts.Part, Any]:
        """Return a part and what it was compiled to. Its weights are read from the file as it runs."""
        stock = self.open()
        part = self.graph.part(stock.model, number, self.dtype, shapes)
        return part, _core().compile_model(part.graph, self.device, {**stock.ov_config, **_KEEPS_NOTHING})

    def graphs(self) -> Iterator[Any]:
        """Yield the graph of each part."""
        for number in range(self.count):
            yield self.graph.part(self.open().model, number, self.dtype).graph

    def advance(self, number: int, rows: Sequence[_Row]) -> None:
        """Run a part for all rows."""
        made = [_Running(*self.compiled(number))]
        if self.graph.gives_shapes(number):
            made.append(_Running(*self.compiled(number, shapes=True)))
        needed = self.graph.needed_after(number)
        for row in rows:
            for running in made:
                running.begin()
            for piece, (feed, carried) in enumerate(zip(row.feeds, row.carried, strict=True)):
                for given in [running.run(feed, carried)[1] for running in made]:
                    carried |= given
                row.carried[piece] = {tensor: value for tensor, value in carried.items() if tensor in needed}
        for running in made:
            running.end()


class _Running:
    """A part that is compiled."""

    def __init__(self, part: graph_parts.Part, compiled: Any) -> None:
        self.part, self._compiled, self._request = part, compiled, compiled.create_infer_request()
        self._first = len(part.graph.outputs) - len(part.given)

    def begin(self) -> None:
        """Forget what came before."""
        self._request.reset_state()

    def end(self) -> None:
        """Let go of what it computed in."""
        self._compiled.release_memory()

    def run(self, feed: Mapping[str, Any], carried: Carried) -> tuple[list[Any], Carried]:
        """Run one piece of a row; return the graph's own outputs, and what other parts take."""
        inputs = [*(feed[name] for name in self.part.own), *(carried[tensor] for tensor in self.part.taken)]
        self._request.infer(dict(enumerate(inputs)))
        made = [self._request.get_output_tensor(number) for number in range(len(self.part.graph.outputs))]
        given = zip(self.part.given, made[self._first :], strict=True)
        return made[: self._first], {tensor: _copied(value) for tensor, value in given}


@dataclass
class Model(optimum_intel.Model):
    """A decoder of which one part is in memory."""

    parts: Parts = field(kw_only=True)
    used_threads: int = field(kw_only=True)
    _expected: list[Tensor] = field(default_factory=list, kw_only=True)
    _begun: list[_Row] = field(default_factory=list, kw_only=True)
    _last: _Running | None = field(default=None, kw_only=True)

    @property
    def is_whole(self) -> bool:
        """Its weights are in its files."""
        return False

    @property
    def threads(self) -> int:
        """As OpenVINO says."""
        return self.used_threads

    @contextmanager
    def watched(self, again: bool) -> Iterator[Watch | None]:
        """Not at all: a manifest whose gates need that is refused."""
        yield None

    def expect(self, rows: Sequence[Tensor]) -> None:
        """Take the rows whose logits will be asked for, so that each part is compiled once for many."""
        self._expected += rows

    def logits(self, ids: Tensor) -> Tensor:
        """Run an expected row together with others, and any other alone."""
        if (row := self._taken(ids)) is None:
            self._begin(ids)
            row = self._taken(ids)
        assert row is not None
        return self._said(row, 0)

    def logits_at(self, ids: Tensor, places: Tensor) -> Tensor:
        """Run one row in pieces, as the whole graph is run."""
        at_once = AT_ONCE if self.model.use_cache else len(ids)
        row, found = self._row(ids, at_once), []
        self._through([row])
        for piece, start in enumerate(range(0, len(ids), at_once)):
            said = self._said(row, piece)
            found.append(said[places[(places >= start) & (places < start + len(said))] - start])
        self._leave()
        return torch.cat(found)

    def _leave(self) -> None:
        """Let go of the last part."""
        if self._last:
            self._last.end()
        self._last = None

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Decompress the constants of one part after the other."""
        for graph in self.parts.graphs():
            yield from weights_of(graph)

    def _begin(self, ids: Tensor) -> None:
        """Bring a row, and those expected after it, to where their logits are made."""
        first = next((number for number, row in enumerate(self._expected) if torch.equal(row, ids)), None)
        chosen = [ids]
        if first is not None:
            rows, tokens = [*self._expected[first:], *self._expected[:first]], 0
            chosen = []
            while rows and (not tokens or tokens + len(rows[0]) <= ABREAST_TOKENS):
                tokens += len(rows[0])
                chosen.append(rows.pop(0))
            self._expected = rows
        begun = self.begun(chosen)
        self._through(begun)
        self._begun += begun

    def begun(self, rows: Sequence[Tensor]) -> list[_Row]:
        """Return rows, each in one piece, before the first part."""
        return [self._row(row, len(row)) for row in rows]

    def _through(self, rows: Sequence[_Row]) -> None:
        """Run all parts but the last, which makes logits."""
        self._leave()
        for number in range(self.parts.count - 1):
            self.parts.advance(number, rows)

    def _row(self, ids: Tensor, at_once: int) -> _Row:
        """Return a row as the stock class gives it to its graph."""
        feeds, past = [], None
        for start in range(0, len(ids), at_once):
            piece = ids[start : start + at_once]
            mask = torch.ones(1, start + len(piece), dtype=torch.int64)
            given = self.model.prepare_inputs(input_ids=piece[None], attention_mask=mask, past_key_values=past)
            feeds.append({name: np.ascontiguousarray(value) for name, value in given.items()})
            past = ((),)
        return _Row(ids, feeds, [{} for _ in feeds])

    def _taken(self, ids: Tensor) -> _Row | None:
        for number, row in enumerate(self._begun):
            if torch.equal(row.ids, ids):
                return self._begun.pop(number)
        return None

    def _said(self, row: _Row, piece: int) -> Tensor:
        """Logits of a piece, float32 (tokens, vocabulary)."""
        if self._last is None:
            self._last = _Running(*self.parts.compiled(self.parts.count - 1))
        if piece == 0:
            self._last.begin()
        (logits,), _ = self._last.run(row.feeds[piece], row.carried[piece])
        return torch.from_numpy(np.array(logits.data))[0]


def load(path: Path, loader: str, hold_bytes: int, device: str, **options: Any) -> Model:
    """Open a decoder for a device.

    Args:
        path: its directory.
        loader: full name of the stock class.
        hold_bytes: of weights, as they are stored, that a part may have; what cannot be cut is a part whatever it has.
        device: by OpenVINO's name.
        options: of the class's `from_pretrained`.
    """
    return_freed_memory()
    with transformers.alarms() as faults:
        parts, told = _parts(path, loader, hold_bytes, device, options)
    threads = int(told.pop(THREADS, torch.get_num_threads()))
    told["weights"] = "read from the files a part of the graph at a time"
    return Model(parts.open(), told, faults, parts=parts, used_threads=threads)


def first_blocks(
    path: Path, loader: str, blocks: int, rows: Sequence[Tensor], device: str, **options: Any
) -> Beginning:
    """Run the first parts as one graph, and one after the other.

    Args:
        path: of the artifact.
        loader: full name of the stock class.
        blocks: how many may be in one graph, each of them two parts.
        rows: token ids, int64 (tokens,) each.
        device: by OpenVINO's name.
        options: of the class's `from_pretrained`.
    """
    loaded = load(path, loader, 0, device, **options)
    parts = loaded.parts
    run = min(2 * blocks, len(parts.cuts))
    stock, streamed = parts.cut(parts.cuts[run - 1 : run]), parts.cut(parts.cuts[:run])
    theirs, ours = (_states(each, loaded.begun(rows)) for each in (stock, streamed))
    which = f"the first {run} of {parts.count} parts of the graph in one" if run else "a graph that can be cut nowhere"
    return Beginning(which, "states", theirs, ours)


def _states(parts: Parts, rows: list[_Row]) -> list[Tensor]:
    """What the last part but one leaves of each row; nothing of a graph in one part."""
    for number in range(parts.count - 1):
        parts.advance(number, rows)
    return [_left(row, parts.cuts[-1]) for row in rows if parts.cuts]


def _parts(
    path: Path, loader: str, hold_bytes: int, device: str, options: dict[str, Any]
) -> tuple[Parts, dict[str, str]]:
    """Return where a graph is cut, and what OpenVINO computes it with, by its own names."""
    properties = {name: value for name, value in options.pop("ov_config", {}).items() if name != "CACHE_DIR"}
    given = {"device": device, "local_files_only": True, "trust_remote_code": False, "ov_config": properties, **options}
    open_ = partial(_opened, stock_class(loader), path, given)
    graph = graph_parts.Graph(open_().model)
    parts = Parts(open_, device, graph).cut(graph.merged(hold_bytes))
    _, compiled = parts.compiled(0)
    told = properties_of(compiled)
    parts.dtype = next((name for word, name in _PRECISIONS.items() if word in told.get(HINTS[0], "")), "f32")
    return parts, told


def _opened(stock: Any, path: Path, given: Mapping[str, Any]) -> Any:
    """Read a graph as the stock class does, without compiling it."""
    said = logging.getLogger("optimum.intel.openvino.modeling_base")
    level = said.level
    # It says of every directory that it could not tell whether that is to be exported.
    said.setLevel(logging.ERROR)
    try:
        return stock.from_pretrained(path, compile=False, **given)
    finally:
        said.setLevel(level)


def _left(row: _Row, node: str) -> Tensor:
    """What a node left of a row, with the precision that it was given in."""
    left = row.carried[0][graph_parts.Tensor(node, 0)]
    if left.element_type.get_type_name() == "bf16":
        return torch.from_numpy(np.array(left.data).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(left.data))


def _copied(tensor: Any) -> Any:
    from openvino import Tensor as OpenVINOTensor

    copy = OpenVINOTensor(tensor.element_type, tensor.shape)
    tensor.copy_to(copy)
    return copy


@cache
def _core() -> Any:
    from openvino import Core

    return Core()
