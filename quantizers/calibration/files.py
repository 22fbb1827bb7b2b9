"""The rows that a recipe is calibrated on, as the model's forward is given them: text, or what is made of files that rows name.

Files are read by the code that reads those of evaluation (`catalog.reading`), and go through the original's own processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoProcessor

from catalog.foreign_errors import machine_fault
from catalog.reading import images, rows, sounds
from catalog.task import Kind
from catalog.tasks import TASKS
from quantizers.calibration.batches import BATCH_FILES
from quantizers.calibration.text import drawn, read_rows
from quantizers.errors import QuantizeError
from quantizers.model.given import Given, of_ids
from quantizers.model.skeleton import Skeleton
from quantizers.request import Calibration

Data = Sequence[dict[str, Any]]


def read_given(calibration: Calibration, model: Path, skeleton: Skeleton) -> Given:
    """The rows of calibration, `samples` of them drawn.

    Raises:
        QuantizeError: texts, or what turns them into tensors, are at fault.
        InputError: a row or the file that it names is.
    """
    columns = TASKS[skeleton.task].reads
    if not columns:
        return of_ids(read_rows(calibration, model, skeleton.vocabulary))
    data = rows.read(calibration.documents, columns)
    chosen = [data[number] for number in drawn(len(data), calibration).tolist()]
    return READERS[columns[0].kind](chosen, _processor(model), calibration, skeleton.model.config)


def _processor(model: Path) -> Any:
    try:
        return AutoProcessor.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise machine_fault(error) or QuantizeError(
            f"{model}: its processor cannot be read ({str(error).splitlines()[0]}). Calibration needs one: save the model with "
            "its processor, or use a recipe without transform and with nearest rounding."
        ) from error


def _images(data: Data, processor: Any, calibration: Calibration, config: Any) -> Given:
    """`pixel_values`, float32 (rows, channels, height, width)."""
    pixels = [torch.as_tensor(images.pixels(row["image"], processor)) for row in data]
    if len(sizes := {tuple(each.shape) for each in pixels}) > 1:
        some = " and ".join(map(str, sorted(sizes)[:2]))
        raise QuantizeError(
            f"{calibration.documents}: the model's processor makes pixels of several sizes, {some}, and calibration takes one. "
            "Give images of one size, or use a recipe without transform and with nearest rounding."
        )
    return Given({"pixel_values": torch.stack(pixels)}, BATCH_FILES)


def _sounds(data: Data, processor: Any, calibration: Calibration, config: Any) -> Given:
    """`input_features` for the encoder, and for the decoder the transcripts behind the tokens that they begin with.

    Transcripts are filled up to one length behind their ends, which nothing before them reads and no moment counts.
    """
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    heard = [
        torch.as_tensor(sounds.heard(sounds.read(row["audio"], extractor), extractor)["input_features"]) for row in data
    ]
    begun = list(tokenizer.prefix_tokens)
    room = min(calibration.tokens, config.max_target_positions - len(begun) - 1)
    said = [torch.tensor([*begun, *sounds.transcript(row["transcript"], tokenizer, room)[:-1]]) for row in data]
    ids = nn.utils.rnn.pad_sequence(said, batch_first=True, padding_value=tokenizer.eos_token_id)
    if ids.shape[1] == config.max_source_positions:  # what is of the decoder is told by its length
        ids = ids[:, :-1]
    counted = torch.arange(ids.shape[1])[None] < torch.tensor([len(each) for each in said])[:, None]
    return Given({"input_features": torch.cat(heard), "decoder_input_ids": ids}, BATCH_FILES, counted)


READERS: dict[Kind, Callable[[Data, Any, Calibration, Any], Given]] = {"image": _images, "audio": _sounds}
"""By the kind of what rows begin with."""
