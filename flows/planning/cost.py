"""What a job will cost, from the safetensors headers and the configuration alone.

The coefficients are bytes and seconds measured on two cores with AVX-512 (bench/memory.py and bench/depth.py print the
sums anew); a prediction is for planning, within a factor of about two.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from catalog.dtypes import DTYPES
from catalog.formats import FORMATS
from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.planning.sources import Original
from quantizers.recipe import Recipe

MIB = 1 << 20
# Resident bytes of a child before it touches a weight, by what it imports.
_IMPORTS = {"streaming": 620 * MIB, "nncf": 900 * MIB, "neural-compressor": 700 * MIB, "score": 620 * MIB}
# Peak over the model's bytes for engines that hold it whole.
_WHOLE = {"nncf": 3.4, "neural-compressor": 3.0}
# Seconds of start-up, by step.
_START = {"streaming": 6.0, "nncf": 25.0, "neural-compressor": 12.0, "score": 9.0}
_FLOPS = 1.2e11
_BYTES_PER_SECOND = {"streaming": 4.0e8, "nncf": 6.0e7, "neural-compressor": 9.0e7}
_TYPICAL_DOCUMENTS = 128
# What making IR of a finished artifact adds: imports, the exporter's trace and what it copies of the tensors it keeps.
_IR_MEMORY, _IR_SECONDS = 320 * MIB, 8.0
# A calibrated pass: compiled loops and their scratch; blocks and moments per second; search and compensation per weight.
_CALIBRATED_MEMORY, _CALIBRATED_FLOPS, _ROUNDING_SECONDS = 200 * MIB, 2.0e11, 1.1e-7
# Tokens that run through all blocks, on the mean, while sensitivities are measured.
_PROBED = 24 * 2048
_BLOCK = re.compile(r"(.*?\.\d+)\.")
_EXPERT = re.compile(r"\.experts\.\d+\.")
"""In names of experts that transformers stacks: quantized in some formats alone."""


@dataclass(frozen=True)
class Cost:
    """Peak memory of the largest step, disk that stays, and time of all steps."""

    memory_bytes: int
    disk_bytes: int
    seconds: float

    def over(self, other: Cost) -> Cost:
        """Return the cost of both, one after the other."""
        return Cost(
            max(self.memory_bytes, other.memory_bytes),
            self.disk_bytes + other.disk_bytes,
            self.seconds + other.seconds,
        )


def predict(job: Job, rung: Rung) -> Cost:
    """Predict a whole job: baseline, search, quantize, gate and publish."""
    return _score(job).over(_sensitivity(job)).over(quantizing(job, rung)).over(_score(job))


def weights_bytes(original: Original, rung: Rung) -> int:
    """Predict the size of the artifact's weights: two-dimensional tensors at the recipe's bits, the rest as they are."""
    recipe, total = rung.recipe, 0
    dtypes = recipe.dtypes_of(name.removesuffix(".weight") for name in original.tensors)
    for name, tensor in original.tensors.items():
        if recipe.embeddings and len(tensor.shape) == 2 and "embed" in name:
            total += tensor.elements + 3 * tensor.shape[0]
            continue
        stacked = not FORMATS[recipe.format].stacks and _EXPERT.search(name)
        skipped = any(word.strip("*.") in name for word in recipe.skip)
        if len(tensor.shape) != 2 or "embed" in name or skipped or stacked:
            total += tensor.bytes
            continue
        out, features = tensor.shape
        groups = out * (1 if recipe.group_size == -1 else -(-features // recipe.group_size))
        bits = recipe.ratio * DTYPES[dtypes[name.removesuffix(".weight")]].bits + (1 - recipe.ratio) * 8
        total += int(tensor.elements * bits / 8) + groups * (2 if recipe.symmetric else 3)
    return total


def _blocks(original: Original) -> tuple[list[int], int]:
    """Weights of each block, and the most inputs of a linear in any."""
    sizes: Counter[str] = Counter()
    widest = 0
    for name, tensor in original.tensors.items():
        if found := _BLOCK.match(name):
            sizes[found[1]] += tensor.elements
            widest = max(widest, tensor.shape[1]) if len(tensor.shape) == 2 else widest
    return list(sizes.values()), widest


def quantizing(job: Job, rung: Rung) -> Cost:
    """Predict the making of one artifact."""
    original, engine = job.original, rung.recipe.engine
    disk = weights_bytes(original, rung)
    memory = _IMPORTS[engine]
    seconds = _START[engine] + original.bytes / _BYTES_PER_SECOND[engine]
    if engine != "streaming":
        return Cost(memory + int(_WHOLE[engine] * original.bytes), disk, seconds)
    if rung.recipe.calibrated:
        memory += _calibrated_memory(job, rung.recipe)
        seconds += _calibrated_seconds(job)
    if FORMATS[rung.recipe.format].made_from:
        memory, seconds = max(memory, _IMPORTS[engine] + _IR_MEMORY + 3 * disk), seconds + _IR_SECONDS
    return Cost(memory, disk, seconds)


def _calibrated_memory(job: Job, recipe: Recipe) -> int:
    original, calibration = job.original, job.manifest.calibration
    blocks, widest = _blocks(original)
    hidden = int(original.config.get("hidden_size") or original.config.get("n_embd") or 1024)
    stream = 4 * calibration.samples * calibration.tokens * hidden
    if job.manifest.memory_bytes is not None:
        stream = min(stream, job.manifest.memory_bytes)
    # The moments of a block's inputs, and the factor of the widest.
    squares = 3 * hidden**2 + 2 * widest**2
    if FORMATS[recipe.format].stacks:
        squares += _read_by_experts(original)
    embeddings = max(tensor.elements for tensor in original.tensors.values())
    return _CALIBRATED_MEMORY + stream + 4 * max(embeddings, max(blocks, default=0) + squares)


def _read_by_experts(original: Original) -> int:
    """Elements of the moments of a block of experts: each has one of what it reads, and one of what it makes of that."""
    blocks: dict[str, set[tuple[str, int]]] = {}
    for name, tensor in original.tensors.items():
        if _EXPERT.search(name) and (found := _BLOCK.match(name)):
            blocks.setdefault(found[1], set()).add((name.rsplit(".", 2)[0], tensor.shape[1]))
    return max((sum(inputs**2 for _, inputs in read) for read in blocks.values()), default=0)


def _chosen(original: Original) -> float:
    """Share of the experts that a token is sent to."""
    config = original.config
    count = config.get("num_experts") or config.get("num_local_experts")
    return int(config.get("num_experts_per_tok", 1)) / int(count) if count else 1.0


def _calibrated_seconds(job: Job) -> float:
    calibration, elements = job.manifest.calibration, sum(_blocks(job.original)[0])
    experts = sum(tensor.elements for name, tensor in job.original.tensors.items() if _EXPERT.search(name))
    run = elements - experts * (1 - _chosen(job.original))
    flops = 3 * calibration.samples * calibration.tokens * run
    return flops / _CALIBRATED_FLOPS + _ROUNDING_SECONDS * elements


def _sensitivity(job: Job) -> Cost:
    """Predict the search of a target with `auto`; nothing where its outcome is known, or where none is needed."""
    search = job.target.search
    if job.recipes_known or search is None:
        return Cost(0, 0, 0.0)
    blocks, _ = _blocks(job.original)
    elements = sum(blocks)
    seconds = _START["streaming"] + 2 * _PROBED * elements / _CALIBRATED_FLOPS
    if search.base.calibrated:
        seconds += _calibrated_seconds(job) + (len(search.auto.dtypes) - 1) * _ROUNDING_SECONDS * elements
    # Blocks are copied, and rounded ones are held beside them.
    memory = _IMPORTS["streaming"] + _calibrated_memory(job, search.base) + 8 * max(blocks, default=0)
    return Cost(memory, 0, seconds)


def _elements(original: Original) -> int:
    return sum(tensor.elements for tensor in original.tensors.values())


def _score(job: Job) -> Cost:
    original, evaluation = job.original, job.manifest.evaluation
    documents = evaluation.documents or _TYPICAL_DOCUMENTS
    tokens = documents * evaluation.tokens
    vocabulary = int(original.config.get("vocab_size") or 32000)
    logits = evaluation.tokens * vocabulary * 4
    memory = _IMPORTS["score"] + 4 * _elements(original) + 6 * logits
    kept = min(vocabulary, 128)
    return Cost(memory, tokens * kept * 8, _START["score"] + 2 * tokens * _elements(original) / _FLOPS)
