"""Check a loaded manifest against the local files it names, before any work: `check(manifest)`.

Reads safetensors headers, config.json and data files, no weights, and each of them once per process however many manifests
name it. What is fetched from the Hub is checked by the step that reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flows.files.documents import DocumentError, documents
from flows.files.headers import HeaderError, shapes
from flows.manifest.directory import ManifestDirectory
from flows.manifest.errors import shown
from flows.manifest.model import Manifest, Texts
from flows.manifest.yaml_source import Key, Source, read
from quantizers.recipe import Recipe

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_CONV1D = frozenset({"gpt2"})
"""Model types whose linears are stored transposed, `[in, out]`."""
_PASSED_OVER = ("embed", "wte", "wpe", "relative_attention_bias", "router", "gate.weight", ".experts.")
"""Two-dimensional tensors of a block that are looked up, that route, or that are stored otherwise than they run."""
_OFFERED = (1024, 512, 256, 128, 64, 32, 16, 8)


def check(manifest: Manifest, *, allow_path: bool = False) -> None:
    """Raise ManifestError for the first local model or text that cannot be what the manifest says."""
    finding = _Finding(manifest, allow_path)
    if manifest.directory:
        with _readable(finding, ("model", "source")):
            _model(finding, manifest.directory)
    for section in ("calibration", "evaluation"):
        with _readable(finding, (section, "files")):
            _texts(finding, section, getattr(manifest, section))
    _disjoint(finding, manifest)


@dataclass(frozen=True)
class _Finding:
    """Where to report: the manifest is read again for line numbers only when there is something to say."""

    manifest: Manifest
    allow_path: bool

    def source(self) -> Source:
        return read(shown(self.manifest.path))

    def keep_inside(self, key: Key, path: Path) -> None:
        """Raise when a file below a local source is a link that leads out of the manifest's directory."""
        if path.is_symlink() and not self.allow_path:
            base = self.manifest.path.parent
            ManifestDirectory(self.source(), base, False).keep_inside(key, str(path.relative_to(base)), path.resolve())


@contextmanager
def _readable(finding: _Finding, key: Key) -> Iterator[None]:
    """Report a file that the system does not let us read."""
    try:
        yield
    except OSError as error:
        raise finding.source().error(key, f"{error.filename} cannot be read ({error.strerror})") from error


def _model(finding: _Finding, directory: Path) -> None:
    key = ("model", "source")
    if not directory.is_dir():
        what = "is a file; name the directory it is in" if directory.exists() else "does not exist"
        raise finding.source().error(key, f"the model directory {directory} {what}")
    entries = tuple(sorted(directory.iterdir()))
    for entry in entries:
        finding.keep_inside(key, entry)
    state = tuple(
        (entry.name, *_mark(entry)) for entry in entries if entry.suffix in (".json", ".safetensors", ".model", ".txt")
    )
    if problem := _unusable(directory, state):
        raise finding.source().error(key, problem)
    for target in finding.manifest.targets.values():
        for number, rung in enumerate(target.rungs):
            if problem := _unfit(directory, state, rung.recipe):
                raise finding.source().error(_group_key(finding, target.name, number), problem)


def _mark(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:  # a link that leads nowhere: like a file that is missing
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


def _group_key(finding: _Finding, target: str, number: int) -> Key:
    """Return the most exact key that is written for a rung's group size."""
    source = finding.source()
    written = source.written(("targets", target))
    key: Key = ("targets", target)
    if isinstance(written, dict) and "ladder" in written:
        key = (*key, "ladder", number)
    for name in ("group_size", "preset"):
        if isinstance(source.written(key), dict) and name in source.written(key):
            return (*key, name)
    return key


State = tuple[tuple[str, int, int], ...]


@lru_cache(maxsize=1024)
def _unusable(directory: Path, state: State) -> str | None:
    """Return why a directory is no model, or None. `state` is what the answer depends on."""
    names = {name for name, *_ in state}
    if "config.json" not in names:
        return f"{directory} holds no config.json; name a directory that save_pretrained wrote"
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except (ValueError, RecursionError) as error:
        return f"{directory / 'config.json'} is not JSON ({error})"
    for problem, wrong in _CONFIG:
        if wrong(config):
            return f"{directory / 'config.json'} {problem}"
    if not names & set(TOKENIZERS):
        return f"{directory} holds no tokenizer ({', '.join(TOKENIZERS)}); save it beside the weights"
    try:
        shapes(directory)
    except HeaderError as error:
        return str(error)
    return None


_CONFIG: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("is not a mapping", lambda config: not isinstance(config, dict)),
    (
        "names no model_type; a configuration of transformers does",
        lambda config: not isinstance(config.get("model_type"), str),
    ),
    (
        "has a quantization_config: the model is quantized already, and quantizing it again measures against the wrong "
        "original; name the original",
        lambda config: "quantization_config" in config,
    ),
)


