"""Made-up pictures of one shape in one colour, and small models that are trained in seconds to tell what they show."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
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


READ = pictures(48, 6)
CALIBRATION: list[dict[str, Any]] = [{"image": f"read/{n:03}.png"} for n in range(len(READ))]
"""What recipes are calibrated on: files, and nothing of what they show."""


def write_files(directory: Path) -> None:
    """Write the files that the rows name below a directory."""
    for rows, shown in ((ROWS, SHOWN), (CALIBRATION, READ)):
        for row, (image, _) in zip(rows, shown, strict=True):
            (directory / row["image"]).parent.mkdir(parents=True, exist_ok=True)
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


def vit(directory: Path, steps: int = 100) -> None:
    """A ViT that tells colour and shape, which transformers loads from no compressed-tensors."""
    classifier(directory, ViTForImageClassification, ViTConfig(**SIZES), steps)


def beit(directory: Path) -> None:
    """A BEiT that does, which is loaded from every format."""
    options = {"drop_path_rate": 0.0, "use_mask_token": False, "use_relative_position_bias": True}
    classifier(directory, BeitForImageClassification, BeitConfig(**SIZES, **options), 200)


def classifier(
    directory: Path, built: type[PreTrainedModel], config: PreTrainedConfig, steps: int = 100, rate: float = 3e-3
) -> None:
    """Train a model to tell colour and shape, in pixels of its own size; saved with its processor."""
    torch.manual_seed(0)
    model = built(config)
    processor = ViTImageProcessorPil(size=dict.fromkeys(("height", "width"), config.image_size))
    shown = pictures(1024, 1)
    pixels = processor(images=[image for image, _ in shown], return_tensors="pt")["pixel_values"]
    labels = torch.tensor([NAMES.index(name) for _, name in shown])
    order = torch.randperm(len(shown))

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = order[step * 64 % len(shown) :][:64]
        return {"pixel_values": pixels[chosen], "labels": labels[chosen]}

    encoders.train(model, batch, steps, rate)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)


PROMPTS = {
    "what is this ?": "this is a {name}",
    "which colour ?": "it is {colour}",
    "what is {colour} ?": "the {shape} is",
}
"""What is asked of a picture, and the answer."""


def asked(count: int, seed: int) -> list[dict[str, str]]:
    """Prompts and answers for as many pictures of `pictures`."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        name = NAMES[number % len(NAMES)]
        colour, shape = name.split()
        prompt, answer = rng.choice(list(PROMPTS.items()))
        told = {"name": name, "colour": colour, "shape": shape}
        rows.append({"prompt": prompt.format(**told), "answer": answer.format(**told)})
    return rows


ASKED: list[dict[str, Any]] = [
    {"image": row["image"], **words} for row, words in zip(ROWS, asked(len(ROWS), 5), strict=True)
]


def words() -> PreTrainedTokenizerFast:
    """A token a word, one for an image, and the one that ends a text."""
    texts = [text for row in asked(2000, 0) for text in row.values()]
    known = sorted({word for text in texts for word in text.split()})
    pieces = ["<pad>", "</s>", "<unk>", "<image>", *known]
    built = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=built, model_max_length=64, additional_special_tokens=["<image>"], **special
    )


def teller(directory: Path, steps: int = 100) -> None:
    """A LLaVA that answers what is asked of a picture; saved with its processor."""
    torch.manual_seed(0)
    tokens, side = words(), {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=side, crop_size=side),
        tokenizer=tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    sizes = {name: SIZES[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    config = LlavaConfig(
        # As LLaVA has it: the last block of the tower is not read.
        vision_config=CLIPVisionConfig(
            **sizes | {"num_hidden_layers": 3}, num_attention_heads=4, image_size=SIDE, patch_size=8
        ),
        text_config=LlamaConfig(
            **sizes,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tokens),
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        ),
        image_token_index=3,
        vision_feature_layer=-2,
        image_seq_length=16,
    )
    model = LlavaForConditionalGeneration(config)
    shown, told = pictures(1024, 1), asked(1024, 1)
    pixels = processor.image_processor([image for image, _ in shown], return_tensors="pt")["pixel_values"]
    texts = [f"{'<image>' * 16} {row['prompt']} {row['answer']} </s>".replace("<image>", "<image> ") for row in told]
    made = tokens(texts, padding=True, return_tensors="pt")
    ids, mask = made["input_ids"], made["attention_mask"]
    labels = ids.masked_fill(mask == 0, -100)
    for number, row in enumerate(told):
        labels[number, : 16 + len(row["prompt"].split())] = -100
    order = torch.randperm(len(shown))

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = order[step * 64 % len(shown) :][:64]
        each = {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}
        return {name: value[chosen] for name, value in each.items()}

    encoders.train(model, batch, steps, 3e-3)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
