"""A decoder of OpenVINO that is larger than memory: its graph is run a part at a time, by OpenVINO as the stock loader calls it.

Each part is cut out of a graph that is read anew (`gates.clients.graph_parts`), compiled, run for all rows that are expected
(`gates.clients.graph_runs`), and let go of. What it leaves for the next is given in the precision that OpenVINO computes with,
so that logits are those of the whole graph to the last bit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalog.processes import return_freed_memory
from gates.clients import graph_parts, optimum_intel, transformers
from gates.clients.client import Beginning, stock_class
from gates.clients.graph_runs import Parts, Row, Running, left_of
from gates.clients.graph_weights import weights_of
from gates.clients.optimum_intel import AT_ONCE, HINTS, THREADS, properties_of
from gates.evaluation.activations import Watch
from gates.evaluation.lengths import ABREAST_TOKENS

_PRECISIONS = {"bfloat16": "bf16", "float16": "f16"}
"""What OpenVINO may compute in besides float32, as it says and as it is told."""


@dataclass
class Model(optimum_intel.Model):
    """A decoder of which one part is in memory."""

    parts: Parts = field(kw_only=True)
    used_threads: int = field(kw_only=True)
    _expected: list[Tensor] = field(default_factory=list, kw_only=True)
    _begun: list[Row] = field(default_factory=list, kw_only=True)
    _last: Running | None = field(default=None, kw_only=True)

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

    def begun(self, rows: Sequence[Tensor]) -> list[Row]:
        """Return rows, each in one piece, before the first part."""
        return [self._row(row, len(row)) for row in rows]

    def _through(self, rows: Sequence[Row]) -> None:
        """Run all parts but the last, which makes logits."""
        self._leave()
        for number in range(self.parts.count - 1):
            self.parts.advance(number, rows)

    def _row(self, ids: Tensor, at_once: int) -> Row:
        """Return a row as the stock class gives it to its graph."""
        feeds, past = [], None
        for start in range(0, len(ids), at_once):
            piece = ids[start : start + at_once]
            mask = torch.ones(1, start + len(piece), dtype=torch.int64)
            given = self.model.prepare_inputs(input_ids=piece[None], attention_mask=mask, past_key_values=past)
            feeds.append({name: np.ascontiguousarray(value) for name, value in given.items()})
            past = ((),)
        return Row(ids, feeds, [{} for _ in feeds])

    def _taken(self, ids: Tensor) -> Row | None:
        for number, row in enumerate(self._begun):
            if torch.equal(row.ids, ids):
                return self._begun.pop(number)
        return None

    def _said(self, row: Row, piece: int) -> Tensor:
        """Logits of a piece, float32 (tokens, vocabulary)."""
        if self._last is None:
            self._last = Running(*self.parts.compiled(self.parts.count - 1))
        if piece == 0:
            self._last.begin()
        (logits,), _ = self._last.run(row.feeds[piece], row.carried[piece])
        return torch.from_numpy(np.array(logits.data))[0]


def load(path: Path, loader: str, hold_bytes: int, device: str, **options: Any) -> Model:
    """As `Streamer.load`. A part has so many bytes of weights as they are stored; what cannot be cut is one whatever it has."""
    return_freed_memory()
    with transformers.alarms() as faults:
        parts, told = _parts(path, loader, hold_bytes, device, options)
    threads = int(told.pop(THREADS, torch.get_num_threads()))
    told["weights"] = "read from the files a part of the graph at a time"
    return Model(parts.open(), told, faults, parts=parts, used_threads=threads)


def first_blocks(
    path: Path, loader: str, blocks: int, rows: Sequence[Tensor], device: str, **options: Any
) -> Beginning:
    """As `Streamer.first_blocks`: the first parts as one graph, and one after the other. A block is two parts at the most."""
    loaded = load(path, loader, 0, device, **options)
    parts = loaded.parts
    run = min(2 * blocks, len(parts.cuts))
    stock, streamed = parts.cut(parts.cuts[run - 1 : run]), parts.cut(parts.cuts[:run])
    theirs, ours = (_states(each, loaded.begun(rows)) for each in (stock, streamed))
    which = f"the first {run} of {parts.count} parts of the graph in one" if run else "a graph that can be cut nowhere"
    return Beginning(which, "states", theirs, ours)


def _states(parts: Parts, rows: list[Row]) -> list[Tensor]:
    """What the last part but one leaves of each row; nothing of a graph in one part."""
    for number in range(parts.count - 1):
        parts.advance(number, rows)
    return [left_of(row, parts.cuts[-1]) for row in rows if parts.cuts]


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
