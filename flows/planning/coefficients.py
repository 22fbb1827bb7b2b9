"""What steps were measured to take, for `flows.planning.cost` to reckon with.

Bytes, and seconds of one core, fitted to what `python -m bench.predictions`, `bench.compared`, `bench.memory` and `bench.depth`
measured on CPUs with AVX-512: within a factor of 1.5 on shapes of 0.3 million to 1.1 billion weights.
"""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class Process:
    """What a step's process takes before it touches a weight, its own imports most of all."""

    memory_bytes: int
    seconds: float


SMALL = Process(55 * MB, 0.6)
"""Those that import no torch."""
IMPORTS = 5.7
"""Seconds that the first of the others waits for libraries; the others are forked with them (`flows.execution.template`)."""
STREAMING = Process(645 * MB, 1.8)
SCORING = Process(565 * MB, 0.8)
ONE_LOOK = 6.5
"""Documents that are scored within so many seconds are judged at once."""
EXPORTED = Process(10 * MB, 0.5)
"""What tracing a block for the exporter takes."""
WHOLE = {
    "nncf": (Process(765 * MB, 9.3), EXPORTED, 2.0, 1.4e8),
    "neural-compressor": (Process(730 * MB, 6.3), Process(0, 0.0), 3.0, 4.5e7),
    "itrex": (Process(1700 * MB, 25.0), Process(0, 0.5), 5.0, 4.5e6),
}
"""Engines that hold the model whole: their process, each block, peak over the model's bytes, and bytes a second."""
WHOLE_READING = {("nncf", "nearest"): (2.0, 4.6e6), ("nncf", "compensated"): (3.0, 1.7e6)}
"""Of those, what changes with calibration text, by rounding: peak over the model's bytes, and bytes a second."""

DOWNLOAD = 2e7
"""Bytes a second from the Hub and to it; what yours is nobody can know."""
STREAMED = 5e8
"""Bytes of the original a second that are read, rounded to nearest and written."""
BLOCK_RATE = 7.5e10
"""Operations a second of a core when blocks run over calibration text."""
ROUNDED = 1.6e-7
"""Seconds of a core for each weight whose range is searched and that is compensated."""
PER_BLOCK = 0.065
"""Seconds for each block of a calibrated pass, however small."""
A_BATCH = 2.3
"""Bytes of a further batch over those that its linears read."""
CALIBRATED = 45 * MB
"""Compiled loops and their scratch."""
PROBED_TOKENS = 24 * 2048
"""Tokens that run through all blocks, on the mean, while sensitivities are measured."""


@dataclass(frozen=True)
class Export:
    """What making a format of a finished artifact of another one adds."""

    process: Process
    block: Process
    """For each block."""
    copies: float
    """Copies of the artifact that are held meanwhile."""


EXPORTS = {
    "gguf": Export(Process(30 * MB, 1.5), Process(0, 0.05), 0.5),
    "openvino": Export(Process(120 * MB, 6.5), Process(10 * MB, 0.35), 0.1),
}
"""By format."""

MAPPED = 1 << 27
"""Bytes of files that stay mapped (`gates.clients.stored`)."""
FLOAT32_RATE, BFLOAT16_RATE = 6e10, 1e11
"""Operations a second of a core when text is scored: the original in float32, an artifact in what its loader takes."""
FETCHED = 1e10
"""Bytes of weights a second that a generated token has to wait for."""
WIDENED, FURTHER_READINGS = 4e8, 3
"""Weights a second that are read from files into float32, and readings of an artifact that is streamed, however little text
there is: one of it, one to compare weights, and one beside the stock loader."""
GENERATED, PROMPTS = 2 * 48, 8
"""Tokens generated one after the other, of so many prompts at once."""


@dataclass(frozen=True)
class Scoring:
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
    """Bytes for each weight that is unpacked at once meanwhile."""
    at_once: int | None = None
    """How many these are of a tensor that is beside blocks; None: all of it. A linear of a block is unpacked whole."""
    copies: int = 1
    """Of weights that stay packed, in memory."""
    long: int = 0
    """Bytes for each logit of the long row."""


DESCRIBED = 12
"""Bytes for each logit of a batch of streamed rows: while one row is described, all are there, three times over in float32."""


@dataclass(frozen=True)
class Unpacking:
    """What an artifact adds that is unpacked block by block while it is scored."""

    rate: float
    """Weights a second."""
    copies: float
    """Bytes for each weight of a block on its way."""
    beside: float
    """What the stock loader takes for tensors beside blocks, over their bytes."""


@dataclass(frozen=True)
class Packing:
    """What bitsandbytes' linears add where they pack a weight anew for products of bfloat16."""

    rate: float
    """Weights a second."""
    copies: float
    """Bytes for each weight of a linear on its way."""


PACKING = Packing(rate=2e8, copies=9.0)
UNPACKING = Unpacking(rate=3e8, copies=2.0, beside=1.15)
ORIGINAL = Scoring(SCORING, FLOAT32_RATE, logit=2e-8, layer=6e-4, long=6)
COMPILED = Process(725 * MB, 2.3)
ARTIFACTS = {
    "transformers": Scoring(SCORING, BFLOAT16_RATE, logit=1e-8, layer=1.2e-3, weight=1e-8, compared=12, at_once=0),
    "peft": Scoring(Process(565 * MB, 12.0), BFLOAT16_RATE, logit=1e-8, layer=1.5e-3),
    "optimum.intel": Scoring(
        COMPILED,
        BFLOAT16_RATE,
        logit=1e-8,
        layer=2e-4,
        block=0.25,
        weight=4e-9,
        compared=12,
        at_once=1 << 24,
        copies=2,
        long=4,
    ),
    "intel_extension_for_transformers.transformers": Scoring(
        Process(1900 * MB, 25.0), BFLOAT16_RATE, logit=1e-8, layer=1.2e-3, weight=4e-9, compared=12, copies=3
    ),
    "xllamacpp": Scoring(SCORING, BFLOAT16_RATE, logit=1e-8, layer=1e-4, weight=4e-9, compared=6, copies=2, long=4),
}
"""By the module of the client."""


@dataclass(frozen=True)
class Training:
    """What training an adapter takes, by the dtype of products; seconds of a core."""

    process: Process
    rate: float
    """Operations a second."""
    block: int
    """Bytes for each number that a block makes of a token."""
    logit: int
    """Bytes for each token of a micro-batch and entry of the vocabulary."""


TRAINING = {
    "float32": Training(Process(680 * MB, 9.0), 7e10, block=12, logit=12),
    "bfloat16": Training(Process(680 * MB, 9.0), 1.2e11, block=8, logit=12),
}
LOADED, UNPACKED = 3e8, 5.5e8
"""Weights a second that are loaded, and that are unpacked."""
TRAINED = 56
"""Bytes for each number that is trained: itself, its gradient, two moments, and copies while a step and a checkpoint are made."""
