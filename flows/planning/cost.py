"""What each step costs, from the safetensors headers and the configuration alone.

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
from flows.manifest.model import Evaluation, Manifest, Rung
from flows.manifest.texts import Texts
from flows.planning import coefficients as measured
from flows.planning.artifact_memory import Streaming, streaming
from flows.planning.calibrated_rows import calibrated_rows
from flows.planning.coefficients import Scoring
from flows.planning.jobs import Job
from flows.planning.original_memory import held, longest_row, read_besides, scored_shape
from flows.planning.shape import EXPERT, EXPERTS, Shape, shape_of
from flows.planning.sources import Original
from flows.planning.text_size import rows_of, size_of
from gates.evaluation.lengths import ABREAST_TOKENS, LONG_ROWS
from gates.statistics.sequential import interim_looks
from quantizers.calibration.batches import ABREAST, BATCH_TOKENS
from quantizers.families.limits import UNSTACKED
from quantizers.recipe import Recipe


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


def cores() -> int:
    """Cores that this process may use, and its children with it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fetching(original: Original) -> Cost:
    """Price fetching a model from the Hub."""
    seconds = measured.SMALL.seconds + original.bytes / measured.DOWNLOAD
    return Cost(measured.SMALL.memory_bytes, original.bytes, seconds)


def reading_texts(texts: Texts) -> Cost:
    """Price bringing documents here."""
    size = sum(path.stat().st_size for path in texts.files)
    return Cost(measured.SMALL.memory_bytes, size, measured.SMALL.seconds + size / measured.DOWNLOAD)


def publishing(artifact_bytes: int, job: Job) -> Cost:
    """Price a release: the local hub gives its files second names, the Hub takes them over the network."""
    sent = artifact_bytes if "hub" in job.manifest.publish.to else 0
    return Cost(measured.SMALL.memory_bytes, 0, measured.SMALL.seconds + sent / measured.DOWNLOAD)


def weights_bytes(original: Original, rung: Rung) -> int:
    """Predict the size of the artifact's weights: two-dimensional tensors at the recipe's bits, the rest as they are."""
    recipe, total = rung.recipe, 0
    dtypes = recipe.dtypes_of(name.removesuffix(".weight") for name in original.tensors)
    for name, tensor in original.tensors.items():
        shape = tensor.shape
        if original.config.get("model_type") in UNSTACKED and EXPERTS.search(name):
            experts, features, out = shape
            shape = (experts * out, features)
        stacked = not FORMATS[recipe.format].stacks and EXPERT.search(name)
        skipped = any(word.strip("*.") in name for word in recipe.skip)
        if recipe.embeddings and len(tensor.shape) == 2 and ("embed" in name or (skipped and "head" in name)):
            total += tensor.elements + 3 * tensor.shape[0]
            continue
        if len(shape) != 2 or "embed" in name or skipped or stacked:
            total += tensor.bytes
            continue
        out, features = shape
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
        process, block, copies, rate = measured.WHOLE[rung.recipe.engine]
        if rung.recipe.calibrated:
            copies, rate = measured.WHOLE_READING.get((rung.recipe.engine, rung.recipe.rounding), (copies, rate))
        memory = process.memory_bytes + layers * block.memory_bytes + int(copies * shape.bytes)
        return Cost(memory, sum(sizes), process.seconds + layers * block.seconds + shape.bytes / rate)
    memory, seconds = measured.STREAMING.memory_bytes, measured.STREAMING.seconds
    seconds += len(work) * shape.bytes / measured.STREAMED
    if calibrated := [(job, rung.recipe) for job, rung in work if rung.recipe.calibrated]:
        memory += _calibrated_memory(shape, calibrated)
        seconds += _pass_seconds(shape, calibrated[0][0]) + len(calibrated) * _rounding_seconds(shape)
    for (_, rung), size in zip(work, sizes, strict=True):
        if FORMATS[rung.recipe.format].made_from:
            export = measured.EXPORTS[rung.recipe.format]
            beside = export.process.memory_bytes + layers * export.block.memory_bytes + int(export.copies * size)
            memory = max(memory, measured.STREAMING.memory_bytes + beside)
            seconds += export.process.seconds + layers * export.block.seconds
    return Cost(memory, sum(sizes), seconds)


