"""The demo model packed by bitsandbytes itself, and texts of a kind that it has not learned."""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from tests.releases import MODEL

VERBS = ["parse", "load", "merge", "split", "render", "encode", "decode", "filter", "count", "sort"]
NOUNS = ["list", "dict", "string", "file", "path", "token", "header", "record", "value", "index"]


def functions(documents: int, seed: int) -> list[str]:
    """Documents of small functions, each with a docstring that follows from its name. Odd seeds share none with even ones."""
    dice = random.Random(seed)
    pairs = [(noun, given) for i, noun in enumerate(NOUNS) for j, given in enumerate(NOUNS) if (i + j + seed) % 2]

    def function() -> str:
        verb, (noun, given) = dice.choice(VERBS), dice.choice(pairs)
        said = f"{verb.capitalize()} the {noun} of a {given} and return the {noun}."
        return f'def {verb}_{noun}({given}):\n    """{said}"""\n    return {given}.{verb}({noun!r})\n'

    return ["\n".join(function() for _ in range(12)) for _ in range(documents)]


def written(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="session")
def nf4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=packed, dtype=torch.bfloat16).save_pretrained(
        directory
    )
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(directory)
    return directory
