"""What evidence asks of a client; nothing of ours takes part in loading.

A client is a module of this package that answers `Client`, and a row of `catalog.formats` names it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from catalog.architectures import named
from catalog.formats import LOADABLE, ORIGINAL
from catalog.runtime import RuntimeOptions
from gates.clients.stored import StoredTensors
from gates.errors import GateError
from gates.evaluation.activations import Watch
from gates.evidence import Check


@dataclass
class Loaded(ABC):
    """A model as a client holds it, loaded with the client's own defaults."""

    model: Any
    """What the client returned."""
    runtime: dict[str, str] = field(default_factory=dict)
    """How it computes: dtype, precision hints."""
    faults: list[str] = field(default_factory=list)
    """What the client reported that a sound artifact never causes."""

    path: Path = Path()
    """The directory that it was loaded from."""
    beside: dict[str, Any] = field(default_factory=dict)
    """What tasks read of that directory."""
    method: str | None = None
    """The quantization that was in force while loading, not the one that config.json names; None: nothing is said of it."""

    @property
    @abstractmethod
    def context(self) -> int | None:
        """Tokens that the model was made for; None where nothing bounds them."""

    @property
    @abstractmethod
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""

    @property
    def threads(self) -> int:
        """Threads that products are computed with."""
        return torch.get_num_threads()

    @abstractmethod
    def logits(self, ids: Tensor) -> Tensor:
        """Return logits, (tokens, vocabulary), for one row of token ids, int64 (tokens,)."""

    def logits_at(self, ids: Tensor, places: Tensor) -> Tensor:
        """Return the logits at some places of a row, (places, vocabulary): those at all of a long one may not fit into memory.

        ids, places: int64 (tokens,) and (places,), ascending.
        """
        return self.logits(ids)[places]

    def outputs(self, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what the model makes of one row, by the client's names; each tensor begins with a dimension of 1."""
        raise GateError(
            "The client of this format returns logits of tokens and nothing else; release this model in another one."
        )

    def expect(self, rows: Sequence[Tensor]) -> None:  # noqa: B027  only those that run several at once need to know
        """Take the rows of token ids whose logits will be asked for next, in that order."""

    def watched(self, again: bool) -> AbstractContextManager[Watch | None]:
        """Look at the activations of all that is run meanwhile; None: this client shows none, or would have to run it twice.

        again: whether it may run all of it once more for that.
        """
        return nullcontext()

    @property
    def is_whole(self) -> bool:
        """Whether all weights are in memory; if not, each run reads them, and nothing is generated token by token."""
        return True

    @abstractmethod
    def generate(
        self, prompts: Tensor, new_tokens: int, *, seed: int | None = None, through_ends: bool = False
    ) -> tuple[tuple[int, ...], ...]:
        """Continue every prompt by at most `new_tokens` tokens: the likeliest, or, with a seed, drawn at temperature 1.

        Args:
            prompts: int64 (prompts, tokens).
            new_tokens: the most that is returned of each.
            seed: of the generator that draws.
            through_ends: go on where a text ends. Otherwise the token that ends it is not part of what is returned.
        """

    def written(self, given: Mapping[str, Tensor], new_tokens: int, whole: bool = False) -> tuple[int, ...]:
        """Return the likeliest tokens that a decoder writes about what an encoder is given, as the client returns them.

        Args:
            given: one row, by the client's names; each tensor begins with a dimension of 1.
            new_tokens: the most that is written.
            whole: with those that the decoder begins with, where the client leaves them out.
        """
        raise GateError(
            "The client of this format continues texts and nothing else; release this model in another one."
        )

    @abstractmethod
    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the original's name and the dense weight, (out, in), of every linear as the client computes with it.

        A large one may come in parts, rows after rows, one after the other under one name.
        """

    def stored_names(self, stored: StoredTensors) -> Mapping[str, str]:
        """Return, of the names that `weights` yields, those under which an original stores another → that."""
        return {}

    @abstractmethod
    def harness(self, tokenizer: Any) -> Any:
        """The model as lm-evaluation-harness takes it (`lm_eval.api.model.LM`)."""


@dataclass(frozen=True)
class Matrix:
    """Where a weight file holds a matrix, row after row."""

    file: Path
    offset: int
    """Of its first byte in the file."""
    rows: int
    row_bytes: int


@dataclass(frozen=True)
class Beginning:
    """What is said of some rows by the first blocks of an artifact, run by the stock loader and as they are streamed."""

    which: str
    """What the stock loader ran, in words."""
    what: str
    """What it says: logits, or what it would go on with."""
    theirs: Sequence[Tensor]
    """Of each row, (tokens, …), in the dtype that it computes with."""
    ours: Sequence[Tensor]
    fault: str | None = None
    """Why the two cannot be compared."""


TokenizerCheck = Callable[[Path, Any, list[str]], Check]


class Streamer(Protocol):
    """A module that loads artifacts a part at a time."""

    def load(self, path: Path, loader: str, hold_bytes: int, device: str, **options: Any) -> Loaded:
        """Open an artifact.

        Args:
            path: its directory.
            loader: full name of the stock class.
            hold_bytes: of its weights, that may stay in memory.
            device: the CPU, by the client's name.
            options: of the class's `from_pretrained`.
        """

    def first_blocks(
        self, path: Path, loader: str, blocks: int, rows: Sequence[Tensor], device: str, **options: Any
    ) -> Beginning:
        """Run the first blocks as the stock loader runs them, and as they are streamed.

        Args:
            path: of the artifact.
            loader: full name of the stock class.
            blocks: how many the stock loader can hold.
            rows: token ids, int64 (tokens,) each.
            device: the CPU, by the client's name.
            options: of the class's `from_pretrained`.
        """


class Client(Protocol):
    """A module that loads artifacts."""

    TOKENIZERS: Mapping[str, TokenizerCheck]
    """Checks, by name, of what the client tokenizes with besides transformers' files: of an artifact, the original's
    tokenizer, and texts of the evaluation."""

    def load(self, path: Path, loader: str, device: str, **options: Any) -> Loaded:
        """Load a model with the class of that full name. Raises whatever the client raises.

        Raises:
            EnvironmentFault: the device is not on this machine.
        """

    def damage(self, artifact: Path) -> str | None:
        """What is broken in the weight files of a directory, before anything is loaded; None when they are whole."""

    def matrices(self, artifact: Path) -> Iterator[Matrix]:
        """Yield where whole weight files hold the matrices of linears, codes or numbers, as they are stored."""


def client_of(format_: str) -> Client:
    """The client of a format's row. Brings the client's library only when it loads."""
    return cast(Client, import_module(f"gates.clients.{LOADABLE[format_].client.module.replace('.', '_')}"))


def streamer_of(format_: str) -> Streamer:
    """What loads artifacts of a format a part at a time."""
    return cast(Streamer, import_module(f"gates.clients.{LOADABLE[format_].streamer}"))


def first_blocks(
    path: Path, format_: str, runtime: RuntimeOptions, task: str, blocks: int, rows: Sequence[Tensor]
) -> Beginning:
    """Run the first blocks of an artifact as its stock loader runs them, and as they are streamed.

    rows: token ids, int64 (tokens,) each. Raises whatever the client raises.
    """
    row = LOADABLE[format_]
    options = {**dict(row.options), **runtime.arguments(row)}
    return streamer_of(format_).first_blocks(
        path, row.loader(task, named(path)), blocks, rows, runtime.device, **options
    )


def load(path: Path, format_: str, runtime: RuntimeOptions, task: str, hold_bytes: int | None = None) -> Loaded:
    """Load an artifact as its user will, with the client's own defaults but for what `runtime` says.

    hold_bytes: of its weights, unpacked, that may stay in memory; None: all. Raises whatever the client raises.
    """
    row = LOADABLE[format_]
    loader, options = row.loader(task, named(path)), {**dict(row.options), **runtime.arguments(row)}
    if hold_bytes is not None:
        loaded = streamer_of(format_).load(path, loader, hold_bytes, runtime.device, **options)
    else:
        loaded = client_of(format_).load(path, loader, runtime.device, **options)
    loaded.path = path
    if row.method != loaded.method:
        loaded.faults.append(
            f"loads with quantization {loaded.method or 'none'}, where {row.method or 'none'} is what was made"
        )
    return loaded


def load_original(path: Path, task: str, hold_bytes: int | None = None) -> Loaded:
    """Load the original in float32 on the CPU: the reference must not carry rounding of its own.

    Args:
        path: its directory.
        task: what it is loaded for.
        hold_bytes: of its weights, in float32, that may stay in memory; None: all. The others are read when they are needed.
    """
    loader = ORIGINAL.loader(task, named(path))
    if hold_bytes is not None:
        from gates.clients import streamed

        loaded: Loaded = streamed.load(path, loader, hold_bytes)
    else:
        loaded = client_of(ORIGINAL.name).load(path, loader, "CPU", dtype=torch.float32)
    loaded.path = path
    return loaded


def stock_class(loader: str) -> Any:
    """The class of that full name, from the library it is in."""
    module, _, name = loader.rpartition(".")
    return getattr(import_module(module), name)