@lru_cache(maxsize=4096)
def _unfit(directory: Path, state: State, recipe: Recipe) -> str | None:
    """Return which linears a recipe's group size does not divide, or None."""
    if recipe.group_size == -1:
        return None
    inputs = {name: size for name, size in _linears(directory, state).items() if not _skipped(name, recipe)}
    uneven = [name for name, size in inputs.items() if size % recipe.group_size]
    if not uneven:
        return None
    offers = [str(size) for size in _OFFERED if not any(size_in % size for size_in in inputs.values())]
    allowed = f"{', '.join(offers)}, or -1" if offers else "-1"
    more = f" and {len(uneven) - 1} more" if len(uneven) > 1 else ""
    return (
        f"group_size {recipe.group_size} does not divide the {inputs[uneven[0]]} inputs of {uneven[0]}{more}; "
        f"allowed: {allowed} (one scale per output channel), or these layers in skip"
    )


def _skipped(name: str, recipe: Recipe) -> bool:
    # Some checkpoints, gpt2's among them, leave out the first part of a module's name.
    return any(fnmatchcase(name, p) or fnmatchcase(name, p.partition(".")[2]) for p in recipe.skip)


@lru_cache(maxsize=1024)
def _linears(directory: Path, state: State) -> dict[str, int]:
    """Return the input features of what the headers show to be a linear of a block, or the head.

    A tensor that only looks like one would refuse a good recipe, so what is doubtful is left to the quantizer.
    """
    config = json.loads((directory / "config.json").read_bytes())
    axis = 0 if config["model_type"] in _CONV1D else 1
    found = {}
    for name, tensor in shapes(directory).items():
        linear = name.removesuffix(".weight")
        in_block = any(part.isdigit() for part in linear.split("."))
        if linear == name or len(tensor.shape) != 2 or any(word in name for word in _PASSED_OVER):
            continue
        if in_block or linear == "lm_head":
            found[linear] = tensor.shape[axis if in_block else 1]
    return found


def _texts(finding: _Finding, section: str, texts: Texts) -> None:
    for number, file in enumerate(texts.files):
        key = (section, "files", number)
        if not file.is_file():
            what = "is not a file" if file.exists() else "does not exist"
            raise finding.source().error(key, f"the data file {file} {what}")
        try:
            found = _contents(file, texts.column, *_mark(file))
        except DocumentError as error:
            raise finding.source().error(key, str(error)) from error
        if not found:
            raise finding.source().error(
                key, f"{file} holds no document; give at least one with text in {texts.column!r}"
            )


@lru_cache(maxsize=256)
def _contents(file: Path, column: str, size: int, mtime_ns: int) -> frozenset[bytes]:
    """Return a hash of every document, blind to white space. Raises DocumentError."""
    return frozenset(sha256(" ".join(text.split()).encode()).digest()[:16] for text in documents(file, column))


def _disjoint(finding: _Finding, manifest: Manifest) -> None:
    """Refuse evaluation documents that are calibration documents, too, word for word; the gates look for shared passages."""
    if not (manifest.calibration.files and manifest.evaluation.files):
        return
    read_by_recipes = [
        (path, _contents(path, manifest.calibration.column, *_mark(path))) for path in manifest.calibration.files
    ]
    for number, file in enumerate(manifest.evaluation.files):
        held_out = _contents(file, manifest.evaluation.column, *_mark(file))
        for other, known in read_by_recipes:
            if shared := len(held_out & known):
                raise finding.source().error(
                    ("evaluation", "files", number),
                    f"{shared} of its {len(held_out)} documents are in the calibration file {other.name}, too; "
                    "evaluate on text that no recipe has read",
                )
