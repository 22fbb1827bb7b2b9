"""What each step costs, from the safetensors headers and the configuration alone.

The coefficients are bytes, and seconds of one core, fitted to what `python -m bench.predictions`, `bench.memory` and
`bench.depth` measured on CPUs with AVX-512: within a factor of 1.5 on shapes of 0.3 million to 1.1 billion weights.
Whatever is multiplied or rounded takes all cores; imports, the exporter and what is done tensor by tensor take one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from catalog.dtypes import DTYPES
from catalog.engines import ENGINES
from catalog.formats import FORMATS
from catalog.tasks import TASKS
from flows.manifest.model import Evaluation, Rung, Texts
from flows.planning.jobs import Job
from flows.planning.original_memory import BATCH_TOKENS, LONG_ROWS, held, scored_shape
from flows.planning.shape import EXPERT, Shape, shape_of
from flows.planning.sources import Original
from flows.planning.text_size import size_of
from gates.statistics.sequential import interim_looks
from quantizers.recipe import Recipe

MB = 1_000_000


@dataclass(frozen=True)
class Cost:
    """Peak memory of the largest step, disk that stays, and time of all steps."""

    memory_bytes: int
    disk_bytes: int
    seconds: float

    def then(self, other: Cost) -> Cost:
        """Return the cost of both, one after the other."""
        return Cost(
            max(self.memory_bytes, other.memory_bytes),
            self.disk_bytes + other.disk_bytes,
            self.seconds + other.seconds,
        )


NOTHING = Cost(0, 0, 0.0)


@dataclass(frozen=True)
class Process:
    """What a step's process takes before it touches a weight: its imports, most of all."""

    memory_bytes: int
    seconds: float


_SMALL = Process(55 * MB, 0.6)
"""Those that import no torch."""
_STREAMING = Process(645 * MB, 7.5)
_SCORING = Process(565 * MB, 6.5)
_EXPORTED = Process(10 * MB, 0.5)
"""What tracing a block for the exporter takes."""
_WHOLE = {
    "nncf": (Process(765 * MB, 15.0), _EXPORTED, 2.0, 1.4e8),
    "neural-compressor": (Process(730 * MB, 12.0), Process(0, 0.0), 3.0, 4.5e7),
}
"""Engines that hold the model whole: their process, each block, peak over the model's bytes, and bytes a second."""
_WHOLE_READING = {("nncf", "nearest"): (2.0, 4.6e6), ("nncf", "compensated"): (3.0, 1.7e6)}
"""Of those, what changes with calibration text, by rounding: peak over the model's bytes, and bytes a second."""

_DOWNLOAD = 2e7
"""Bytes a second from the Hub and to it; what yours is nobody can know."""
_STREAMED = 5e8
"""Bytes of the original a second that are read, rounded to nearest and written."""
_BLOCK_RATE = 7.5e10
"""Operations a second of a core when blocks run over calibration text."""
_ROUNDED = 1.1e-7
"""Seconds of a core for each weight whose range is searched and that is compensated."""
_PER_BLOCK = 0.065
"""Seconds for each block of a calibrated pass, however small."""
_A_BATCH, _ABREAST = 2.3, 256 << 20
"""Bytes of a further batch over those that its linears read; what these may have read at a time (`quantizers.calibration`)."""
_CALIBRATED = 45 * MB
"""Compiled loops and their scratch."""
_PROBED = 24 * 2048
"""Tokens that run through all blocks, on the mean, while sensitivities are measured."""


@dataclass(frozen=True)
class _Export:
    """What making a format of a finished artifact of another one adds."""

    process: Process
    block: Process
    """For each block."""
    copies: float
    """Copies of the artifact that are held meanwhile."""


_EXPORTS = {
    "gguf": _Export(Process(30 * MB, 1.5), Process(0, 0.05), 0.5),
    "openvino": _Export(Process(120 * MB, 7.5), _EXPORTED, 1.9),
}
"""By format."""

