"""Sounds written down: what a row becomes, and each way of being wrong is seen by the measure that is for it."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.io import wavfile

from catalog.errors import InputError
from catalog.reading import sounds
from gates.evaluation.words import edits, word_errors
from gates.evidence import Document
from gates.kinds.wer import increase
from tests import listeners
from tests.gates.measured.room import Change, Room, outcomes

pytestmark = pytest.mark.xdist_group("encoders")
TASK = "automatic-speech-recognition"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Rows with transcripts, and rows without."""
    root, rows = tmp_path_factory.mktemp("listeners"), listeners.rows(32, 31)
    listeners.write_sounds(root, rows)
    return Room(
        root, TASK, listeners.listener, {"told": rows, "untold": [{"audio": row["audio"]} for row in rows[:16]]}
    )


ASKED = {"divergence": {"max_kld": 1e-3}, "agreement": {"min_top1": "80%"}, "answers": {"min_same": "70%"}}


@pytest.mark.parametrize("name", ["told", "untold"])
def test_the_original_itself_is_found_to_be_itself(name: str, room: Room, tmp_path: Path) -> None:
    evidence = room.evidence(name, lambda tensors: None, tmp_path)
    assert not [check for check in evidence.checks if not check.passed]
    assert evidence.summary is not None
    values = evidence.summary.values
    assert values["same"] == 1 and abs(values["kld"]) < 1e-5
    assert set(outcomes(evidence, **ASKED).values()) == {"passed"}
    assert values["perplexity_original"] < 1.3
    assert ("wer" in values) == (name == "told")
    assert evidence.samples[0].original == evidence.samples[0].artifact
    if name == "told":
        assert values["wer"] == values["wer_original"] < 0.1
        assert outcomes(evidence, wer={"max_increase": "30%"})["wer"] == "passed"
        assert outcomes(evidence, wer={})["wer"] == "undecided", (
            "32 rows that are alike are no proof of one word in 100"
        )


def test_a_row_begins_as_the_original_begins_and_has_its_output_for_a_transcript(room: Room) -> None:
    row = load_file(room.baseline("untold") / "documents" / "000000.safetensors")
    words = listeners.processor().tokenizer
    assert row["targets"].tolist() == [*row["written"].tolist(), words.eos_token_id]
    assert row["begun"].tolist() == words.prefix_tokens and "reference" not in row
    told = load_file(room.baseline("told") / "documents" / "000000.safetensors")
    assert bytes(told["reference"].tolist()).decode() == listeners.texts(1, 31)[0]


def turn(part: str) -> Change:
    """Give each head of the decoder what was meant for the other."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if part in name:
                tensors[name] = tensor.roll(32, 0).contiguous()

    return change


def deafen(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.encoder.layer_norm.weight"].zero_()


BROKEN: dict[str, Change] = {
    "a decoder that listens elsewhere": turn("encoder_attn.k_proj.weight"),
    "an encoder that hears nothing": deafen,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_seen_by_every_measure(name: str, room: Room, tmp_path: Path) -> None:
    said = outcomes(room.evidence("told", BROKEN[name], tmp_path), **ASKED, wer={"max_increase": "30%"})
    assert {gate for gate, outcome in said.items() if outcome == "failed"} == {*ASKED, "wer"}


def test_words_are_counted_by_the_least_edits() -> None:
    def slow(true: str, said: str) -> int:
        """By the definition."""
        if not true or not said:
            return len(true) + len(said)
        put_in, left_out = slow(true, said[1:]) + 1, slow(true[1:], said) + 1
        return min(put_in, left_out, slow(true[1:], said[1:]) + (true[0] != said[0]))

    texts = ["".join(letters) for length in range(4) for letters in product("ab", repeat=length)]
    rng = random.Random(0)
    texts += ["".join(rng.choices("abc", k=6)) for _ in range(6)]
    assert all(edits(list(a), list(b)) == slow(a, b) for a in texts for b in texts)
    counted = word_errors("A mill, it grinds.", " a mill grinds Flour fine")
    assert (counted.errors, counted.words) == (3, 4)


def test_the_bound_of_the_word_error_rate_is_over_rows_that_have_a_transcript() -> None:
    told = {"errors_original": 1.0, "words": 10.0}
    rows = [
        Document(index=n, tokens=5, sums={**told, "errors": 1.0 + (n % 10 == 1)} if n % 2 else {}) for n in range(80)
    ]
    assert increase(rows[::2], 0.95) is None
    harmed = increase(rows, 0.95)
    assert harmed is not None and harmed.documents == 40 and harmed.value == pytest.approx(0.02)
    assert harmed.low is not None and harmed.high is not None and 0 < harmed.low < 0.02 < harmed.high < 0.06
    alike = increase([row.model_copy(update={"sums": {**told, "errors": 1.0}}) for row in rows], 0.95)
    assert alike is not None and alike.value == 0 and alike.high is not None and 0.03 < alike.high < 0.06


def test_sounds_of_any_rate_and_width_become_what_the_model_hears(tmp_path: Path) -> None:
    extractor = listeners.processor().feature_extractor
    time = np.arange(8000) / 8000
    tone = np.sin(2 * np.pi * 440 * time)
    wavfile.write(tmp_path / "a.wav", 8000, np.stack([tone, tone], 1).astype(np.float32))
    wavfile.write(
        tmp_path / "b.wav", 16000, (32767 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)).astype(np.int16)
    )
    one, other = (sounds.read(tmp_path / name, extractor) for name in ("a.wav", "b.wav"))
    assert len(one) == len(other) == 16000
    assert float(np.abs(one - other)[500:-500].max()) < 2e-3
    wavfile.write(tmp_path / "c.wav", 16000, np.zeros(40000, np.int16))
    with pytest.raises(InputError, match=r"c\.wav lasts 2\.5 s, and the model hears 2 s at once; cut it"):
        sounds.read(tmp_path / "c.wav", extractor)
    (tmp_path / "d.wav").write_bytes(b"ID3")
    with pytest.raises(InputError, match=r"d\.wav is no WAV file that scipy reads .* Write it as one"):
        sounds.read(tmp_path / "d.wav", extractor)
