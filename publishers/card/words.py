"""How a recipe and its texts are called in a card's tables."""

from __future__ import annotations

from typing import Any

RECIPE_LABELS = {
    "engine": "Engine",
    "format": "Format",
    "dtype": "Stored as",
    "symmetric": "Grid",
    "group_size": "Weights per scale",
    "transform": "Transformation before rounding",
    "range": "Choice of the scale",
    "rounding": "Rounding",
    "ratio": "Share of weights in this type",
    "skip": "Not in this type",
    "overrides": "In another type",
    "activations": "Activations",
    "embeddings": "Token embeddings and head",
    "nncf": "NNCF's own choices",
}
"""Order and wording of the recipe table; a field that is not named here follows under its own name."""

TEXT_LABELS = {"texts": "SHA-256 of the texts", "where": "source", "tokens": "tokens per row"}

RECIPE_WORDS: dict[tuple[str, Any], str] = {
    ("symmetric", True): "symmetric",
    ("symmetric", False): "asymmetric, with a zero point per scale",
    ("group_size", -1): "one scale per output channel",
    ("transform", "awq"): "AWQ: activation-aware scales, searched",
    ("transform", "teq"): "TEQ: equivalent scales, trained",
    ("transform", None): "none",
    ("ratio", 1.0): "all",
    ("activations", None): "as the runtime computes",
    ("activations", "int8"): "int8, by ranges found over the calibration rows",
    ("embeddings", None): "as they are",
    ("embeddings", "int8"): "int8, with a scale and a zero point per row",
    ("range", "minmax"): "smallest and largest weight (`minmax`)",
    ("range", "mse"): "least squared error (`mse`)",
    ("rounding", "nearest"): "to nearest",
    ("rounding", "compensated"): "compensated: second-order error feedback, as in GPTQ",
}
