"""The C functions of llama.cpp (`llama.h`) in the shared library of xllamacpp, as far as evidence needs them.

`llama.h` passes structures by value, and they grow from version to version. They are taken from the library's own defaults,
in a buffer larger than any, which the calling conventions of x86-64 and AArch64 allow; what is set in them lies at the very
beginning, or is held against what the library says of it afterwards.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from catalog.errors import EnvironmentFault

_ERROR = 4
"""`GGML_LOG_LEVEL_ERROR`."""
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_said: list[str] = []
"""Errors that were logged; never more than of one file that was opened."""


@_LOG  # type: ignore[untyped-decorator]
def _listen(level: int, text: bytes, _: object) -> None:
    if level == _ERROR:
        _said.append(text.decode(errors="replace"))


_DEFAULTS = 512, 2048, 512, 1
"""What `llama_context_params` begins with: n_ctx, n_batch, n_ubatch, n_seq_max, uint32 each."""


class _Parameters(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_ubyte * 1024),)


class _Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


_POINTER, _INT = ctypes.c_void_p, ctypes.c_int32
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_print_system_info": (ctypes.c_char_p, ()),
    "llama_log_set": (None, (_LOG, _POINTER)),
    "llama_model_default_params": (_Parameters, ()),
    "llama_model_load_from_file": (_POINTER, (ctypes.c_char_p, _Parameters)),
    "llama_model_free": (None, (_POINTER,)),
    "llama_model_get_vocab": (_POINTER, (_POINTER,)),
    "llama_model_chat_template": (ctypes.c_char_p, (_POINTER, ctypes.c_char_p)),
    "llama_vocab_n_tokens": (_INT, (_POINTER,)),
    "llama_tokenize": (
        _INT,
        (_POINTER, ctypes.c_char_p, _INT, ctypes.POINTER(_INT), _INT, ctypes.c_bool, ctypes.c_bool),
    ),
    "llama_context_default_params": (_Parameters, ()),
    "llama_init_from_model": (_POINTER, (_POINTER, _Parameters)),
    "llama_free": (None, (_POINTER,)),
    "llama_n_ctx": (ctypes.c_uint32, (_POINTER,)),
    "llama_n_batch": (ctypes.c_uint32, (_POINTER,)),
    "llama_set_n_threads": (None, (_POINTER, _INT, _INT)),
    "llama_n_threads": (_INT, (_POINTER,)),
    "llama_get_memory": (_POINTER, (_POINTER,)),
    "llama_memory_clear": (None, (_POINTER, ctypes.c_bool)),
    "llama_batch_init": (_Batch, (_INT, _INT, _INT)),
    "llama_batch_free": (None, (_Batch,)),
    "llama_decode": (_INT, (_POINTER, _Batch)),
    "llama_sampler_init_greedy": (_POINTER, ()),
    "llama_sampler_init_dist": (_POINTER, (ctypes.c_uint32,)),
    "llama_sampler_sample": (_INT, (_POINTER, _POINTER, _INT)),
    "llama_sampler_free": (None, (_POINTER,)),
    "llama_vocab_is_eog": (ctypes.c_bool, (_POINTER, _INT)),
    "llama_get_logits": (ctypes.POINTER(ctypes.c_float), (_POINTER,)),
}


@cache
def _functions() -> Any:
    import xllamacpp

    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_backend_init()
    begin = struct.unpack("<4I", bytes(library.llama_context_default_params().bytes)[:16])
    if begin != _DEFAULTS:
        raise EnvironmentFault(
            f"The llama.cpp in the installed xllamacpp lays its settings out in another way ({begin} where {_DEFAULTS} is "
            "expected), so that no logits can be asked of it. Install the version that constraints.txt names."
        )
    return library


class Library:
    """The functions, and what they complain about."""

    @property
    def call(self) -> Any:
        """Functions by name. The library is opened at the first use."""
        return _functions()

    def system(self) -> str:
        """Instructions that it was built for and finds here."""
        return str(self.call.llama_print_system_info().decode())

    def open(self, path: Path) -> int:
        """A pointer to the model in a file.

        Raises:
            RuntimeError: with what llama.cpp says of it.
        """
        _said.clear()
        self.call.llama_log_set(_listen, None)  # a server sets its own
        model = self.call.llama_model_load_from_file(str(path).encode(), self.call.llama_model_default_params())
        if not model:
            raise RuntimeError(f"llama.cpp refuses {path.name}: {' '.join(' '.join(_said).split())[:300]}")
        return int(model)


class Vocabulary:
    """The tokenizer of a file."""

    def __init__(self, library: Library, path: Path) -> None:
        self._call = library.call
        self._model = library.open(path)
        self._vocabulary = self._call.llama_model_get_vocab(self._model)

    def split(self, text: str) -> list[int]:
        """Token ids, with those that the tokenizer adds of itself."""
        encoded = text.encode()
        room = len(encoded) + 16
        ids = (ctypes.c_int32 * room)()
        count = self._call.llama_tokenize(self._vocabulary, encoded, len(encoded), ids, room, True, True)
        if count < 0:
            raise RuntimeError(f"llama.cpp wants room for {-count} tokens of {len(encoded)} bytes")
        return list(ids[:count])

    def template(self) -> str:
        """The chat template; empty if there is none."""
        return (self._call.llama_model_chat_template(self._model, None) or b"").decode()

    def __del__(self) -> None:
        if model := getattr(self, "_model", None):
            self._call.llama_model_free(model)


class Context:
    """A model that is ready to run texts of so many tokens."""

    def __init__(self, library: Library, path: Path, tokens: int) -> None:
        self._call = call = library.call
        self._context = self._batch = None
        self._model = library.open(path)
        self._vocabulary = call.llama_model_get_vocab(self._model)
        self._tokens = int(call.llama_vocab_n_tokens(self._vocabulary))
        parameters = call.llama_context_default_params()
        struct.pack_into("<I", parameters.bytes, 0, tokens)
        self._context = call.llama_init_from_model(self._model, parameters)
        if not self._context or call.llama_n_ctx(self._context) < tokens:
            raise RuntimeError(f"llama.cpp makes no context of {tokens} tokens for {path.name}")
        self._room = min(int(call.llama_n_batch(self._context)), tokens)
        self._batch = call.llama_batch_init(self._room, 0, 1)

    @property
    def threads(self) -> int:
        """Threads that a token is computed with."""
        return int(self._call.llama_n_threads(self._context))

    def logits(self, ids: list[int]) -> np.ndarray:
        """float32 (tokens, vocabulary)."""
        return self.logits_at(ids, list(range(len(ids))))

    def logits_at(self, ids: list[int], places: list[int]) -> np.ndarray:
        """float32 (places, vocabulary); places: ascending."""
        self._clear()
        out = np.empty((len(places), self._tokens), np.float32)
        done, chosen = 0, set(places)
        for start in range(0, len(ids), self._room):
            part = ids[start : start + self._room]
            wanted = [int(place in chosen) for place in range(start, start + len(part))]
            self._run(part, start, wanted)
            if found := sum(wanted):
                computed = self._call.llama_get_logits(self._context)
                out[done : done + found] = np.ctypeslib.as_array(computed, (found, self._tokens))
                done += found
        return out

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end a generation."""
        return frozenset(t for t in range(self._tokens) if self._call.llama_vocab_is_eog(self._vocabulary, t))

    def continued(self, ids: list[int], new_tokens: int, seed: int | None, through_ends: bool) -> list[int]:
        """New tokens: the likeliest, or, with a seed, drawn at temperature 1; up to one that ends a text, or through it."""
        call = self._call
        sampler = call.llama_sampler_init_greedy() if seed is None else call.llama_sampler_init_dist(seed)
        self._clear()
        new: list[int] = []
        try:
            for start in range(0, len(ids), self._room):
                part = ids[start : start + self._room]
                self._run(part, start, [0] * (len(part) - 1) + [1])
            while len(new) < new_tokens:
                token = int(call.llama_sampler_sample(sampler, self._context, -1))
                if not through_ends and token in self.ends:
                    break
                new.append(token)
                if len(new) < new_tokens:
                    self._run([token], len(ids) + len(new) - 1, [1])
        finally:
            call.llama_sampler_free(sampler)
        return new

    def _clear(self) -> None:
        self._call.llama_memory_clear(self._call.llama_get_memory(self._context), True)

    def _run(self, ids: list[int], start: int, wanted: list[int]) -> None:
        """Run tokens from a position on; logits are kept of those that are `wanted`."""
        batch = self._batch
        assert batch is not None
        batch.n_tokens = len(ids)
        for number, token in enumerate(ids):
            batch.token[number], batch.pos[number] = token, start + number
            batch.n_seq_id[number], batch.seq_id[number][0] = 1, 0
            batch.logits[number] = wanted[number]
        if code := self._call.llama_decode(self._context, batch):
            raise RuntimeError(f"llama.cpp cannot run {len(ids)} tokens after {start} (llama_decode gives {code})")

    def __del__(self) -> None:
        if batch := getattr(self, "_batch", None):
            self._call.llama_batch_free(batch)
        if context := getattr(self, "_context", None):
            self._call.llama_free(context)
        if model := getattr(self, "_model", None):
            self._call.llama_model_free(model)