_MAPPED = 1 << 29
"""Bytes of files that stay mapped (`gates.clients.stored`)."""
_FLOAT32_RATE, _BFLOAT16_RATE = 6e10, 1e11
"""Operations a second of a core when text is scored: the original in float32, an artifact in what its loader takes."""
_FETCHED = 1e10
"""Bytes of weights a second that a generated token has to wait for."""
_WIDENED, _FURTHER_RUNS = 4e8, 2
"""Weights a second that are read from files into float32, and runs of an original besides those of text."""
_GENERATED, _PROMPTS = 2 * 48, 8
"""Tokens generated one after the other, of so many prompts at once."""


@dataclass(frozen=True)
class _Scoring:
    """What scoring takes, by what is scored: seconds of a core, but for `compared`, which is bytes."""

    process: Process
    rate: float
    logit: float
    """For each token and entry of the vocabulary."""
    layer: float
    """For each block of each generated token."""
    block: float = 0.0
    """For each block, once."""
    weight: float = 0.0
    """For each weight that is held against the original's."""
    compared: int = 0
    """Bytes for each weight of the largest tensor meanwhile."""
    copies: int = 1
    """Of weights that stay packed, in memory."""
    long: int = 0
    """Bytes for each logit of the long row."""


_ORIGINAL = _Scoring(_SCORING, _FLOAT32_RATE, logit=2e-8, layer=6e-4, long=6)
_COMPILED = Process(725 * MB, 8.0)
_ARTIFACTS = {
    "transformers": _Scoring(_SCORING, _BFLOAT16_RATE, logit=1e-8, layer=1.2e-3, weight=2e-8, compared=12),
    "optimum.intel": _Scoring(
        _COMPILED, _BFLOAT16_RATE, logit=1e-8, layer=2e-4, block=0.25, weight=2e-8, compared=12, copies=2, long=4
    ),
    "xllamacpp": _Scoring(_SCORING, _BFLOAT16_RATE, logit=1e-8, layer=1e-4, weight=2e-8, compared=12, copies=2, long=4),
}
"""By the module of the client."""


