"""Made-up pictures of one shape in one colour, and small models that are trained in seconds to tell what they show."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from tests import encoders

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210), "yellow": (220, 200, 40)}
SHAPES = ("square", "ladder")
NAMES = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
SIDE = 32


def picture(name: str, rng: random.Random) -> Image.Image:
    """What a name says, somewhere on a ground of grey noise."""
    colour, shape = name.split()
    image = _ground(rng)
    side = rng.randint(12, 22)
    left, top = (rng.randint(0, SIDE - side) for _ in range(2))
    shade = tuple(max(0, min(255, value + rng.randint(-30, 30))) for value in COLOURS[colour])
    draw = ImageDraw.Draw(image)
    for row in range(top, top + side, 1 if shape == "square" else 4):
        draw.rectangle((left, row, left + side, row + (0 if shape == "square" else 1)), fill=shade)
    return image


def _ground(rng: random.Random) -> Image.Image:
    noise = bytes(90 + value % 80 for value in rng.randbytes(SIDE * SIDE))
    return Image.frombytes("L", (SIDE, SIDE), noise).convert("RGB")


def pictures(count: int, seed: int) -> list[tuple[Image.Image, str]]:
    """Pictures with what they show; another seed gives others."""
    rng = random.Random(seed)
    return [(picture(NAMES[n % len(NAMES)], rng), NAMES[n % len(NAMES)]) for n in range(count)]


SHOWN = pictures(96, 5)
ROWS: list[dict[str, Any]] = [{"image": f"pictures/{n:03}.png", "label": name} for n, (_, name) in enumerate(SHOWN)]
"""Held out: each names a file, as `datasets` has it, and what that shows."""


def write_files(directory: Path) -> None:
    """Write the files that the rows name below a directory."""
    (directory / "pictures").mkdir(parents=True, exist_ok=True)
    for row, (image, _) in zip(ROWS, SHOWN, strict=True):
        image.save(directory / row["image"])


SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
    "id2label": dict(enumerate(NAMES)),
    "label2id": {name: number for number, name in enumerate(NAMES)},
}


def vit(directory: Path) -> None:
    """A ViT that tells colour and shape, which transformers loads from no compressed-tensors."""
    classifier(directory, ViTForImageClassification, ViTConfig(**SIZES))


def beit(directory: Path) -> None:
    """A BEiT that does, which is loaded from every format."""
    options = {"drop_path_rate": 0.0, "use_mask_token": False, "use_relative_position_bias": True}
    classifier(directory, BeitForImageClassification, BeitConfig(**SIZES, **options), 200)


def classifier(directory: Path, built: type[PreTrainedModel], config: PreTrainedConfig, steps: int = 100) -> None:
    """Train a model to tell colour and shape; saved with its processor."""
    torch.manual_seed(0)
    model = built(config)
    processor = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    shown = pictures(1024, 1)
    pixels = processor(images=[image for image, _ in shown], return_tensors="pt")["pixel_values"]
    labels = torch.tensor([NAMES.index(name) for _, name in shown])
    order = torch.randperm(len(shown))

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = order[step * 64 % len(shown) :][:64]
        return {"pixel_values": pixels[chosen], "labels": labels[chosen]}

    encoders.train(model, batch, steps, 3e-3)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
