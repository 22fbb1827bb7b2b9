"""intel-extension-for-transformers, archived, in an interpreter of its own, which loads an artifact as its user has it.

Rows of tokens go there and logits come back over pipes (`gates/clients/itrex_serve.py`). Its kernels compute nonsense without a
word where torch has fewer threads than the machine has cores, so a product is checked first: that is no fault of the artifact.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from catalog.errors import EnvironmentFault
from catalog.interpreters import environment, python_of
from gates.clients import transformers
from gates.clients.client import Loaded, Matrix, TokenizerCheck
from gates.evidence import Check

PROGRAM = Path(__file__).with_name("itrex_serve.py")
ROW = 64
"""Bytes that count as a row of a block that kernels pack: whoever spoils a copy turns these around."""


class Server:
    """The process that holds the model."""

    def __init__(self, path: Path, compute: str) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="quantmill-itrex-"))
        self._log = (self.scratch / "log.txt").open("w+b")
        self._process = subprocess.Popen(
            [python_of("itrex"), "-P", PROGRAM, path.absolute(), compute],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(self.scratch),
            cwd=self.scratch,
        )
        # At the latest when this process ends; when it is no longer held, so that its memory counts as this step's.
        self.close = weakref.finalize(self, _end, self._process, self._log, self.scratch)

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Send a request; return the line that answers it."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        return self.told()

    def told(self) -> dict[str, Any]:
        """Return the next line of JSON, with the tensor behind it, float32, as `tensor` if there is one.

        Raises:
            RuntimeError: it ended; says what it wrote at last.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"its process ended: {self.last_words()}")
        told: dict[str, Any] = json.loads(line)
        if "shape" in told:
            size = 4 * int(np.prod(told["shape"]))
            values = np.frombuffer(self._process.stdout.read(size), np.float32).reshape(told["shape"])
            told["tensor"] = torch.from_numpy(values.copy())
        return told

    def last_words(self) -> str:
        """What libraries wrote there at last."""
        self._process.wait()
        text = (self.scratch / "log.txt").read_text("utf-8", errors="replace")
        return " | ".join(text.splitlines()[-3:])[:600]


def _end(process: subprocess.Popen[bytes], log: IO[bytes], scratch: Path) -> None:
    """Close its input, which ends it, and wait."""
    if process.poll() is None:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    log.close()
    shutil.rmtree(scratch, ignore_errors=True)


@dataclass
class Model(Loaded):
    """`model` is the server."""

    _told: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> int | None:
        """`max_position_embeddings`."""
        context = self._told["context"]
        return None if context is None else int(context)

    @property
    def ends(self) -> frozenset[int]:
        """`eos_token_id` of its generation config."""
        return frozenset(self._told["ends"])

    def logits(self, ids: Tensor) -> Tensor:
        """Run one row at once."""
        tensor: Tensor = self.model.ask(what="logits", ids=ids.tolist())["tensor"]
        return tensor

    def generate(
        self, prompts: Tensor, new_tokens: int, *, seed: int | None = None, through_ends: bool = False
    ) -> tuple[tuple[int, ...], ...]:
        """Run all prompts as one batch."""
        asked = {"prompts": prompts.tolist(), "new_tokens": new_tokens, "seed": seed, "through_ends": through_ends}
        return tuple(map(tuple, self.model.ask(what="generate", **asked)["rows"]))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what its kernels unpack, one linear at a time."""
        told = self.model.ask(what="weights")
        while "end" not in told:
            yield told["name"], told["tensor"]
            told = self.model.told()

    def harness(self, tokenizer: Any) -> Any:
        """A model of the harness that asks this one."""
        from gates.clients.harness import Asked

        return Asked(self, tokenizer)


def load(path: Path, loader: str, device: str, **options: Any) -> Model:
    """Load with its own loader, whose name is written into its program.

    Raises:
        EnvironmentFault: the engine is not installed, or its kernels compute something else on this machine.
        RuntimeError: it does not load the artifact; says what it wrote.
    """
    server = Server(path, options.get("compute_dtype", "fp32"))
    told = server.told()
    if "error" in told:
        raise RuntimeError("; ".join([*told["faults"], told["error"]]))
    if told["wrong"]:
        server.close()
        raise EnvironmentFault(
            "engine itrex: a product of its kernels is not that of the weights they hold, which happens where a process may use "
            "fewer threads than the machine has cores, or on a CPU that they do not know. Run it without such a limit, on a CPU "
            "with AVX-512 or AVX2."
        )
    return Model(server, dict(told["runtime"]), list(told["faults"]), path=path, _told=told)


def damage(artifact: Path) -> str | None:
    """Shards that are cut short."""
    return transformers.damage(artifact)


def matrices(artifact: Path) -> Iterator[Matrix]:
    """Integers, scales and zero points of blocks; of what kernels pack, the middle half, which is codes."""
    yield from transformers.matrices(artifact)
    for path in sorted(artifact.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name == "__metadata__" or tensor["dtype"] != "I8" or len(tensor["shape"]) != 1:
                continue
            start, end = tensor["data_offsets"]
            quarter = (end - start) // 4
            yield Matrix(path, 8 + length + start + quarter, 2 * quarter // ROW, ROW)


_SPLIT = """\
import json, sys
from transformers import AutoTokenizer

asked = json.load(sys.stdin)
split = AutoTokenizer.from_pretrained(asked["path"])
print(json.dumps([split(text)["input_ids"] for text in asked["texts"]]))
"""


def tokenizers(artifact: Path, original: Any, texts: list[str]) -> Check:
    """The tokenizer as transformers 4.41 reads it splits all texts as the original's does."""
    for text, ids in zip(texts, _split(artifact, texts), strict=True):
        if ids != original(text)["input_ids"]:
            detail = f"its transformers splits {text[:40]!r} differently from the original's tokenizer"
            return Check(name=TOKENIZER, passed=False, detail=detail)
    detail = f"its transformers splits {len(texts)} texts as the original's tokenizer does"
    return Check(name=TOKENIZER, passed=True, detail=detail)


def _split(artifact: Path, texts: list[str]) -> list[list[int]]:
    """Return the tokens of each text. Raises RuntimeError when the tokenizer cannot be read there."""
    with tempfile.TemporaryDirectory(prefix="quantmill-itrex-") as scratch:
        done = subprocess.run(
            [python_of("itrex"), "-P", "-c", _SPLIT],
            input=json.dumps({"path": str(artifact.absolute()), "texts": texts}),
            capture_output=True,
            text=True,
            env=environment(Path(scratch)),
            cwd=scratch,
        )
    if done.returncode:
        raise RuntimeError(f"its tokenizer cannot be read: {' | '.join(done.stderr.splitlines()[-2:])[:400]}")
    rows: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return rows


TOKENIZER = "itrex-tokenizer"
TOKENIZERS: Mapping[str, TokenizerCheck] = {TOKENIZER: tokenizers}