def cores() -> int:
    """Cores that this process may use, and its children with it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fetching(original: Original) -> Cost:
    """Price fetching a model from the Hub."""
    return Cost(_SMALL.memory_bytes, original.bytes, _SMALL.seconds + original.bytes / _DOWNLOAD)


def reading_texts(texts: Texts) -> Cost:
    """Price bringing documents here."""
    size = sum(path.stat().st_size for path in texts.files)
    return Cost(_SMALL.memory_bytes, size, _SMALL.seconds + size / _DOWNLOAD)


def publishing(artifact_bytes: int, job: Job) -> Cost:
    """Price a release: the local hub gives its files second names, the Hub takes them over the network."""
    sent = artifact_bytes if "hub" in job.manifest.publish.to else 0
    return Cost(_SMALL.memory_bytes, 0, _SMALL.seconds + sent / _DOWNLOAD)


def weights_bytes(original: Original, rung: Rung) -> int:
    """Predict the size of the artifact's weights: two-dimensional tensors at the recipe's bits, the rest as they are."""
    recipe, total = rung.recipe, 0
    dtypes = recipe.dtypes_of(name.removesuffix(".weight") for name in original.tensors)
    for name, tensor in original.tensors.items():
        if recipe.embeddings and len(tensor.shape) == 2 and "embed" in name:
            total += tensor.elements + 3 * tensor.shape[0]
            continue
        stacked = not FORMATS[recipe.format].stacks and EXPERT.search(name)
        skipped = any(word.strip("*.") in name for word in recipe.skip)
        if len(tensor.shape) != 2 or "embed" in name or skipped or stacked:
            total += tensor.bytes
            continue
        out, features = tensor.shape
        groups = out * (1 if recipe.group_size == -1 else -(-features // recipe.group_size))
        bits = recipe.ratio * DTYPES[dtypes[name.removesuffix(".weight")]].bits + (1 - recipe.ratio) * 8
        shared = FORMATS[recipe.format].group_bits(recipe.symmetric, recipe.bits)
        total += int(tensor.elements * bits / 8) + groups * shared // 8
    return total


def quantizing(work: Sequence[tuple[Job, Rung]]) -> Cost:
    """Price making some artifacts of one model in one process: one pass over it, if its engine streams."""
    (job, rung), shape = work[0], shape_of(work[0][0].original)
    sizes, layers = [weights_bytes(job.original, rung) for _, rung in work], len(shape.blocks)
    if not ENGINES[rung.recipe.engine].streams:
        process, block, copies, rate = _WHOLE[rung.recipe.engine]
        if rung.recipe.calibrated:
            copies, rate = _WHOLE_READING.get((rung.recipe.engine, rung.recipe.rounding), (copies, rate))
        memory = process.memory_bytes + layers * block.memory_bytes + int(copies * shape.bytes)
        return Cost(memory, sum(sizes), process.seconds + layers * block.seconds + shape.bytes / rate)
    memory, seconds = _STREAMING.memory_bytes, _STREAMING.seconds + len(work) * shape.bytes / _STREAMED
    if calibrated := [(job, rung.recipe) for job, rung in work if rung.recipe.calibrated]:
        memory += _calibrated_memory(shape, calibrated)
        seconds += _pass_seconds(shape, calibrated[0][0]) + len(calibrated) * _rounding_seconds(shape)
    for (_, rung), size in zip(work, sizes, strict=True):
        if FORMATS[rung.recipe.format].made_from:
            export = _EXPORTS[rung.recipe.format]
            held = export.process.memory_bytes + layers * export.block.memory_bytes + int(export.copies * size)
            memory = max(memory, _STREAMING.memory_bytes + held)
            seconds += export.process.seconds + layers * export.block.seconds
    return Cost(memory, sum(sizes), seconds)


def measuring_sensitivity(job: Job) -> Cost:
    """Price the measurements that the recipes of a target with `auto` follow from."""
    search = job.target.search
    assert search is not None
    shape = shape_of(job.original)
    seconds = _STREAMING.seconds + 2 * _PROBED * sum(shape.blocks) / _BLOCK_RATE / cores()
    if search.base.calibrated:
        seconds += _pass_seconds(shape, job) + len(search.auto.dtypes) * _rounding_seconds(shape)
    # Blocks are copied, and rounded ones are held beside them.
    held = _calibrated_memory(shape, [(job, search.base)]) + 8 * max(shape.blocks, default=0)
    return Cost(_STREAMING.memory_bytes + held, 0, seconds)


def _calibrated_memory(shape: Shape, work: Sequence[tuple[Job, Recipe]]) -> int:
    manifest = work[0][0].manifest
    stream = 4 * manifest.calibration.samples * manifest.calibration.tokens * shape.hidden
    if manifest.memory_bytes is not None:
        stream = min(stream, manifest.memory_bytes)
    # The moments of a block's inputs, and the factor of the widest.
    squares = 3 * shape.hidden**2 + 2 * shape.widest**2
    if any(FORMATS[recipe.format].stacks for _, recipe in work):
        squares += shape.moments
    # Each further target has a block of its own.
    block = len(work) * max(shape.blocks, default=0)
    return _CALIBRATED + stream + 4 * max(shape.largest, block + squares) + _further_batches(shape)


def _further_batches(shape: Shape) -> int:
    """What batches take that pass a block beside the first, a core each: what linears read, and what blocks make of it."""
    batch = 4 * BATCH_TOKENS * (3 * shape.hidden + shape.widest)
    return int(_A_BATCH * batch * (max(1, min(cores(), _ABREAST // batch)) - 1))


def _pass_seconds(shape: Shape, job: Job) -> float:
    calibration = job.manifest.calibration
    operations = 3 * calibration.samples * calibration.tokens * shape.run
    return operations / _BLOCK_RATE / cores() + _PER_BLOCK * len(shape.blocks)


def _rounding_seconds(shape: Shape) -> float:
    return _ROUNDED * sum(shape.blocks) / cores()


def scoring_original(job: Job) -> Cost:
    """Price the baseline: the original in float32, over all documents."""
    shape, evaluation, weights = scored_shape(job), job.manifest.evaluation, held(job)
    documents, tokens = _rows(evaluation, shape_of(job.original))
    kept = documents * tokens * min(shape.vocabulary, 73) * 8
    if weights.hold_bytes is None:
        seconds = _scoring_seconds(_ORIGINAL, shape, job, documents * tokens, 4)
    else:
        run = documents * tokens + LONG_ROWS * evaluation.tokens
        read = max(0, 4 * shape.elements - weights.hold_bytes) // 4 * (run // BATCH_TOKENS + _FURTHER_RUNS)
        operations = 2 * shape.read * run / _ORIGINAL.rate + _ORIGINAL.logit * run * shape.vocabulary
        seconds = _ORIGINAL.process.seconds + operations / cores() + read / _WIDENED
    return Cost(weights.memory_bytes, int(kept), seconds)


def gating(job: Job, rung: Rung, artifact_bytes: int, scored: int | None = None) -> Cost:
    """Price the evidence on one artifact; of tasks and of speed nothing is known before.

    scored: documents until it is decided; None: the first look decides.
    """
    shape, evaluation, made = scored_shape(job), job.manifest.evaluation, FORMATS[rung.recipe.format]
    documents, tokens = _rows(evaluation, shape_of(job.original))
    scoring = _ARTIFACTS[made.client.module]
    packed = scoring.copies * artifact_bytes if made.small_in_memory else shape.bytes
    # The original's weights are mapped to be compared with, a part of them at a time.
    memory = scoring.process.memory_bytes + min(shape.bytes, _MAPPED) + packed + scoring.compared * shape.largest
    memory += scoring.long * _long_logits(evaluation, shape)
    read = (scored or looks(job, rung, documents)[0]) * tokens
    return Cost(memory, 0, _scoring_seconds(scoring, shape, job, read, 2))


def looks(job: Job, rung: Rung, documents: int) -> tuple[int, ...]:
    """Return at how many of so many documents an artifact is judged: those that are scored sooner than another process starts are
    one look.

    The same on every machine, for what a look may risk follows from those before it: seconds are those of one core.
    """
    shape, scoring = scored_shape(job), _ARTIFACTS[FORMATS[rung.recipe.format].client.module]
    _, tokens = _rows(job.manifest.evaluation, shape_of(job.original))
    each = tokens * (2 * shape.read / scoring.rate + scoring.logit * shape.vocabulary)
    planned = interim_looks(documents)
    at_once = max((look for look in planned if look * each <= scoring.process.seconds), default=planned[0])
    return tuple(look for look in planned if look >= at_once)


def _rows(evaluation: Evaluation, shape: Shape) -> tuple[int, float]:
    return size_of(evaluation, evaluation.tokens, evaluation.documents, shape.vocabulary)


def _long_logits(evaluation: Evaluation, shape: Shape) -> int:
    return LONG_ROWS * evaluation.tokens * shape.vocabulary


def _scoring_seconds(scoring: _Scoring, shape: Shape, job: Job, tokens: float, width: int) -> float:
    """`tokens` of documents, the long row, and continuations, of a model whose weights take `width` bytes each."""
    layers, generated = len(shape.blocks), _GENERATED if TASKS[job.original.task].generates else 0
    tokens += LONG_ROWS * job.manifest.evaluation.tokens if generated else 0
    operations = 2 * shape.read * (tokens + generated * _PROMPTS)
    waited = generated * (layers * scoring.layer + width * shape.read / _FETCHED)
    alone = scoring.process.seconds + layers * scoring.block + scoring.weight * shape.elements + waited
    return alone + (operations / scoring.rate + scoring.logit * tokens * shape.vocabulary) / cores()
