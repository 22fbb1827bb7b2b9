"""Sounds: WAV files, by scipy, as one channel at the rate that a model hears."""

from __future__ import annotations

import hashlib
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.errors import InputError

Samples = NDArray[np.float32]


def read(path: Path, extractor: Any) -> Samples:
    """Return the samples of a WAV file, float32 (samples,), -1 to 1, its channels averaged.

    At another rate than the extractor's it is resampled by `scipy.signal.resample_poly`, whose filter is a Kaiser window of
    beta 5. Raises InputError for what is no WAV file, and for a sound that is longer than the model hears at once.
    """
    from scipy.signal import resample_poly

    rate, samples = _wav(path)
    wanted = int(extractor.sampling_rate)
    if rate != wanted:
        common = gcd(rate, wanted)
        samples = resample_poly(samples, wanted // common, rate // common)
    most = getattr(extractor, "n_samples", None)
    if most is not None and len(samples) > most:
        raise InputError(
            f"{path.name} lasts {len(samples) / wanted:.1f} s, and the model hears {most / wanted:g} s at once; cut it into "
            "shorter ones, each with its transcript."
        )
    return np.ascontiguousarray(samples, dtype=np.float32)


def heard(samples: Samples, extractor: Any) -> Any:
    """Return what a model's feature extractor makes of a sound, tensors with a dimension of 1 before their own."""
    return extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")


def transcript(text: str, tokenizer: Any, most: int) -> list[int]:
    """Return the token ids of what is said, cut off after so many, and the one that ends it. Raises InputError."""
    if tokenizer.eos_token_id is None:
        raise InputError(
            "The model's tokenizer has no token that ends a text, so no transcript can be told whole. Save the model "
            "with the tokenizer that it was trained with."
        )
    return [*tokenizer(text, add_special_tokens=False)["input_ids"][:most], tokenizer.eos_token_id]


def shown(path: Path) -> str:
    """Return a digest of what a sound is, of whatever width its samples are written. Raises InputError."""
    rate, samples = _wav(path)
    return hashlib.sha256(str(rate).encode() + samples.astype(np.float32).tobytes()).hexdigest()


def _wav(path: Path) -> tuple[int, NDArray[np.float64]]:
    """The rate in Hz and the samples, -1 to 1."""
    from scipy.io import wavfile

    try:
        rate, samples = wavfile.read(path)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path.name} is no WAV file that scipy reads ({' '.join(str(error).split())}). Write it as one, of 16 bits or of "
            "floats (ffmpeg -i SOUND -ac 1 SOUND.wav)."
        ) from error
    if samples.dtype.kind == "f":
        numbers = samples.astype(np.float64)
    elif samples.dtype == np.uint8:
        numbers = (samples.astype(np.float64) - 128) / 128
    else:
        # 24 bits come in the upper bytes of 32.
        numbers = samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)
    return int(rate), numbers if numbers.ndim == 1 else numbers.mean(1)
