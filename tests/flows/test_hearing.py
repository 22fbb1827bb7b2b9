"""Plans for a model that hears: sounds have to be named, to calibrate on and to judge by, and `init` knows the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from catalog.reading import sounds
from flows.errors import UsageError
from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.first_manifest import first_manifest, task_of_directory
from flows.planning.preflight import check
from flows.store import Store
from tests import encoders, listeners
from tests.quantizers.models import edit_json


@pytest.fixture
def room(tmp_path: Path) -> Path:
    both = listeners.processor()
    listeners.configured(both.tokenizer).save_pretrained(tmp_path / "model")
    both.save_pretrained(tmp_path / "model")
    rows = listeners.rows(2, 3)
    listeners.write_sounds(tmp_path, rows)
    encoders.write_rows(tmp_path / "evaluation.jsonl", rows)
    return tmp_path


def write(room: Path, preset: str, evaluation: str = "evaluation: {files: [evaluation.jsonl]}") -> Path:
    path = room / "m.yaml"
    path.write_text(
        f"model: {{source: ./model, task: automatic-speech-recognition}}\n{evaluation}\ntargets: {{t: {preset}}}\n"
    )
    return path


def test_recipes_are_calibrated_on_sounds_with_transcripts(room: Path) -> None:
    rows = listeners.rows(2, 4, "read")
    listeners.write_sounds(room, rows, 5)
    read = encoders.write_rows(room / "calibration.jsonl", rows)
    both = "evaluation: {files: [evaluation.jsonl]}\ncalibration: {files: [calibration.jsonl]}"
    for accepted in ("w4-awq-g64", "nf4-awq", "ov-w4-awq-compensated-asym-g64"):
        check(load(write(room, accepted, both)))
    with pytest.raises(ManifestError, match="activations in int8 by fixed ranges, which is for encoders"):
        load(write(room, "ov-w8a8", both))
    encoders.write_rows(read, [{"audio": row["audio"]} for row in rows])
    with pytest.raises(ManifestError, match=r"has no key 'transcript'.*calibrated on rows such as it is judged by"):
        check(load(write(room, "w4-awq-g64", both)))


def test_recipes_that_would_be_calibrated_on_text_are_refused(room: Path) -> None:
    for accepted in ("w4-rtn-g64", '{preset: nf4, skip: [proj_out, "*encoder.layers*"]}'):
        check(load(write(room, accepted)))
    with pytest.raises(
        ManifestError,
        match=r"calibrated, for automatic speech recognition on rows that begin with the name of a sound.*nearest rounding",
    ):
        load(write(room, "w4-awq-g64"))
    with pytest.raises(
        ManifestError, match="which is judged on rows that begin with the name of a sound file; name them"
    ):
        load(write(room, "w4-rtn-g64", ""))
    edit_json(room / "model/config.json", lambda config: config.update(model_type="moonshine", architectures=None))
    with pytest.raises(
        ManifestError, match="'moonshine', and automatic speech recognition is measured of whisper alone"
    ):
        check(load(write(room, "w4-rtn-g64")))


def test_init_knows_what_hears_and_asks_for_sounds(room: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert task_of_directory(room / "model") == "automatic-speech-recognition"
    store = Store(tmp_path_factory.mktemp("home"))
    made = first_manifest(str(room / "model"), room / "first.yaml", store)
    assert {"nf4", "ov-int8"} <= set(made.targets), made
    manifest = load(made.path)
    assert manifest.model.task == "automatic-speech-recognition" and manifest.evaluation.files
    (room / "evaluation.jsonl").unlink()
    with pytest.raises(UsageError, match=r'evaluation\.jsonl, a line each, such as \{"audio": "files/1"\}'):
        first_manifest(str(room / "model"), room / "second.yaml", store)


def test_a_sound_is_known_by_what_is_heard_and_not_by_how_it_is_written(tmp_path: Path) -> None:
    heard = np.random.default_rng(0).integers(-(2**15), 2**15, 400).astype(np.int16)
    written = {
        "narrow": (16000, heard),
        "wide": (16000, heard.astype(np.int32) << 16),
        "floats": (16000, heard.astype(np.float32) / 2**15),
        "slow": (8000, heard),
        "other": (16000, heard[::-1]),
    }
    digests = {}
    for name, (rate, samples) in written.items():
        wavfile.write(tmp_path / f"{name}.wav", rate, samples)
        digests[name] = sounds.shown(tmp_path / f"{name}.wav")
    assert digests["narrow"] == digests["wide"] == digests["floats"]
    assert len(set(digests.values())) == 3
