"""Sounds of evaluation: WAV files, by scipy, as one channel at the rate that a model hears. Imports no torch at the top."""

from __future__ import annotations

from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gates.errors import GateError

Samples = NDArray[np.float32]


def extractor(model: Path) -> Any:
    """Return the feature extractor that lies beside a model, as its user will load it.

    Raises GateError where there is none.
    """
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise GateError(
            f"{model}: no feature extractor can be read ({' '.join(str(error).split())[:200]}). A model that hears has "
            "preprocessor_config.json or processor_config.json beside it: save it with its processor."
        ) from error


def read(path: Path, extractor: Any) -> Samples:
    """Return the samples of a WAV file, float32 (samples,), -1 to 1, its channels averaged.

    At another rate than the extractor's it is resampled by `scipy.signal.resample_poly`, whose filter is a Kaiser window of
    beta 5. Raises GateError for what is no WAV file, and for a sound that is longer than the model hears at once.
    """
    from scipy.signal import resample_poly

    rate, samples = _wav(path)
    wanted = int(extractor.sampling_rate)
    if rate != wanted:
        common = gcd(rate, wanted)
        samples = resample_poly(samples, wanted // common, rate // common)
    most = getattr(extractor, "n_samples", None)
    if most is not None and len(samples) > most:
        raise GateError(
            f"{path.name} lasts {len(samples) / wanted:.1f} s, and the model hears {most / wanted:g} s at once; cut it into "
            "shorter ones, each with its transcript."
        )
    return np.ascontiguousarray(samples, dtype=np.float32)


def _wav(path: Path) -> tuple[int, NDArray[np.float64]]:
    """The rate in Hz and the samples, -1 to 1."""
    from scipy.io import wavfile

    try:
        rate, samples = wavfile.read(path)
    except (ValueError, EOFError) as error:
        raise GateError(
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