def measuring_sensitivity(job: Job) -> Cost:
    """Price the measurements that the recipes of a target with `auto` follow from."""
    search = job.target.search
    assert search is not None
    shape = shape_of(job.original)
    operations = 2 * measured.PROBED_TOKENS * sum(shape.blocks)
    seconds = measured.STREAMING.seconds + operations / measured.BLOCK_RATE / cores()
    if search.base.calibrated:
        seconds += _pass_seconds(shape, job) + len(search.auto.dtypes) * _rounding_seconds(shape)
    # Blocks are copied, and rounded ones are held beside them.
    blocks = _calibrated_memory(shape, [(job, search.base)]) + 8 * max(shape.blocks, default=0)
    return Cost(measured.STREAMING.memory_bytes + blocks, 0, seconds)


def _calibrated_memory(shape: Shape, work: Sequence[tuple[Job, Recipe]]) -> int:
    manifest, rows = work[0][0].manifest, calibrated_rows(work[0][0])
    stream = 4 * rows.count * rows.tokens * shape.hidden
    if rows.held:
        # Read, stacked, and what a block makes of all of them beside what it was given.
        stream += 4 * rows.count * (2 * rows.held + rows.tokens * shape.hidden)
    elif manifest.memory_bytes is not None:
        stream = min(stream, manifest.memory_bytes)
    # The moments of a block's inputs, and the factor of the widest.
    squares = 3 * shape.hidden**2 + 2 * shape.widest**2
    if any(FORMATS[recipe.format].stacks for _, recipe in work):
        squares += shape.moments
    # Each further target has a block of its own.
    block = len(work) * max(shape.blocks, default=0)
    return measured.CALIBRATED + stream + 4 * max(shape.largest, block + squares) + _further_batches(shape)


