"""What an interrupted calibrated run left behind: the last finished block and the hidden states that follow it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from quantizers.artifact.target import Target
from quantizers.calibration.activations import Activations
from quantizers.hardware.device import compute
from quantizers.model.checkpoint import Checkpoint
from quantizers.request import Request, tools

STATE = "state.json"


def fingerprint(request: Request, checkpoint: Checkpoint) -> str:
    """Digest of all that decides the bits; work that was left under another one is not gone on with.

    Shards are told apart by size and time of change, for reading them whole would take as long as quantizing them.
    """
    files = {stored.file for stored in checkpoint.tensors.values()}
    shards = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(files)]
    text = b"" if request.calibration is None else request.calibration.documents.read_bytes()
    parts = [
        request.model_dump_json(),
        str(compute(request)),
        json.dumps([shards, tools(request), checkpoint.config], sort_keys=True),
    ]
    return hashlib.sha256("\n".join(parts).encode() + text).hexdigest()


def begin(work: Path, digest: str, targets: list[Target]) -> None:
    """Take up what was finished under this digest; anything else in `work` is removed."""
    state = work / STATE
    if state.is_file() and all(target.directory.is_dir() for target in targets):
        saved = json.loads(state.read_text())
        if saved["fingerprint"] == digest:
            for target in targets:
                target.measures |= saved["measures"].get(target.name, {})
            return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _write(work, digest, 0, targets)


def finished(work: Path) -> int:
    """Blocks that are through."""
    return int(json.loads((work / STATE).read_text())["blocks"])


def save(work: Path, blocks: int, stream: Iterable[Tensor], targets: list[Target], keep: int) -> None:
    """Keep the hidden states that follow `blocks` blocks, then say that these are through.

    Those that follow one block less are let go, unless they are the ones that follow `keep` blocks.
    """
    directory = work / f"after-{blocks}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for index, batch in enumerate(stream):
        save_file({"hidden": batch.contiguous()}, directory / f"{index}.safetensors")
    _write(work, json.loads((work / STATE).read_text())["fingerprint"], blocks, targets)
    if blocks - 1 != keep:
        shutil.rmtree(work / f"after-{blocks - 1}", ignore_errors=True)


def load(work: Path, blocks: int, stream: Activations) -> None:
    """Replace the stream by what `save` kept after `blocks` blocks."""
    directory = work / f"after-{blocks}"
    for index in range(len(stream)):
        with safe_open(directory / f"{index}.safetensors", framework="pt") as file:  # type: ignore[no-untyped-call]
            stream[index] = file.get_tensor("hidden").clone()


def _write(work: Path, digest: str, blocks: int, targets: list[Target]) -> None:
    measures = {target.name: target.measures for target in targets}
    state = {"fingerprint": digest, "blocks": blocks, "measures": measures}
    (work / "state.new").write_text(json.dumps(state))
    (work / "state.new").replace(work / STATE)
