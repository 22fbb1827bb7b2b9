"""Classes of an image.

Both models are given the pixels that the original's image processor made: that the artifact's makes the same is a check.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoConfig

from catalog.reading import images
from gates.clients.client import Loaded
from gates.tasks.classes import distributions, target
from gates.tasks.contract import Asked, Data, DistributionTask, Row, finite


class ImageClassification(DistributionTask):
    """A row is the pixels of an image, `pixel_values`, float32 (channels, height, width), and its true class in `targets`."""

    name = "image-classification"

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Process images, and look labels up by their names in config.json, or as its numbers."""
        config = AutoConfig.from_pretrained(asked.model, local_files_only=True)
        made: list[Row | None] = []
        for row in data:
            pixels = images.pixels(row["image"], asked.processor)
            known = target(config, row.get("label"))
            made.append({"pixel_values": pixels} | ({} if known is None else {"targets": torch.tensor([known])}))
        return made

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """One distribution over classes, or one of no and yes for each output."""
        logits = loaded.outputs({"pixel_values": row["pixel_values"][None]})["logits"][0]
        return distributions(loaded.model.config, finite(torch.as_tensor(logits).float()))

    def width(self, loaded: Loaded, rows: list[Row]) -> int:
        """None: it knows no tokens."""
        return 0


TASK = ImageClassification()
