"""What making an adapter costs, from the headers of its base's original and its recipe alone."""

from __future__ import annotations

from flows.planning import coefficients as measured
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.adapter_plan import PlannedAdapter
from flows.planning.cost import NOTHING, Cost, cores, reading_texts, weights_bytes
from flows.planning.shape import Shape, shape_of
from flows.planning.text_size import size_of
from gates.statistics.sequential import FIRST


def adapting(planned: PlannedAdapter) -> Cost:
    """Price the steps that are left of an adapter, one after the other."""
    job, left, total = planned.job, planned.steps, NOTHING
    if "texts" in left:
        for texts in (job.adapter.data, job.adapter.held_out):
            total = total.then(reading_texts(texts))
    if "train" in left:
        total = total.then(training(job))
    if "gate" in left:
        total = total.then(judging(job))
    if "publish" in left:
        total = total.then(Cost(measured.SMALL.memory_bytes, 0, measured.SMALL.seconds))
    return total


def training(job: AdapterJob) -> Cost:
    """Price training: the memory of all processes together, and seconds with all cores.

    The base has no gradients of its own, and those of activations are checkpointed: its weights are multiplied with when a
    micro-batch runs, when its blocks run again on the way back, and for the gradients of what they read. That is three
    times 2 operations for each weight and token, and three times that the weights are unpacked for each micro-batch.
    """
    recipe, shape, row = job.adapter.recipe, shape_of(job.on.job.original), measured.TRAINING[job.compute]
    parameters = job.parameters
    own = row.process.memory_bytes + _held(job, shape) + measured.TRAINED * parameters + _activations(job, shape)
    micro_batches = recipe.steps * recipe.batch / recipe.micro_batch
    operations = 3 * 2 * shape.read * recipe.steps * recipe.batch * recipe.tokens
    unpacked = 3 * sum(shape.blocks) * micro_batches
    # Of several processes each loads the base, on its own part of the cores.
    loading = row.process.seconds + shape.elements / measured.LOADED
    seconds = loading * max(1.0, recipe.processes / cores())
    seconds += (operations / row.rate + unpacked / measured.UNPACKED) / cores()
    return Cost(int(recipe.processes * own), 4 * parameters, seconds)


def _held(job: AdapterJob, shape: Shape) -> int:
    """The base as its loader holds it: blocks packed, the head in float32, and of a table that rows are looked up in next to
    nothing, for its file is mapped."""
    stored = weights_bytes(job.on.job.original, job.on.rung)
    beside = (shape.elements - sum(shape.blocks)) * shape.bytes // shape.elements
    return max(0, stored - beside) + 4 * (shape.read - shape.run)


def _activations(job: AdapterJob, shape: Shape) -> int:
    """What one micro-batch makes: what each block read, what a block makes of that, and the logits; and a linear unpacked."""
    recipe, row = job.adapter.recipe, measured.TRAINING[job.compute]
    tokens = recipe.micro_batch * recipe.tokens
    kept = 4 * len(shape.blocks) * shape.hidden
    block = row.block * (4 * shape.hidden + 3 * shape.widest)
    return int(tokens * (kept + block + row.logit * shape.vocabulary) + row.block * shape.hidden * shape.widest)


def judging(job: AdapterJob) -> Cost:
    """Price scoring base and adapter on both texts, and the control on the first documents."""
    shape, scoring = shape_of(job.on.job.original), measured.ARTIFACTS["peft"]
    held_out, general = job.adapter.held_out, job.manifest.evaluation
    sizes = [size_of(read, read.tokens, read.documents, shape.vocabulary) for read in (held_out, general)]
    tokens = 2 * sum(documents * each for documents, each in sizes) + FIRST * sizes[0][1]
    operations = 2 * shape.read * tokens / scoring.rate + scoring.logit * tokens * shape.vocabulary
    generated = measured.GENERATED * len(shape.blocks) * scoring.layer
    longest = max(held_out.tokens, general.tokens)
    memory = scoring.process.memory_bytes + scoring.copies * _held(job, shape) + 8 * longest * shape.vocabulary
    return Cost(memory, 0, scoring.process.seconds + 2 * generated + operations / cores())