def _further_batches(shape: Shape) -> int:
    """What batches take that pass a block beside the first, a core each: what linears read, and what blocks make of it."""
    batch = 4 * BATCH_TOKENS * (3 * shape.hidden + shape.widest)
    return int(measured.A_BATCH * batch * (max(1, min(cores(), ABREAST // batch)) - 1))


def _pass_seconds(shape: Shape, job: Job) -> float:
    rows = calibrated_rows(job)
    operations = 3 * rows.count * rows.tokens * shape.run
    return operations / measured.BLOCK_RATE / cores() + measured.PER_BLOCK * len(shape.blocks)


def _rounding_seconds(shape: Shape) -> float:
    return measured.ROUNDED * sum(shape.blocks) / cores()


def scoring_original(job: Job) -> Cost:
    """Price the baseline: the original in float32, over all documents."""
    shape, evaluation, weights = scored_shape(job), job.manifest.evaluation, held(job)
    documents, tokens = _rows(job.manifest, shape_of(job.original))
    kept = documents * tokens * min(shape.vocabulary, 73) * 8
    if weights.hold_bytes is None:
        seconds = _scoring_seconds(measured.ORIGINAL, shape, job, documents * tokens, 4)
    else:
        run = documents * tokens + LONG_ROWS * evaluation.tokens
        read = max(0, 4 * shape.elements - weights.hold_bytes) // 4 * (1 + run // ABREAST_TOKENS)
        operations = 2 * shape.read * run / measured.ORIGINAL.rate + measured.ORIGINAL.logit * run * shape.vocabulary
        seconds = measured.ORIGINAL.process.seconds + operations / cores() + read / measured.WIDENED
        further = sum(rows.rows for rows in read_besides(job))
        seconds += further * max(0, 4 * shape.elements - weights.hold_bytes) // 4 / measured.WIDENED
    seconds += _long_seconds(measured.ORIGINAL, shape, job)
    return Cost(weights.memory_bytes, int(kept), seconds)


def gating(job: Job, rung: Rung, artifact_bytes: int, scored: int | None = None) -> Cost:
    """Price the evidence on one artifact; of tasks and of speed nothing is known before.

    scored: documents until it is decided; None: the first look decides. Rows of gates that are measured alone are read once.
    """
    shape, evaluation, made = scored_shape(job), job.manifest.evaluation, FORMATS[rung.recipe.format]
    documents, tokens = _rows(job.manifest, shape_of(job.original))
    read = (scored or looks(job, rung, documents)[0]) * tokens
    if job.streams(rung):
        how = streaming(job, rung, artifact_bytes)
        return Cost(how.memory_bytes, 0, _streaming_seconds(shape, job, rung, how, read))
    scoring = measured.ARTIFACTS[made.client.module]
    # What is unpacked whole stays mapped as it was packed.
    packed = scoring.copies * artifact_bytes if made.small_in_memory else shape.bytes + artifact_bytes
    # The original's weights are mapped to be compared with, a part of them at a time.
    memory = scoring.process.memory_bytes + min(shape.bytes, measured.MAPPED) + packed + _compared(scoring, shape)
    memory += max(scoring.long * _long_logits(evaluation, shape), longest_row(job, shape, 2))
    memory += job.draft.bytes if job.draft else 0
    seconds = _scoring_seconds(scoring, shape, job, read, 2) + _long_seconds(scoring, shape, job)
    return Cost(memory, 0, seconds)


def _compared(scoring: Scoring, shape: Shape) -> int:
    """Bytes of the weights that are held against the original's at once."""
    beside = shape.largest if scoring.at_once is None else scoring.at_once
    return scoring.compared * min(shape.largest, max(beside, shape.widest * shape.hidden))


def _streaming_seconds(shape: Shape, job: Job, rung: Rung, how: Streaming, tokens: float) -> float:
    """Price `tokens` of documents, a long row and the first tokens of continuations, all blocks brought for each batch."""
    scoring = measured.ARTIFACTS[FORMATS[rung.recipe.format].client.module]
    run = tokens + LONG_ROWS * job.manifest.evaluation.tokens
    readings = run // ABREAST_TOKENS + measured.FURTHER_READINGS + sum(rows.rows for rows in read_besides(job))
    operations = 2 * shape.read * run / scoring.rate + scoring.logit * run * shape.vocabulary
    alone = scoring.process.seconds + scoring.weight * shape.elements
    return alone + how.reading_seconds * readings + operations / cores() + _long_seconds(scoring, shape, job)


def looks(job: Job, rung: Rung, documents: int) -> tuple[int, ...]:
    """Return at how many of so many documents an artifact is judged: those that are scored within a few seconds are one look.

    The same on every machine, for what a look may risk follows from those before it: seconds are those of one core.
    """
    shape, scoring = scored_shape(job), measured.ARTIFACTS[FORMATS[rung.recipe.format].client.module]
    _, tokens = _rows(job.manifest, shape_of(job.original))
    each = tokens * (2 * shape.read / scoring.rate + scoring.logit * shape.vocabulary)
    planned = interim_looks(documents)
    at_once = max((look for look in planned if look * each <= measured.ONE_LOOK), default=planned[0])
    return tuple(look for look in planned if look >= at_once)


def _rows(manifest: Manifest, shape: Shape) -> tuple[int, float]:
    evaluation, (first, *_) = manifest.evaluation, TASKS[manifest.model.task].columns
    if first.is_file:
        # What a file comes to is the model's affair: as many tokens as are asked for at the most.
        return rows_of(evaluation, first, evaluation.documents), evaluation.tokens
    return size_of(evaluation, evaluation.tokens, evaluation.documents, shape.vocabulary)


def _long_logits(evaluation: Evaluation, shape: Shape) -> int:
    return LONG_ROWS * evaluation.tokens * shape.vocabulary


def _long_seconds(scoring: Scoring, shape: Shape, job: Job) -> float:
    """Rows that are read for single gates: products with weights, and with all that came before."""
    layers, seconds = len(shape.blocks), 0.0
    for read in read_besides(job):
        before = 2 * layers * shape.hidden * read.tokens
        seconds += read.rows * read.tokens * (2 * shape.read + before) / scoring.rate
    return seconds / cores()


def _scoring_seconds(scoring: Scoring, shape: Shape, job: Job, tokens: float, width: int) -> float:
    """`tokens` of documents, the long row, and continuations, of a model whose weights take `width` bytes each."""
    layers, generated = len(shape.blocks), measured.GENERATED if TASKS[job.original.task].generates else 0
    tokens += LONG_ROWS * job.manifest.evaluation.tokens if generated else 0
    operations = 2 * shape.read * (tokens + generated * measured.PROMPTS)
    waited = generated * (layers * scoring.layer + width * shape.read / measured.FETCHED)
    alone = scoring.process.seconds + layers * scoring.block + scoring.weight * shape.elements + waited
    return alone + (operations / scoring.rate + scoring.logit * tokens * shape.vocabulary) / cores()
